"""Pictures of 15: what a lesson gains and costs, which skills it takes, memory, two trainers that agree."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, plain_ticks

HERO, LOUD, GREEN, QUIET = PALETTE[0], PALETTE[1], PALETTE[2], "#b0b0b0"


def two_lessons(
    losses: Mapping[str, Sequence[float]], shares: Mapping[str, tuple[float, float]], before: tuple[float, float]
) -> None:
    """The loss of two lessons, and what each model answers of the new and of the old question."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 2.9), width_ratios=(1, 1.15))
    for values, color, style in zip(losses.values(), (LOUD, HERO), ("-", "--"), strict=True):
        left.plot(values, color=color, linestyle=style, linewidth=2)
    left.set(xlabel="step", ylabel="loss, nats a token", ylim=(0, None))
    for height, color, words in ((4.9, LOUD, "the lesson alone"), (4.3, HERO, "a quarter old (dashed)")):
        left.text(13, height, words, color=color, fontsize=8)
    left.set_title("The losses look alike ...")
    names = {"before": before} | dict(shares)
    labels = ["before", "the lesson\nalone", "a quarter\nold question"]
    for row, pair in enumerate(names.values()):
        for side, (value, color, word) in enumerate(zip(pair, (GREEN, QUIET), ("new", "old"), strict=True)):
            place = row + 0.36 * (side - 0.5)
            right.barh(place, 100 * value, height=0.34, color=color)
            right.text(100 * value + 2, place, word, fontsize=8, va="center")
    right.set_yticks(range(3), labels)
    right.set(xlim=(0, 118), ylim=(2.6, -0.6), xlabel="exact answers, %", ylabel="after")
    right.grid(axis="y")
    right.set_title("... the exams do not")
    values = {name: ["at least 0.9" if share >= 0.9 else "below" for share in pair] for name, pair in names.items()}
    show(
        fig,
        "Two losses fall alike; bars of exact answers: both lessons teach the new question, only the mixed one keeps the old.",
        values,
    )


def loss_strips(rows: Mapping[str, Sequence[str]]) -> None:
    """Conversations as strips of tokens; each token is "template", "patch" or "answer"."""
    fig, ax = plt.subplots(figsize=(6, 1.75))
    looks = {"template": ("#d9d9d9", ""), "patch": ("white", "////"), "answer": (LOUD, "")}
    for row, kinds in enumerate(rows.values()):
        for place, kind in enumerate(kinds):
            color, hatch = looks[kind]
            ax.barh(row, 0.86, left=place, height=0.5, color=color, hatch=hatch, edgecolor="black", linewidth=0.5)
        for kind in ("patch", "answer"):
            places = [place for place, one in enumerate(kinds) if one == kind]
            if places:
                words = f"{len(places)} patches: −100" if kind == "patch" else f"{len(places)} with a label"
                ax.text(sum(places) / len(places) + 0.4, row - 0.33, words, fontsize=8, ha="center", va="bottom")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="token", ylabel="chat", ylim=(len(rows) - 0.6, -0.75), xlim=(0, max(map(len, rows.values())) + 3))
    ax.grid(False)
    values = {name: f"{len(kinds)} tokens, {kinds.count('patch')} patches, {kinds.count('answer')} with a label"
              for name, kinds in rows.items()}  # fmt: skip
    show(
        fig, "Two chats as strips of tokens; words of the user and patches have no label, the short answer has.", values
    )


def adapter_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Weights of Scout's parts and what adapters train of them, as points on a logarithmic axis."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    for row, (weights, trained) in enumerate(sizes.values()):
        ax.plot([trained, weights], [row, row], "-", color=QUIET, linewidth=1, zorder=1)
        ax.scatter(weights, row, s=60, color=QUIET, edgecolor="black", linewidth=0.5, zorder=3)
        ax.scatter(trained, row, s=60, marker="s", color=LOUD, edgecolor="black", linewidth=0.5, zorder=3)
        ax.text(1.3 * weights, row, f"{weights / 1e9:.1f} billion weights", fontsize=8, va="center")
        words = f"{trained / 1e6:.1f} million trained, {trained / weights:.2%}"
        ax.text(trained, row - 0.2, words, fontsize=8, va="bottom", ha="center")
    ax.set_yticks(range(len(sizes)), list(sizes))
    ax.set(xscale="log", xlabel="numbers", ylabel="part of Scout", xlim=(1e6, 8e12), ylim=(len(sizes) - 0.6, -0.75))
    plain_ticks(ax, "x", (1e6, 1e8, 1e10), ("1 million", "100 million", "10 billion"))
    ax.grid(axis="y")
    ax.set_title("Rank 8 trains less than half a percent")
    show(
        fig,
        "Weights of Scout by part and the numbers that adapters of rank 8 train: a fifth to two fifths of a percent.",
        {part: [f"{weights / 1e9:.2f} billion", f"{n / 1e6:.1f} million"] for part, (weights, n) in sizes.items()},
    )


