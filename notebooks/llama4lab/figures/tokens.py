"""Drawings of a sentence: its tokens as boxes, colored by the experts that took them."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import FancyBboxPatch, Rectangle

from llama4lab.figures.style import MAX_WIDTH, expert_color, text_color
from llama4lab.figures.words import DECORATION


def printable(token: str, font: FontProperties) -> str:
    """The token with visible spaces and line ends, and a box for what the font cannot draw."""
    marked = token.replace(" ", "·").replace("\n", "↵").replace("\t", "→")
    glyphs = get_font(findfont(font)).get_charmap()
    return "".join(letter if ord(letter) in glyphs else "□" for letter in marked)


def _sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure without axes to draw on in points, from the top down, its title in the first 20 of them."""
    fig = plt.figure(figsize=(MAX_WIDTH, height / 72), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(-4, width + 4)
    ax.set_ylim(height, 0)
    if title:
        ax.text(0, 11, title, fontsize=10, va="center")
    return fig, ax


def color_tokens(tokens: Sequence[str], experts: Sequence[int], number_of_experts: int = 16, title: str = "") -> Figure:
    """A sentence as boxes, one a token, in the color of the expert that took it, with the expert's number.

    tokens and experts have one length; spaces show as a middle dot. Returns the figure, 6 inches wide and
    as high as the sentence needs. Raises ValueError when the lengths differ or nothing is given.
    """
    if len(tokens) != len(experts) or not len(tokens):
        raise ValueError(f"color_tokens needs one expert a token, got {len(tokens)} and {len(experts)}.")
    font = FontProperties(family="DejaVu Sans Mono", size=9)
    letter, gap, box_height, row_height, width = 9 * 0.602, 3.0, 25.0, 30.0, 72 * MAX_WIDTH - 8
    boxes = []
    x, row = 0.0, 0
    for token, expert in zip(tokens, experts, strict=True):
        shown = printable(token, font) or "∅"
        box_width = max(len(shown), 2) * letter + 7
        if x > 0 and x + box_width > width:
            x, row = 0.0, row + 1
        boxes.append((x, row, box_width, shown, int(expert)))
        x += box_width + gap
    heading = 20.0 if title else 0.0
    height = (row + 1) * row_height + heading + 6
    fig, ax = _sheet(width, height, title)
    for x, row, box_width, shown, expert in boxes:
        top = heading + 3 + row * row_height
        color = expert_color(expert, number_of_experts)
        ink = text_color(color)
        box = FancyBboxPatch((x, top), box_width, box_height, boxstyle="round,pad=0,rounding_size=3")
        box.set(facecolor=color, edgecolor="#444444", linewidth=0.5)
        box.set_gid(DECORATION)
        ax.add_patch(box)
        middle = x + box_width / 2
        ax.text(middle, top + 8.5, shown, fontproperties=font, color=ink, ha="center", va="center")
        ax.text(middle, top + 19.5, str(expert), fontsize=7, color=ink, ha="center", va="center")
    return fig


def color_token_paths(
    tokens: Sequence[str],
    experts: Sequence[Sequence[int]],
    layers: Sequence[int],
    number_of_experts: int = 16,
    title: str = "",
) -> Figure:
    """A sentence as columns, one a token: its text, and below it, layer by layer, the expert that took it.

    experts is `[layers, tokens]`; layers holds the numbers written at the left of each line of the sentence.
    Spaces show as a middle dot. Returns the figure, 6 inches wide and as high as the sentence needs. Raises
    ValueError when the sizes do not fit each other or nothing is given.
    """
    sizes = {len(row) for row in experts}
    if not len(tokens) or len(experts) != len(layers) or sizes != {len(tokens)}:
        raise ValueError(f"color_token_paths needs one expert a token and layer, got {len(experts)} rows of {sizes}.")
    font = FontProperties(family="DejaVu Sans Mono", size=9)
    letter, gap, text_height, cell_height, margin, width = 9 * 0.602, 3.0, 15.0, 12.5, 16.0, 72 * MAX_WIDTH - 8
    row_height = text_height + cell_height * len(layers) + 9
    columns = []
    x, row = margin, 0
    for place, token in enumerate(tokens):
        shown = printable(token, font) or "∅"
        column_width = max(len(shown), 2) * letter + 5
        if x > margin and x + column_width > width:
            x, row = margin, row + 1
        columns.append((x, row, column_width, shown, [int(taken[place]) for taken in experts]))
        x += column_width + gap
    heading = 20.0 if title else 0.0
    height = (row + 1) * row_height + heading + 2
    fig, ax = _sheet(width, height, title)
    for line in range(row + 1):
        for place, layer in enumerate(layers):
            y = heading + line * row_height + text_height + (place + 0.5) * cell_height
            ax.text(margin - 4, y, str(layer), fontsize=7, color="#555555", ha="right", va="center")
    for x, row, column_width, shown, path in columns:
        top = heading + row * row_height
        middle = x + column_width / 2
        ax.text(middle, top + text_height / 2, shown, fontproperties=font, ha="center", va="center")
        for place, expert in enumerate(path):
            color = expert_color(expert, number_of_experts)
            y = top + text_height + place * cell_height
            cell = Rectangle((x, y), column_width, cell_height, facecolor=color, edgecolor="white", linewidth=0.8)
            cell.set_gid(DECORATION)
            ax.add_patch(cell)
            ink = text_color(color)
            ax.text(middle, y + cell_height / 2, str(expert), fontsize=7, color=ink, ha="center", va="center")
    return fig
