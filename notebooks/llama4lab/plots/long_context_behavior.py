"""Pictures of 09: a row as a strip; recall, loss and attention by distance, length and place."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, moment, plain_ticks
from llama4lab.recall import BEGIN, CHANCE, FILLER_0, VALUE_0, VOCABULARY

# The hybrid, which the text is about, comes last: it is drawn over the others, and thick.
STYLES = {"chunk-only": "--", "rope": "-.", "nope": ":", "hybrid": "-", "late hybrid": (0, (6, 1.5))}
COLORS = dict(zip(("hybrid", "chunk-only", "rope", "nope"), PALETTE, strict=False)) | {"late hybrid": "#000000"}
WIDTHS = dict.fromkeys(STYLES, 1.3) | {"hybrid": 2.8, "late hybrid": 2.8}
TRAINED_WORDS = 128  # the longest row of training
GREENS = LinearSegmentedColormap.from_list("greens", ["#f7efe2", "#7fcfae", "#006b4f"])  # dark in gray, too
FILLER_GRAY, LOOK_ALIKE, ASKED, QUESTION_BLUE = "#e6e6e6", "#f3cdae", PALETTE[1], PALETTE[0]


def strips(rows: Mapping[str, Sequence[int]], asked: int, chunk: int) -> None:
    """Rows of token ids as colored strips, by title; asked: index of the asked value, chunk: words between walls."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(6, 1.25 * len(rows)), sharex=True)
    for ax, (title, row) in zip(axes, rows.items(), strict=True):
        told = [place for place, word in enumerate(row) if VALUE_0 <= word < FILLER_0]
        for place, word in enumerate(row):
            color = FILLER_GRAY if word >= FILLER_0 or word == BEGIN else LOOK_ALIKE
            color = ASKED if place in (asked - 1, asked) else QUESTION_BLUE if place >= len(row) - 2 else color
            ax.barh(0, 0.92, left=place, color=color)
        for number, place in enumerate(told):
            words = f"{VOCABULARY[row[place - 1]]} {VOCABULARY[row[place]]}"
            weight = "bold" if place == asked else "normal"
            height = 0.75 + 0.38 * (number % 3)
            ax.text(max(place, 9), height, words, ha="center", fontsize=7, fontweight=weight)
        ax.text(len(row) + 1, 0, f"{VOCABULARY[row[-2]]} {VOCABULARY[row[-1]]}", color=QUESTION_BLUE, va="center")
        for wall in range(chunk, len(row), chunk):
            ax.plot((wall, wall), (-0.6, 0.6), "-", color="black", linewidth=2.5)
        ax.set(xlim=(0, len(row)), ylim=(-0.65, 1.8), title=title)
        ax.axis("off")
    show(
        fig,
        "Two rows of words as strips cut by walls: the same fact and question, alone and among six look-alikes.",
        {title: " ".join(VOCABULARY[word] for word in row) for title, row in rows.items()},
    )


def reach(changes: Mapping[str, np.ndarray], changed: int, chunk: int) -> None:
    """Which predictions move when the word at `changed` is another one: `[length]` by pattern of layers."""
    fig, axes = plt.subplots(len(changes), 1, figsize=(6, 0.85 * len(changes) + 0.5), sharex=True)
    for ax, (pattern, change) in zip(axes, changes.items(), strict=True):
        for place, moved in enumerate(np.asarray(change) > 0):
            ax.barh(0, 0.9, left=place, color=ASKED if place == changed else COLORS[pattern] if moved else FILLER_GRAY)
        for wall in range(chunk, len(change), chunk):
            ax.axvline(wall - 0.05, color="black", linewidth=2.5)
        ax.set(xlim=(0, len(change)), yticks=(), ylabel=pattern)
        ax.yaxis.label.set(rotation=0, ha="right", va="center")
        ax.spines[["left", "bottom"]].set_visible(False)
    axes[0].set_title("One changed word (orange): which predictions move? (black: walls)")
    axes[-1].set_xlabel("position in the row, words")
    show(
        fig,
        "Two strips of predictions: in the hybrid all after the changed word move, in chunk-only none past the wall.",
        {pattern: (np.asarray(change) > 0).astype(int).tolist() for pattern, change in changes.items()},
    )


