"""An explorer of attention masks: change length, chunk and padding, and see which keys each query sees."""

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from llama4lab.explore.page import NO_SCRIPT, choice, publish_explorer, slider
from llama4lab.explore.still import show_still
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


def seen_words(seen: torch.Tensor, query: int, padding: int) -> str:
    """One sentence: what the token in row `query` of a mask `[query, key]` sees."""
    keys = seen[query].nonzero().flatten().tolist()
    if query < padding:
        return f"Row {query} is padding: it is no token, and sees none."
    if len(keys) == 1:
        return f"Row {query}, position {query - padding}, sees only itself."
    first, last = keys[0] - padding, keys[-1] - padding
    return f"Row {query}, position {query - padding}, sees {len(keys)} tokens: positions {first} to {last}."


def explore_mask(visible: Callable, length: int = 24, size: int = 8) -> None:
    """Three masks, and sliders of length, chunk, padding and query above the mask that follows from them.

    The three masks are drawn by `visible`, which is called as in `mask_of`.
    """

    def drawer(kind: str) -> Callable[[Axes], list]:
        def draw(ax: Axes) -> list:
            seen = mask_of(kind, length, size, 0, visible)
            ax.imshow(seen, cmap=ListedColormap(["#eeeeee", PALETTE[0]]), vmin=0, vmax=1)
            ax.axhspan(length - 1.5, length - 0.5, fill=False, edgecolor=PALETTE[1], linewidth=1.5)
            ax.set(xticks=[], yticks=[], xlabel=f"the last query sees {int(seen[-1].sum())} keys")
            return seen.sum(dim=1).tolist()

        return draw

    show_still(
        {kind: drawer(kind) for kind in KINDS},
        f"Masks of {length} queries (rows) and keys (columns), size {size}: a triangle for each chunk, a band, and one "
        "triangle. The last query's row is framed.",
        counts="keys seen by each query",
    )
    controls = [
        choice("kind", "Layer", KINDS, "chunks"),
        slider("length", "Tokens", 1, MOST_TOKENS, length),
        slider("size", "Size of a chunk or window", 1, MOST_TOKENS, size),
        slider("padding", "Padding", 0, MOST_TOKENS - 1, 0),
        slider("query", "Query", 0, MOST_TOKENS - 1, length - 1),
    ]
    settings = {"cell": CELL, "colors": PALETTE[:2], "controls": controls}
    publish_explorer("mask", settings, f"<p>{NO_SCRIPT}</p>", NO_SCRIPT)
