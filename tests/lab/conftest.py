"""What more than one file of these tests needs."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import Llama4ForCausalLM, Llama4TextConfig

from llama4lab.checkpoints import MODELS


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A random text model of a few kilobytes in two shards, with the proxy's tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "intermediate_size_mlp": 16, "head_dim": 8}
    counts = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 2}
    tokens = {"vocab_size": 2067, "bos_token_id": 2048, "pad_token_id": 0}
    config = Llama4TextConfig(**sizes, **counts, **tokens, attention_chunk_size=8)
    torch.manual_seed(0)
    Llama4ForCausalLM(config).save_pretrained(folder, max_shard_size="80KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODELS / "scout-proxy" / name, folder / name)
    return folder