MARKS = {
    "all weights": ("o", LOUD),
    "LoRA, attention": ("s", HERO),
    "LoRA, all-linear": ("D", PALETTE[3]),
    "LoRA, experts": ("^", PALETTE[4]),
    "LoRA, attention and experts": ("v", PALETTE[5]),
    "router alone": ("P", GRAY),
    "all weights, old question": ("X", "#8c510a"),
    "all weights, old chat": ("o", GREEN),
    "LoRA, attention, old chat": ("s", GREEN),
}
HOLLOW = ("all weights, old chat", "LoRA, attention, old chat")  # told from the filled ones without color


def gain_and_forgetting(dots: Mapping[str, Sequence[tuple[float, float]]], null: Sequence[float]) -> None:
    """Exact answers to the new question against points lost over all skills, one dot a run."""
    fig, ax = plt.subplots(figsize=(6, 4.3))
    ax.axhspan(min(0, *null), max(0, *null), color=GRAY, zorder=0)
    words = f"null: the untouched model on other questions, within {max(map(abs, null)):.1f} points"
    ax.text(2, -1, words, fontsize=8, color="#444444", va="bottom")
    for name, (mark, color) in MARKS.items():
        runs = np.array(dots[name])
        face, edge, width = ("white", color, 1.6) if name in HOLLOW else (color, "black", 0.5)
        ax.scatter(
            *runs.T, marker=mark, s=42, color=face, edgecolor=edge, linewidth=width, label=name, zorder=3, clip_on=False
        )
    ax.set(xlabel="new question: exact answers, %", ylabel="all skills: points lost", xlim=(-4, 104), ylim=(60, -6))
    ax.legend(loc="lower left", bbox_to_anchor=(0.06, 0.02), fontsize=8, handletextpad=0.2)
    ax.set_title("What learns forgets; old chat in the lesson keeps what was there")
    values = {name: [f"{gain:.0f} %, {lost:.0f} lost" for gain, lost in dots[name]] for name in MARKS}
    show(
        fig,
        "Exact answers to the new question against points lost over all skills, three runs for each way to train.",
        values | {"null": [f"{value:.1f}" for value in null]},
    )


def path(steps: Sequence[int], runs: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Exact answers to the new and to the old question, in percent, by step of training; one line a run."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for run in runs:
        new, old = zip(*run, strict=True)
        ax.plot(steps, old, color=LOUD, linestyle="--", marker="s", markersize=3.5, linewidth=1.3)
        ax.plot(steps, new, color=HERO, linestyle="-", marker="o", markersize=3.5, linewidth=1.8)
    ax.set(xlabel="step", ylabel="exact answers, %", ylim=(-3, 103), xlim=(0, steps[-1]))
    ax.set_title("It forgets before it learns")
    label_ends(ax, [("new question", new[-1], HERO), ("old question", old[-1], LOUD)])
    values = {
        f"run {at}, {word}": [f"{pair[side]:.0f}" for pair in run]
        for at, run in enumerate(runs)
        for side, word in enumerate(("new", "old"))
    }
    show(
        fig,
        "Exact answers by step: the old question is lost within ten steps, the new one is learned after that.",
        values,
    )


def what_is_forgotten(skills: Sequence[str], losses: Mapping[str, Sequence[float]]) -> None:
    """Points lost in each skill, one column for each way to train."""
    order = np.argsort([-values for values in next(iter(losses.values()))], kind="stable")
    grid = np.array([np.array(values)[order] for values in losses.values()]).T
    fig, ax = plt.subplots(figsize=(6, 4.4))
    ax.imshow(np.clip(grid, 0, 100), cmap="Oranges", vmin=0, vmax=100, aspect="auto")
    for row, column in np.ndindex(grid.shape):
        value = grid[row, column]
        ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color="black")
    ax.set_yticks(range(len(skills)), [skills[at] for at in order])
    ax.set_xticks(range(len(losses)), [name.replace(", ", ",\n") for name in losses])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set(xlabel="way to train", ylabel="skill")
    ax.set_title("What resembles the lesson suffers most (points lost)")
    values = {skills[at]: [f"{value:.0f}" for value in grid[row]] for row, at in enumerate(order)}
    show(
        fig,
        "Points lost by kind of question for five ways to train; old chat in the lesson keeps nearly all.",
        values,
    )


