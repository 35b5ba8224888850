"""An explorer of attention masks: change length, chunk and padding, and see which keys each query sees."""

from collections.abc import Callable

import ipywidgets as widgets
import torch

from llama4lab.figures import PALETTE

MOST_TOKENS = 48
CELL = 9  # pixels of one pair of query and key
KINDS = ("chunks", "sliding window", "global")


def mask_of(kind: str, length: int, size: int, padding: int, visible: Callable) -> torch.Tensor:
    """Which keys each query sees, boolean `[query, key]`; the first `padding` of `length` tokens are no tokens.

    Args:
        kind: one of `KINDS`.
        size: tokens in a chunk or in a window.
        visible: `visible(query_positions, key_positions, chunk)`, positions `[batch, seq]` with -1 for padding, chunk
            None for no walls; returns `[batch, query, key]`.
    """
    positions = (torch.arange(length) - padding).clamp(min=-1)[None]  # [1, seq]
    seen = visible(positions, positions, size if kind == "chunks" else None)[0]
    if kind == "sliding window":
        seen = seen & (positions[0][:, None] - positions[0][None, :] < size)
    return seen


def mask_svg(seen: torch.Tensor, query: int) -> str:
    """A mask `[query, key]` as a drawing, one row a query; the row of `query` is framed."""
    length = len(seen)
    side = CELL * length
    squares = "".join(
        f'<rect x="{CELL * key}" y="{CELL * row}" width="{CELL - 1}" height="{CELL - 1}"/>'
        for row, key in seen.nonzero().tolist()
    )
    return (
        f'<svg width="{side + 2}" height="{side + 2}" viewBox="-1 -1 {side + 2} {side + 2}" role="img" '
        f'aria-label="Mask of {length} queries and keys">'
        f'<rect width="{side}" height="{side}" fill="#eeeeee"/><g fill="{PALETTE[0]}">{squares}</g>'
        f'<rect x="-0.5" y="{CELL * query - 0.5}" width="{side}" height="{CELL}" fill="none" '
        f'stroke="{PALETTE[1]}" stroke-width="2"/></svg>'
    )


def seen_words(seen: torch.Tensor, query: int, padding: int) -> str:
    """One sentence: what the token in row `query` of a mask `[query, key]` sees."""
    keys = seen[query].nonzero().flatten().tolist()
    if query < padding:
        return f"Row {query} is padding: it is no token, and sees none."
    if len(keys) == 1:
        return f"Row {query}, position {query - padding}, sees only itself."
    first, last = keys[0] - padding, keys[-1] - padding
    return f"Row {query}, position {query - padding}, sees {len(keys)} tokens: positions {first} to {last}."


def explore_mask(visible: Callable, length: int = 24, size: int = 8) -> widgets.VBox:
    """Sliders of length, chunk, padding and query above the mask that follows; `visible` as for `mask_of`."""
    kind = widgets.Dropdown(options=KINDS, description="Layer:")
    tokens = widgets.IntSlider(value=length, min=1, max=MOST_TOKENS, description="Tokens:")
    chunk = widgets.IntSlider(value=size, min=1, max=MOST_TOKENS, description="Size:")
    padding = widgets.IntSlider(value=0, min=0, max=length - 1, description="Padding:")
    query = widgets.IntSlider(value=length - 1, min=0, max=length - 1, description="Query:")
    picture = widgets.HTML()

    def draw() -> None:
        # While a new length moves the bounds of the other sliders, their values may still lie beyond it.
        row, padded = (min(slider.value, tokens.value - 1) for slider in (query, padding))
        seen = mask_of(kind.value, tokens.value, chunk.value, padded, visible)
        picture.value = (
            f"<p>{seen_words(seen, row, padded)} {int(seen.sum())} pairs of query and key in all.</p>"
            + mask_svg(seen, row)
        )

    def on_length(change: dict) -> None:
        padding.max = query.max = change["new"] - 1  # moves values that lie beyond
        draw()

    tokens.observe(on_length, names="value")
    for choice in (kind, chunk, padding, query):
        choice.observe(lambda change: draw(), names="value")
    draw()
    return widgets.VBox([kind, tokens, chunk, padding, query, picture])