def draw_patterns(
    ax: Axes, lines: Mapping[str, Sequence[Mapping[float, float]]], levels: Mapping[str, float], **options
) -> None:
    """Lines of each pattern of layers, and levels, named at their ends; lines: pattern -> one {x: y} for each seed."""
    ends = []
    for pattern in [name for name in STYLES if name in lines]:
        for points in lines[pattern]:
            style = {"color": COLORS[pattern], "linewidth": WIDTHS[pattern], **options}
            ax.plot(list(points), list(points.values()), linestyle=STYLES[pattern], **style)
        ends.append((pattern, np.mean([list(points.values())[-1] for points in lines[pattern]]), COLORS[pattern]))
    label_ends(ax, ends, levels)


def recall_of(models: Mapping[str, Mapping], task: str, measure: str) -> dict[str, list[dict[int, float]]]:
    """Recorded shares of right answers, by pattern of layers a {x: share} for each seed."""
    lines = {}
    for name, tasks in models.items():
        points = {int(x): share for x, share in tasks[task][measure].items()}
        lines.setdefault(name.rpartition("-")[0].replace("grown-", "late "), []).append(points)
    return lines


def recall_by_distance(models: Mapping[str, Mapping], task: str = "alone") -> None:
    """Share of right answers by distance of the fact, every seed a line; task "alone" or "six look-alikes"."""
    fig, ax = plt.subplots()
    ax.set(ylim=(-0.05, 1.08), xlabel="distance from the fact to the question, words", ylabel="share of right answers")
    levels = {"chance": CHANCE} | ({} if task == "alone" else {"any of seven": 1 / 7})
    draw_patterns(ax, recall_of(models, task, "by_distance"), levels, marker=".")
    moment(ax, 31, "wall", at=0.55)
    if task == "alone":
        ax.set_title("One fact: chunk-only falls off a cliff at the wall")
        alt = "Recall of a single fact by distance, every seed a line; a vertical line marks the chunk wall."
    else:
        ax.set_title("One of seven: past the wall only the late hybrid knows whose value it was")
        alt = "Recall among six look-alikes by distance, every seed a line: only the late hybrid stays at 1 past the wall."
    show(fig, alt)


def recall_by_length(models: Mapping[str, Mapping]) -> None:
    """Share of right answers about one fact by length of the row, every seed a line."""
    fig, ax = plt.subplots()
    ax.set_xscale("log", base=2)
    ax.set(ylim=(-0.05, 1.08), xlabel="row length, words (fact at the start)", ylabel="share of right answers")
    draw_patterns(ax, recall_of(models, "alone", "by_length"), {"chance": CHANCE}, marker=".")
    plain_ticks(ax, "x", [64, 128, 256, 512, 1024, 2048, 4096])
    moment(ax, TRAINED_WORDS, "training length", at=0.55)
    ax.set_title("One fact in longer and longer rows: RoPE alone does not last")
    show(fig, "Recall of a single fact by row length, every seed a line; the training length is marked at 128.")


def needle_grids(grids: Mapping[str, np.ndarray], lengths: Sequence[int], depths: Sequence[float]) -> None:
    """Share of right answers, `[depth, length]` by title of the panel."""
    fig, axes = plt.subplots(1, len(grids), figsize=(6, 2.7), sharey=True)
    for ax, (title, grid) in zip(axes, grids.items(), strict=True):
        ax.imshow(grid, vmin=0, vmax=1, cmap=GREENS, aspect="auto")
        ax.set_xticks(range(len(lengths)), lengths)
        ax.set_title(title, fontsize=9)
        for (line, column), share in np.ndenumerate(grid):
            ink = "white" if share > 0.7 else "black"
            ax.text(column, line, f"{share:.2f}", ha="center", va="center", fontsize=7, color=ink)
    axes[0].set_yticks(range(len(depths)), depths)
    axes[0].set_ylabel("depth of the needle")
    fig.supxlabel("row length, words")
    show(
        fig,
        "Three needle grids: the early hybrid is green for one needle and pale for one of seven; the late one is green.",
    )


