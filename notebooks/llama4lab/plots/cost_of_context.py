"""Pictures of 10: what a chunked layer, a cache, a prompt and a written token cost, by number of tokens."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import ListedColormap

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, moment, plain_ticks

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
    fig.suptitle("The mask costs the square of the length, the chunks only the length", fontsize=10)
    show(
        fig,
        "Time and peak memory of one chunked layer by number of tokens, both axes logarithmic: the masked call rises twice as steeply as the chunked one and lies far above it.",
    )


def masks(masks: Mapping[int, torch.Tensor]) -> None:
    """Masks `[queries, keys]` by number of tokens, with the share of pairs that is wanted."""
    fig, axes = plt.subplots(1, len(masks), figsize=(6, 2.3))
    values = {}
    for ax, (tokens, mask) in zip(axes, masks.items(), strict=True):
        ax.imshow(mask, cmap=ListedColormap(["#eeeeee", PALETTE[0]]), vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        wanted = f"{int(mask.sum())} of {mask.numel():,} pairs, {100 * mask.float().mean():.0f} %"
        ax.set_title(f"{tokens} tokens")
        ax.set_xlabel(wanted, fontsize=8)
        ax.grid(False)
        values[f"{tokens} tokens, wanted:"] = wanted
    show(
        fig,
        "The library's masks for three lengths with chunks of four, queries downwards and keys to the right: triangles along the diagonal, an ever smaller share of the square.",
        values,
    )


def whole_prompt(prefill: Mapping[str, Mapping[str, float]]) -> None:
    """Seconds in which a whole model reads a prompt; prefill: tokens -> {"sdpa_s": ..., "chunked_s": ...}."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ends = []
    for words, way, (color, style, marker) in (
        ("library", "sdpa", WAYS["masked"]),
        ("cut at\nthe walls", "chunked", WAYS["chunked"]),
    ):
        seconds = {int(tokens): point[f"{way}_s"] for tokens, point in prefill.items() if f"{way}_s" in point}
        ax.plot(list(seconds), list(seconds.values()), style, color=color, marker=marker)
        ends.append((words, list(seconds.values())[-1], color))
    ax.set(xscale="log", yscale="log", xlabel="tokens of prompt", ylabel="time (s)")
    plain_ticks(ax, "x", [1024, 4096, 16_384], ["1 k", "4 k", "16 k"])
    plain_ticks(ax, "y", [0.1, 1, 10])
    label_ends(ax, ends)
    ax.set_title("The whole proxy gains too, until its global layer takes over")
    show(
        fig,
        "Time in which the whole proxy reads a prompt, by its length, both axes logarithmic: the library's line is above and steeper; the line of the chunked way bends upwards at the end, where the global layer's square shows.",
    )


