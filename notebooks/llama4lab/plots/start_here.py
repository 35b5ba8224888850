"""Pictures of 00: what the proxy shrinks, what it answers, how a picture joins the sequence, and the article's score."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from PIL.Image import Image

from llama4lab.claims import EVIDENCE
from llama4lab.figures import PALETTE, expert_color, show, text_color
from llama4lab.plots.marks import GRAY, plain_ticks
from llama4lab.scoreboard import OUTCOMES

QUIET, LOUD = "#b0b0b0", PALETTE[1]
OUTCOME_COLORS = dict(zip(OUTCOMES, (PALETTE[0], PALETTE[5], LOUD, "#e5e5e5"), strict=True))


def kept_and_shrunk(real: Mapping[str, int], proxy: Mapping[str, int]) -> None:
    """How many times larger each size of the configuration is in the real model; sizes that are kept are filled."""
    names = sorted(real, key=lambda name: real[name] / proxy[name])
    ratios = [real[name] / proxy[name] for name in names]
    fig, ax = plt.subplots(figsize=(6, 3))
    ax.hlines(names, 1, ratios, color=QUIET, linewidth=2)
    ax.scatter(ratios, names, s=60, color=[PALETTE[0] if ratio == 1 else QUIET for ratio in ratios], zorder=3)
    for name, ratio in zip(names, ratios, strict=True):
        words = f"both {real[name]:,}" if ratio == 1 else f"{real[name]:,} : {proxy[name]:,}"
        ax.annotate(words, (ratio, name), (8, 0), textcoords="offset points", fontsize=8, va="center")
    ax.set(
        xscale="log",
        xlim=(0.8, 12 * max(ratios)),
        xlabel="times larger in Scout",
        title="The kind is kept, the sizes shrink",
    )
    plain_ticks(ax, "x", [1, 10, 100, 1000])
    show(
        fig,
        "Sizes of Scout beside those of the proxy: the numbers of experts and the rhythm of the layers are the same in both, "
        "while layers, width, vocabulary, chunk and positions are ten to more than a thousand times larger in Scout.",
    )


def met_experts(tokens: Sequence[str], experts: Mapping[str, Sequence[int]]) -> None:
    """The expert that each token meets in each layer: a column for each token, a row for each layer."""
    fig, ax = plt.subplots(figsize=(6, 0.9 + 0.32 * len(experts)))
    for row, chosen in enumerate(experts.values()):
        for place, expert in enumerate(chosen):
            color = expert_color(expert % 16)
            ax.add_patch(plt.Rectangle((place - 0.47, row - 0.45), 0.94, 0.9, color=color))
            ax.text(place, row, str(expert), ha="center", va="center", fontsize=7, color=text_color(color))
    ax.set(xlim=(-0.6, len(tokens) - 0.4), ylim=(len(experts) - 0.5, -0.6), xticks=range(len(tokens)))
    ax.set_yticks(range(len(experts)), experts)
    ax.set_xticklabels([token.strip() for token in tokens], rotation=60, ha="left", fontsize=7, rotation_mode="anchor")
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.set(xlabel="token", ylabel="expert met in")
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    show(
        fig,
        "The sentence token by token, and below each token the number of the expert that it meets in each layer: neighbors "
        "often meet different experts, and a token meets others from layer to layer.",
        {"tokens": list(tokens), **experts},
    )


def chances_of_answers(chances: Mapping[str, Mapping[str, float]], answer: str) -> None:
    """How probable each answer is, a panel for each prompt; the bar of the right one is filled in orange."""
    fig, axes = plt.subplots(1, len(chances), figsize=(6, 2.1), sharex=True, sharey=True)
    for ax, (prompt, answers) in zip(axes, chances.items(), strict=True):
        bars = ax.barh(list(answers), list(answers.values()), color=[LOUD if a == answer else QUIET for a in answers])
        ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        ax.grid(visible=False, axis="y")
        ax.set(xlim=(0, 1.3), xticks=(0, 0.5, 1), title=prompt)
    axes[0].invert_yaxis()
    fig.supxlabel("probability of the answer")
    show(
        fig,
        "The probability of five cities as the answer to where Hugo lives: with no fact all are small; with the fact that he "
        "lives in Oslo, and with a second one about Clara, it is Oslo.",
    )


def picture_and_answers(picture: Image, answers: Mapping[str, str]) -> None:
    """A picture, and beside it each question with the model's answer."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 1.9), width_ratios=(1, 2.4))
    left.imshow(picture)
    for place, (question, answer) in enumerate(answers.items()):
        height = 1 - (place + 0.5) / len(answers)
        right.text(0, height + 0.07, question, fontsize=10, va="center")
        right.text(0.03, height - 0.1, answer, fontsize=12, va="center", color=LOUD, fontweight="bold")
    for ax in (left, right):
        ax.set_axis_off()
    show(
        fig,
        "A gray square with a red circle at the top left and a blue square at the bottom right, and beside it each question "
        "with the model's answer.",
    )


