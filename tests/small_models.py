"""Models with random weights, small enough to make anew for each test."""

import torch
from transformers import GenerationConfig, Llama4ForCausalLM, Llama4TextConfig


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
