"""A Llama 4 of a few numbers, on which the graders try parts of one: layers, walls and pictures as in Scout."""

import sys
from types import SimpleNamespace

import torch

import llama4

CONFIG = {
    "head_dim": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "rms_norm_eps": 1e-5,
    "rotates": [1, 1, 1, 0],
    "chunks": [4, 4, 4, sys.maxsize],
    "use_qk_norm": True,
    "attn_temperature_tuning": True,
    "attn_scale": 0.5,
    "floor_scale": 2,
    "rope_theta": 100.0,
    "rope_type": "default",
    "image_token_index": 10,
}
HIDDEN, WIDTH, EXPERTS, VOCABULARY = 8, 5, 3, 11
QUERIES, KEYS = CONFIG["num_attention_heads"] * CONFIG["head_dim"], CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
OF_A_LAYER = {
    "input_layernorm.weight": (HIDDEN,),
    "self_attn.q_proj.weight": (QUERIES, HIDDEN),
    "self_attn.k_proj.weight": (KEYS, HIDDEN),
    "self_attn.v_proj.weight": (KEYS, HIDDEN),
    "self_attn.o_proj.weight": (HIDDEN, QUERIES),
    "post_attention_layernorm.weight": (HIDDEN,),
    "feed_forward.router.weight": (EXPERTS, HIDDEN),
    "feed_forward.experts.gate_up_proj": (EXPERTS, HIDDEN, 2 * WIDTH),
    "feed_forward.experts.down_proj": (EXPERTS, WIDTH, HIDDEN),
    "feed_forward.shared_expert.gate_proj.weight": (WIDTH, HIDDEN),
    "feed_forward.shared_expert.up_proj.weight": (WIDTH, HIDDEN),
    "feed_forward.shared_expert.down_proj.weight": (HIDDEN, WIDTH),
}
AROUND = {
    "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
    "model.norm.weight": (HIDDEN,),
    "lm_head.weight": (VOCABULARY, HIDDEN),
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers of this shape, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class SmallConfig(SimpleNamespace):
    """A configuration that shows what is special about it."""

    def __repr__(self) -> str:
        special = {name: value for name, value in vars(self).items() if CONFIG.get(name) != value}
        return f"config({', '.join(f'{name}={value!r}' for name, value in special.items())})"


def config(**changes) -> SmallConfig:
    """The small model's configuration, with the names of llama4.py, some of its values changed."""
    return SmallConfig(**CONFIG | changes)


def layer_weights(seed: int = 0) -> llama4.Weights:
    """The weights of one layer under their names in a checkpoint."""
    shapes = enumerate(OF_A_LAYER.items())
    return llama4.Weights({name: 0.6 * normal(*shape, seed=100 * seed + n) for n, (name, shape) in shapes})


def all_weights(seed: int = 0) -> llama4.Weights:
    """The weights of the whole small model."""
    weights = llama4.Weights({name: normal(*shape, seed=seed + n) for n, (name, shape) in enumerate(AROUND.items())})
    for layer in range(CONFIG["num_hidden_layers"]):
        weights |= {f"model.layers.{layer}.{name}": w for name, w in layer_weights(seed + layer).items()}
    return weights
