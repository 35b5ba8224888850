"""Pictures of 11: where layers go, what memory a prompt and a format take, and what a download asks for."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import plain_ticks

GPU = 80  # GB
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # so that no line runs through a number
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
            ax.text(value, row, f" {value:.1f}", va="center", fontsize=8, bbox=PAPER)
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
