"""Sorted dispatch: run each expert only on the tokens that chose it.

`transformers` multiplies every token by every expert and zeroes what was not chosen, so a block with 16 experts
pays for 16. Sorting the tokens by expert gives the same output for the price of one expert a token. The models in
`assets/models` are trained through this module; `tests/lab/test_dispatch.py` compares it with `Llama4TextMoe`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn.functional import silu
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts, Llama4TextMoe

from llama4lab.errors import CourseError


def run_sorted_experts(
    routed_in: torch.Tensor,
    chosen_expert: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    activation: Callable[[torch.Tensor], torch.Tensor] = silu,
) -> torch.Tensor:
    """Apply to each row the gated expert that it chose; SwiGLU with the default activation.

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
            blocks.append((up * activation(gate)) @ down)
    back = torch.empty_like(order)
    back[order] = torch.arange(order.shape[0], device=order.device)
    return torch.cat(blocks)[back]


def shared_in_slices(moe: Llama4TextMoe, tokens: torch.Tensor, rows: int = 512) -> torch.Tensor:
    """The shared expert on `tokens` `[tokens, hidden]`, a few rows at a time: what it computes stays in the cache."""
    return torch.cat([moe.shared_expert(part) for part in tokens.split(rows)])


def _forward_on_chosen(
    experts: Llama4TextExperts, routed_in: torch.Tensor, chosen_expert: torch.Tensor
) -> torch.Tensor:
    return run_sorted_experts(routed_in, chosen_expert, experts.gate_up_proj, experts.down_proj, experts.act_fn)


def _innermost_experts(moe: Llama4TextMoe) -> Llama4TextExperts:
    """The library's experts, which peft may have wrapped."""
    experts = [module for module in moe.experts.modules() if isinstance(module, Llama4TextExperts)]
    if len(experts) != 1:
        raise CourseError(
            f"Sorted dispatch needs the experts of transformers, and this block has {type(moe.experts).__name__}: "
            "run the model without sorted_dispatch."
        )
    return experts[0]


@contextmanager
def _forward_replaced(modules: Sequence[torch.nn.Module], forward: Callable) -> Iterator[None]:
    """Within the block, `forward` is the forward pass of `modules`; their hooks still run before and after it."""
    # accelerate keeps a module's own forward pass under this name and puts its hooks around it.
    slots = ["_old_forward" if "_old_forward" in vars(module) else "forward" for module in modules]
    replaced = [vars(module).get(slot) for module, slot in zip(modules, slots, strict=True)]
    for module, slot in zip(modules, slots, strict=True):
        setattr(module, slot, forward.__get__(module))
    try:
        yield
    finally:
        for module, slot, earlier in zip(modules, slots, replaced, strict=True):
            if earlier is None:
                delattr(module, slot)
            else:
                setattr(module, slot, earlier)


def sorted_moe_forward(moe: Llama4TextMoe, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The forward pass of `Llama4TextMoe` by sorted dispatch.

    Args:
        moe: the library's block. Its router, experts and shared expert are called, never read from outside, so that
            what is attached to them takes part: offloading (accelerate), adapters (peft), shards (FSDP2).
        hidden_states: `[batch, seq, hidden]` or `[tokens, hidden]`.

    Returns:
        the block's output `[tokens, hidden]` and the router logits `[tokens, experts]`, as the library returns them.

    Raises:
        CourseError: the block's experts are not those of the library.
    """
    tokens = hidden_states.reshape(-1, moe.hidden_dim)  # [tokens, hidden]
    scores, router_logits = moe.router(tokens)  # both [tokens, experts]
    chosen_scores, chosen = scores.topk(moe.top_k, dim=1)  # both [tokens, k]
    # The score scales what goes INTO the expert; a router that scales the output is another model.
    routed_in = (tokens.unsqueeze(1) * chosen_scores.unsqueeze(2)).flatten(0, 1)  # [tokens * k, hidden]
    with _forward_replaced([_innermost_experts(moe)], _forward_on_chosen):
        routed_out = moe.experts(routed_in, chosen.flatten())  # [tokens * k, hidden]
    return moe.shared_expert(tokens) + routed_out.view(tokens.shape[0], moe.top_k, -1).sum(dim=1), router_logits


@contextmanager
def sorted_dispatch(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Within the `with` block, every `Llama4TextMoe` of `model` runs by sorted dispatch.

    Raises:
        CourseError: the model holds no `Llama4TextMoe`, or one with experts that are not the library's.
    """
    blocks = [module for module in model.modules() if isinstance(module, Llama4TextMoe)]
    if not blocks:
        raise CourseError("This model has no Llama4TextMoe block, so there is nothing to dispatch.")
    for block in blocks:
        _innermost_experts(block)
    with _forward_replaced(blocks, sorted_moe_forward):
        yield model
