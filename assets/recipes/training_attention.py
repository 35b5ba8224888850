"""Attention for training: a chunk attends within itself, so a row of chunks is a batch of short rows.

The library gives each chunked layer a mask over the whole row and multiplies what it hides; here a layer with chunks of
64 costs a quarter on rows of 256. Same result, held equal by `tests/test_recipes.py`.
"""

from transformers import AttentionInterface

from llama4lab.chunked_attention import attend_in_chunks

NAME = "rows_without_padding"


def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    """Causal attention of whole rows without a cache, chunked where the layer is.

    Args:
        module: a `Llama4TextAttention`.
        query: `[batch, heads, seq, head_dim]`.
        key, value: `[batch, key_value_heads, seq, head_dim]`.
        attention_mask: must be None; what stands right of a token cannot reach it, so padding on the right needs none.

    Returns:
        `[batch, seq, heads, head_dim]` and None in the place of attention weights.

    Raises:
        ValueError: there is a mask, or the keys are not those of the queries' tokens.
    """
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        raise ValueError("This attention is for whole rows without mask and cache; load the model with 'sdpa'.")
    chunked = module.config.layer_types[module.layer_idx] == "chunked_attention"
    chunk = module.config.attention_chunk_size if chunked else None
    if query.is_cuda:  # its kernels for float32 know no shared keys
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    shared = query.shape[1] != key.shape[1]
    output = attend_in_chunks(query, key, value, chunk, scale=scaling, dropout_p=dropout, enable_gqa=shared)
    return output.contiguous(), None


AttentionInterface.register(NAME, attend)
