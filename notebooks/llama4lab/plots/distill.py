"""Pictures of 16: what a teacher says, what it costs to keep that, and students with and without it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, plain_ticks

HERO, LOUD, THIRD, QUIET = PALETTE[0], PALETTE[1], PALETTE[2], "#b0b0b0"
COLORS = {"alone": LOUD, "with the teacher": HERO, "with a shuffled teacher": "#777777"}
MARKS = {"alone": "s", "with the teacher": "o", "with a shuffled teacher": "^"}


def bill(flops: Mapping[str, float]) -> None:
    """FLOPs by what they are spent on."""
    fig, ax = plt.subplots(figsize=(6, 1.7))
    bars = ax.barh(list(flops), list(flops.values()), color=[LOUD, HERO], height=0.6)
    ax.bar_label(bars, [f"{value:.1e}" for value in flops.values()], padding=4, fontsize=8)
    ax.set(xlabel="FLOPs", xlim=(0, 1.2 * max(flops.values())))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_title("Listening to Behemoth costs more than learning")
    show(fig, "Two bars of FLOPs: Behemoth reading Maverick's text is 5.6 times as long as Maverick's training.")


def soft_targets(asked: Mapping[str, Mapping[str, float]]) -> None:
    """The likeliest next words of some texts, and their chances; no bar shows one of less than a thousandth."""
    asked = {text: {word: chance for word, chance in words.items() if chance >= 1e-3} for text, words in asked.items()}
    most = max(map(len, asked.values()))
    fig, axes = plt.subplots(1, len(asked), figsize=(6, 3.6), sharey=True)
    for ax, (text, words), color in zip(axes, asked.items(), (HERO, LOUD, THIRD), strict=True):
        places = range(len(words))
        ax.barh(places, list(words.values()), color=color)
        for place, (word, chance) in enumerate(words.items()):
            shown = "".join(letter if letter.isprintable() else "↵" for letter in word.strip(" ")) or "space"
            ax.text(chance + 0.02, place, shown, fontsize=8, va="center")
        half = text.rfind(" ", 0, 26) if len(text) > 26 else len(text)
        lines = [text[:half], text[half + 1 :]]
        if len(lines[1]) > 26:
            at = lines[1].rfind(" ", 0, 26)
            lines[1:] = [lines[1][:at], lines[1][at + 1 :]]
        ax.set_title("\n".join(line for line in lines if line) + " …", fontsize=8)
        ax.set(xlim=(0, 1.35), xticks=[0, 0.5, 1], ylim=(most - 0.4, -0.6), yticks=[])
        ax.grid(visible=False)
    fig.supxlabel("the teacher's chance")
    fig.supylabel("likeliest first")
    show(
        fig,
        "The teacher's likeliest next words for three texts: fourteen fruits, none far ahead; dates alone; shape before data.",
        {text: [f"{word.strip()} {chance:.2f}" for word, chance in words.items()] for text, words in asked.items()},
    )


def temperature(values: Sequence[float], sizes: Sequence[float], squared: Sequence[float], limit: float) -> None:
    """Size of the gradient by temperature, as it is and times the square."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    ax.plot(values, sizes, marker="s", color=LOUD)
    ax.plot(values, squared, marker="o", color=HERO, linewidth=2.4)
    ax.set(xscale="log", yscale="log", xlabel="temperature T", ylabel="size of the gradient")
    plain_ticks(ax, "x", values)
    ax.set_title("Times T², the teacher is heard at every temperature")
    ends = [("as it is", sizes[-1], LOUD), ("times T²", 1.25 * squared[-1], HERO)]
    label_ends(ax, ends, {"difference\nof logits / V": limit})
    show(
        fig,
        "Gradient against temperature: it falls with the square of T; multiplied by the square it becomes flat from T = 8.",
    )


