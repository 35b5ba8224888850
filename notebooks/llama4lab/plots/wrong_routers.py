"""Pictures of 03: scores of wrong gates, what tests and texts see of them, and which rows of the router learn."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, moment

QUIET, LOUD, HERO = "#b0b0b0", PALETTE[1], PALETTE[0]


def name_rows(ax: Axes, names: Sequence[str], quantity: str) -> None:
    """Name the places 0, 1, ... of the y axis, from the top down."""
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.35, -0.6), ylabel=quantity)


def jitter(count: int) -> np.ndarray:
    """Small steps up and down, so that dots of one row do not hide each other."""
    return 0.3 * (np.arange(count) % 7 / 6 - 0.5)


def gates(scores: Mapping[str, Sequence[float]]) -> None:
    """The scores of one token's five experts, a panel for each gate."""
    fig, axes = plt.subplots(1, len(scores), figsize=(6, 2.5), sharex=True, sharey=True)
    for ax, (name, values) in zip(axes, scores.items(), strict=True):
        ax.bar(range(len(values)), values, color=HERO if name == "Llama 4" else LOUD)
        ax.set_title(f"{name}\nsum {sum(values):.2f}", fontsize=9)
        ax.set_xticks(range(len(values)))
        for place, value in enumerate(values):
            if value > 0.005:
                ax.text(place, value + 0.02, f"{value:.2f}", ha="center", fontsize=7.5)
    axes[0].set(ylabel="score", ylim=(0, 1.12))
    fig.supxlabel("expert")
    show(
        fig,
        "Scores of one token's five experts from four gates: a tall bar, one of about half, one of exactly 1, and two tall bars.",
    )


def score_sums(sums: Mapping[str, np.ndarray]) -> None:
    """The sum of each token's scores, a row of dots for each gate."""
    fig, ax = plt.subplots(figsize=(6, 2.5))
    for row, (name, values) in enumerate(sums.items()):
        ax.plot(
            values, row + jitter(len(values)), "o", markersize=4, alpha=0.6, color=HERO if name == "Llama 4" else LOUD
        )
    ax.axvline(1, color="black", linewidth=0.8)
    name_rows(ax, list(sums), "gate")
    ax.set(xlim=(0, 2), xlabel="sum of a token's scores")
    ax.set_title("Only a softmax over the survivors adds up to 1")
    spans = {
        name: [round(float(v), 2) for v in (values.min(), np.median(values), values.max())]
        for name, values in sums.items()
    }
    show(
        fig,
        "Sum of each token's scores for four gates: below 1 for two, exactly 1 for softmax after top-1, up to 2 for top-2.",
        {f"{name}: lowest, median, highest": span for name, span in spans.items()},
    )


def errors_and_bounds(errors: Mapping[str, float], bounds: Mapping[str, float]) -> None:
    """Mean squared error of each mistake on a logarithmic axis, with the bounds of tests as vertical lines."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    loosest = max(bounds.values())
    for row, error in enumerate(errors.values()):
        passes = error < loosest
        ax.plot([error], [row], "o", markersize=8, color=LOUD if passes else HERO)
        place, side = (error / 2, "right") if passes else (2 * error, "left")
        words = f"{error:.1g}, passes" if passes else f"{error:.1g}"
        ax.text(place, row, words, fontsize=8, va="center", ha=side)
    for words, bound in bounds.items():
        moment(ax, bound, words, side="right" if bound == loosest else "left")
    ax.set_xscale("log")
    ax.set_title("The second bound lets one of four mistakes pass")
    name_rows(ax, list(errors), "block")
    ax.set(xlim=(1e-11, 400), xlabel="mean squared error of the block's output")
    show(
        fig, "Mean squared error of four wrong blocks: all are far above a bound of 1e-10, one is below a bound of 0.1."
    )


def error_by_size(stds: Sequence[float], absolute: Sequence[float], relative: Sequence[float]) -> None:
    """The same mistake by the size of the weights: its largest error, and its share of the routed part."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    ax.plot(stds, relative, marker="o", color=HERO, linewidth=2.4)
    ax.plot(stds, absolute, marker="o", linestyle="--", color=LOUD)
    ax.set(xscale="log", yscale="log", xlabel="standard deviation of the weights", ylabel="error of scaled output")
    ax.set_title("Small weights hide a mistake from an absolute tolerance")
    ax.minorticks_off()
    ends = [("share of the\nrouted part", relative[-1], HERO), ("largest\ndifference", absolute[-1], LOUD)]
    label_ends(ax, ends, {"tolerance\n1e-3": 1e-3})
    show(
        fig,
        "Error of a scaled output by size of the weights: the largest difference falls with their cube, the share of the "
        "routed part rises.",
    )


