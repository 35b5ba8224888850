"""Pictures of 02: what a sigmoid makes of logits, the score before and after the expert, and what each part is worth."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends

QUIET, LOUD = "#b0b0b0", PALETTE[1]


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=float)))


def scores(winning: Sequence[float]) -> None:
    """The sigmoid with each token's winning logit on it, and what becomes of a losing logit that is set to 0."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    curve = np.linspace(-4, 4, 81)
    ax.plot(curve, sigmoid(curve), color=GRAY, linewidth=1.4)
    names: dict[float, list[int]] = {}
    for token, logit in enumerate(winning):
        names.setdefault(logit, []).append(token)
    for logit, tokens in names.items():
        score = sigmoid(logit)
        ax.plot(logit, score, "o", color=PALETTE[0])
        words = "token " + " and ".join(map(str, tokens)) + f": {score:.3f}"
        ax.annotate(words, (logit, score), (10, -12), textcoords="offset points", fontsize=8, color=PALETTE[0])
    ax.plot(0, 0.5, "X", color=LOUD, markersize=10)
    ax.annotate(
        "a loser set to 0: score 0.5",
        (0, 0.5),
        (-14, 16),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=LOUD,
    )
    ax.annotate("set to −∞: score 0", (-4, 0.012), (-3.9, 0.16), arrowprops={"arrowstyle": "->"}, fontsize=8)
    ax.set(xlabel="logit", ylabel="score", ylim=(0, 1), title="A loser that is set to 0 comes back with half a vote")
    alt = "The sigmoid from logit -4 to 4 with the four winners on it. A losing logit set to 0 gets 0.5, not 0."
    show(fig, alt)


def scaling(score: Sequence[float], on_input: Sequence[float], on_output: Sequence[float]) -> None:
    """What the smallest expert returns for each score, before and after it."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    ax.plot(score, on_output, "--", color=GRAY)
    ax.plot(score, on_input, "-", color=LOUD, linewidth=2.6)
    middle = len(score) // 2
    for values, color, away in ((on_output, "#444444", (-8, 6)), (on_input, LOUD, (8, -10))):
        ax.plot(score[middle], values[middle], "o", color=color)
        side = "right" if away[0] < 0 else "left"
        ax.annotate(
            f"{values[middle]:.3f}",
            (score[middle], values[middle]),
            away,
            textcoords="offset points",
            ha=side,
            fontsize=9,
            color=color,
        )
    ax.plot([0, 1], [0, on_input[-1]], "o", color="black", markersize=5, zorder=4)
    ax.annotate("they agree", (1, on_input[-1]), (-8, 2), textcoords="offset points", ha="right", fontsize=8)
    ax.annotate("they agree", (0, 0), (0.03, 0.2), arrowprops={"arrowstyle": "->"}, fontsize=8)
    ax.text(0.38, 0.3, "score on the output", fontsize=8, color="#444444", ha="right")
    ax.text(0.72, 0.29, "score on the input", fontsize=8, color=LOUD)
    ax.set(xlabel="score", ylabel="output of the expert", xlim=(0, 1.02), ylim=(0, 0.8))
    ax.set_title("Input and output scaling meet at the scores 0 and 1 only")
    show(
        fig,
        "Output of the smallest expert by score: straight when the output is scaled, sagging below it for the input.",
    )


def winning_logits(by_block: Sequence[Sequence[float]]) -> None:
    """The logit with which each token won, one row of dots for each block; negative ones are filled in orange."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for row, logits in enumerate(by_block):
        values = np.sort(np.asarray(logits))
        # Dots of one block are spread a little, in a fixed pattern, so that near ones can be told apart.
        spread = row + 0.09 * (np.arange(len(values)) % 5 - 2)
        for side, color in ((values < 0, LOUD), (values >= 0, QUIET)):
            ax.plot(values[side], spread[side], "o", color=color, markersize=5, markeredgecolor="white", mew=0.4)
    ax.axvline(0, color="black", linewidth=0.8)
    for side, words in (("right", "score below ½ "), ("left", " score above ½")):
        ax.text(0, -0.55, words, fontsize=8, ha=side, va="center", color=LOUD if side == "right" else GRAY)
    ax.set_yticks(range(len(by_block)), [f"block {row}" for row in range(len(by_block))])
    ax.set(ylim=(len(by_block) - 0.5, -0.8), xlabel="logit of the winner", ylabel="a dot for each token")
    ax.grid(axis="y", visible=False)
    ax.set_title("Token 3 is no oddity: many tokens win with a negative logit")
    show(fig, "The logit with which each token won, one row of dots for each block; those left of 0 are orange.")


