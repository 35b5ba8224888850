"""Rows of text in which neighbors with the same expert are joined by a bar."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch

from llama4lab.figures import PALETTE, show
from llama4lab.figures.style import MAX_WIDTH
from llama4lab.figures.tokens import printable
from llama4lab.figures.words import DECORATION

LETTER, GAP, BOX, ROW, HEADING = 9 * 0.602, 5.0, 25.0, 36.0, 24.0  # points
WIDTH = 72 * MAX_WIDTH - 8


def rows_of(tokens: Sequence[str]) -> list[tuple[float, int, float]]:
    """Left edge, row and width of each token's box, in points; a row is as wide as the figure."""
    boxes, x, row = [], 0.0, 0
    for token in tokens:
        width = max(len(token), 2) * LETTER + 6
        if x > 0 and x + width > WIDTH:
            x, row = 0.0, row + 1
        boxes.append((x, row, width))
        x += width + GAP
    return boxes


def joined_tokens(texts: Mapping[str, tuple[Sequence[str], Sequence[int]]], alt: str) -> None:
    """Publish texts, tokens and their experts by title; a bar joins neighbors of one row that have the same expert."""
    font = FontProperties(family="DejaVu Sans Mono", size=9)
    shown = {title: [printable(token, font) or "∅" for token in tokens] for title, (tokens, _) in texts.items()}
    placed = {title: rows_of(tokens) for title, tokens in shown.items()}
    height = sum(HEADING + ROW * (boxes[-1][1] + 1) for boxes in placed.values())
    fig = plt.figure(figsize=(MAX_WIDTH, height / 72), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(-4, WIDTH + 4), ylim=(height, 0))
    top, values = 0.0, {}
    for title, (_, experts) in texts.items():
        ax.text(0, top + 11, title, fontsize=10, va="center")
        previous = None
        for token, expert, (x, row, width) in zip(shown[title], experts, placed[title], strict=True):
            y = top + HEADING + row * ROW
            is_joined = previous is not None and previous[0] == expert and previous[1] == row
            if is_joined:
                ax.plot([previous[2], x + width / 2], [y + BOX + 4] * 2, color=PALETTE[1], linestyle="-", linewidth=4)
            box = FancyBboxPatch((x, y), width, BOX, boxstyle="round,pad=0,rounding_size=3")
            box.set(facecolor="#f2f2f2", edgecolor="#777777", linewidth=0.5)
            box.set_gid(DECORATION)
            ax.add_patch(box)
            ax.text(x + width / 2, y + 8.5, token, fontproperties=font, ha="center", va="center")
            ax.text(x + width / 2, y + 19.5, str(expert), fontsize=7, ha="center", va="center")
            previous = (expert, row, x + width / 2)
        values[title] = [f"{token} {expert}" for token, expert in zip(shown[title], experts, strict=True)]
        top += HEADING + ROW * (placed[title][-1][1] + 1)
    show(fig, alt, values)
