"""Pictures of 07: speeds of RoPE, masks with their walls, reach through layers, the cache between two walls."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from llama4lab.figures import PALETTE, show, text_color
from llama4lab.plots.marks import GRAY, label_ends, moment

HERO, LOUD = PALETTE[0], PALETTE[1]


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


def keys_by_layer(keys: Sequence[int]) -> None:
    """The number of keys that one token sees in each layer."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    layers, is_open = np.arange(len(keys)), np.array(keys) == max(keys)
    for chosen, color in ((~is_open, PALETTE[0]), (is_open, PALETTE[1])):
        ax.vlines(layers[chosen], 1, np.array(keys)[chosen], color=color, linewidth=2)
        ax.plot(layers[chosen], np.array(keys)[chosen], "o", color=color, markersize=4)
    ax.set(yscale="log", ylim=(1, 1e8), xlabel="layer", ylabel="tokens in sight")
    ax.set_title("The last of ten million tokens sees them all in 12 layers of 48")
    ax.set_xlim(-1, len(keys))
    label_ends(
        ax,
        [(f"global:\n{max(keys):,}", max(keys), PALETTE[1]), (f"chunked:\n{min(keys):,}", min(keys), PALETTE[0])],
    )
    counts = {f"{int(np.sum(np.array(keys) == n))} layers": f"{n:,} keys" for n in sorted(set(keys))}
    show(
        fig,
        "Tokens in sight of the last of ten million tokens, layer by layer: every fourth layer reaches far above the others.",
        counts,
    )


def wavelengths(plain: np.ndarray, scaled: np.ndarray, chunk: int) -> None:
    """Tokens for one full turn of each pair, `[pairs]`, without and with Scout's scaling."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    pairs = np.arange(len(plain))
    slowed = scaled > 1.5 * plain
    for part in (~slowed, slowed):  # a line for each, so that the jump between them stays open
        ax.plot(pairs[part], scaled[part], "-", color=LOUD, linewidth=2.4)
    ax.plot(pairs, plain, "--", color=HERO)
    ax.axhline(chunk, color="black", linewidth=0.8)
    ax.text(0, 1.25 * chunk, f"one chunk, {chunk} tokens", fontsize=8)
    ax.set(yscale="log", xlabel="clock (pair of numbers of the head)", ylabel="tokens for one turn")
    ax.set_title(f"Scout leaves {int((~slowed).sum())} clocks alone and slows {int(slowed.sum())} down")
    label_ends(ax, [("before", plain[-1], HERO), ("in Scout", scaled[-1], LOUD)])
    show(
        fig,
        "Tokens for one turn of each clock: all clocks that take longer than one chunk are 16 times as slow in Scout.",
    )


def top_weights(keys: Sequence[int], weights: Mapping[int, Sequence[float]], marks: Mapping[str, int]) -> None:
    """The weight that one key at the bound gets among so many others, a line for each head_dim."""
    fig, ax = plt.subplots(figsize=(6, 3))
    for head_dim, values in weights.items():
        hero = head_dim == max(weights)
        style = {"linewidth": 2.6, "linestyle": "-"} if hero else {"linewidth": 1.4, "linestyle": "--"}
        ax.plot(keys, values, color=HERO if hero else GRAY, **style)
        place = int(np.argmin(np.abs(np.array(values) - 0.3)))
        ax.text(
            0.75 * keys[place],
            values[place],
            f"head_dim {head_dim}",
            fontsize=8,
            ha="right",
            color=HERO if hero else GRAY,
        )
    for words, count in marks.items():
        moment(ax, count, words, at=0.9, side="right" if count > 1e6 else "left")
    ax.set(xscale="log", ylim=(0, 1.05), xlabel="keys in sight", ylabel="weight on one key")
    ax.set_title("With QK-norm one key can still rule a chunk, but not ten million")
    show(
        fig,
        "Weight that one key at the bound gets by the number of keys: with head_dim 128 high within a chunk, near 0 at ten million.",
    )


def reach_of_token(stacks: Mapping[str, np.ndarray], token: int, size: int) -> None:
    """Positions that know of `token` after each layer, boolean `[layers, seq]` by name of the stack."""
    fig, axes = plt.subplots(len(stacks), 1, figsize=(6, 0.4 + 1.5 * len(stacks)), sharex=True, squeeze=False)
    for ax, (name, knows) in zip(axes.flat, stacks.items(), strict=True):
        ax.imshow(
            knows.astype(int),
            cmap=ListedColormap(["#eeeeee", "#7fb2d9"]),
            vmin=0,
            vmax=1,
            aspect="auto",
            origin="lower",
        )
        if "walls" in name:
            for wall in range(size, knows.shape[1], size):
                ax.axvline(wall - 0.5, color="black", linewidth=2)
        ax.plot([token], [0], "o", color=PALETTE[1], markersize=6)
        for layer, row in enumerate(knows):
            length = knows.shape[1]
            place, side = (length * 0.985, "right") if row[-1] else (np.nonzero(row)[0][-1] + length / 60, "left")
            ax.text(place, layer, f"{int(row.sum())}", fontsize=8, va="center", ha=side)
        ax.set(yticks=range(len(knows)), ylabel="after layer", title=name)
    axes[-1, 0].set_xlabel(f"position (dot: token {token}; numbers: how many know)")
    show(
        fig,
        f"Positions that know of token {token} after each of four layers: walls stop it until the global layer"
        + ("; windows pass it on step by step." if len(stacks) > 1 else "."),
    )


def temperature_by_position(positions: np.ndarray, factors: np.ndarray) -> None:
    """The factor on a global layer's queries by position, with the first steps in a panel of their own."""
    fig, (near, far) = plt.subplots(1, 2, figsize=(6, 2.7), sharey=True)
    for ax, limit in ((near, 50_000), (far, positions[-1])):
        ax.plot(positions, factors, "-", color=HERO, linewidth=2, drawstyle="steps-post")
        ax.set_xlim(0, limit)
    near.set(ylabel="factor on the query", xlabel="position, thousands", ylim=(0.95, 1.8), xticks=(0, 25_000, 50_000))
    near.set_xticklabels(["0", "25", "50"])
    near.set_title("Flat, then steps of 8192")
    near.text(9_500, 0.985, "nothing before 8191", fontsize=8)
    far.set(xlabel="position, millions", xticks=(0, 5e6, 1e7))
    far.set_xticklabels(["0", "5", "10"])
    far.set_title("To ten million: still below 1.8")
    picked = [int(np.searchsorted(positions, p)) for p in (0, 8190, 8191, 131_071, 1_048_575, positions[-1])]
    show(
        fig,
        "Factor on the query by position: exactly 1 up to 8190, then steps, and at ten million still below 1.8.",
        {"position": [int(positions[n]) for n in picked], "factor": [round(float(factors[n]), 4) for n in picked]},
    )