def work_by_context(tokens: Sequence[int], work: Mapping[str, Sequence[float]], crossing: int) -> None:
    """Operations of reading a prompt: name of the part -> PFLOP by tokens; `crossing`: where attention overtakes."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    looks = ((PALETTE[4], "-", 1.6), (PALETTE[1], "--", 1.6), (PALETTE[0], "-", 2.8))
    for values, (color, style, width) in zip(work.values(), looks, strict=True):
        ax.plot(tokens, values, style, color=color, linewidth=width)
    ax.set(xscale="log", yscale="log", xlabel="tokens of prompt", ylabel="operations (PFLOP)")
    moment(ax, crossing, f"equal at {crossing:,}", at=0.04)
    plain_ticks(ax, "x", [1e4, 1e5, 1e6, 1e7], ["10 k", "100 k", "1 M", "10 M"])
    plain_ticks(ax, "y", [0.01, 1, 100, 10_000], ["0.01", "1", "100", "10,000"])
    ends = zip(work.items(), looks, strict=True)
    label_ends(ax, [(words, values[-1], color) for (words, values), (color, _, _) in ends])
    ax.set_title("Reading: matrices first, then nothing but attention")
    show(
        fig,
        "Operations with which Scout reads a prompt, by its length, both axes logarithmic: matrices rise in proportion, attention twice as steeply; they cross near 221 thousand tokens. With all layers global attention is higher by up to four.",
    )


def read_by_token(rows: Mapping[str, tuple[float, float, float]]) -> None:
    """What one written token reads; rows: context -> (GB of weights, GB of cache, milliseconds at best)."""
    fig, ax = plt.subplots(figsize=(6, 2.4))
    places = range(len(rows))
    weights, cache, milliseconds = zip(*rows.values(), strict=True)
    ax.barh(list(rows), weights, color=PALETTE[4], edgecolor="#333333")
    ax.barh(list(rows), cache, left=weights, color=PALETTE[5], edgecolor="#333333")
    for place, *sizes, time in zip(places, weights, cache, milliseconds, strict=True):
        ax.text(sum(sizes) + 8, place, f"{sizes[1]:.1f} GB of cache, {time:.1f} ms", va="center", fontsize=8)
    ax.text(weights[0] / 2, -0.75, "weights", ha="center", fontsize=8)
    ax.set(xlabel="GB read for one written token", xlim=(0, 1.5 * max(map(sum, zip(weights, cache, strict=True)))))
    ax.set_ylim(len(rows) - 0.5, -1.1)
    ax.set_title("Writing: at ten million tokens the weights hardly matter")
    show(
        fig,
        "GB that one written token of Scout reads at four lengths of context: the weights are the same 32 GB everywhere, the chunk-aware cache grows from less than 2 to 517.",
    )


def room_by_precision(rows: Mapping[str, tuple[float, int]], declared: int) -> None:
    """What fewer bits buy; rows: bits of the cache -> (GiB at the declared length, tokens on eight H100)."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 2.1), sharey=True)
    sizes, tokens = zip(*rows.values(), strict=True)
    for ax, values, words in (
        (axes[0], sizes, [f"{size:,.0f}" for size in sizes]),
        (axes[1], [count / 1e6 for count in tokens], [f"{count / 1e6:.1f} M" for count in tokens]),
    ):
        ax.barh(list(rows), values, color=PALETTE[5], edgecolor="#333333")
        for place, word in enumerate(words):
            ax.text(0.02 * max(values), place, word, va="center", fontsize=8)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="GiB at ten million tokens")
    axes[1].set(xlabel="million tokens that fit 8 × H100")
    axes[1].axvline(declared / 1e6, color="black", linewidth=0.8)
    axes[1].text(declared / 1e6, -0.62, " declared", fontsize=8)
    fig.suptitle("Half the bits, twice the tokens", fontsize=10)
    show(
        fig,
        "Two panels of bars for a cache in 16, 8 and 4 bits: the GiB at ten million tokens halve each time, the tokens that fit on eight H100 double and pass the declared length at 8 bits.",
    )


def premises(tokens: Mapping[str, int], declared: int) -> None:
    """The longest context of one machine under different premises, tokens by words."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    values = [count / 1e6 for count in tokens.values()]
    ax.barh(list(tokens), values, color=[PALETTE[4], *[PALETTE[5]] * (len(tokens) - 1)], edgecolor="#333333")
    for place, count in enumerate(tokens.values()):
        ax.text(count / 1e6 + 0.2, place, f"{count:,}", va="center", fontsize=8)
    ax.axvline(declared / 1e6, color="black", linewidth=0.9)
    ax.text(declared / 1e6 + 0.2, -0.62, f"declared: {declared:,}", fontsize=8)
    ax.set(xlabel="million tokens", xlim=(0, 21), ylim=(len(tokens) - 0.5, -1))
    ax.set_title("One machine, 8 × 141 GB, and three right answers")
    show(
        fig,
        "Three bars of the longest context of Scout on eight GPUs of 141 GB: with the library's temporaries it is less than half of the declared length, without them half as much again.",
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
