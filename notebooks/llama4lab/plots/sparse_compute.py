"""Pictures of 06: what sparsity gains, where it loses, and what an uneven load costs."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from llama4lab.figures import PALETTE, show, text_color
from llama4lab.plots.marks import GRAY, label_ends, plain_ticks

BLUE, VERMILION, GREEN = PALETTE[:3]
PALE = "#e6e6e6"
TOKEN_TICKS = [1, 4, 16, 64, 256, 1024, 4096]


def race_here(live: Mapping[tuple[str, int], Mapping[str, float]]) -> None:
    """How many times as fast as the library both ways are on this machine, by block and tokens."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 2.6))
    for ax, name, bound in zip(axes, ("Scout-like", "Maverick-like"), (8.5, 64.5), strict=True):
        races = {tokens: times for (block, tokens), times in live.items() if block == name}
        for place, (way, color) in enumerate((("lean", BLUE), ("grouped", PALETTE[4]))):
            values = [times[way] for times in races.values()]
            bars = ax.bar(np.arange(len(races)) + 0.4 * place - 0.2, values, 0.38, color=color, label=way)
            ax.bar_label(bars, fmt="%.1f", fontsize=8)
        ax.axhline(bound, color="black", linewidth=1, linestyle=":")
        ax.text(-0.4, bound * 1.01, f"FLOP bound {bound}", fontsize=8, va="bottom")
        ax.set_xticks(range(len(races)), races)
        ax.set(xlabel="tokens", title=name, ylim=(0, 1.2 * bound))
        ax.grid(axis="x", visible=False)
    fig.supylabel("times as fast as the library")
    axes[0].legend(loc="lower left", ncols=2, bbox_to_anchor=(0, -0.45))
    show(
        fig,
        "Speed-up of the lean loop and of the grouped way over the library on this machine, at 1, 64 and 512 tokens, for 16 and for 128 experts, with the FLOP bounds.",
    )


def speedups(measured: Mapping[str, Mapping[int, float]], bounds: Mapping[str, float]) -> None:
    """How many times as fast as the library, by tokens, for each block, with the bound that counting FLOPs gives."""
    fig, ax = plt.subplots()
    for (name, ratios), color in zip(measured.items(), (BLUE, VERMILION), strict=True):
        ax.plot(ratios.keys(), ratios.values(), color=color, marker="o", linewidth=2.2)
        ax.axhline(bounds[name], color=color, linewidth=1, linestyle=":")
        ax.text(45, bounds[name] * 1.05, f"FLOP bound {bounds[name]}", color=color, fontsize=8, ha="center")
    ax.set(xscale="log", yscale="log", ylim=(2, 110), xlabel="tokens in the batch", ylabel="times as fast")
    plain_ticks(ax, "x", TOKEN_TICKS)
    plain_ticks(ax, "y", [2, 5, 10, 20, 50, 100])
    ends = [
        (name.replace("-", "-\n"), list(ratios.values())[-1], color)
        for (name, ratios), color in zip(measured.items(), (BLUE, VERMILION), strict=True)
    ]
    label_ends(ax, ends)
    ax.set_title("A valley at tens of tokens, the FLOP bound at thousands")
    show(
        fig,
        "Speed-up of lean dispatch over the library by number of tokens, for 16 and for 128 experts: more than half of the FLOP bound at one token, a valley at some tens of tokens, at the bound or above it at 4096.",
    )


def name_rows(ax: Axes, names: Iterable[str]) -> None:
    """The name of each group of horizontal bars at its left, the first group on top."""
    for y, name in enumerate(names):
        ax.text(-0.01, y, name, transform=ax.get_yaxis_transform(), ha="right", va="center")
    ax.set_yticks([])
    ax.invert_yaxis()


