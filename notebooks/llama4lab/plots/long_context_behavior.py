"""Pictures of 09: recall, loss and attention by distance, length and place."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, moment, plain_ticks
from llama4lab.recall import CHANCE

# The hybrid, which the text is about, comes last: it is drawn over the others, and thick.
STYLES = {"chunk-only": "--", "rope": "-.", "nope": ":", "hybrid": "-"}
COLORS = {"hybrid": PALETTE[0], "chunk-only": PALETTE[1], "rope": PALETTE[2], "nope": PALETTE[3]}
WIDTHS = dict.fromkeys(STYLES, 1.3) | {"hybrid": 2.8}
TRAINED_WORDS = 128  # the longest row of training


def draw_patterns(
    ax: Axes, lines: Mapping[str, Sequence[Mapping[float, float]]], levels: Mapping[str, float], **options
) -> None:
    """Lines of each pattern of layers, and levels, named at their ends; lines: pattern -> one {x: y} for each seed."""
    ends = []
    for pattern in [name for name in STYLES if name in lines]:
        for points in lines[pattern]:
            style = {"color": COLORS[pattern], "linewidth": WIDTHS[pattern], **options}
            ax.plot(list(points), list(points.values()), STYLES[pattern], **style)
        ends.append((pattern, np.mean([list(points.values())[-1] for points in lines[pattern]]), COLORS[pattern]))
    label_ends(ax, ends, levels)


def recall_of(models: Mapping[str, Mapping], task: str, measure: str) -> dict[str, list[dict[int, float]]]:
    """Recorded shares of right answers, by pattern of layers a {x: share} for each seed."""
    lines = {}
    for name, tasks in models.items():
        points = {int(x): share for x, share in tasks[task][measure].items()}
        lines.setdefault(name.rpartition("-")[0], []).append(points)
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
        ax.set_title("Trained from the start, no pattern knows whose value it was past the wall")
        alt = "Recall among six look-alikes by distance, every seed a line; the wall and two chance levels are marked."
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
    fig, axes = plt.subplots(1, len(grids), figsize=(6, 2.9), sharey=True)
    for ax, (title, grid) in zip(axes, grids.items(), strict=True):
        picture = ax.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        ax.set_xticks(range(len(lengths)), lengths)
        ax.set(xlabel="row length, words", title=title)
        for (line, column), share in np.ndenumerate(grid):
            ax.text(column, line, f"{share:.2f}", ha="center", va="center", color="black" if share > 0.5 else "white")
    axes[0].set_yticks(range(len(depths)), depths)
    axes[0].set_ylabel("depth of the needle")
    fig.colorbar(picture, ax=axes, label="share right")
    show(fig, "Two needle grids of the hybrid: one needle alone, and the same with six look-alikes.")


def ladder(kinds: Mapping[str, Mapping[str, float]], trained: int = 256) -> None:
    """Share of exact answers of scout-proxy by length of the prompt, for each kind of question."""
    fig, ax = plt.subplots()
    for (_, shares), style, color in zip(kinds.items(), ("-", "--", "-.", ":"), PALETTE, strict=False):
        ax.plot([int(length) for length in shares], list(shares.values()), style, marker=".", color=color)
    ax.set_xscale("log", base=2)
    plain_ticks(ax, "x", [int(length) for length in next(iter(kinds.values()))])
    ax.set(ylim=(0, 1.05), xlabel="prompt length, tokens", ylabel="share of exact answers")
    moment(ax, trained, "longest training row", at=0.02)
    ends = [
        (kind, list(shares.values())[-1], color) for (kind, shares), color in zip(kinds.items(), PALETTE, strict=False)
    ]
    label_ends(ax, ends, {"any of three": 1 / 3})
    ax.set_title("scout-proxy finds one needle; two hops and other words are guesses")
    show(fig, "Share of exact answers of scout-proxy by prompt length for four kinds of questions.")


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


def loss_in_chunk(places: Mapping[str, Sequence[float]], one_word: float, two_words: float) -> None:
    """Loss of the next word by position within the chunk, between the levels for one and for two words seen."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    ax.set(ylim=(0.5, 1.1 * one_word), xlabel="position within the chunk", ylabel="loss, nats")
    levels = {"one word seen": one_word, "two words seen": two_words}
    draw_patterns(ax, {name: [dict(enumerate(map(float, nll)))] for name, nll in places.items()}, levels, marker=".")
    ax.set_title("A wall costs one word of each chunk: the first")
    show(fig, "Loss by place in the chunk for both patterns, between the levels for one and for two words seen.")


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
