"""Short first, then opened: a model begins with all its layers chunked, and its global layers open later.

A layer that sees everything from the start learns to find some fact anywhere, and stays there: it does not learn to
tell facts apart. Begun as chunk-only, a model learns to match names within a chunk, and keeps that when a layer opens.
Long context comes to released models in the same order: trained on short texts first, extended late.
"""

import copy

from transformers import Llama4Config, PreTrainedModel
from transformers.models.llama4.modeling_llama4 import Llama4TextAttention


def closed(config: Llama4Config) -> Llama4Config:
    """A copy of `config` in which every layer is chunked and rotates its queries and keys."""
    result = copy.deepcopy(config)
    text = result.text_config
    text.no_rope_layers = [1] * text.num_hidden_layers
    text.layer_types = ["chunked_attention"] * text.num_hidden_layers
    return result


def open_layers(model: PreTrainedModel, config: Llama4Config) -> None:
    """Make the layers of `model` those that `config` says, in place; its weights stay as they are."""
    text, wanted = model.config.text_config, config.text_config
    text.no_rope_layers, text.layer_types = list(wanted.no_rope_layers), list(wanted.layer_types)
    for module in model.modules():
        if isinstance(module, Llama4TextAttention):
            module.use_rope = bool(wanted.no_rope_layers[module.layer_idx])
            if hasattr(module, "qk_norm") and not module.use_rope:
                del module.qk_norm
