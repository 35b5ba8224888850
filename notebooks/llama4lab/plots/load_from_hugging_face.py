"""Pictures of 11: where layers go, what memory a prompt and a format take, and what a download asks for."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, plain_ticks

HATCHES = ("", "//", "xx", "..", "\\\\", "--")
GPU = 80  # GB
WIDEST = 141  # GB of the largest GPU drawn


def devices_of_machines(machines: Sequence[tuple[str, float, Sequence[float], float]]) -> None:
    """Where whole layers go: (machine, GB of a GPU, GB of weights on each GPU, GB on the CPU), a row each."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    ax.yaxis.update_units([name for name, *_ in machines])
    words = []
    for row, (name, capacity, on_gpus, on_cpu) in enumerate(machines):
        width = capacity / WIDEST
        for gpu, weights in enumerate(on_gpus):
            ax.barh(row, weights / WIDEST, left=gpu * 1.15, color=PALETTE[5], height=0.6)
            ax.barh(row, width, left=gpu * 1.15, facecolor="none", edgecolor="black", height=0.6)
        verdict = "all on the GPUs" if on_cpu < 0.5 else f"{on_cpu:.0f} GB on the CPU"
        ink = "#444444" if on_cpu < 0.5 else PALETTE[1]
        ax.text(len(on_gpus) * 1.15, row, verdict, va="center", fontsize=8, color=ink, weight="bold")
        words.append(f"{name}: {' '.join(f'{weights:.0f}' for weights in on_gpus)}, {verdict}")
    ax.set(xticks=[], xlim=(0, 11.6), title="Three 80 GB GPUs do not hold Scout, four do (a box is a GPU)")
    ax.grid(visible=False)
    ax.invert_yaxis()
    show(
        fig,
        "Boxes of GPUs, filled with weights. Three of 80 GB leave a part of Scout on the CPU, four hold it, and eight of "
        "141 GB leave a part of Maverick there.",
        values={"weights in GB on the GPUs, in order:": words},
    )


def weights_by_format(sizes: Mapping[str, Sequence[float]]) -> None:
    """GB of Scout's and Maverick's weights by format, on scales of 80 GB GPUs."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 2.4), sharey=True)
    for column, (ax, name) in enumerate(zip(axes, ("Scout", "Maverick"), strict=True)):
        values = [pair[column] for pair in sizes.values()]
        ax.barh(list(sizes), values, color=[PALETTE[5] if value <= GPU else "#b0b0b0" for value in values], height=0.65)
        for row, value in enumerate(values):
            ax.text(value, row, f" {value:.1f}", va="center", fontsize=8)
        for edge in range(GPU, int(max(values)) + GPU, GPU):
            ax.axvline(edge, color="black", linewidth=0.8, linestyle=":", zorder=0)
        ax.set(xlim=(0, max(values) * 1.2), title=f"{name}: {'one GPU in 4 bits' if column == 0 else 'never one GPU'}")
        ax.grid(visible=False)
    axes[0].invert_yaxis()
    fig.supxlabel("weights in GB; dotted: 80 GB GPUs", fontsize=9)
    show(
        fig,
        "Weights in five formats against 80 GB GPUs: Scout needs three in bfloat16 and one in 4 bits, Maverick eleven and "
        "three.",
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


def longest_contexts(longest: Mapping[str, Sequence[int]], pieces: Sequence[str]) -> None:
    """Most tokens by machine, for the prompt in one piece and in `pieces`, as dots on a line each."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    ax.yaxis.update_units(list(longest))
    for column, (piece, color, marker) in enumerate(
        zip(pieces, (PALETTE[1], PALETTE[4], PALETTE[0]), "XsD", strict=True)
    ):
        ax.plot(
            [row[column] for row in longest.values()],
            range(len(longest)),
            marker,
            color=color,
            label=piece,
            markersize=7 if column else 10,  # the first stays visible around an equal second
        )
    for row, values in enumerate(longest.values()):
        ax.plot([min(values), max(values)], [row, row], color="#999999", linewidth=1, linestyle="-", zorder=0)
    ax.set(xscale="log", xlim=(2e3, 1.5e7), ylim=(len(longest) - 0.6, -0.7), xlabel="tokens at most")
    plain_ticks(ax, "x", (1e4, 1e5, 1e6, 1e7), ("10 thousand", "100 thousand", "1 million", "10 million"))
    ax.set_title("In pieces of 256, 16 to 280 times as much")
    fig.legend(loc="outside lower center", ncols=3)
    show(fig, "Longest prompt by machine: in one piece a few thousand tokens, in pieces of 256 up to several millions.")


def requests(rows: Mapping[str, Sequence[tuple[int, int]]], size: int) -> None:
    """What a download asked for: (first byte, number of bytes) of each request, by what had happened before it."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    ax.yaxis.update_units(list(rows))
    for row, spans in enumerate(rows.values()):
        for turn, (first, number) in enumerate(spans):
            place = row + (turn - (len(spans) - 1) / 2) * 0.34
            ax.barh(place, number / 1e6, left=first / 1e6, height=0.3, color=PALETTE[5 if turn == 0 else 0])
            words = f"from {first / 1e6:.1f} MB"
            ax.text(size / 1e6 * 1.02, place, words, va="center", fontsize=8)
    ax.set(xlabel="MB of model.safetensors that came", xlim=(0, size / 1e6 * 1.22), ylim=(len(rows) - 0.5, -0.5))
    ax.set_title("A lost connection is resumed, a killed program is not")
    ax.grid(axis="y", visible=False)
    show(
        fig,
        "Bytes that came, request by request: after a lost connection the second request begins near the end, after a "
        "killed program at byte 0.",
    )


def shares_of_time(shares: Mapping[str, Sequence[float]]) -> None:
    """When each GPU works while one token passes through a model whose layers are spread over them; shares of the time."""
    fig, axes = plt.subplots(1, len(shares), figsize=(6, 2.1))
    for ax, (name, parts) in zip(axes, shares.items(), strict=True):
        starts = np.cumsum([0, *parts[:-1]])
        ax.xaxis.update_units(["token in", "token out"])
        ax.yaxis.update_units([f"GPU {gpu}" for gpu in range(len(parts))])
        ax.barh(range(len(parts)), [1] * len(parts), facecolor="#f2f2f2", edgecolor="#bbbbbb", height=0.7)
        ax.barh(range(len(parts)), parts, left=starts, color=PALETTE[1], height=0.7)
        ax.set(title=name)
        ax.grid(visible=False)
        ax.invert_yaxis()
    show(fig, "One GPU works at a time, like runners of a relay: with four GPUs each waits three quarters of the time.")