def memory(gigabytes: Mapping[str, tuple[float, float]]) -> None:
    """Weights, and gradients with moments, for each way to train Scout."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    for row, (weights, rest) in enumerate(gigabytes.values()):
        ax.barh(row, weights, color=HERO)
        ax.barh(row, rest, left=weights, color=LOUD)
        ax.text(weights + rest + 12, row, f"{weights + rest:,.0f} GB", fontsize=8, va="center")
    for cards in (1, 4, 8, 16):
        ax.axvline(80 * cards, color=GRAY, linewidth=1, linestyle=":", zorder=0)
        ax.text(80 * cards, -0.62, f"{cards} GPU{'s' * (cards > 1)}", fontsize=8, color=GRAY, ha="center", va="bottom")
    ax.set_yticks(range(len(gigabytes)), list(gigabytes))
    ax.set(
        xlabel="GB, of GPUs with 80 GB each", ylabel="way to train", xlim=(0, 1480), ylim=(len(gigabytes) - 0.5, -0.6)
    )
    ax.grid(axis="y")
    ax.set_title("LoRA removes the orange, not the blue", pad=18)
    ax.text(760, 2.15, "weights", color=HERO, fontsize=9, fontweight="bold")
    ax.text(760, 2.75, "gradients and moments", color=LOUD, fontsize=9, fontweight="bold")
    values = {name: [f"{value:.0f}" for value in pair] for name, pair in gigabytes.items()}
    show(
        fig,
        "Gigabytes of weights and of gradients with moments for Scout: 1304 for all weights, 217 with LoRA, "
        "72 with 4-bit experts.",
        values,
    )


def activations(gigabytes: Mapping[str, tuple[float, float]]) -> None:
    """What blocks, and logits with the loss, keep for the way back, for each way to train Scout."""
    fig, ax = plt.subplots(figsize=(6, 2.3))
    for row, (blocks, logits) in enumerate(gigabytes.values()):
        ax.barh(row, blocks, color=HERO)
        ax.barh(row, logits, left=blocks, color=PALETTE[4], edgecolor="black", linewidth=0.4)
        ax.text(blocks + logits + 4, row, f"{blocks + logits:.0f} GB", fontsize=8, va="center")
    ax.set_yticks(range(len(gigabytes)), list(gigabytes))
    ax.set(xlabel="GB kept for the way back, 4,096 tokens", ylabel="way to train", xlim=(0, 350))
    ax.set_ylim(len(gigabytes) - 0.5, -0.5)
    ax.grid(axis="y")
    ax.set_title("LoRA keeps as much; checkpointing does not")
    ax.text(130, 2.0, "in the blocks", color=HERO, fontsize=9, fontweight="bold")
    ax.text(130, 2.6, "logits and loss (orange tip)", color="#444444", fontsize=9)
    values = {name: [f"{value:.0f}" for value in pair] for name, pair in gigabytes.items()}
    show(
        fig,
        "Gigabytes of activations of Scout: 312 with every token in every expert, 58 with one expert a token, 57 with "
        "LoRA, 6 with checkpointing.",
        values,
    )


def rounded_corrections(factors: Sequence[float], unchanged: Sequence[float], arrived: Sequence[float]) -> None:
    """Weights that a merge in bfloat16 leaves as they were, and how much of the correction is in the others."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    ax.plot(factors, [100 * share for share in unchanged], color=LOUD, linestyle="--", marker="s", markersize=4)
    ax.plot(factors, [100 * share for share in arrived], color=HERO, marker="o", markersize=4, linewidth=2.4)
    ax.set(xscale="log", xlabel="size of the correction, times that of our lesson", ylabel="%", ylim=(0, 108))
    ax.set_xlim(factors[0] * 1.15, factors[-1] * 0.87)  # smaller to the right
    plain_ticks(ax, "x", factors)
    for pair, other, color in ((unchanged, arrived, LOUD), (arrived, unchanged, HERO)):
        for factor, share, against in zip(factors, pair, other, strict=True):
            over = share > against or share < 0.1
            if share < 0.995:
                offset = (0, 5 if over else -12)
                words, place = f"{100 * share:.0f}", (factor, 100 * share)
                ax.annotate(words, place, offset, textcoords="offset points", fontsize=8, ha="center", color=color)
    ax.set_title("Weights stay where they were long before the correction is lost")
    label_ends(
        ax, [("correction\nthat arrives", 100 * arrived[-1], HERO), ("weights\nunchanged", 100 * unchanged[-1], LOUD)]
    )
    at = {factor: (left, right) for factor, left, right in zip(factors, unchanged, arrived, strict=True)}
    values = {
        "full size": "nearly all arrives" if at[1][1] > 0.95 and at[1][0] < 0.1 else "less arrives",
        "a hundredth": "most weights unchanged, more than half of it arrives"
        if at[0.01][0] > 0.5 and at[0.01][1] > 0.5
        else "otherwise",
    }
    show(
        fig,
        "As a correction shrinks, more and more weights round back to what they were, while most of it still arrives.",
        values,
    )


def two_trainers(ours: Sequence[float], theirs: Sequence[float]) -> None:
    """The loss of each step by the hand-written loop and by trl."""
    fig, ax = plt.subplots(figsize=(6, 2.5))
    ax.plot(theirs, color=LOUD, linewidth=5, alpha=0.45)
    ax.plot(ours, color=HERO, linewidth=1.8)
    ax.set(xlabel="step", ylabel="loss, nats a token", xlim=(0, len(ours) - 1), ylim=(0, None))
    ax.set_title("Two loops, one curve")
    label_ends(ax, [("trl (wide line)", theirs[-1], LOUD), ("by hand", ours[-1], HERO)])
    gap = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    show(
        fig,
        "The loss of 12 steps by the hand-written loop and by trl: the two curves cover each other.",
        {"largest gap": "below 0.01" if gap < 0.01 else "0.01 or more"},
    )
