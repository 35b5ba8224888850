"""Models with random weights, small enough to make anew for each test."""

import numpy as np
import torch
from transformers import GenerationConfig, Llama4ForCausalLM, Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

from llama4lab.checkpoints import quiet_transformers


def small_chat_model(stop_tokens: list[int], chunk: int = 8, **changes) -> Llama4ForCausalLM:
    """Three chunked layers and a global one, weights of std 0.3, a vocabulary of 64 tokens of which 0 is padding.

    Args:
        stop_tokens: ids after which `generate` stops.
        chunk: tokens between two walls.
        changes: further keys of the configuration.
    """
    config = Llama4TextConfig(
        vocab_size=64,
        hidden_size=32,
        head_dim=16,
        intermediate_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
        attention_chunk_size=chunk,
        max_position_embeddings=128,
        pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        **changes,
    )
    torch.manual_seed(0)
    model = Llama4ForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.generation_config = GenerationConfig(eos_token_id=stop_tokens, pad_token_id=0)
    return model


def random_block(seed=0, experts=6, top_k=1, hidden=24, width=40) -> Llama4TextMoe:
    """A block with weights of std 0.3: at the library's 0.02 a wrong formula would hide below any tolerance."""
    config = Llama4TextConfig(
        hidden_size=hidden, intermediate_size=width, num_local_experts=experts, num_experts_per_tok=top_k
    )
    block = Llama4TextMoe(config)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for weight in block.parameters():
            weight.copy_(torch.from_numpy(rng.normal(0, 0.3, weight.shape)))
    return block


def random_hidden(*shape: int, seed=1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape)).float()


def small_model(moe_layers=None) -> Llama4ForCausalLM:
    with quiet_transformers():
        config = Llama4TextConfig(
            hidden_size=32,
            intermediate_size=24,
            intermediate_size_mlp=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            num_local_experts=4,
            num_experts_per_tok=1,
            vocab_size=50,
            attention_chunk_size=8,
            moe_layers=[0, 1] if moe_layers is None else moe_layers,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        model = Llama4ForCausalLM(config).eval()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.copy_(torch.from_numpy(rng.normal(0, 0.3, weight.shape)))
    return model