def loudest_logits(loudest: Mapping[str, Sequence[float]], bound: float) -> None:
    """The largest attention logit in each layer, bars for each model; `bound` is that of layers with QK-norm."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    width, highest = 0.36, max(max(values) for values in loudest.values())
    for side, ((name, values), color) in enumerate(zip(loudest.items(), (HERO, "#b0b0b0"), strict=True)):
        places = np.arange(len(values)) + width * (side - 0.5)
        ax.bar(places, values, 0.94 * width, color=color)
        for place, value in zip(places, values, strict=True):
            ax.text(
                place,
                value - 0.02 * highest,
                f"{value:.1f}",
                ha="center",
                va="top",
                fontsize=8,
                color=text_color(color),
            )
        line = (1.03 - 0.1 * side) * highest
        ax.text(-0.45, line, "■", fontsize=9, color=color)
        ax.text(-0.33, line, name, fontsize=9, color=(HERO, GRAY)[side])
    ax.axhline(bound, color="black", linewidth=1.2)
    ax.set(ylim=(0, 1.12 * highest), ylabel="largest logit", xlabel="layer")
    ax.set_xticks(range(4), ["0, chunked", "1, chunked", "2, chunked", "3, global"])
    ax.grid(axis="x", visible=False)
    ax.set_title("QK-norm keeps a layer below its bound")
    label_ends(ax, [(f"√head_dim\n= {bound:.1f}", bound, "black")])
    show(
        fig,
        "Largest attention logit of two proxies, layer by layer: the line of the bound holds for those with QK-norm.",
        {name: [f"{value:.1f}" for value in values] for name, values in loudest.items()},
    )


def keys_kept(kept: Mapping[str, Sequence[int]], chunk: int) -> None:
    """Keys in the cache of one layer after each token, a line for each kind of cache."""
    fig, ax = plt.subplots(figsize=(6, 3))
    styles = zip((LOUD, GRAY, HERO), ("-.", "--", "-"), (1.6, 1.6, 2.6), strict=True)
    for counts, (color, line, width) in zip(kept.values(), styles, strict=True):
        ax.plot(range(1, len(counts) + 1), counts, linestyle=line, color=color, linewidth=width)
    longest = len(next(iter(kept.values())))
    for wall in range(chunk, longest, chunk):
        ax.axvline(wall, color="black", linewidth=1.6)
    ax.set(xlabel=f"tokens so far (black: walls, every {chunk})", ylabel="keys on the shelf", xlim=(0, longest))
    ax.set_title("At a wall a chunked layer's shelf is emptied")
    label_ends(ax, [(name, c[-1], color) for (name, c), color in zip(kept.items(), (LOUD, GRAY, HERO), strict=True)])
    show(
        fig,
        "Keys kept after each token: a straight line in a global layer, a plateau in the library, a sawtooth that falls to 0 at walls.",
    )
