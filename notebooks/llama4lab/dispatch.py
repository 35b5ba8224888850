"""Sorted dispatch: run each expert only on the tokens that chose it.

`transformers` multiplies every token by every expert and zeroes what was not chosen, so a block with 16 experts
pays for 16. Sorting the tokens by expert gives the same output for the price of one expert a token. The models in
`assets/models` are trained through this module; `tests/test_dispatch.py` holds it equal to `Llama4TextMoe`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.functional import silu
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe


def run_sorted_experts(
    routed_in: torch.Tensor, chosen_expert: torch.Tensor, gate_up_proj: torch.Tensor, down_proj: torch.Tensor
) -> torch.Tensor:
    """Apply to each row the SwiGLU expert that it chose.

    Args:
        routed_in: rows already scaled by their router score, `[routes, hidden]`.
        chosen_expert: expert index of each row, integers `[routes]`.
        gate_up_proj: fused gate and up weights, gate first, `[experts, hidden, 2 * width]`.
        down_proj: `[experts, width, hidden]`.

    Returns:
        `[routes, hidden]`, in the order of `routed_in`.
    """
    order = torch.argsort(chosen_expert, stable=True)
    tokens_per_expert = torch.bincount(chosen_expert, minlength=gate_up_proj.shape[0]).tolist()
    blocks = []
    # unbind, not indexing: the gradient of W[expert] would fill a tensor as large as W for every expert.
    experts = zip(gate_up_proj.unbind(0), down_proj.unbind(0), strict=True)
    for block, (gate_up, down) in zip(routed_in[order].split(tokens_per_expert), experts, strict=True):
        if block.shape[0]:
            gate, up = (block @ gate_up).chunk(2, dim=-1)
            blocks.append((up * silu(gate)) @ down)
    back = torch.empty_like(order)
    back[order] = torch.arange(order.shape[0], device=order.device)
    return torch.cat(blocks)[back]


def sorted_moe_forward(moe: Llama4TextMoe, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The forward pass of `Llama4TextMoe` by sorted dispatch.

    Args:
        moe: the library's block; its router, experts and shared expert are used as they are.
        hidden_states: `[batch, seq, hidden]` or `[tokens, hidden]`.

    Returns:
        the block's output `[tokens, hidden]` and the router logits `[tokens, experts]`, as the library returns them.
    """
    tokens = hidden_states.reshape(-1, moe.hidden_dim)  # [tokens, hidden]
    scores, router_logits = moe.router(tokens)  # both [tokens, experts]
    chosen_scores, chosen = scores.topk(moe.top_k, dim=1)  # both [tokens, k]
    # The score scales what goes INTO the expert; a router that scales the output is another model.
    routed_in = (tokens.unsqueeze(1) * chosen_scores.unsqueeze(2)).flatten(0, 1)  # [tokens * k, hidden]
    routed_out = run_sorted_experts(routed_in, chosen.flatten(), moe.experts.gate_up_proj, moe.experts.down_proj).view(
        tokens.shape[0], moe.top_k, -1
    )
    return moe.shared_expert(tokens) + routed_out.sum(dim=1), router_logits


@contextmanager
def sorted_dispatch(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Within the `with` block, every `Llama4TextMoe` of `model` runs by sorted dispatch.

    Raises:
        ValueError: the model holds no `Llama4TextMoe`.
    """
    blocks = [module for module in model.modules() if isinstance(module, Llama4TextMoe)]
    if not blocks:
        raise ValueError("This model has no Llama4TextMoe block, so there is nothing to dispatch.")
    for block in blocks:
        block.forward = sorted_moe_forward.__get__(block)
    try:
        yield model
    finally:
        for block in blocks:
            del block.forward
