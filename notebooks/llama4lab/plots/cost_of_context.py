"""Pictures of 10: what a chunked layer and a cache cost, by number of tokens."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, plain_ticks

WAYS = {"masked": (PALETTE[1], "--", "s"), "chunked": (PALETTE[0], "-", "o")}


def layer_cost(layer: Mapping[str, Mapping[str, float]]) -> None:
    """Time and peak memory of one chunked layer; layer: tokens -> {"masked_s": ..., "chunked_mib": ...}."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 3))
    tokens = [int(count) for count in layer]
    for ax, unit, label in zip(axes, ("s", "mib"), ("time (s)", "peak memory (MiB)"), strict=True):
        for way, (color, style, marker) in WAYS.items():
            ax.plot(tokens, [point[f"{way}_{unit}"] for point in layer.values()], style, color=color, marker=marker)
        ax.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
        plain_ticks(ax, "x", [2048, 8192, 32_768], ["2 k", "8 k", "32 k"])
    ends = [(way, layer[str(tokens[-1])][f"{way}_mib"], color) for way, (color, _, _) in WAYS.items()]
    label_ends(axes[1], ends)
    fig.suptitle("The mask grows with the square, the chunks do not (chunk 128, one CPU thread)", fontsize=10)
    show(
        fig,
        "Time and peak memory of one chunked layer by number of tokens, both axes logarithmic: the masked call rises twice as steeply as the chunked one and lies far above it.",
    )


def cache_by_context(tokens: Sequence[float], sizes: Mapping[str, Sequence[float]], room: Mapping[str, float]) -> None:
    """Scout's KV cache in GB, cached everywhere and chunk-aware, under the room that machines leave beside the weights."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    styles = (("--", PALETTE[1], 1.6), ("-", PALETTE[0], 2.8))
    for values, (style, color, width) in zip(sizes.values(), styles, strict=True):
        ax.plot(tokens, values, style, color=color, linewidth=width)
    for words, gigabytes in room.items():
        ax.axhline(gigabytes, color="#888888", linewidth=0.9, linestyle=":")
        ax.text(1100, gigabytes * 1.08, words, fontsize=8)
    ax.axvline(262_144, color="#888888", linewidth=0.9)
    ax.text(250_000, 0.06, "trained at 256 K", fontsize=8, ha="right")
    ax.set(xscale="log", yscale="log", xlabel="tokens of context", ylabel="KV cache (GB)", ylim=(0.05, 5000))
    plain_ticks(ax, "x", [1e3, 1e4, 1e5, 1e6, 1e7], ["1 k", "10 k", "100 k", "1 M", "10 M"])
    plain_ticks(ax, "y", [0.1, 1, 10, 100, 1000])
    colors = [color for _, color, _ in styles]
    label_ends(
        ax,
        [
            (name.replace(" ", "\n"), values[-1], color)
            for (name, values), color in zip(sizes.items(), colors, strict=True)
        ],
    )
    ax.set_title("Scout's KV cache in bfloat16, one sequence: chunks divide it by four")
    show(
        fig,
        "KV cache of Scout by tokens of context, both axes logarithmic: two lines that part at 8192 tokens and end nearly parallel, almost a factor of four apart; dotted lines show the room beside the weights on three machines.",
    )
