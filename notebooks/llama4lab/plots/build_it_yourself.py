"""Pictures of 19: what the finished model sees and says, and what wrong ones do."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from PIL import Image

from llama4lab.figures import PALETTE, show

OUTCOMES = {"same words": PALETTE[1], "other words": "#d4d4d4", "crash": "#333333"}
INK = {"same words": "black", "other words": "black", "crash": "white"}


def picture_and_answers(picture: Image.Image, answers: Mapping[str, str]) -> None:
    """A picture, and beside it questions with the model's answers."""
    fig, (ax, words) = plt.subplots(1, 2, figsize=(6, 2.2), width_ratios=(1, 2.4))
    ax.imshow(picture, interpolation="nearest")
    for axes in (ax, words):
        axes.set_axis_off()
    for row, (question, answer) in enumerate(answers.items()):
        words.text(0, 0.86 - 0.34 * row, question, fontsize=9, transform=words.transAxes)
        words.text(0, 0.73 - 0.34 * row, answer, fontsize=9, fontweight="bold", transform=words.transAxes)
    show(fig, "A picture of plain shapes, and three questions about it with the model's answers.")


def outcomes_by_part(outcomes: Mapping[str, Sequence[str]]) -> None:
    """For each part, how many wrong versions of it end in each outcome."""
    fig, ax = plt.subplots(figsize=(6, 3.6))
    for row, results in enumerate(outcomes.values()):
        start = 0
        for kind, color in OUTCOMES.items():
            count = results.count(kind)
            ax.barh(row, count, left=start, color=color, edgecolor="white")
            if count:
                ax.text(start + count / 2, row, str(count), ha="center", va="center", fontsize=8, color=INK[kind])
            start += count
    ax.set_yticks(range(len(outcomes)), list(outcomes))
    ax.set(ylim=(len(outcomes) - 0.4, -0.6), xlabel="wrong versions", ylabel="part")
    for row, (kind, color) in enumerate(OUTCOMES.items()):
        ax.text(9.6, row, kind, fontsize=9, va="center", color=INK[kind], bbox={"color": color, "pad": 2})
    ax.set_title("Orange: it answers every question like the right model")
    show(
        fig, "Bars for each part: how many wrong versions still answer like the right model, say other words, or crash."
    )
