"""Models with random weights, small enough to make anew for each test.

Weights of std 0.3: at the library's 0.02 a wrong formula would hide below any tolerance.
"""

import torch
from transformers import GenerationConfig, Llama4ForCausalLM, Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

from llama4lab.checkpoints import quiet_transformers

CHUNK = 8
SETTINGS = dict(
    vocab_size=64,
    hidden_size=32,
    head_dim=16,
    intermediate_size=24,
    intermediate_size_mlp=40,
    interleave_moe_layer_step=2,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_local_experts=4,
    num_experts_per_tok=1,
    no_rope_layers=[1, 1, 1, 0],
    attention_chunk_size=CHUNK,
    floor_scale=5,  # no multiple of a chunk, so that neither hides the other
    attn_scale=0.4,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    rope_parameters={
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    attn_implementation="eager",
)


def random_weights(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.empty(weight.shape, dtype=torch.float64).normal_(0, 0.3, generator=generator))
            if weight.ndim == 1:  # norms, around 1
                weight.add_(1)
    return module


def small_model(seed: int = 7, **changes) -> Llama4ForCausalLM:
    """Three chunked layers and a global one, experts in every second; `changes` are keys of the configuration."""
    with quiet_transformers():
        model = Llama4ForCausalLM(Llama4TextConfig(**(SETTINGS | changes))).eval()
    return random_weights(model, seed)


def small_chat_model(stop_tokens: list[int]) -> Llama4ForCausalLM:
    """A small model that `generate` stops after each of `stop_tokens`."""
    model = small_model()
    model.generation_config = GenerationConfig(eos_token_id=stop_tokens, pad_token_id=0)
    return model


def random_block(seed=0, experts=6, top_k=1, hidden=24, width=40) -> Llama4TextMoe:
    config = Llama4TextConfig(
        hidden_size=hidden, intermediate_size=width, num_local_experts=experts, num_experts_per_tok=top_k
    )
    return random_weights(Llama4TextMoe(config), seed)


def random_hidden(*shape: int, seed=1) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(seed)).float()


def random_ids(*shape: int, vocabulary: int = 64, seed=1) -> torch.Tensor:
    """Token ids without the special ones, 0 to 2."""
    return torch.randint(3, vocabulary, shape, generator=torch.Generator().manual_seed(seed))
