"""Pictures of 08: where the lines go, gaps that begin at a wall, and what a fact needs to cross one."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show

QUIET, LOUD, HERO = "#b0b0b0", PALETTE[1], PALETTE[0]
ROUNDING = 1e-4


def lines_of_parts(lines: Mapping[str, int]) -> None:
    """Lines of each part of llama4.py, from the top of the file down."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ax.barh(range(len(lines)), list(lines.values()), color=HERO)
    for row, count in enumerate(lines.values()):
        ax.text(count + 0.7, row, str(count), va="center", fontsize=8)
    ax.set_yticks(range(len(lines)), list(lines))
    ax.set(ylim=(len(lines) - 0.4, -0.6), xlim=(0, 1.06 * max(lines.values())))
    ax.set(xlabel="lines", ylabel="part of llama4.py")
    ax.set_title("No part of Llama 4 takes more than a screen")
    show(fig, "Bars: lines of each part of llama4.py. The model class and pictures are the longest.")


def gap_by_position(gaps: Mapping[str, np.ndarray], chunk: int) -> None:
    """The largest gap of each position's logits, `[seq]`, for ways to compute them; walls as lines."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for (name, values), color in zip(gaps.items(), (HERO, LOUD), strict=True):
        values = np.maximum(values, ROUNDING)  # what is only rounding differs from machine to machine
        ax.semilogy(values, color=color, linewidth=2, linestyle="-")
        ax.text(len(values) + 1, values[-1], name, color=color, fontsize=9, va="center")
    for wall in range(chunk, len(values), chunk):
        ax.axvline(wall, color="black", linewidth=2)
        ax.text(wall + 2, 30, "wall", fontsize=8)
    ax.text(2, 1.5 * ROUNDING, "rounding, or less", fontsize=8)
    ax.set(xlabel="position", ylabel="largest gap in the logits", ylim=(5e-5, 200), xlim=(0, 1.13 * len(values)))
    ax.set_title("A cache without walls is right until the first wall")
    show(
        fig,
        "Gap by position: rounding everywhere with walls; without them it jumps to whole logits at a wall.",
    )


def gaps_of_faults(gaps: Mapping[str, Sequence[float]]) -> None:
    """Two dots for each fault: the gap that a short prompt shows, and a long one."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    for row, (short, long) in enumerate(gaps.values()):
        short, long = max(short, ROUNDING), max(long, ROUNDING)  # what is only rounding differs between machines
        ax.plot([short, long], [row, row], color=QUIET, linewidth=1, linestyle="-", zorder=1)
        ax.plot(short, row, "o", color=LOUD, zorder=2)
        ax.plot(long, row, "o", color=HERO, zorder=3, fillstyle="none", markersize=9, markeredgewidth=2)
    ax.axvline(ROUNDING, color="black", linewidth=0.8, linestyle=":")
    ax.text(ROUNDING * 1.3, -0.75, "rounding, or less", fontsize=8)
    ax.set_yticks(range(len(gaps)), list(gaps))
    ax.set(xscale="log", ylim=(len(gaps) - 0.5, -1.2), xlabel="largest gap in the logits", ylabel="exchanged piece")
    for place, (line, color) in enumerate((("● a prompt within one chunk", LOUD), ("○ a prompt of three", HERO))):
        ax.text(1e-3, 0.2 + 0.9 * place, line, fontsize=9, color=color, va="center")
    hidden = sum(short < ROUNDING < long for short, long in gaps.values())
    ax.set_title(f"{hidden} of {len(gaps) - 1} faults hide in a short prompt")
    show(
        fig, "Faults by the gap that they make: half of them show nothing in a short prompt and all show in a long one."
    )


def cut_keys(chances: Mapping[str, float], color: str) -> None:
    """The chance of the right color after one key was cut, for each word of the fact."""
    fig, ax = plt.subplots(figsize=(6, 2.4))
    ax.bar(range(len(chances)), list(chances.values()), color=[LOUD if w.strip() == color else HERO for w in chances])
    for place, chance in enumerate(chances.values()):
        ax.text(place, chance + 0.03, f"{chance:.2f}", ha="center", fontsize=8)
    ax.set_xticks(range(len(chances)), [repr(word) for word in chances])
    ax.set(ylim=(0, 1.15), xlabel="word of the fact whose key is cut", ylabel=f"p({color!r})")
    ax.set_title("One key carries the fact")
    show(fig, "Chance of the right color with one key cut: high for every word of the fact but the color's own.")


def fact_over_wall(rows: Sequence[tuple[str, float, float]]) -> None:
    """Right answers and the rival's color as shares, a row for each place of the wall in the sentence."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    for row, (_, right, rival) in enumerate(rows):
        ax.barh(row - 0.2, right, 0.38, color=HERO)
        ax.barh(row + 0.2, rival, 0.38, color=LOUD)
        label = {"va": "center", "fontsize": 8, "bbox": {"color": "white", "pad": 1}}
        ax.text(right + 0.01, row - 0.2, "the right color, " * (rival > 0) + f"{right:.2f}", color=HERO, **label)
        if rival:  # one row needs the names
            ax.text(rival + 0.01, row + 0.2, f"the other thing's, {rival:.2f}", color=LOUD, **label)
    ax.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    ax.text(0.51, -0.72, "one chance in two", fontsize=8)
    ax.set_yticks(range(len(rows)), [sentence for sentence, _, _ in rows])
    ax.set(ylim=(len(rows) - 0.4, -1.1), xlim=(0, 1.1), ylabel="place of the wall", xlabel="share of rows")
    ax.set_title("A wall right before the color loses the fact")
    show(fig, "Share of right answers by the place of the wall: lost only where it parts the thing from its color.")


def ratios(figures: Mapping[str, Mapping[str, float]]) -> None:
    """How many times as much transformers takes, a group of bars for each proxy."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    names = list(next(iter(figures.values())))
    for offset, ((proxy, values), color) in enumerate(zip(figures.items(), (HERO, LOUD), strict=True)):
        places = np.arange(len(names)) + 0.38 * offset
        ax.barh(places, list(values.values()), 0.36, color=color)
        ax.text(values[names[0]] + 2.6, places[0], proxy, va="center", fontsize=9, color=color)
        for place, value in zip(places, values.values(), strict=True):
            ax.text(value + 0.3, place, f"{value:.1f}", va="center", fontsize=8)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_yticks(np.arange(len(names)) + 0.19, names)
    ax.set(ylim=(len(names) - 0.3, -0.4), xlabel="transformers takes so many times as much", ylabel="what is measured")
    ax.set_title("The readable file is also the faster one")
    ax.set_xlim(0, 1.08 * max(max(values.values()) for values in figures.values()))
    show(fig, "Ratios of transformers to llama4.py: a prompt's seconds, its memory, a token, a token of an answer.")
