"""Chunked attention that costs in proportion to the length, as an attention of `transformers`.

The library gives every chunked layer a mask as large as the square of the length, and multiplies what the mask hides.
Here the text is cut at the chunk walls and each chunk attends within itself: the same numbers, no square. Global layers
get no square mask either: they rely on the causal kernel, or mask a few queries at a time where there is padding.

Importing this module registers the attention; a model takes it by name:

    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation=chunked_attention.NAME)

Notebook 10 builds it step by step. `tests/lab/test_chunked_attention.py` compares it with the library's.
"""

import sys
from typing import NamedTuple

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

NAME = "chunked_sdpa"
QUERIES_AT_ONCE = 128  # where a mask is needed at all: its size is this times the number of keys


class Places(NamedTuple):
    """What an attention layer must know about queries and keys instead of a mask; its size is that of the text.

    A position is counted from the first token of a row that is no padding, so padding on the left has negative ones.
    """

    chunk: int | None  # None: a global layer, one chunk without end
    first_query: list[int]  # position of the first query, for each row
    first_key: list[int]  # position of the first key, for each row
    real: torch.Tensor | None  # [batch, keys], False at padding; None if no padding stands among what is seen

    def contiguous(self) -> "Places":
        """Itself: `generate` asks this of every mask that it prepares for a static cache."""
        return self


def _callers_positions() -> torch.Tensor | None:
    """The `position_ids` `[batch, queries]` of the function of `transformers` that calls `describe_places`.

    It passes them to no mask function, and looks for packed texts itself only where there is no cache.
    """
    return sys._getframe(2).f_locals.get("position_ids")


def _restarts(positions: torch.Tensor | None, attention_mask: torch.Tensor | None, q_offset: int) -> bool:
    """Whether positions start again in the middle of a row, between two tokens that are no padding."""
    if positions is None:
        return False
    falls = positions.diff(dim=1) < 1  # [batch, queries - 1]
    if attention_mask is not None:
        real = attention_mask[:, q_offset : q_offset + positions.shape[1]].bool()
        falls = falls & real[:, 1:] & real[:, :-1]
    return bool(falls.any())


def describe_places(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | torch.Tensor = 0,
    kv_offset: int | torch.Tensor = 0,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **_,
) -> Places | None:
    """What `transformers` calls in place of building a mask; arguments as those of `masking_utils.sdpa_mask`.

    Returns:
        None for a global layer whose mask would be the plain causal one, else the `Places` of queries and keys.

    Raises:
        ValueError: several texts are packed into one row, the mask is not a plain causal or chunked one, or the model
            is compiled and called without a cache, where transformers takes any text for packed.
    """
    q_offset, kv_offset = int(q_offset), int(kv_offset)
    # The library forbids to skip the mask if the pattern was changed, or while it decodes with a compiled cache.
    if q_length > 1 and (not allow_is_causal_skip or _restarts(_callers_positions(), attention_mask, q_offset)):
        raise ValueError(
            f"{NAME!r} knows causal and chunked attention of one text a row, not packed texts, a changed mask, or "
            "torch.compile without a cache: load the model with attn_implementation='sdpa', and pass use_cache=False."
        )
    left, real = [0] * batch_size, None
    if attention_mask is not None:
        padding_on_left = (attention_mask.cumsum(dim=1) == 0).sum(dim=1)  # [batch]
        left = padding_on_left.tolist()
        real = attention_mask[:, kv_offset : q_offset + q_length]  # later keys are seen by no query
        real = pad(real, (0, q_offset + q_length - kv_offset - real.shape[1]))
        key_position = torch.arange(kv_offset, q_offset + q_length, device=real.device)
        if (real | (key_position < padding_on_left[:, None])).all():
            real = None
    # A static cache has places for keys that are still to come, and no kernel of the library's leaves those out.
    together = q_offset + q_length == kv_offset + kv_length
    if local_size is None and real is None and not any(left) and together and q_length in (1, kv_length):
        return None
    return Places(local_size, [q_offset - count for count in left], [kv_offset - count for count in left], real)