def two_peaks(x: np.ndarray, teacher: np.ndarray, students: Mapping[str, np.ndarray]) -> None:
    """A teacher with two peaks and the best bells by two losses; densities on the grid `x`."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    ax.fill_between(x, teacher, color="#cfe3f1")
    ax.plot(x, teacher, color=HERO, linewidth=1)
    for (name, density), color, dash in zip(students.items(), (LOUD, "black"), ("-", "--"), strict=True):
        ax.plot(x, density, color=color, linestyle=dash, linewidth=2.2)
        top = int(np.argmax(density))
        ax.annotate(name, (x[top], density[top]), xytext=(12, 3), textcoords="offset points", fontsize=9, color=color)
    ax.text(x[int(np.argmax(teacher))] - 0.9, teacher.max() * 0.75, "teacher", fontsize=9, color=HERO, ha="right")
    ax.set(xlabel="what could be said", ylabel="chance", xlim=(-7, 7), yticks=[])
    ax.set_ylim(0, 1.15 * max(density.max() for density in students.values()))
    ax.set_title("Forward covers everything, reverse takes one peak")
    show(
        fig,
        "A teacher with two peaks: the forward student is one wide hill across both, the reverse one is on the larger peak.",
    )


def kept_targets(kept: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Error of the gradient by how many of the teacher's numbers are kept; panels: of one token and of their mean."""
    fig, axes = plt.subplots(1, len(panels), figsize=(6, 3.1))
    for ax, (panel, errors) in zip(axes, panels.items(), strict=True):
        for (name, values), color, mark in zip(errors.items(), (LOUD, HERO, THIRD), "so^", strict=True):
            ax.plot(kept, values, marker=mark, markersize=4, color=color, linewidth=2, label=name)
        ax.set(xscale="log", yscale="log", title=panel)
        plain_ticks(ax, "x", kept)
    fig.supylabel("error of the gradient")
    axes[0].legend(loc="lower left", fontsize=8)
    fig.supxlabel("numbers kept of a token")
    fig.suptitle("In the mean, the sum of the rest repairs most of the cut")
    show(
        fig,
        "Error of the gradient by the numbers kept: on one token the lot is worst, in the mean of many the cut, up to 32.",
    )


def live(steps: Sequence[int], curves: Mapping[str, Sequence[float]], lower: int) -> None:
    """Held-out NLL of two students by step; lower: at how many looks the taught one is ahead."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    for name, values in curves.items():
        ax.plot(steps, values, marker=MARKS[name], color=COLORS[name], linewidth=2.2)
    ax.set(xlabel="training step (8 pages each)", ylabel="held-out nats a token")
    plain_ticks(ax, "x", steps)
    ax.set_title("Same pages, same steps, same start")
    label_ends(ax, [(name, values[-1], COLORS[name]) for name, values in curves.items()])
    show(
        fig,
        "Held-out nats a token by step: the student with the teacher is below the one without it.",
        {"with the teacher is lower at": f"{lower} of {len(steps)} looks"},
    )


def by_size(tokens: Sequence[int], arms: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Held-out NLL by size of the text; arms: for each size a number for each seed. The first arm is alone, the last taught."""
    fig, ax = plt.subplots(figsize=(6, 3.8))
    means = {name: [np.mean(column) for column in columns] for name, columns in arms.items()}
    for name, columns in arms.items():
        line, width = ("--", 1.4) if "shuffled" in name else ("-", 2.2)
        ax.plot(tokens, means[name], color=COLORS[name], linestyle=line, linewidth=width)
        for count, column in zip(tokens, columns, strict=True):
            ax.plot([count] * len(column), column, MARKS[name], color=COLORS[name], markersize=5, alpha=0.75)
    alone, *_, taught = means.values()
    for count, upper, lower in zip(tokens, alone, taught, strict=True):
        beside, side = (count / 1.1, "right") if count == tokens[0] else (count * 1.1, "left")
        ax.text(beside, (upper + lower) / 2, f"{upper - lower:.2f}", fontsize=8, ha=side, va="center", color=GRAY)
    ax.set(xscale="log", xlabel="different tokens to read (410,000 read in all)", ylabel="held-out nats a token")
    plain_ticks(ax, "x", tokens, [f"{count:,}" for count in tokens])
    ax.set_xlim(tokens[0] / 1.8, tokens[-1] * 1.6)
    ax.set_title("The teacher gains least where there is most to read")
    label_ends(ax, [(name, values[-1], COLORS[name]) for name, values in means.items()])
    show(
        fig, "Held-out nats a token by amount of text, every seed: with the teacher below alone, least with most text."
    )


