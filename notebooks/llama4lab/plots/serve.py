"""Pictures of 17: traffic between devices, engines against transformers, callers, the memory of a GPU."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, moment, plain_ticks

HERO, LOUD, QUIET = PALETTE[0], PALETTE[1], "#b0b0b0"
FLOOR = 1e-7  # smaller gaps are drawn here


def traffic(sent: Mapping[int, tuple[float, float]]) -> None:
    """Hidden vectors sent for a token and layer, by the number of devices: experts placed, experts cut."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    placed, cut = zip(*sent.values(), strict=True)
    ax.plot(list(sent), cut, marker="o", color=LOUD)
    ax.plot(list(sent), placed, marker="o", linestyle="-", color=HERO, linewidth=2.4)
    ax.set(xscale="log", xlabel="devices", ylabel="vectors sent", ylim=(0, 1.1 * max(cut)))
    plain_ticks(ax, "x", list(sent))
    ax.set_title("A token has one expert: it travels there and back, however many devices")
    label_ends(ax, [("experts cut:\nall-reduce", cut[-1], LOUD), (f"placed: {placed[-1]:.2f}", placed[-1], HERO)])
    values = {"placed": [f"{value:.2f}" for value in placed], "cut": [f"{value:g}" for value in cut]}
    show(
        fig,
        "Hidden vectors sent for a token and layer by number of devices: a steep line for experts that are cut, "
        "a flat one for experts that are placed.",
        values,
    )


