"""Short first, then opened: a model begins with all its layers chunked, and its global layers open later.

A layer that sees everything from the start learns to find some fact anywhere, and stays there: it does not learn to
tell facts apart. Begun as chunk-only, a model learns to match names within a chunk, and keeps that when a layer opens.
Long context comes to released models in the same order: trained on short texts first, extended late.
"""

import copy

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.llama4.modeling_llama4 import Llama4TextAttention


def closed(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy of `config` in which every layer is chunked and rotates its queries and keys."""
    result = copy.deepcopy(config)
    text = result.get_text_config()
    text.no_rope_layers = [1] * text.num_hidden_layers
    text.layer_types = ["chunked_attention"] * text.num_hidden_layers
    return result


def open_layers(model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """Make the layers of `model` those that `config` says, in place; its weights stay as they are."""
    text, wanted = model.config.get_text_config(), config.get_text_config()
    text.no_rope_layers, text.layer_types = list(wanted.no_rope_layers), list(wanted.layer_types)
    for module in model.modules():
        if isinstance(module, Llama4TextAttention):
            module.use_rope = bool(wanted.no_rope_layers[module.layer_idx])
            if hasattr(module, "qk_norm") and not module.use_rope:
                del module.qk_norm


def deepen(model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> None:
    """Load a shallower model's `weights` into the first layers and words of `model`, in place.

    The new layers write nothing at first, so the deeper model begins by computing what the shallower one does.
    """
    own = model.state_dict()
    with torch.no_grad():
        for name, value in weights.items():
            own[name][: len(value)] = value
        for name, value in own.items():
            if name not in weights and name.endswith(("o_proj.weight", "down_proj.weight", "down_proj")):
                value.zero_()
