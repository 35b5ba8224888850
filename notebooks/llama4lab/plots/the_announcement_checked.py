"""Pictures of 18: what decides the article's claims, and what a published score can and cannot carry."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY

QUIET, LOUD, HERO, PALE = "#b0b0b0", PALETTE[1], PALETTE[0], "#d6e6f2"


def active_of_total(active: Mapping[str, int], totals: Mapping[str, int]) -> None:
    """A bar of all parameters for each model, with the part that one token uses filled."""
    fig, ax = plt.subplots(figsize=(6, 1.9))
    for row, name in enumerate(totals):
        total, used = totals[name] / 1e9, active[name] / 1e9
        ax.barh(row, total, color=PALE, edgecolor=GRAY, height=0.6)
        ax.barh(row, used, color=HERO, height=0.6)
        ax.text(total + 5, row, f"{used:.2f} of {total:.2f}: {used / total:.1%}", fontsize=8.5, va="center")
    ax.set_yticks(range(len(totals)), [name.title() for name in totals])
    ax.set(ylim=(len(totals) - 0.4, -0.6), xlim=(0, 560), xlabel="billions of parameters", ylabel="model")
    ax.set_title("One token uses a small part; the rest waits in memory")
    ax.grid(visible=False, axis="y")
    show(
        fig,
        "All parameters of Scout and of Maverick as bars; the part that one token uses is the same small piece of both.",
    )


def gpu_boxes(gigabytes: Mapping[str, float], capacity: float = 80.0) -> None:
    """Weights as bars over a ruler of GPUs, each of `capacity` GB."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    longest = max(gigabytes.values())
    for edge in np.arange(0, longest + 2 * capacity, 2 * capacity):
        ax.axvspan(edge, edge + capacity, color="#f3f3f3", zorder=0)
    for row, size in enumerate(gigabytes.values()):
        fits = size <= capacity
        ax.barh(row, size, color=HERO if fits else QUIET, height=0.6)
        words = f"{size:.1f} GB, {-(-size // capacity):.0f} GPU" + ("" if fits else "s")
        ax.text(size + 8, row, words, fontsize=8.5, va="center", fontweight="bold" if fits else "normal")
    ax.set_yticks(range(len(gigabytes)), list(gigabytes))
    ax.set(ylim=(len(gigabytes) - 0.4, -0.6), xlim=(0, longest + 190), ylabel="weights alone")
    ax.set_xticks(np.arange(0, longest + capacity, 2 * capacity))
    ax.set_xlabel(f"GB; each stripe is one GPU of {capacity:.0f} GB")
    ax.set_title("One of six fits a single 80 GB GPU")
    ax.grid(visible=False)
    show(
        fig,
        "Weights of Scout and Maverick in three precisions over stripes of 80 GB: only Scout in 4 bits fits in one stripe.",
    )


def leads(names: Sequence[str], scout: Sequence[float], maverick: Sequence[float]) -> None:
    """How far Scout and Maverick are ahead of the best Llama 3 model, a row for each benchmark."""
    fig, ax = plt.subplots(figsize=(6, 4.2))
    rows = range(len(names))
    ax.hlines(rows, scout, maverick, color="#cccccc", linewidth=2, zorder=1)
    ax.plot(scout, rows, "o", color=LOUD, markersize=7, linestyle="none")
    ax.plot(maverick, rows, "D", color=HERO, markersize=7, linestyle="none")
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    ax.text(scout[0] - 0.5, 0, "Scout", color=LOUD, fontsize=9, ha="right", va="center")
    ax.text(maverick[0] + 0.6, 0, "Maverick", color=HERO, fontsize=9, ha="left", va="center")
    ax.text(0, len(names) - 0.1, " best Llama 3", fontsize=8, va="center")
    ax.set_yticks(rows, names)
    ax.set(ylim=(len(names) + 0.4, -0.9), xlabel="points ahead of the best Llama 3 of its kind", ylabel="benchmark")
    ax.set_xlim(left=min(scout) - 2.5)
    ax.set_title("Maverick leads nearly everywhere, Scout on pictures")
    show(
        fig,
        "Points by which Scout and Maverick are ahead of the best Llama 3 model on fourteen benchmarks: Maverick on all but "
        "one, Scout mostly behind on text and ahead on pictures.",
    )