def ladder(kinds: Mapping[str, Mapping[str, float]], trained: int, levels: Mapping[str, float], **words: str) -> None:
    """Share of right answers by length, a line for each kind of question; words: title, xlabel and alt of the figure."""
    fig, ax = plt.subplots()
    ends = []
    for (kind, shares), style, color in zip(kinds.items(), ("-", "--", "-.", ":"), PALETTE, strict=False):
        ax.plot([int(length) for length in shares], list(shares.values()), style, marker=".", color=color)
        ends.append((kind, list(shares.values())[-1], color))
    ax.set_xscale("log", base=2)
    plain_ticks(ax, "x", [int(length) for length in next(iter(kinds.values()))])
    ax.set(ylim=(0, 1.05), xlabel=words["xlabel"], ylabel="share of right answers", title=words["title"])
    moment(ax, trained, "longest training row", at=0.55, side="right")
    label_ends(ax, ends, levels)
    show(fig, words["alt"])


def by_filler(
    shares: Mapping[str, Mapping[int, float]],
    title: str = "A sentence is found by its own words, and lost by other words",
) -> None:
    """Share of right answers of scout-proxy by words of filler before each fact, a line for each way to ask."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    amounts = list(next(iter(shares.values())))
    ends = []
    for (question, points), style, color in zip(shares.items(), ("-", "--", "-."), PALETTE, strict=False):
        ax.plot(range(len(amounts)), list(points.values()), style, marker="o", color=color, linewidth=2.2)
        ends.append((question.replace(", ", ",\n"), list(points.values())[-1], color))
    ax.set_xticks(range(len(amounts)), amounts)
    ax.set(ylim=(-0.03, 1.05), xlabel="words of filler before each fact", ylabel="share of right answers")
    label_ends(ax, ends)
    ax.set_title(title)
    show(
        fig,
        "Share of right answers by words of filler before each fact: with shared words it stays high, in other words it falls.",
    )


def demands(recall_by_place: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], steps: Sequence[str]) -> None:
    """Recall by place of the fact among sixteen, a panel for each moment; recall: what training asks for -> seed -> step."""
    fig, axes = plt.subplots(1, len(steps), figsize=(6, 3.2), sharey=True)
    for ax, step in zip(axes, steps, strict=True):
        for (kind, seeds), style, color in zip(recall_by_place.items(), ("-", "--", "-.", ":"), PALETTE, strict=False):
            for seed, moments in seeds.items():
                label = kind if seed == "0" else None
                ax.plot(range(1, 17), moments[step], style, color=color, linewidth=1.2, label=label)
        label_ends(ax, [], {"any of\nsixteen" if ax is axes[-1] else "": 1 / 16})
        ax.set(ylim=(0, 1.05), xlabel="place of the fact among sixteen", title=f"after {step} steps")
        ax.set_xticks((1, 4, 8, 12, 16))
    axes[0].set_ylabel("share of right answers")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, title="training asks for", loc="outside lower center", ncols=4, fontsize=8)
    show(
        fig,
        "Recall by place of the fact for four training demands and three seeds each, early and at the end of training.",
    )


def loss_along_row(by_position: Mapping[str, Sequence[float]], two_words: float) -> None:
    """Loss of the next word along a row, means of 32 words."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    starts = range(0, 992, 32)  # whole chunks
    means = {
        name: {start + 16: float(np.mean(nll[start : start + 32].tolist())) for start in starts}
        for name, nll in by_position.items()
    }
    ax.set(ylim=(0.4, 1.05 * max(max(points.values()) for points in means.values())))
    ax.set(xlabel="position in the row, words", ylabel="loss, nats")
    draw_patterns(ax, {name: [points] for name, points in means.items()}, {"two words seen": two_words})
    moment(ax, TRAINED_WORDS, "training length", at=0.85)
    ax.set_title("Past the training length, chunks keep their loss; RoPE and NoPE alone do not")
    show(
        fig,
        "Loss of the next word along rows of 1024 words for four patterns of layers; the training length is marked.",
    )


def attention_on_needle(lengths: Sequence[int], weights: Mapping[str, Sequence[float]]) -> None:
    """Attention on the value by length of the row; weights: by words for how the model ran."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for (_, values), style in zip(weights.items(), ("-", "--"), strict=True):
        ax.plot(lengths, values, style, marker=".")
    ax.set_xscale("log", base=2)
    plain_ticks(ax, "x", lengths)
    ax.set(ylim=(0, 1), xlabel="row length, words", ylabel="weight on the value")
    moment(ax, TRAINED_WORDS, "training length")
    label_ends(ax, [(name, values[-1], color) for (name, values), color in zip(weights.items(), PALETTE, strict=False)])
    ax.set_title("Temperature slows the dilution of attention on the needle")
    show(fig, "Attention weight on the needle by row length, with temperature tuning and without it.")
