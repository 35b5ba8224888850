"""Routers in black boxes, and small blocks to try them on. Readers of the notebook on wrong routers are asked not to look."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from transformers import Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe


def small_block(seed: int = 0, hidden: int = 8, width: int = 16, experts: int = 4, std: float = 0.3) -> Llama4TextMoe:
    """A top-1 block whose weights are normal with standard deviation `std`."""
    block = Llama4TextMoe(
        Llama4TextConfig(hidden_size=hidden, intermediate_size=width, num_local_experts=experts, num_experts_per_tok=1)
    )
    rng = np.random.default_rng(seed)
    for weight in block.parameters():
        weight.data = torch.from_numpy(rng.normal(0, std, weight.shape)).float()
    return block


def random_tokens(*shape: int, seed: int = 15) -> torch.Tensor:
    """Normal numbers of this shape, such as `[tokens, hidden]`."""
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape)).float()


Forward = Callable[[Llama4TextMoe, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def winners_only(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """The logits `[tokens, experts]` with minus infinity for all but the `top_k` largest of each row."""
    winning, chosen = logits.topk(top_k, dim=1)
    return torch.full_like(logits, float("-inf")).scatter(1, chosen, winning)


def routed_forward(
    block: Llama4TextMoe,
    tokens: torch.Tensor,
    score: Callable[[torch.Tensor], torch.Tensor],
    top_k: int = 1,
    on_output: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output `[tokens, hidden]` and router logits `[tokens, experts]` of a block with this score of `[tokens, experts]`."""
    logits = tokens @ block.router.weight.T
    scores = score(logits)
    output = block.shared_expert(tokens)
    for expert, is_mine in enumerate(winners_only(logits, top_k).isfinite().T):
        if not is_mine.any():
            continue
        gate_up, down = block.experts.gate_up_proj[expert], block.experts.down_proj[expert]
        weight, mine = scores[is_mine, expert, None], tokens[is_mine]
        gate, up = ((mine if on_output else weight * mine) @ gate_up).chunk(2, dim=1)
        routed = (torch.nn.functional.silu(gate) * up) @ down
        output = output.index_add(0, is_mine.nonzero()[:, 0], weight * routed if on_output else routed)
    return output, logits


ROUTERS: dict[str, Forward] = {
    "Llama 4": partial(routed_forward, score=torch.sigmoid),
    "softmax over all": partial(routed_forward, score=lambda logits: logits.softmax(dim=1)),
    "softmax after top-1": partial(routed_forward, score=lambda logits: winners_only(logits, 1).softmax(dim=1)),
    "scaled output": partial(routed_forward, score=torch.sigmoid, on_output=True),
    "top-2": partial(routed_forward, score=torch.sigmoid, top_k=2),
    "detached": partial(routed_forward, score=lambda logits: logits.detach().sigmoid()),
}
CONTENTS = {
    "A": "detached",
    "B": "scaled output",
    "C": "Llama 4",
    "D": "softmax after top-1",
    "E": "top-2",
}


def black_boxes() -> dict[str, Forward]:
    """Five routers by letter. Each takes a block and tokens `[tokens, hidden]`, and gives its output and its logits."""
    return {letter: ROUTERS[name] for letter, name in CONTENTS.items()}
