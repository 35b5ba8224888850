"""Write the text part of a Llama 4 checkpoint as one GGUF file, the form that llama.cpp reads.

llama.cpp knows Llama 4 by the name "llama4". It takes sizes from the file, but not the chunk, the attention
temperature, and which layers are global: those are written into its program, with Scout's values.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

ARCHITECTURE = gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA4]
PRE_TOKENIZER = "deepseek-llm"  # of llama.cpp's built-in ones the nearest to the proxies' own in conversations
F32 = gguf.GGMLQuantizationType.F32


def frequency_factors(text) -> torch.Tensor:
    """By how much each RoPE frequency is divided in this configuration, `[head_dim / 2]`."""
    exponents = torch.arange(0, text.head_dim, 2, dtype=torch.float32) / text.head_dim
    plain = 1.0 / text.rope_parameters["rope_theta"] ** exponents
    kind = text.rope_parameters["rope_type"]
    return torch.ones_like(plain) if kind == "default" else plain / ROPE_INIT_FUNCTIONS[kind](text, "cpu")[0]


def text_tensors(folder: Path, text) -> Iterator[tuple[str, torch.Tensor]]:
    """llama.cpp's name and the float32 tensor of each part of the language model; matrices are `[outputs, inputs]`."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA4, text.num_hidden_layers)
    yield "rope_freqs.weight", frequency_factors(text)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():
                name = key.removeprefix("language_model.")
                if name.startswith(("vision_model.", "multi_modal_projector.")):
                    continue
                tensor = tensors.get_tensor(key).float()
                if name.endswith("experts.gate_up_proj"):  # [experts, inputs, gate and up]
                    layer = name.split(".")[2]
                    for part, half in zip(("gate", "up"), tensor.transpose(1, 2).chunk(2, dim=1), strict=True):
                        yield f"blk.{layer}.ffn_{part}_exps.weight", half
                elif name.endswith("experts.down_proj"):
                    yield names.get_name(name) + ".weight", tensor.transpose(1, 2)
                else:
                    yield names.get_name(name, try_suffixes=(".weight",)), tensor


def add_sizes(writer: gguf.GGUFWriter, text) -> None:
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size_mlp)
    writer.add_expert_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_rope_freq_base(text.rope_parameters["rope_theta"])
    writer.add_expert_count(text.num_local_experts)
    writer.add_expert_used_count(text.num_experts_per_tok)
    writer.add_interleave_moe_layer_step(text.interleave_moe_layer_step)
    writer.add_vocab_size(text.vocab_size)


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, text) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    special = tokenizer.added_tokens_decoder
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in range(len(tokenizer))]
    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(text.bos_token_id)
    end_of_text, end_of_message, end_of_turn = text.eos_token_id
    writer.add_eos_token_id(end_of_turn)
    writer.add_eot_token_id(end_of_turn)
    writer.add_eom_token_id(end_of_message)
    writer.add_pad_token_id(text.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def write_gguf(
    folder: Path, path: Path, kind_of: Callable[[str, tuple[int, ...]], gguf.GGMLQuantizationType] | None = None
) -> Path:
    """Write the language model of a checkpoint's folder to `path`; return it.

    Args:
        folder: with config.json, safetensors and a tokenizer, such as a proxy's.
        path: of the new file.
        kind_of: for a tensor's name and shape, the type in which it is stored, such as Q8_0; float32 by default.

    Raises:
        gguf.QuantError: a type's block does not divide the rows of a tensor.
    """
    text = AutoConfig.from_pretrained(folder).get_text_config()
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_name(folder.name)
    add_sizes(writer, text)
    add_tokenizer(writer, folder, text)
    for name, tensor in text_tensors(folder, text):
        array = np.ascontiguousarray(tensor.numpy())
        kind = kind_of(name, array.shape) if kind_of else F32
        if kind == F32:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