def timeline(events: Mapping[str, date]) -> None:
    """Events on a line of dates, their words above and below in turn."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    ax.axhline(0, color="black", linewidth=1.2, linestyle="-")
    for place, (words, day) in enumerate(events.items()):
        height = (1, -1, 2, -2)[place % 4] * 0.9
        ax.plot([day, day], [0, height], "-", color=QUIET, linewidth=1)
        ax.plot(day, 0, "o", color=HERO, markersize=6)
        side = "bottom" if height > 0 else "top"
        ax.text(day, height, f"{words}\n{day.day} {day:%b %Y}", fontsize=8, ha="center", va=side)
    first, last = min(events.values()), max(events.values())
    ax.set(xlim=(first - (last - first) * 0.13, last + (last - first) * 0.13), ylim=(-3.1, 3.1))
    ax.set_axis_off()
    ax.set_title("A claim can be right on its day")
    show(
        fig,
        "Dates from Llama 3 in April 2024 over the announcement in April 2025 to reports in July 2025 that Behemoth was halted.",
        {words: day.isoformat() for words, day in events.items()},
    )


def intervals(rows: Mapping[str, tuple[float, float]], in_blue: Callable[[str], bool]) -> tuple[Figure, Axes]:
    """Differences, each with half of its 95 % interval."""
    fig, ax = plt.subplots(figsize=(6, 0.9 + 0.34 * len(rows)))
    for row, (name, (difference, half)) in enumerate(rows.items()):
        color = HERO if in_blue(name) else QUIET
        ax.plot([difference - half, difference + half], [row, row], "-", color=color, linewidth=3)
        ax.plot(difference, row, "o", color=color, markersize=7)
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(ylim=(len(rows) - 0.4, -0.6), ylabel="compared")
    ax.grid(visible=False, axis="y")
    return fig, ax


def leads_and_chance(rows: Sequence[tuple[str, float, float]]) -> None:
    """Scout's leads over a Llama 3 of 70B, (benchmark, lead, half of its interval) each."""
    beyond_chance = {name for name, lead, half in rows if lead > half}
    fig, ax = intervals({name: (lead, half) for name, lead, half in rows}, beyond_chance.__contains__)
    ax.set_xlabel("points ahead of Llama 3 70B, with 95 % intervals")
    ax.set_title(f"{len(beyond_chance)} of {len(rows)} leads are larger than chance")
    show(fig, "Scout's lead over Llama 3 70B on six benchmarks with intervals: three are beyond zero, three are not.")


def two_intervals(rows: Mapping[str, tuple[float, float]]) -> None:
    """Differences to scout-proxy, each with an unpaired and a paired interval."""
    fig, ax = intervals(rows, lambda name: name.endswith(", paired"))
    ax.set_xlabel("points against scout-proxy, with 95 % intervals")
    ax.set_title("The same answers: pairs make the interval shorter")
    show(
        fig,
        "Differences of three models to scout-proxy: the paired intervals are a quarter to two thirds as wide as the "
        "unpaired ones.",
    )


def style_hides(shares: Sequence[float], ratings: Sequence[float], break_even: float) -> None:
    """The lead of the better model in rating points, by the share of votes that style decides."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    ax.plot(shares, ratings, color=HERO, linewidth=2.6)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.plot(break_even, 0, "o", color=LOUD, markersize=8)
    ax.annotate(f"{break_even:.0%} of the votes", (break_even, 0), (8, 8), textcoords="offset points", color=LOUD)
    ax.set(xlabel="share of votes that style decides", ylabel="rating points ahead", xlim=(0, max(shares)))
    ax.set_title("A few votes by style hide 20 points of accuracy")
    show(
        fig,
        "Rating lead of a model that is right more often, by the share of votes that style decides: it falls from about 70 "
        "points to 0 at a sixth of the votes, and below.",
    )


def preference_and_accuracy(right: Mapping[str, float], ratings: Mapping[str, float]) -> None:
    """Each model's share of right answers beside its rating from votes."""
    fig, (left, middle) = plt.subplots(1, 2, figsize=(6, 2.2), sharey=True)
    names = list(right)
    for ax, values, best in ((left, right, max(right.values())), (middle, ratings, max(ratings.values()))):
        colors = [LOUD if values[name] == best else QUIET for name in names]
        for name, color in zip(names, colors, strict=True):
            if ax is left:
                ax.plot([0, values[name]], [name, name], "-", color=color, linewidth=2)
            ax.plot(values[name], name, "o", color=color, markersize=9)
            ax.annotate(
                f"{values[name]:.0%}" if ax is left else f"{values[name]:.0f}",
                (values[name], name),
                (9, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        ax.grid(visible=False, axis="y")
    left.set(xlim=(0, 1), xlabel="share of right answers")
    middle.set(xlim=(min(ratings.values()) - 40, max(ratings.values()) + 60), xlabel="rating from votes")
    left.set_ylim(len(names) - 0.5, -0.5)
    fig.suptitle("The most accurate of three is rated last", x=0.02, ha="left", fontsize=10)
    show(fig, "Three models: the one with the most right answers has the lowest rating, the chatty one the highest.")


def tests_and_cutoff(months: Mapping[str, date], cutoff: date) -> None:
    """When each benchmark was published, and the date up to which the model has read."""
    fig, ax = plt.subplots(figsize=(6, 3.3))
    names = sorted(months, key=months.get)
    for row, name in enumerate(names):
        known = months[name] < cutoff
        ax.plot(months[name], row, "o", color=QUIET if known else HERO, markersize=7)
    ax.axvspan(cutoff, date(2025, 6, 1), color=PALE, zorder=0)
    ax.text(cutoff, -0.9, " not read\n in training", fontsize=8, va="top")
    ax.axvspan(date(2024, 10, 1), date(2025, 2, 1), ymin=0.02, ymax=0.10, color=HERO, alpha=0.5)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) + 0.7, -1.2), xlabel="first published", ylabel="benchmark")
    ax.text(
        date(2024, 9, 1),
        len(names) + 0.05,
        "LiveCodeBench's problems ",
        fontsize=8,
        color=HERO,
        ha="right",
        va="center",
    )
    ax.set_title("Nearly all tests were public before the training data ended")
    ax.grid(visible=False, axis="y")
    show(
        fig,
        "Months in which thirteen benchmarks were published, and August 2024, the end of the training data: all but MMMU-Pro "
        "are older, and LiveCodeBench's window of problems is younger.",
    )


