"""The weights that every proxy begins with."""

import math

import torch
from transformers import PreTrainedModel
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts, Llama4VisionModel

RESIDUAL_OUTPUTS = ("o_proj", "down_proj", "fc2")


def initialize(model: PreTrainedModel, seed: int) -> None:
    """Draw every weight with std 1/sqrt(fan_in), a third of that where a block writes to the residual stream.

    The library's default (0.02 everywhere) is made for wide models; at this size recall did not appear with it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, Llama4TextExperts):
                for weights, shrink in ((module.gate_up_proj, 1.0), (module.down_proj, 1 / 3)):
                    std = shrink / math.sqrt(weights.shape[1])
                    weights.copy_(torch.empty(weights.shape).normal_(0, std, generator=generator))
            elif isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                shrink = 1 / 3 if name.endswith(RESIDUAL_OUTPUTS) else 1.0
                std = shrink / math.sqrt(module.weight.shape[1])
                module.weight.copy_(torch.empty(module.weight.shape).normal_(0, std, generator=generator))
            elif isinstance(module, Llama4VisionModel):
                for weights in (module.class_embedding, module.positional_embedding_vlm):
                    weights.copy_(torch.empty(weights.shape).normal_(0, module.scale, generator=generator))
