"""Pictures of 12: conversations as bands, sampling, padding, guesses that are accepted, what a language costs."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, plain_ticks

HERO, LOUD, QUIET = PALETTE[0], PALETTE[1], "#b0b0b0"
BANDS = {"system": "#f2f2f2", "user": PALETTE[5], "assistant": PALETTE[4], "ipython": "#7fcdb5"}
LETTER = 0.602  # width of a letter of DejaVu Sans Mono, in its size
DOTS = 200 / 72  # of a point, in stored pictures


def messages_of(text: str) -> list[tuple[str, str]]:
    """The (role, content) pairs of a rendered conversation; a content still has its `<|eot|>`."""
    parts = (part.partition("<|header_end|>\n\n") for part in text.split("<|header_start|>")[1:])
    return [(role, content) for role, _, content in parts]


def bands(renderings: Mapping[str, str]) -> None:
    """Rendered conversations side by side, by the name of their template: a colored band for each message."""
    size = 7.5 if len(renderings) == 1 else 6
    line, width = 1.3 * size, (432 - 12 * (len(renderings) - 1)) / len(renderings)  # points
    letter = round(LETTER * size * DOTS) / DOTS  # hinted: a whole number of dots
    letters = int((width - 14) / letter)
    columns = {
        name: [
            (role, [piece for row in content.splitlines() for piece in textwrap.wrap(row, letters) or [""]])
            for role, content in messages_of(text)
        ]
        for name, text in renderings.items()
    }
    height = 22 + max(sum(line * (len(rows) + 1) + 11 for _, rows in column) for column in columns.values())
    fig = plt.figure(figsize=(6, height / 72), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(0, 432), ylim=(height, 0))
    for place, (name, column) in enumerate(columns.items()):
        left, top = place * (width + 12), 20
        ax.text(left + 2, 10, name, fontsize=9, fontweight="bold", va="center")
        for role, rows in column:
            tall = line * (len(rows) + 1) + 7
            box = FancyBboxPatch((left + 2, top), width - 4, tall, boxstyle="round,pad=0,rounding_size=3")
            box.set(facecolor=BANDS.get(role, "white"), edgecolor="#333333", linewidth=0.7)
            ax.add_patch(box)
            style = {"fontsize": size, "family": "DejaVu Sans Mono", "va": "top"}
            ax.text(left + 7, top + 4, role, fontweight="bold", **style)
            for number, row in enumerate(rows, 1):
                ax.text(left + 7, top + 4 + number * line, row, **style)
            top += tall + 4
    show(
        fig,
        "A rendered conversation as a column of bands, one a message, in the color of its role.",
        {
            f"{name}, {number} {role}": " ".join(rows)
            for name, column in columns.items()
            for number, (role, rows) in enumerate(column, 1)
        },
    )


def top_p(probabilities: Sequence[float], p: float, kept: Sequence[bool]) -> None:
    """Tokens from the likeliest down, each bar on top of those before it, and the level that top-p asks for."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    below = np.cumsum(probabilities) - probabilities
    for row, (start, width, stays) in enumerate(zip(below, probabilities, kept, strict=True)):
        ax.barh(row, width, left=start, color=HERO if stays else QUIET)
        ax.text(start + width + 0.01, row, f"{width:g}  {'kept' if stays else 'cut'}", fontsize=8, va="center")
    ax.axvline(p, color="black", linewidth=0.8)
    ax.text(p + 0.01, 3.4, f"p = {p:g}", fontsize=8, va="bottom")
    ax.set_yticks(range(len(below)), [f"token {row + 1}" for row in range(len(below))])
    ax.set(xlim=(0, 1.12), ylim=(len(below) - 0.4, -0.6), xlabel="probability, added up", ylabel="likeliest first")
    ax.set_title("The token that crosses p stays, what begins beyond it is cut")
    show(
        fig,
        "Four probabilities added up as steps: the two that begin below p are kept, the two that begin beyond it are cut.",
    )


def heat(temperatures: Sequence[float], right: Sequence[float], choices: Sequence[float]) -> None:
    """Chance of the right token, and how many tokens are really in the race, by temperature."""
    fig, (left, other) = plt.subplots(1, 2, figsize=(6, 2.7))
    left.plot(temperatures, right, marker="o", color=HERO, linewidth=2.4)
    left.set(xlabel="temperature", ylabel="chance of the right token", ylim=(0, 1.05))
    left.set_title("Right answers fall off a cliff ...")
    other.plot(temperatures, choices, marker="o", color=LOUD, linewidth=2.4)
    other.set(xlabel="temperature", ylabel="tokens in the race", yscale="log")
    plain_ticks(other, "y", (1, 10, 100, 1000))
    other.set_title("... when the tail comes in")
    for ax in (left, other):
        ax.axvline(0.6, color=GRAY, linewidth=1, linestyle=":")
        ax.text(0.66, 0.6, "checkpoint's\n0.6", transform=ax.get_xaxis_transform(), fontsize=8, color=GRAY)
    show(
        fig,
        "By temperature: the chance of the right token is flat and then falls, the number of tokens in the race grows.",
    )