def gap_by_step(steps: Sequence[int], gaps: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """What the teacher gains at each look, in nats; a line for each seed."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    ends = []
    for (name, lines), color, dash in zip(gaps.items(), (LOUD, HERO), ("--", "-"), strict=True):
        for line in lines:
            ax.plot(steps, line, color=color, linestyle=dash, marker=".", linewidth=1.3)
        ends.append((name, np.mean([line[-1] for line in lines]), color))
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xscale="log", xlabel="training step", ylabel="nats gained by the teacher")
    plain_ticks(ax, "x", [10, 20, 40, 80, 180, 400])
    ax.set_title("What the teacher gains does not fade")
    label_ends(ax, ends)
    show(fig, "The teacher's gain by step, a line a seed, for two amounts of text.")


def arms(gains: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """What students gain on the student alone of the same seed, in nats; gains: by panel, then by arm."""
    fig, axes = plt.subplots(1, len(gains), figsize=(6, 3.2), sharey=True)
    for ax, (panel, rows) in zip(axes, gains.items(), strict=True):
        for row, values in enumerate(rows.values()):
            color = HERO if np.mean(values) > 0 else LOUD
            ax.plot(values, [row] * len(values), "o", color=color, markersize=5, alpha=0.75)
            ax.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color="black", linestyle="-", linewidth=1.4)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=panel, ylim=(len(rows) - 0.4, -0.6))
        ax.set_yticks(range(len(rows)), list(rows))
    fig.supxlabel("nats gained on the student alone (right is better)")
    fig.suptitle("Soft first beats hard first; all soft is as good or better")
    axes[0].set_ylabel("targets")
    show(fig, "Nats gained on the student alone, every seed, for ways to mix hard and soft targets.")


def own_text(
    tempered: Sequence[Sequence[tuple[float, float]]], students: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """How the teacher judges text that students wrote, by how open they were; points (entropy, teacher's nats).

    tempered: for each seed the soft student at falling temperatures; students: by how they learned, a point a seed.
    """
    fig, ax = plt.subplots(figsize=(6, 3.6))
    for line in tempered:
        ax.plot(*zip(*line, strict=True), color=QUIET, linestyle="-", marker=".", linewidth=1.4)
    x, y = min(line[-1] for line in tempered)
    ax.annotate(
        "pages, forward,\nsampled colder", (x, y), xytext=(32, -4), textcoords="offset points", fontsize=8, color=GRAY
    )
    for (name, points), color, mark in zip(students.items(), (LOUD, THIRD, PALETTE[3], HERO), "s^Do", strict=True):
        ax.plot(*zip(*points, strict=True), color=color, marker=mark, linestyle="none", markersize=7, label=name)
    ax.set(xlabel="how open the student is while it writes, nats", ylabel="the teacher's nats a token of it")
    ax.legend(loc="upper left", fontsize=8)
    ax.set_title("Reverse on its own text: liked more than colder sampling is")
    show(
        fig,
        "Teacher's nats of the students' own text by the students' entropy, every seed, with lines of temperatures.",
    )


def reliability(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> None:
    """How often students are right by how sure they are; panels: by amount of text, then (confidence, accuracy)."""
    fig, axes = plt.subplots(1, len(panels), figsize=(6, 3.2), sharey=True)
    for ax, (panel, lines) in zip(axes, panels.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        for name, (sure, right) in lines.items():
            ax.plot(sure, right, marker=MARKS[name], color=COLORS[name], label=name)
        ax.set(title=panel, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0].set_ylabel("share that was right")
    axes[0].legend(loc="upper left", fontsize=8)
    fig.supxlabel("how sure the student was")
    fig.suptitle("With few pages the teacher halves false certainty")
    show(
        fig,
        "Share of right guesses by confidence, with and without the teacher, beside the diagonal of an honest student.",
    )


def shared_routing(bits: Mapping[str, Sequence[float]]) -> None:
    """Bits that a student's experts share with the teacher's beyond the token; a dot for each seed."""
    fig, ax = plt.subplots(figsize=(6, 2))
    for row, (name, values) in enumerate(bits.items()):
        ax.plot(values, [row] * len(values), MARKS[name], color=COLORS[name], markersize=7, alpha=0.75)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.text(0.004, -0.42, "experts dealt anew among the occurrences of a token", fontsize=8, color=GRAY)
    ax.set_yticks(range(len(bits)), list(bits))
    ax.set(xlim=(-0.01, 0.3), ylim=(len(bits) - 0.4, -0.7), xlabel="bits beyond the token", ylabel="student")
    ax.set_title("With 3,200 pages a shuffled teacher leaves as much trace")
    show(
        fig,
        "Bits that the experts of students share with the teacher's after 3,200 pages, every seed: a little more with "
        "the teacher than alone, most with a shuffled one.",
    )


def two_kinds(values: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Held-out NLL of sparse and dense students, alone and taught; values: by panel, then by student."""
    fig, axes = plt.subplots(1, len(values), figsize=(6, 2.8), sharey=True)
    for ax, (panel, students) in zip(axes, values.items(), strict=True):
        for row, (name, column) in enumerate(students.items()):
            color = HERO if "taught" in name else LOUD
            ax.plot(column, [row] * len(column), "o" if "mixture" in name else "s", color=color, alpha=0.75)
        ax.set_yticks(range(len(students)), list(students))
        ax.set(title=panel, ylim=(len(students) - 0.5, -0.5))
    fig.supxlabel("held-out nats a token")
    fig.suptitle("The teacher helps a dense student, too")
    axes[0].set_ylabel("student")
    show(fig, "Held-out nats of a mixture and of a dense student of equal active size, alone and taught, every seed.")
