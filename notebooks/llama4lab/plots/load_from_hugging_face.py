"""Pictures of 11: what a token uses, and what memory a prompt and a format take."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends

HATCHES = ("", "//", "xx", "..", "\\\\", "--")
GPU = 80  # GB


def used_by_one_token(billions: Mapping[str, Sequence[float]]) -> None:
    """Billions of parameters that one token of text uses in Scout and Maverick, by part."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    start = np.zeros(2)
    for (part, widths), color, hatch in zip(billions.items(), PALETTE, HATCHES, strict=False):
        ax.barh(["Scout", "Maverick"], widths, left=start, color=color, hatch=hatch, edgecolor="white", label=part)
        start += widths
    for row, total in enumerate(start):
        ax.text(total, row, f" {total:.0f}", va="center")
    ax.set(
        xlabel="parameters that one token uses (billion)",
        title="Two models of very different size, 17 billion used in both",
    )
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    fig.legend(loc="outside lower center", ncols=3)
    show(
        fig,
        "Stacked bars of what one token uses: 17 billion parameters in both models, of which routed experts are about a "
        "third in Scout, a sixth in Maverick.",
    )


def memory_by_length(lengths: Sequence[int], whole: np.ndarray, pieces: np.ndarray, piece: int) -> None:
    """GB on one device by length of the prompt, `[lengths, 3]` (weights, cache, temporaries), read whole and in pieces."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.2))
    names = [f"{tokens // 1024}k" for tokens in lengths]
    below = np.zeros(len(lengths))
    for heights, part, color, hatch in zip(
        whole.T, ("weights", "KV cache", "temporaries"), PALETTE, HATCHES, strict=False
    ):
        left.bar(names, heights, bottom=below, color=color, hatch=hatch, edgecolor="white", label=part)
        below = below + heights
    left.axhline(GPU, color="black", linestyle="--")
    left.set(title="prompt in one piece", xlabel="tokens (k = 1024)", ylabel="GB")
    left.grid(axis="x", visible=False)
    left.legend(loc="upper left", fontsize=8)
    for columns, color, marker in ((1, PALETTE[0], ""), (2, PALETTE[1], "s"), (3, PALETTE[2], "o")):
        right.plot(names, pieces[:, :columns].sum(axis=1), color=color, marker=marker, markersize=4)
    right.set(title=f"in pieces of {piece}: 60 to 90 GB", xlabel="tokens (k = 1024)", ylim=(60, 90), ylabel="GB")
    for ax in (left, right):
        ax.tick_params(axis="x", labelsize=7)
    right.axhline(GPU, color="black", linestyle="--")
    sums = ("weights", "with cache", "with all")
    ends = [(name, pieces[-1, : n + 1].sum(), PALETTE[n]) for n, name in enumerate(sums)]
    label_ends(right, [*ends, ("one GPU", GPU, "#000000")])
    show(
        fig,
        "GB for 1024 to 131,072 tokens: weights of 72 GB, on them cache and temporaries. Read in one piece, as bars, the "
        "temporaries pass the line of 80 GB at 8k tokens and make most of the 274 GB at 128k; in pieces of 256, as lines, the "
        "sum passes it only at 128k, and most of what was added is cache.",
    )


def formats(remaining: Mapping[str, tuple[float, float]]) -> None:
    """GB of Scout's weights by format: in everything else, and in nn.Linear modules."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    rest, linear = np.array(list(remaining.values())).T
    ax.barh(list(remaining), rest, color=PALETTE[0], label="everything else")
    ax.barh(list(remaining), linear, left=rest, color=PALETTE[1], hatch="//", edgecolor="white", label="nn.Linear")
    for row, total in enumerate(rest + linear):
        ax.text(total, row, f" {total:.0f}", va="center")
    ax.axvline(GPU, color="black", linestyle="--")
    ax.text(GPU, -0.55, " one 80 GB GPU", fontsize=8)
    ax.set(xlabel="weights of Scout (GB)", ylim=(2.5, -0.9), xlim=(0, 245))
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside lower center", ncols=2)
    show(
        fig,
        "Three bars of Scout's weights: 217 GB as stored, 202 GB after 4-bit quantization of nn.Linear modules, "
        "54 GB if everything were in 4 bits. Only the last is left of the line at 80 GB.",
    )