def changed_places(changed: Sequence[bool], patches: Sequence[int]) -> None:
    """The sequence as a strip of tokens: those whose logits changed are filled, and the picture's are framed."""
    first, last, places = patches[0], patches[-1], range(len(changed))
    fig, ax = plt.subplots(figsize=(6, 1.3))
    ax.bar(places, 1, width=0.85, color=[LOUD if change else "#e5e5e5" for change in changed])
    ax.bar(
        (first + last) / 2, 1.3, width=last - first + 1, bottom=-0.15, fill=False, edgecolor="black", linewidth=1.2
    ).patches[0].set_gid("decoration")
    for start, end, words in (
        (0, first, "before"),
        (first, last + 1, "the picture"),
        (last + 1, len(changed), "after"),
    ):
        ax.text((start + end - 1) / 2, 1.3, words, ha="center", fontsize=9, color="black")
    ax.set(
        ylim=(-0.2, 1.7),
        yticks=(),
        xlabel="place in the sequence",
        title="A new color reaches the picture and what follows it",
    )
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    show(
        fig,
        "The sequence as a strip of tokens: no token before the picture changed, those of the picture and after it did.",
        {"changed": [int(change) for change in changed], "patches": list(patches)},
    )


def score_tiles(entries: Sequence[dict]) -> None:
    """Each claim of the article as a numbered tile: its row says what decides it, its color and column how it came out."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    starts, x = {}, 0
    for outcome in OUTCOMES:
        most = max(sum((e["outcome"], e["evidence"]) == (outcome, kind) for e in entries) for kind in EVIDENCE)
        starts[outcome], x = x, x + max(most, 3) + 0.8
        count = sum(entry["outcome"] == outcome for entry in entries)
        ax.text(starts[outcome] - 0.45, -0.85, f"{outcome}: {count}", fontsize=10, fontweight="bold")
    for row, kind in enumerate(EVIDENCE):
        for outcome, start in starts.items():
            numbers = [e["id"].split("-")[1] for e in entries if (e["outcome"], e["evidence"]) == (outcome, kind)]
            for place, number in enumerate(numbers):
                color = OUTCOME_COLORS[outcome]
                ax.add_patch(
                    plt.Rectangle((start + place - 0.45, row - 0.4), 0.9, 0.8, facecolor=color, edgecolor=GRAY)
                )
                ax.text(start + place, row, number, ha="center", va="center", fontsize=9, color=text_color(color))
    ax.set(xlim=(-0.6, x - 0.8), ylim=(len(EVIDENCE) - 0.4, -1.2), xticks=(), yticks=range(len(EVIDENCE)))
    ax.set_yticklabels(EVIDENCE)
    ax.set_ylabel("decided by what is")
    ax.set_title("The article's claims: how they came out, and what decides them")
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    show(
        fig,
        "The article's 22 claims as numbered tiles, in columns by outcome and in rows by what decides them; those that are "
        "computed or measured are fewer than half, and most of these hold.",
        {
            f"{outcome}, {kind}": " ".join(
                entry["id"].split("-")[1]
                for entry in entries
                if (entry["outcome"], entry["evidence"]) == (outcome, kind)
            )
            for outcome in OUTCOMES
            for kind in EVIDENCE
        },
    )