def shares_of_peak(shares: Mapping[str, Mapping[str, float]]) -> None:
    """Share of the peak of matrix products at which each way does the work that is needed; block -> way -> share."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ways = list(next(iter(shares.values())))
    for place, ((name, of_ways), color) in enumerate(zip(shares.items(), (BLUE, VERMILION), strict=True)):
        at = np.arange(len(ways)) + 0.38 * place - 0.19
        ax.barh(at, [100 * share for share in of_ways.values()], 0.36, color=color)
        for y, share in zip(at, of_ways.values(), strict=True):
            inside = share > 0.5
            ink = text_color(color) if inside else "black"
            words = f"{name}  {100 * share:.0f} %" if inside else f"{100 * share:.0f} %  {name}"
            ax.text(100 * share + (-1 if inside else 1), y, words, va="center", fontsize=8, color=ink)
            ax.texts[-1].set_ha("right" if inside else "left")
    ax.axvline(100, color="black", linewidth=1)
    ax.text(101, -0.3, "peak", fontsize=8)
    ax.set(xlim=(0, 108), xticks=range(0, 101, 20), xlabel="useful operations a second, % of one large product")
    name_rows(ax, ways)
    ax.set_title("4096 tokens: how near to the most that this core can do")
    show(
        fig,
        "Share of the measured peak of matrix products that the library and three sorted ways reach in useful work, for 16 and for 128 experts: the library a tenth or less, the sorted ways most of it.",
    )


def slices(gigaflops: Mapping[int, float], peak: float) -> None:
    """Speed of products with an expert's weights by number of rows, under the speed of a large product."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ax.plot(gigaflops.keys(), gigaflops.values(), color=BLUE, marker="o", linewidth=2.2)
    ax.axhline(peak, color="black", linewidth=1, linestyle=":")
    ax.text(1, peak * 0.97, "one large product: the peak", fontsize=8, va="top")
    ax.set(xscale="log", ylim=(0, peak * 1.1), xlabel="rows for each expert", ylabel="GFLOP/s")
    plain_ticks(ax, "x", list(gigaflops))
    ax.set_title("A thin slice computes slowly: speed by rows for each expert")
    show(
        fig,
        "Speed of matrix products with experts' weights by number of rows: it climbs from about a tenth of the peak at one row to nearly the peak at 256.",
    )


def lit_experts(thrown: Mapping[str, np.ndarray], grids: Mapping[str, tuple[int, int]], batches: Sequence[int]) -> None:
    """Which experts the first tokens of a batch touch: one panel for each model and batch, a lit cell for each expert."""
    fig, axes = plt.subplots(len(thrown), len(batches), figsize=(6, 3), height_ratios=(2, 1))
    for row, (name, choices) in zip(axes, thrown.items(), strict=True):
        height, width = grids[name]
        for ax, tokens in zip(row, batches, strict=True):
            counts = np.bincount(choices[:tokens], minlength=height * width)
            ax.imshow((counts > 0).reshape(height, width), cmap=ListedColormap([PALE, PALETTE[4]]), vmin=0, vmax=1)
            ax.set_xticks(np.arange(0.5, width - 1), [])
            ax.set_yticks(np.arange(0.5, height - 1), [])
            ax.hlines(np.arange(0.5, height - 1), -0.5, width - 0.5, color="white", linewidth=1.5, gid="decoration")
            ax.vlines(np.arange(0.5, width - 1), -0.5, height - 0.5, color="white", linewidth=1.5, gid="decoration")
            ax.set_axis_off()
            ax.set_title(f"{tokens} token{'s' * (tokens > 1)}: {int((counts > 0).sum())}", fontsize=9)
        row[0].text(
            -0.12, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontweight="bold"
        )
    fig.suptitle("A batch lights up experts: a lit cell is an expert that must be read", fontsize=10)
    show(
        fig,
        "Grids of experts, 16 for Scout and 128 for Maverick, for growing batches: with one token one cell is lit, with 64 all or nearly all of Scout's and less than half of Maverick's.",
    )


