"""A mixture with one expert fewer: what a masked expert is held to."""

from transformers import Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe


def smaller_block(block: Llama4TextMoe, expert: int) -> Llama4TextMoe:
    """The library's block, built anew without one of the experts of `block`."""
    kept = [n for n in range(block.num_experts) if n != expert]
    sizes = {"hidden_size": block.hidden_dim, "intermediate_size": block.experts.down_proj.shape[1]}
    sizes |= {"num_local_experts": len(kept), "num_experts_per_tok": block.top_k}
    smaller = Llama4TextMoe(Llama4TextConfig(**sizes))
    weights = dict(block.state_dict())
    of_experts = {key: part[kept] for key, part in weights.items() if key.startswith(("router", "experts"))}
    smaller.load_state_dict(weights | of_experts)
    return smaller.to(block.router.weight)