def padding_gaps(paddings: Sequence[int], gaps: Mapping[str, Sequence[float]], step: int) -> None:
    """Largest change of the last token's logits by the number of padding tokens on its left."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    for (name, values), color, style in zip(gaps.items(), (LOUD, HERO, QUIET), ("-", "-", "--"), strict=True):
        ax.plot(paddings, np.maximum(values, 1e-6), marker="o", color=color, linestyle=style, label=name)
    ax.set(xscale="log", yscale="log", xlabel="padding tokens on the left", ylabel="largest change of a logit")
    plain_ticks(ax, "x", paddings)
    plain_ticks(ax, "y", (1e-6, 1e-4, 1e-2, 1, 100), ("10⁻⁶", "10⁻⁴", "10⁻²", "1", "100"))
    ax.set_ylim(1e-7, 100)
    ax.set_title(f"Masked padding is free until it crosses a step of {step} tokens")
    colors = (LOUD, HERO, "#555555")
    label_ends(ax, [(name, max(values[-1], 1e-6), c) for (name, values), c in zip(gaps.items(), colors, strict=True)])
    values = {name: [f"{value:.2f}" for value in row] for name, row in gaps.items()}
    show(fig, "Change of logits by padding: none with a mask until a step is crossed, large without a mask.", values)


def tokens_per_pass(gained: Mapping[str, Sequence[float]], texts: Sequence[str], most: int) -> None:
    """Tokens that one pass of the large model brings, for each text and each way to guess."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    for row, (name, values) in enumerate(gained.items()):
        places = np.arange(len(texts)) + 0.38 * (row - 0.5)
        ax.barh(places, values, height=0.34, color=(HERO, LOUD)[row])
        for place, value in zip(places, values, strict=True):
            ax.text(value + 0.05, place, f"{value:.1f}  {name}", fontsize=8, va="center")
    ax.set_yticks(range(len(texts)), texts)
    ax.set(
        xlim=(0, most + 2),
        ylim=(len(texts) - 0.4, -0.6),
        xlabel="tokens for each pass of the large model",
        ylabel="text",
    )
    ax.axvline(1, color="black", linewidth=0.8)
    ax.grid(axis="y")
    ax.set_title("How far guessing ahead gets depends on the text")
    show(
        fig,
        "Tokens for each pass of the large model: most for a tool call with a small model, fewer for prose and code. "
        "Lookup brings as many in the prose, and fewer elsewhere.",
    )


def cost_of_a_pass(tokens: Sequence[int], costs: Mapping[str, Sequence[float]]) -> None:
    """Cost of one pass by the tokens that it checks, in passes of one token."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for values, color in zip(costs.values(), (LOUD, HERO), strict=True):
        ax.plot(tokens, values, marker="o", color=color, linewidth=2.4)
    ax.set(xscale="log", xlabel="tokens in one pass", ylabel="time, in passes of one token")
    ax.set_ylim(0, 1.1 * max(map(max, costs.values())))
    plain_ticks(ax, "x", tokens)
    ax.set_title("A mixture that runs each token's own expert pays for every guess")
    label_ends(ax, [(name, values[-1], c) for (name, values), c in zip(costs.items(), (LOUD, HERO), strict=True)])
    show(
        fig,
        "Time of a pass by its tokens: it grows where each token runs its own expert, and hardly where all experts run.",
    )


def languages(costs: Mapping[str, float], english: str) -> None:
    """Tokens for the same phrases in each language, in units of English."""
    fig, ax = plt.subplots(figsize=(6, 3.0))
    ordered = sorted(costs, key=costs.get)
    ax.barh(ordered, [costs[name] for name in ordered], color=[LOUD if name == english else QUIET for name in ordered])
    for place, name in enumerate(ordered):
        ax.text(max(costs[name], 1) + 0.02, place, f"{costs[name]:.2f}", fontsize=8, va="center")
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set(xlabel="tokens, English = 1", ylabel="language", xlim=(0, 1.12 * max(costs.values())))
    ax.grid(axis="y")
    ax.set_title(f"{ordered[-1]} costs {costs[ordered[-1]]:.1f} times as many tokens as English")
    show(fig, "Tokens for the same phrases in twelve languages: the scripts that are not Latin cost most.")
