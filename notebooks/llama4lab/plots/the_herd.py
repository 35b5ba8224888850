"""Pictures of 01: where the billions are, which machine holds them, and what Behemoth may have been."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from llama4lab.figures import PALETTE, show, text_color
from llama4lab.plots.marks import plain_ticks

KINDS = {
    ".": ("#e8e8e8", "routed, idle"),
    "R": ("#d55e00", "routed, used"),
    "S": ("#e69f00", "shared"),
    "D": ("#cc79a7", "dense MLP"),
    "A": ("#0072b2", "attention"),
    "E": ("#56b4e9", "embedding"),
    "H": ("#009e73", "output head"),
    "V": ("#b0b0b0", "vision"),
}
COLUMNS = {"Scout": 6, "Maverick": 20}


def billions(letters: Mapping[str, str]) -> None:
    """A field of equal cells for each model, one a billion parameters; letters: a key of `KINDS` for each cell."""
    fig, ax = plt.subplots(figsize=(6, 5))
    left = 0
    for name, cells in letters.items():
        for place, letter in enumerate(cells):
            row, column = divmod(place, COLUMNS[name])
            color = KINDS[letter][0]
            ax.add_patch(Rectangle((left + column, row), 0.9, 0.9, facecolor=color))
            if letter != ".":
                middle = (left + column + 0.45, row + 0.45)
                ax.text(*middle, letter, ha="center", va="center_baseline", fontsize=7, color=text_color(color))
        ax.text(left, -0.6, f"{name}: {len(cells)} B", fontsize=10)
        left += COLUMNS[name] + 2
    ax.set(xlim=(0, left - 2), ylim=(21.2, -1.6), aspect="equal", anchor="W")
    ax.set_axis_off()
    swatches = [Rectangle((0, 0), 1, 1, color=color) for color, _ in KINDS.values()]
    labels = [words if letter == "." else f"{letter}: {words}" for letter, (_, words) in KINDS.items()]
    fig.legend(swatches, labels, loc="outside lower center", ncols=4, handlelength=1)
    show(
        fig,
        "Two fields of cells, one a billion parameters: Scout 109, Maverick 402. In each, 17 cells are colored as used: in "
        "Scout 6 routed, 6 shared, 3 attention, embedding, head; in Maverick 3 routed, 3 shared, 6 dense, 3 attention, "
        "embedding, head. One cell is vision. All others are idle routed experts.",
        values={f"cells of {name}:": cells for name, cells in letters.items()},
    )


def weights_and_machines(sizes: Mapping[str, Sequence[float]], machines: Mapping[str, float]) -> None:
    """Weights of Scout and Maverick in GB by format, against the memory of machines."""
    fig, ax = plt.subplots(figsize=(6, 3.6))
    rows = np.arange(len(sizes))
    for machine, memory in machines.items():
        ax.axvline(memory, color="#888888", linewidth=0.9, linestyle="--", zorder=1)
        ax.text(memory, -0.6, machine, rotation=55, rotation_mode="anchor", fontsize=8, va="bottom")
    for place, (name, marker, color) in enumerate((("Scout", "o", PALETTE[0]), ("Maverick", "s", PALETTE[1]))):
        values = [pair[place] for pair in sizes.values()]
        filling = color if place else "white"
        ax.plot(values, rows, marker, color=color, markersize=8, mfc=filling, markeredgewidth=2)
        label = ax.annotate(name, (values[0], 0), xytext=(0, -15), textcoords="offset points", ha="center", color=color)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.set(xscale="log", xlabel="weights, memory (GB, logarithmic)", ylabel="format of the weights", xlim=(20, 1400))
    ax.set_yticks(rows, list(sizes))
    ax.set_ylim(len(sizes) - 0.5, -0.5)
    plain_ticks(ax, "x", [20, 50, 100, 200, 500, 1000])
    show(
        fig,
        "Weights of Scout and Maverick in five formats as points, on a logarithmic axis, with dashed lines for the memory"
        " of seven machines. In 4 bits Scout lies left of the H100's line, Maverick just right of the MI300X's; in "
        "bfloat16 Scout lies just right of the MI300X's line and Maverick right of eight H100.",
    )


def behemoth_shapes(shapes: Sequence[tuple[int, int, int]]) -> None:
    """Shapes that fit Behemoth's numbers: (hidden size, layers, expert width) of each."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    ax.plot([shape[0] for shape in shapes], [shape[1] for shape in shapes], "o", color=PALETTE[0])
    ax.plot([5120], [48], "D", color="black")
    ax.annotate("Scout", (5120, 48), xytext=(6, -3), textcoords="offset points", fontsize=8)
    for (hidden_size, layers, width), following in zip(shapes, [*shapes[1:], (10**6,)], strict=True):
        has_neighbor = following[0] - hidden_size < 1500  # then its label goes to the other side
        offset, side = ((-4, -12), "right") if has_neighbor else ((5, 4), "left")
        ax.annotate(f"{width}", (hidden_size, layers), xytext=offset, textcoords="offset points", fontsize=8, ha=side)
    ax.text(0.98, 0.93, "number at a point: width of its experts", transform=ax.transAxes, fontsize=8, ha="right")
    ax.set(xlabel="hidden size", ylabel="layers (logarithmic)", yscale="log", xlim=(3000, 33000), ylim=(20, 420))
    plain_ticks(ax, "y", [25, 50, 100, 200, 400])
    ax.set_title("Ten models with Behemoth's three numbers")
    show(
        fig,
        "Ten shapes that fit Behemoth's numbers, hidden size against layers, each labeled with its expert width. They lie"
        " on a falling curve, from 10240 wide and 288 layers deep to 29696 wide and 28 layers deep. Scout's point lies "
        "far below the curve.",
    )
