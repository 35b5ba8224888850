"""Recording of routing: which expert took which token, layer by layer."""

from dataclasses import dataclass

import torch
from transformers.models.llama4.modeling_llama4 import Llama4Router

from llama4lab.errors import CourseError


@dataclass(frozen=True)
class Routing:
    """The routers' decisions over one forward pass.

    Attributes:
        layers: indices of the MoE layers, in order.
        router_logits: `[moe_layers, batch, seq, experts]`.
        chosen: index of the winning expert, `[moe_layers, batch, seq]`.
        scores: sigmoid of the winning logit, in (0, 1), `[moe_layers, batch, seq]`.
    """

    layers: list[int]
    router_logits: torch.Tensor
    chosen: torch.Tensor
    scores: torch.Tensor


def record_routing(model: torch.nn.Module, input_ids: torch.Tensor, **inputs: torch.Tensor) -> Routing:
    """Run `model` once on `input_ids` `[batch, seq]` and return what its routers decided.

    Further inputs (attention_mask, pixel_values) are passed on. Padding is recorded like any token: mask it yourself.

    Raises:
        CourseError: the model has no Llama 4 router.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, Llama4Router)]
    if not names:
        raise CourseError("This model has no Llama 4 router; give a model with mixture-of-experts layers.")
    with torch.no_grad():
        output = model(input_ids=input_ids, use_cache=False, output_router_logits=True, **inputs)
    batch, seq = input_ids.shape
    logits = torch.stack([layer.view(batch, seq, -1) for layer in output.router_logits])
    winning, chosen = logits.max(dim=-1)
    # A router is named ...layers.<index>.feed_forward.router
    layers = [int(name.split("layers.")[1].split(".")[0]) for name in names]
    return Routing(layers, logits, chosen, winning.float().sigmoid())


def expert_load(chosen: torch.Tensor, experts: int) -> torch.Tensor:
    """Share of tokens that each expert took, `[experts]`, from integer choices of any shape."""
    return torch.bincount(chosen.flatten(), minlength=experts) / chosen.numel()