def doubt(score: Sequence[float], ratio: Sequence[float]) -> None:
    """How much smaller an expert's answer is when the score is on its input, for each token of trained blocks."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    ax.plot([0, 1], [0, 1], "--", color=GRAY, linewidth=1)
    ax.axhline(1, color=GRAY, linewidth=1, linestyle=":")
    ax.plot(score, ratio, "o", color=LOUD, markersize=4, alpha=0.75, markeredgewidth=0)
    most = max(1.05, 1.08 * max(ratio))
    ax.set(xlabel="score of the token", ylabel="size, score on input\n÷ score on output", xlim=(0, 1), ylim=(0, most))
    label_ends(ax, [("the score\nonce more", 0.93, "#444444")], {"no difference": 1})
    ax.set_title("On the way in, doubt counts twice")
    show(
        fig, "For each token, the size of the input-scaled answer over the output-scaled one, near the line y = score."
    )


def halves(shared: Sequence[float], routed: Sequence[float], whole: float) -> None:
    """By how much the loss of the whole model rises, in nats, when a half of one block is silenced."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    longest = max(*shared, *routed)
    for offset, name, values, color in ((-0.19, "shared", shared, PALETTE[4]), (0.19, "routed", routed, LOUD)):
        places = np.arange(len(values)) + offset
        ax.barh(places, values, color=color, height=0.34)
        for place, value in zip(places, values, strict=True):
            ax.text(max(value, 0) + longest / 80, place, f"{value:+.2f} without {name}", va="center", fontsize=8)
    ax.set_yticks(range(len(shared)), [f"block {row}" for row in range(len(shared))])
    ax.set(ylim=(len(shared) - 0.5, -0.5), xlim=(min(0, *shared, *routed), 1.35 * longest))
    ax.set(xlabel=f"loss added, nats a token (whole model: {whole:.2f})", ylabel="half silenced in")
    ax.grid(axis="y", visible=False)
    ax.set_title("What each half of a block is worth to the trained model")
    show(fig, "Loss added when the shared expert or the routed experts of one block are silenced, block by block.")


def work(gflop: Mapping[str, tuple[float, float]]) -> None:
    """Computing for one token and layer: what the library's block runs, and what one routed and the shared expert need."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    for place, (run, needed) in enumerate(gflop.values()):
        ax.barh(place, run, color=QUIET, height=0.6)
        ax.barh(place, needed, color=LOUD, height=0.6)
        ax.text(run + 0.3, place, f"{run:.2f}, {run / needed:.1f} times the orange part", va="center", fontsize=9)
    ax.set_yticks(range(len(gflop)), list(gflop))
    longest = max(run for run, _ in gflop.values())
    ax.set(
        ylim=(len(gflop) - 0.4, -0.6), xlim=(0, 1.75 * longest), xlabel="GFLOP for one token in one layer", ylabel=""
    )
    ax.set_ylabel("model")
    ax.grid(axis="y", visible=False)
    ax.set_title("Orange: what a token needs. Gray: what the library runs")
    show(fig, "Computing for a token in a layer: the library runs 8.5 times what Scout needs, 64.5 times for Maverick.")