def losses(excess: Mapping[str, Sequence[float]]) -> None:
    """How much worse each wrong block predicts than the right one, a dot for each text."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    for row, values in enumerate(excess.values()):
        ax.plot(values, row + jitter(len(values)), "o", markersize=5, alpha=0.6, color=LOUD)
        ax.plot([np.mean(values)] * 2, [row - 0.32, row + 0.32], "-", color="black", linewidth=2)
    moment(ax, 0, "right block", at=0.88)
    name_rows(ax, list(excess), "block")
    ax.set_xlabel("extra loss against the right block, nats a token")
    ax.set_title("What a wrong block costs, text by text, and on average")
    values = {name: [round(float(v), 2) for v in (min(e), np.mean(e), max(e))] for name, e in excess.items()}
    show(
        fig,
        "Extra loss of four wrong blocks, a dot for each text, with their mean and a line at the right block.",
        {f"{name}: least, mean, most": spread for name, spread in values.items()},
    )


def gradients(rows: Mapping[str, Sequence[float]]) -> None:
    """Length of each router row's gradient, a panel for each gate; rows that get one are filled."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(6, 4.4), sharex=True)
    for ax, (name, lengths) in zip(axes, rows.items(), strict=True):
        ax.bar(range(len(lengths)), lengths, color=HERO if name == "Llama 4" else LOUD)
        ax.set_ylim(0, 1.1 * max(lengths) or 1)  # own scales: one gate's rows may be a hundredth of another's
        ax.set_title(f"{name}: {np.count_nonzero(lengths)} of {len(lengths)} rows", fontsize=9)
    ax.set_xticks(range(0, len(lengths), max(1, len(lengths) // 16)))
    fig.supxlabel("row of the router")
    fig.supylabel("length of the gradient, first block")
    show(fig, "Length of the gradient of each router row of the first block, one panel for each gate.")


def floor_and_edge(leads: np.ndarray, curves: Mapping[str, np.ndarray]) -> None:
    """Loss of one token by the lead of a losing row; two lines a gate, since the loss jumps at the tie."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    for (name, curve), color, dash in zip(curves.items(), (HERO, LOUD), ("-", "--"), strict=True):
        for side in (leads < 0, leads > 0):
            ax.plot(leads[side], curve[side], dash, color=color, linewidth=2.4 if name == "Llama 4" else 1.6)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.text(0.06, 0.92, "from here on the other expert runs", transform=ax.get_xaxis_transform(), fontsize=8)
    ax.set(xlabel="lead of the moved row's logit over the winner's", ylabel="loss of one token")
    ax.set_title("Llama 4's loss is flat up to the tie, and then it jumps")
    label_ends(
        ax, [(name, curve[-1], color) for (name, curve), color in zip(curves.items(), (HERO, LOUD), strict=True)]
    )
    show(
        fig,
        "Loss of one token as a losing router row is moved: Llama 4 is flat up to the tie and jumps; softmax slopes.",
    )


def training(losses: Mapping[str, np.ndarray], moved: Mapping[str, np.ndarray]) -> None:
    """Loss and distance of the router from its start by step, a line for each gate; arrays `[seeds, steps]`."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3), width_ratios=(1, 1.1))
    styles = dict(zip(losses, ((HERO, "-"), (PALETTE[2], "--"), (LOUD, "-"), ("#000000", ":")), strict=True))
    for ax, curves in ((left, losses), (right, moved)):
        for name, runs in curves.items():
            color, dash = styles[name]
            ax.plot(runs.mean(axis=0), dash, color=color, linewidth=2.4 if name in ("Llama 4", "detached") else 1.6)
        ax.set_xlabel("training step")
    left.set(yscale="log", ylabel="loss, mean of the seeds", title="The loss falls for all")
    right.set(ylabel="distance from the start, in its lengths", title="Two routers never move", ylim=(-0.03, None))
    label_ends(right, [(name, runs.mean(axis=0)[-1], styles[name][0]) for name, runs in moved.items()])
    values = {f"loss of {name} at first and at last": first_and_last(runs) for name, runs in losses.items()}
    values |= {f"distance of {name} at last": first_and_last(runs)[1:] for name, runs in moved.items()}
    show(
        fig,
        "Left, the loss of four gates falls alike; right, two routers move away from their start and two never do.",
        values,
    )


def first_and_last(runs: np.ndarray) -> list[float]:
    return [float(f"{value:.2g}") for value in (runs.mean(axis=0)[0], runs.mean(axis=0)[-1])]


def hearing(heard: Mapping[str, np.ndarray]) -> None:
    """Which expert each token hears, a panel for each router; arrays of True and False `[experts, tokens]`."""
    fig, axes = plt.subplots(1, len(heard), figsize=(6, 2.9), sharey=True)
    for ax, (name, matrix) in zip(axes, heard.items(), strict=True):
        experts, tokens = np.nonzero(matrix)
        ax.plot(tokens, experts, "s", markersize=6, color=HERO if name == "Llama 4" else LOUD)
        ax.set(title=f"{name}: {len(tokens)} of {matrix.size} squares", xlim=(-0.7, matrix.shape[1] - 0.3))
        ax.set_xticks(range(0, matrix.shape[1], 4))
        ax.set_yticks(range(0, matrix.shape[0], max(1, matrix.shape[0] // 8)))
    axes[0].set_ylabel("silenced expert")
    fig.supxlabel("token")
    show(
        fig,
        "Squares where silencing an expert changes a token: one in each column for Llama 4, two for top-2.",
        {
            f"{name}, experts of each token": [int(count) for count in matrix.sum(axis=0)]
            for name, matrix in heard.items()
        },
    )


def fingerprints(answers: Mapping[str, Mapping[str, float]]) -> None:
    """What boxes answer, a panel for each question, a bar for each box; `answers` by question and box."""
    fig, axes = plt.subplots(1, len(answers), figsize=(6, 2.6))
    axes[0].set_ylabel("answer")
    for ax, (question, numbers) in zip(axes, answers.items(), strict=True):
        ax.bar(list(numbers), list(numbers.values()), color=QUIET)
        ax.set_title(question, fontsize=9)
        ax.set_ylim(0, 1.25 * max(numbers.values()))
        ax.set_yticks([])
        ax.grid(False)
        for place, value in enumerate(numbers.values()):
            ax.text(place, value, f"{value:.2g}", ha="center", va="bottom", fontsize=8)
    fig.supxlabel("black box")
    show(fig, "What five black boxes answer to four questions, a panel of five bars for each question.")