def hours(gpu_hours: Mapping[str, float], estimated: str) -> None:
    """GPU-hours of training by model; the estimated one is hatched."""
    fig, ax = plt.subplots(figsize=(6, 1.9))
    for row, (name, value) in enumerate(gpu_hours.items()):
        known = name != estimated
        ax.barh(row, value / 1e6, color=HERO if known else "white", edgecolor=HERO if known else LOUD, height=0.6)
        ax.text(value / 1e6 + 0.6, row, f"{value / 1e6:.1f} million", fontsize=8.5, va="center")
    ax.set_yticks(range(len(gpu_hours)), list(gpu_hours))
    ax.set(ylim=(len(gpu_hours) - 0.4, -0.6), xlim=(0, 46), xlabel="million H100-hours", ylabel="model")
    ax.set_title("The teacher's hours are not on the students' card")
    ax.grid(visible=False, axis="y")
    show(
        fig, "H100-hours: five million for Scout, 2.4 for Maverick, and about 37 estimated for Behemoth, an empty bar."
    )


def utilization(shares: Mapping[str, float]) -> None:
    """One rate of work as a share of three peaks."""
    fig, ax = plt.subplots(figsize=(6, 1.9))
    ax.barh(list(shares), list(shares.values()), color=[QUIET, HERO, QUIET], height=0.6)
    for row, value in enumerate(shares.values()):
        ax.text(value + 0.01, row, f"{value:.1%}", fontsize=9, va="center")
    ax.invert_yaxis()
    ax.set(xlim=(0, 0.5), xlabel="390 TFLOPs a GPU as a share of it", ylabel="peak taken")
    ax.set_title("One speed, three utilizations")
    ax.grid(visible=False, axis="y")
    show(fig, "One speed as a share of three peaks: about 39, 20 and 10 percent.")


def precisions(right: Mapping[str, int], lost: Mapping[str, int], won: Mapping[str, int], asked: int) -> None:
    """Right answers of each contestant, with the answers lost and won against the first one drawn at its end."""
    fig, ax = plt.subplots(figsize=(6, 2.5))
    names = list(right)
    for row, name in enumerate(names):
        kept = right[name] - won[name]
        ax.barh(row, kept, color=PALE, edgecolor=GRAY, height=0.62)
        ax.barh(row, won[name], left=kept, color=HERO, height=0.62)
        ax.barh(row, lost[name], left=kept + won[name], color="white", edgecolor=LOUD, height=0.62, linewidth=1.3)
        words = f"{right[name]} right" + (f": lost {lost[name]}, won {won[name]}" if row else "")
        ax.text(kept + won[name] + lost[name] + 1, row, words, fontsize=8.5, va="center")
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, asked + 14), xlabel=f"questions, of {asked}", ylabel="answered by")
    ax.set_title("Nearly the same score can hide other answers")
    ax.grid(visible=False, axis="y")
    show(
        fig,
        "Right answers of scout-proxy and of four others to the same questions, with those lost and won against it: "
        "behemoth-proxy has nearly the same score with many other answers.",
    )