def touched(batches: Sequence[int], lines: Mapping[str, Sequence[float]], experts: int) -> None:
    """Mean number of different experts that a batch touches: of one text, of many, and by an even router's dice."""
    fig, ax = plt.subplots(figsize=(6, 3))
    styles = ((":", GRAY, 1.4), ("-", BLUE, 1.8), ("-", VERMILION, 2.6))
    for values, (style, color, width) in zip(lines.values(), styles, strict=True):
        ax.plot(batches, values, style, color=color, linewidth=width, marker="o", markersize=4)
    ax.set(ylim=(0, experts), xlabel="tokens in the batch", ylabel=f"experts touched, of {experts}", xticks=batches)
    label_ends(ax, [(name, values[-1], style[1]) for (name, values), style in zip(lines.items(), styles, strict=True)])
    ax.set_title("Neighbors in one text touch far fewer experts than dice")
    show(
        fig,
        "Mean number of different experts touched by batch size on the proxy: batches of many texts stay a little below even dice, batches of one text far below.",
    )


def step_bytes(tokens: Sequence[int], gigabytes: Mapping[str, Sequence[float]]) -> None:
    """GB of weights that one decoding step reads, by the tokens that are decoded together."""
    fig, ax = plt.subplots()
    styles = (("--", GRAY, 1.6), ("-", BLUE, 2.4), ("-", VERMILION, 2.4))
    for values, (style, color, width) in zip(gigabytes.values(), styles, strict=True):
        ax.plot(tokens, values, style, color=color, linewidth=width, marker="o", markersize=4)
    ax.set(xscale="log", yscale="log", xlabel="tokens decoded together", ylabel="weights read in one step (GB)")
    plain_ticks(ax, "x", [1, 4, 16, 64, 256, 1024])
    plain_ticks(ax, "y", [30, 100, 300, 800])
    ends = [(name, values[-1], style[1]) for (name, values), style in zip(gigabytes.items(), styles, strict=True)]
    label_ends(ax, ends)
    ax.set_title("All three read 32 GB for one token; a batch parts them")
    show(
        fig,
        "Gigabytes of weights that one decoding step reads, by batch size: constant for a dense model of 17 billion, rising to all experts for Scout by about 64 tokens and for Maverick by about 512.",
    )


def passes_on_gpu(rows: Sequence[Sequence[float]]) -> None:
    """Milliseconds of a pass by batch size; rows: tokens, experts touched, all experts, own expert, its reading, ..."""
    fig, ax = plt.subplots(figsize=(6, 3))
    tokens, _, all_experts, own_expert, reading, *_ = zip(*rows, strict=True)
    ax.plot(tokens, reading, ":", color=GRAY, linewidth=1.6)
    ax.plot(tokens, all_experts, "-", color=BLUE, linewidth=1.8, marker="o", markersize=4)
    ax.plot(tokens, own_expert, "-", color=VERMILION, linewidth=2.6, marker="o", markersize=4)
    ax.set(xscale="log", xlabel="tokens in the batch", ylabel="one pass (ms)", ylim=(0, 1.1 * max(all_experts)))
    plain_ticks(ax, "x", tokens)
    ends = [("all experts", all_experts[-1], BLUE), ("own expert", own_expert[-1], VERMILION)]
    label_ends(ax, [*ends, ("own expert,\nreading alone", reading[-1], GRAY)])
    ax.set_title("Eight layers of Scout on an H200: at 16 tokens the gain is gone")
    show(
        fig,
        "Time of a pass through eight layers of Scout by batch size: with all experts nearly constant, with own experts a third of it at one token, and longer from 16 tokens to 128.",
    )