def attend_span(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, real: torch.Tensor | None = None, **options
) -> torch.Tensor:
    """Causal attention without a wall inside: the last query stands where the last key does.

    Args:
        query: `[batch, heads, queries, head_dim]`.
        key, value: `[batch, key_value_heads, keys, head_dim]`, with at least as many keys as queries.
        real: `[batch, keys]`, False for keys that are padding; None if there are none.
        options: further arguments of `scaled_dot_product_attention`.

    Returns:
        `[batch, queries, heads, head_dim]`.
    """
    queries, keys = query.shape[2], key.shape[2]
    before = keys - queries
    if real is None and (queries == 1 or before == 0):
        return scaled_dot_product_attention(query, key, value, is_causal=queries > 1, **options).transpose(1, 2)
    outputs = []
    for start in range(0, queries, QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, queries)
        seen = before + stop
        place = torch.arange(seen, device=query.device)
        visible = place <= place[before + start :, None]  # [queries at once, keys]
        if real is not None:
            visible = visible & real[:, None, None, :seen]
        outputs.append(
            scaled_dot_product_attention(
                query[:, :, start:stop], key[:, :, :seen], value[:, :, :seen], attn_mask=visible, **options
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2)


def attend_whole_chunks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, chunk: int, real: torch.Tensor | None = None, **options
) -> torch.Tensor:
    """Chunked attention of whole chunks, as many keys as queries: chunks become rows of a batch.

    Arguments and result as those of `attend_span`.
    """
    batch, chunks = query.shape[0], query.shape[2] // chunk
    # [batch, heads, chunks * chunk, head_dim] -> [batch * chunks, heads, chunk, head_dim]
    rows = [states.unflatten(2, (chunks, chunk)).transpose(1, 2).flatten(0, 1) for states in (query, key, value)]
    if real is not None:
        real = real.reshape(batch * chunks, chunk)
    output = attend_span(*rows, real=real, **options)  # [batch * chunks, chunk, heads, head_dim]
    return output.reshape(batch, chunks * chunk, *output.shape[2:])


def attend_in_chunks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    chunk: int | None,
    first_query: int = 0,
    first_key: int = 0,
    real: torch.Tensor | None = None,
    **options,
) -> torch.Tensor:
    """Causal attention in which a query sees the keys of its own chunk.

    Args:
        query: `[batch, heads, queries, head_dim]`.
        key, value: `[batch, key_value_heads, keys, head_dim]`.
        chunk: tokens between two walls; None for no walls.
        first_query, first_key: positions of the first query and key; negative ones are padding on the left.
        real: `[batch, keys]`, False for keys that are padding; None if there are none after position 0.
        options: further arguments of `scaled_dot_product_attention`.

    Returns:
        `[batch, queries, heads, head_dim]`, zero for queries that are padding on the left.

    Raises:
        ValueError: keys that a query must see are not there.
    """
    padding, end = max(0, -first_query), first_query + query.shape[2]
    start = first_query + padding
    if start >= end:
        return query.new_zeros(query.shape).transpose(1, 2)
    walls = chunk or end + 1
    if first_key > start // walls * walls or first_key + key.shape[2] < end:
        raise ValueError(
            f"Queries at {start} to {end - 1} need the keys from {start // walls * walls} on, and there are "
            f"{key.shape[2]} keys from {first_key} on: use a cache that keeps the last {walls - 1} keys or more."
        )
    first_wall = min(-(-start // walls) * walls, end)  # the queries before it stand in a chunk begun earlier
    last_wall = max(first_wall, end // walls * walls)  # those after it stand in a chunk that is not full
    outputs = [query.new_zeros(query.shape[0], padding, query.shape[1], value.shape[3])] if padding else []
    for begin, stop in ((start, first_wall), (first_wall, last_wall), (last_wall, end)):
        if begin < stop:
            wall = begin // walls * walls
            part = (
                query[:, :, begin - first_query : stop - first_query],
                key[:, :, wall - first_key : stop - first_key],
                value[:, :, wall - first_key : stop - first_key],
            )
            part_real = None if real is None else real[:, wall - first_key : stop - first_key]
            if stop - begin > walls:
                outputs.append(attend_whole_chunks(*part, walls, real=part_real, **options))
            else:
                outputs.append(attend_span(*part, real=part_real, **options))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def chunked_attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Places | torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """The attention that `transformers` calls; arguments as those of its `sdpa_attention_forward`.

    Without `Places` (the vision encoder, a global layer without padding, a mask of the caller's own) it is that one.
    """
    if not isinstance(attention_mask, Places):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    places = attention_mask
    options = {"scale": scaling, "dropout_p": dropout, "enable_gqa": query.shape[1] != key.shape[1]}
    # Rows with equal padding on the left have their walls at the same place; others are taken one by one.
    if len(set(places.first_query)) == 1:
        rows = [slice(0, query.shape[0])]
    else:
        rows = [slice(row, row + 1) for row in range(query.shape[0])]
    outputs = [
        attend_in_chunks(
            query[row],
            key[row],
            value[row],
            places.chunk,
            places.first_query[row.start],
            places.first_key[row.start],
            None if places.real is None else places.real[row],
            **options,
        )
        for row in rows
    ]
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).contiguous(), None


AttentionInterface.register(NAME, chunked_attention_forward)
AttentionMaskInterface.register(NAME, describe_places)
