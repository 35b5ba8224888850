"""Pictures of 07: masks with their walls, and what attention makes of a fact."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from llama4lab.figures import PALETTE, show


def masks(seen: Mapping[str, np.ndarray], walls: Mapping[str, Sequence[int]], query: int) -> None:
    """Masks, boolean `[query, key]` by title, with walls before the keys named in `walls` and one query's row framed."""
    fig, axes = plt.subplots(2, 2, figsize=(6, 5.4), sharex=True, sharey=True)
    for ax, (name, mask) in zip(axes.flat, seen.items(), strict=True):
        ax.imshow(mask.astype(int), cmap=ListedColormap(["#eeeeee", "#7fb2d9"]), vmin=0, vmax=1)
        for wall in walls.get(name, ()):
            ax.axvline(wall - 0.5, color="black", linewidth=2)
        ax.add_patch(plt.Rectangle((-0.5, query - 0.5), len(mask), 1, fill=False, edgecolor=PALETTE[1], linewidth=2))
        ax.set_title(name, fontsize=9)
        ax.set(xticks=(0, 8, 16), yticks=(0, 8, 16))
    fig.supxlabel("key")
    fig.supylabel(f"query (framed: number {query})")
    show(
        fig,
        "Four masks over 24 tokens, query by key: all earlier tokens, a sliding window, chunks of 8, and chunks counted after 5 tokens of padding.",
    )


def attention_of_last_token(attention: Mapping[str, Sequence[float]], walls: Sequence[int], fact: int) -> None:
    """Attention of the last token by position, a panel for each layer; fact: the position where the value is told."""
    fig, axes = plt.subplots(len(attention), 1, figsize=(6, 3.6), sharex=True, sharey=True)
    for ax, (name, weights) in zip(axes, attention.items(), strict=True):
        ax.plot(range(len(weights)), weights, "-", color=PALETTE[0])
        for wall in walls:
            ax.axvline(wall - 0.5, color="black", linewidth=1.2)
        ax.set(ylabel="weight", ylim=(0, 1), title=f"{name}: attention of the last token, largest over heads")
    axes[-1].text(fact + 3, 0.6, "green", fontsize=8)
    axes[-1].set_xlabel("position (vertical lines: walls)")
    show(
        fig,
        "Attention of the last token by position: in the chunked layer only past the last wall, in the global layer a spike on the token green.",
    )


def fact_over_wall(places: Sequence[int], shares: np.ndarray, wall: int = 64) -> None:
    """Share of right answers and of the rival's color, `[places, 2]`, by place of the value in "The guitar is green."."""
    fig, ax = plt.subplots(figsize=(6, 3.8))
    rows = np.arange(len(places))
    for column, (label, color, hatch) in enumerate(
        (("right", PALETTE[0], ""), ("the rival's color", PALETTE[4], "//"))
    ):
        ax.barh(
            rows + 0.4 * (column - 0.5),
            shares[:, column],
            0.4,
            label=label,
            color=color,
            hatch=hatch,
            edgecolor="white",
        )
    ax.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    ax.text(0.5, -0.75, "one chance in two", fontsize=8, ha="center")
    ax.set_yticks(rows, [cut_sentence(wall - place) for place in places], family="DejaVu Sans Mono", fontsize=8)
    ax.set(xlabel="share of 32 rows", ylabel="the fact and the wall ▌", xlim=(0, 1), ylim=(len(places) - 0.4, -1.1))
    ax.grid(axis="y", visible=False)
    ax.set_title("Only a wall between the thing and its color loses the fact")
    ax.legend(loc="center right", fontsize=8)
    show(
        fig,
        "Share of right answers and of answers with the other thing's color by the place of the fact's value; dotted: one chance in two.",
    )


def cut_sentence(distance: int) -> str:
    """The fact with the wall before the token that is so far from its value, "green"."""
    words = ["The", "guitar", "is", "green", "."]
    place = words.index("green") + distance  # the wall is before words[place]
    padded = ["…"] * max(0, -place) + words + ["…"] * max(0, place - len(words))
    return " ".join([*padded[: max(0, place)], "▌", *padded[max(0, place) :]])