def gap_by_place(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    wall: int,
    title: str = "llama.cpp equals transformers up to the wall, and no further",
) -> None:
    """Largest difference of a log-probability to transformers, by the number of tokens read, with the walls."""
    fig, ax = plt.subplots(figsize=(6, 3.0))
    last = max(max(places) for places, _ in curves.values())
    looks = ((LOUD, "-", 2.2), (HERO, "-", 2.2), ("#333333", ":", 1.4))
    for (places, gaps), (color, style, width) in zip(curves.values(), looks, strict=False):
        marker = "o" if len(gaps) < 40 else None
        ax.plot(places, np.maximum(gaps, FLOOR), color=color, linestyle=style, linewidth=width, marker=marker)
    ax.set(yscale="log", xlabel="tokens read", ylabel="gap, nats", ylim=(FLOOR / 3, 30), xlim=(0, last + 5))
    plain_ticks(ax, "y", (1e-7, 1e-5, 1e-3, 0.1, 10), ("10⁻⁷", "10⁻⁵", "0.001", "0.1", "10"))
    for place in range(wall, last, wall):
        ax.axvline(place, color=GRAY, linewidth=0.8, zorder=1)
    moment(ax, wall, f"wall at {wall}", at=0.03)
    ax.set_title(title)
    ends = [
        (name, float(np.median(np.maximum(gaps[-20:], FLOOR))), look[0])
        for (name, (_, gaps)), look in zip(curves.items(), looks, strict=False)
    ]
    label_ends(ax, ends)
    show(
        fig,
        "Gap of log-probabilities to transformers by tokens read: at rounding before the wall; past it some curves "
        "are nats away.",
        {
            name.replace("\n", " "): [exponent(gap) for gap in gaps[:: max(1, len(gaps) // 20)]]
            for name, (_, gaps) in curves.items()
        },
    )


def exponent(gap: float) -> str:
    """Rounding differs from machine to machine, a real gap does not."""
    return "rounding" if gap < 1e-3 else f"{gap:.1g}"


def by_callers(
    loads: Mapping[str, Sequence[int]], speeds: Mapping[str, Sequence[float]], waits: Mapping[str, Sequence[float]]
) -> None:
    """What all callers get and what one waits, by their number, each in units of one caller of the same engine."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 2.8))
    for ax, ratios in ((left, speeds), (right, waits)):
        for (name, values), color in zip(ratios.items(), (HERO, LOUD), strict=True):
            ax.plot(loads[name], values, marker="o", linestyle="-", color=color, linewidth=2.2)
            place, ink = (loads[name][-1] * 1.05, max(values) + 0.05 * max(map(max, ratios.values()))), color
            ax.text(*place, name, ha="right", va="bottom", fontsize=8, color=ink)
        ax.set(xscale="log", xlabel="callers at once", ylim=(0, 1.2 * max(map(max, ratios.values()))))
        plain_ticks(ax, "x", next(iter(loads.values())))
    left.set_ylabel("tokens a second, one caller = 1")
    right.set_ylabel("first token after, one caller = 1")
    left.set_title("Together they get more ...")
    right.set_title("... while each waits longer")
    show(
        fig,
        "By number of callers: tokens a second of all grow with continuous batching and stay flat without; the wait for "
        "a first token grows.",
        {
            f"{name}, {words}": [f"{value:.1f}" for value in ratios[name]]
            for words, ratios in (("tokens", speeds), ("wait", waits))
            for name in ratios
        },
    )


def company(callers: Sequence[int], slower: Sequence[float], awake: Sequence[float]) -> None:
    """Words of all callers in units of one caller's, and experts of a layer that are awake, by callers."""
    fig, (ax, other) = plt.subplots(1, 2, figsize=(6, 2.8))
    words = [number / factor for number, factor in zip(callers, slower, strict=True)]
    ax.plot(callers, callers, color=GRAY, linewidth=1, linestyle=":")
    ax.plot(callers, words, marker="o", linestyle="-", color=HERO, linewidth=2.4)
    ax.text(20, 24, "if company were free", fontsize=8, color=GRAY, rotation=41, rotation_mode="anchor")
    ax.set(xscale="log", yscale="log", xlabel="callers", ylabel="words of all, one caller = 1")
    plain_ticks(ax, "y", (1, 10, 100))
    other.plot(callers, awake, marker="o", linestyle="-", color=LOUD, linewidth=2.4)
    other.set(xscale="log", xlabel="callers", ylabel="experts awake, of 16", ylim=(0, 17))
    plain_ticks(other, "y", (0, 4, 8, 12, 16))
    for each in (ax, other):
        plain_ticks(each, "x", (1, 4, 16, 64, 256))
    ax.set_title("A mixture pays for company")
    other.set_title("... until all are awake")
    show(
        fig,
        "By number of callers at Scout's size: the words of all grow slowly while experts wake, and fast once all 16 are "
        "awake.",
        {"words of all": [f"{value:.1f}" for value in words]},
    )


def memory_of_a_gpu(bars: Mapping[str, tuple[float, float, float]]) -> None:
    """Of each set-up: GB of weights on a GPU, GB left below 90 % of it, GB of the GPU."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    labels = list(bars)
    weights, left, size = (list(column) for column in zip(*bars.values(), strict=True))
    ax.barh(labels, weights, color=HERO, edgecolor="white")
    ax.barh(labels, left, left=weights, color=PALETTE[4], hatch="//", edgecolor="white")
    ax.plot([0.9 * each for each in size], labels, "k|", markersize=14)
    ax.text(weights[2] / 2, 2, "weights", color="white", ha="center", va="center", fontsize=8)
    ax.text(
        weights[2] + left[2] / 2,
        2,
        "left for keys and values",
        ha="center",
        va="center",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    ax.text(0.9 * size[2] + 2, 2, "90 %", fontsize=8, va="center")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="GB on each GPU", ylabel="model and GPUs", xlim=(0, 142))
    ax.set_title("Maverick in bfloat16 does not fit; in FP8 it leaves 19 GB")
    show(
        fig,
        "Bars of the memory of one GPU for six set-ups: weights, and what is left below 90 % of the GPU for keys and "
        "values. Maverick in bfloat16 exceeds 80 GB by itself.",
    )


def probe_grid(told: Mapping[str, Mapping[str, str]], verdict: Callable[[str, str], str]) -> None:
    """What each engine did with each request, as a grid: as asked, an error, or something else without a word."""
    fig, ax = plt.subplots(figsize=(6, 3.9))
    colors = {"as asked": "#cfe8f5", "an error": "#e2e2e2", "something else, silently": "#f6b26b"}
    names = list(next(iter(told.values())))
    marks = {engine: [verdict(name, answers[name]) for name in names] for engine, answers in told.items()}
    for column, (engine, answers) in enumerate(told.items()):
        for row, name in enumerate(names):
            box = {"facecolor": colors[marks[engine][row]], "edgecolor": "white", "linewidth": 2}
            ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, **box))
            weight = "bold" if marks[engine][row] == "something else, silently" else "normal"
            ax.text(column, row, answers[name], ha="center", va="center", fontsize=8, weight=weight)
    for column, (word, color) in enumerate(colors.items()):
        ax.text(
            column, len(names) + 0.1, word, ha="center", va="center", fontsize=8, bbox={"facecolor": color, "lw": 0}
        )
    ax.set(xlim=(-0.5, len(told) - 0.5), ylim=(len(names) + 0.7, -0.5), xlabel=" ", ylabel="what was asked")
    ax.set_xticks(range(len(told)), list(told))
    ax.set_yticks(range(len(names)), names)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    silent = sum(column.count("something else, silently") for column in marks.values())
    ax.set_title(f"{silent} of {len(told) * len(names)} requests get something else, without a word")
    show(
        fig,
        "A grid of eleven requests by three engines, each cell with what came back: most as asked, some an error, and "
        "some something else without a word.",
        {
            engine: [f"{answers[name]} ({mark})" for name, mark in zip(names, marks[engine], strict=True)]
            for engine, answers in told.items()
        },
    )


def energy(callers: Sequence[int], joules: Sequence[float]) -> None:
    """Joules of a token by the number of callers who share a pass."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    ax.plot(callers, joules, marker="o", linestyle="-", color=HERO, linewidth=2.4)
    for place in (0, list(callers).index(8), len(callers) - 1):
        words = f"{joules[place]:.2f} J: {round(3.6e6 / joules[place], -4):,.0f} tokens for 1 kWh"
        side, up = ("right", 26) if place == len(callers) - 1 else ("left", 8)
        ax.annotate(words, (callers[place], joules[place]), (0, up), textcoords="offset points", fontsize=8, ha=side)
    ax.set(xscale="log", xlabel="callers", ylabel="joules a token", ylim=(0, 1.2 * max(joules)))
    plain_ticks(ax, "x", (1, 4, 16, 64, 256))
    ax.set_title("The same token costs a fiftieth in company of 256")
    show(
        fig,
        "Joules of a token at Scout's size by number of callers: a steep fall from one caller to a few dozen, then little "
        "is left to save.",
        {"joules": [f"{value:.2f}" for value in joules], "at callers": [str(number) for number in callers]},
    )