def price_list(bill: Mapping[str, Sequence[float]], names: Sequence[str]) -> None:
    """What models cost in multiples of a dense model as large as their active part; bill: what -> value by model."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    for place, (name, color) in enumerate(zip(names, (BLUE, VERMILION), strict=True)):
        at = np.arange(len(bill)) + 0.38 * place - 0.19
        values = [row[place] for row in bill.values()]
        ax.barh(at, values, 0.36, color=color)
        for y, value in zip(at, values, strict=True):
            ax.text(value + 0.3, y, f"{value:.1f}  {name}", va="center", fontsize=8)
    ax.axvline(1, color="black", linewidth=1)
    ax.set(xlim=(0, 31), xlabel="times a dense model of 17 billion")
    name_rows(ax, bill)
    ax.set_title("What “17 B active” buys is compute, and reads for one token")
    show(
        fig,
        "Costs of Scout and of Maverick in multiples of a dense model of 17 billion: compute and the weights read for one token are 1, the weights read for 64 tokens, the memory, and the compute of the library are 6.6 to 24.7.",
    )


def waiting(loads: Mapping[str, Sequence[float]]) -> None:
    """Load of each device in even shares, one panel for each text, and in pale how long it waits for the busiest."""
    fig, axes = plt.subplots(1, len(loads), figsize=(6, 2.9), sharey=True)
    for ax, (name, load) in zip(axes, loads.items(), strict=True):
        busiest = [VERMILION if value == max(load) else BLUE for value in load]
        ax.bar(range(len(load)), load, color=busiest)
        ax.bar(range(len(load)), [max(load) - value for value in load], bottom=load, color=PALE)
        ax.axhline(1, color="black", linewidth=0.8)
        ax.set(xlabel="device", title=f"{name}: {max(load):.2f}", xticks=range(len(load)))
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("load (1: an even share)")
    fig.suptitle("A layer is done when its busiest device is; pale: the others wait", fontsize=10)
    show(
        fig,
        "Load of 8 devices that hold 64 experts in order, for an equal mix of texts and for Wikipedia: the busiest device is well above an even share, and all others wait for it.",
    )


def stragglers(factors: Mapping[str, Sequence[float]]) -> None:
    """Straggler factor by kind of text, for experts placed in order, for the mix of texts, and for the text itself."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    styles = {
        "placed in order": ("o", GRAY),
        "placed for the mix": ("s", VERMILION),
        "placed for this text": ("^", BLUE),
    }
    for place, (name, (marker, color)) in enumerate(styles.items()):
        values = [row[place] for row in factors.values()]
        ax.plot(range(len(factors)), values, marker, color=color, markersize=7, label=name)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(factors)), factors)
    ax.set(ylim=(0.95, None), ylabel="straggler factor (1: no device waits)", xlabel="text that is served")
    ax.set_title("Placed for the mix, worse than not placed at all for three texts of five")
    fig.legend(loc="outside lower center", ncols=3)
    show(
        fig,
        "Straggler factor by kind of text for three placements: in order, for the load of the mix, and for the text's own load.",
    )


def twins(curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]) -> None:
    """Held-out loss over training tokens (millions) and over training compute (TFLOP), the mixture and its dense twins."""
    fig, axes = plt.subplots(1, 2, sharey=True, figsize=(6, 3.2))
    styles = {"dense-active": ("--", GRAY, 1.6), "dense-total": ("-.", VERMILION, 1.6), "moe": ("-", BLUE, 2.8)}
    for name, (style, color, width) in styles.items():
        tokens, compute, loss = curves[name]
        axes[0].plot(tokens, loss, style, color=color, linewidth=width)
        axes[1].plot(compute, loss, style, color=color, linewidth=width)
    axes[0].set(xlabel="training tokens, millions", ylabel="held-out loss, nats a token", title="at equal tokens")
    axes[1].set(xlabel="training compute, TFLOP", title="at equal compute")
    label_ends(axes[1], [(name, curves[name][2][-1], color) for name, (_, color, _) in styles.items()])
    show(
        fig,
        "Held-out loss of the mixture and its two dense twins: over training tokens the mixture is between them, over training compute it is the lowest of the three.",
    )
