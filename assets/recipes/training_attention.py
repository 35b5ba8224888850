"""Attention for training: a chunk attends within itself, so a row of chunks is a batch of short rows.

The library gives each chunked layer a mask over the whole row and multiplies what it hides; here a layer with chunks of
64 costs a quarter on rows of 256. Same result, held equal by `tests/test_recipes.py`.
"""

from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

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
    batch, _, length, _ = query.shape
    chunk = module.config.attention_chunk_size
    chunked = module.config.layer_types[module.layer_idx] == "chunked_attention" and length > chunk
    if chunked:
        missing = -length % chunk
        # [batch, heads, seq, head_dim] -> [batch * chunks, heads, chunk, head_dim]
        query, key, value = (
            pad(states, (0, 0, 0, missing)).unflatten(2, (-1, chunk)).transpose(1, 2).flatten(0, 1)
            for states in (query, key, value)
        )
    output = scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=True
    ).transpose(1, 2)  # [batch, seq, heads, head_dim]
    if chunked:
        output = output.unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
    return output.contiguous(), None


AttentionInterface.register(NAME, attend)
