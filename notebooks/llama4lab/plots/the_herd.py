"""Pictures of 01: where the billions are, what a token touches, which machine holds them, what Behemoth may have been."""

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
BLOCK = 6  # columns of the block that holds what a token uses, the same in both fields


def billions(letters: Mapping[str, str]) -> None:
    """A field of equal cells for each model, one a billion parameters; letters: a key of `KINDS` for each cell.

    Whatever is not idle fills a block of the same six columns in each field, so that the blocks can be compared.
    """
    fig, ax = plt.subplots(figsize=(6, 5))
    left = 0
    for name, cells in letters.items():
        in_use = len(cells) - cells.count(".")
        block = [divmod(place, BLOCK) for place in range(in_use)]
        others = (divmod(place, COLUMNS[name]) for place in range(len(cells)))
        places = block + [place for place in others if place not in block]
        for (row, column), letter in zip(places, cells, strict=True):
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
        "Two fields of equal cells, one a billion parameters: Scout 109, Maverick 402. Both begin with the same block of "
        "18 colored cells: in Scout 6 routed, 6 shared, 3 attention, embedding, head, vision; in Maverick 3 routed, 3 "
        "shared, 6 dense, 3 attention, embedding, head, vision. All others are idle routed experts.",
        values={f"cells of {name}:": cells for name, cells in letters.items()},
    )


def conventions(sizes: Mapping[str, int]) -> None:
    """Billions of active parameters, summed up part by part; sizes: parameters by name of the part, in order."""
    fig, ax = plt.subplots(figsize=(6, 1.9))
    colors = ("#c9c9c9", KINDS["H"][0], KINDS["E"][0], KINDS["V"][0])
    end = 0.0
    for (name, size), color in zip(sizes.items(), colors, strict=True):
        ax.barh(0, size / 1e9, left=end, color=color, edgecolor="white", height=0.5)
        middle, end = end + size / 2e9, end + size / 1e9
        if end == size / 1e9:
            ax.text(middle, 0, name, ha="center", va="center")
        else:
            ax.text(middle - 0.15, 0.32, name, rotation=40, rotation_mode="anchor", fontsize=8)
        published = round(end) == 17
        ax.text(end, -0.34, f"{end:.0f}", ha="center", va="top", weight="bold" if published else "normal")
        ax.plot([end, end], [-0.32, -0.25], color="black", linewidth=0.8)
    ax.set(xlim=(0, 18.6), ylim=(-0.6, 1.05), xlabel="billions of Scout's parameters that are counted")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.grid(False)
    ax.set_title("Add the head, then the embedding: the published 17")
    show(
        fig,
        "A bar of Scout's active parameters, in billions: 15 without embedding and head, 16 with the head, 17 with the "
        "embedding too, which is the published number, and 18 with the vision part.",
    )


def touched_experts(lit: Mapping[str, np.ndarray]) -> None:
    """Which experts each token reached; lit: an array of bool [layers, experts] for each word."""
    fig, axes = plt.subplots(1, len(lit), figsize=(6, 1.9), sharey=True)
    for ax, (word, reached) in zip(axes, lit.items(), strict=True):
        layers, experts = reached.shape
        for layer, expert in np.ndindex(layers, experts):
            color = KINDS["R"][0] if reached[layer, expert] else KINDS["."][0]
            ax.add_patch(Rectangle((expert, layer), 0.86, 0.8, facecolor=color))
        ax.set(xlim=(-0.2, experts), ylim=(-0.2, layers), xlabel="expert", title=f"“{word}”")
        ax.set_xticks([0.4, experts - 0.6], ["0", str(experts - 1)])
        ax.set_yticks([layer + 0.4 for layer in range(layers)], [str(layer) for layer in range(layers)])
        ax.grid(False)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    axes[0].set_ylabel("layer")
    show(
        fig,
        "For each of three words, a grid of the proxy's layers and experts. In each layer exactly one expert is lit, the "
        "only one with a gradient; all others are dark.",
        values={f"experts of “{word}” by layer:": reached.argmax(axis=1) for word, reached in lit.items()},
    )


def weights_and_machines(sizes: Mapping[str, Sequence[float]], machines: Mapping[str, float]) -> None:
    """Weights of Scout and Maverick in GB by format, against the memory of machines."""
    fig, ax = plt.subplots(figsize=(6, 3.6))
    rows = np.arange(len(sizes))
    for place, (machine, memory) in enumerate(machines.items()):
        height = -0.62 - 0.34 * (place % 2 == 0)  # neighbors at two heights
        ax.plot([memory, memory], [len(sizes) - 0.5, height + 0.02], "--", color="#888888", linewidth=0.9, zorder=1)
        ax.text(memory, height, machine, fontsize=8, ha="center", va="bottom")
    for place, (name, marker, color) in enumerate((("Scout", "o", PALETTE[0]), ("Maverick", "s", PALETTE[1]))):
        values = [pair[place] for pair in sizes.values()]
        filling = color if place else "white"
        ax.plot(values, rows, marker, color=color, markersize=8, mfc=filling, markeredgewidth=2)
        label = ax.annotate(name, (values[0], 0), xytext=(0, -16), textcoords="offset points", ha="center", color=color)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.set(xscale="log", xlabel="weights, memory (GB, logarithmic)", ylabel="format of the weights", xlim=(16, 1500))
    ax.set_yticks(rows, list(sizes))
    ax.set_ylim(len(sizes) - 0.5, -1.25)
    ax.grid(axis="x", visible=False)
    plain_ticks(ax, "x", [20, 50, 100, 200, 500, 1000])
    ax.set_title("Left of a line: the weights fit that machine")
    show(
        fig,
        "Weights of Scout and Maverick in five formats as points, on a logarithmic axis, with dashed lines for the memory"
        " of seven machines. In 4 bits Scout is left of the H100's line, Maverick just right of the MI300X's; in "
        "bfloat16 Scout is just right of the MI300X's line and Maverick right of eight H100.",
    )


def reach(active: float, totals: tuple[float, float], scout: tuple[float, float]) -> None:
    """Total over active size against the share of routed experts among the active parameters, for 16 experts.

    Args:
        active, totals: Behemoth's, in billions; the lowest and the highest total.
        scout: share and ratio of Scout, counted.
    """
    fig, ax = plt.subplots(figsize=(6, 3.4))
    low, high = (total / active for total in totals)
    ax.axhspan(low, high, color="#cccccc", zorder=0)
    ax.text(0.99, (low + high) / 2, "Behemoth", fontsize=8, ha="right", va="center")
    # (words, experts picked, where the pattern ends, line, where its name is)
    patterns = (
        ("two picked, none shared", 2, 1, ":", (0.9, 7.75, "right")),
        ("two picked, one shared:\ntoo low", 2, 2 / 3, "--", (0.685, 5.35, "left")),
        ("one picked, one shared,\nlike Scout", 1, 1 / 2, "-", (0.52, 8.5, "left")),
    )
    for words, top_k, end, style, (x, y, side) in patterns:
        share = np.array([0, end])
        color = PALETTE[0] if top_k == 1 else PALETTE[1]
        ax.plot(share, 1 + share * (16 / top_k - 1), style, color=color, linewidth=2.4 if top_k == 1 else 1.6)
        ax.plot([end], [1 + end * (16 / top_k - 1)], "|", color=color, markersize=14, markeredgewidth=2)
        ax.text(x, y, words, fontsize=8, color=color, ha=side, va="center")
    ax.plot([1 / 4], [1 + 15 / 4], "|", color=PALETTE[0], markersize=14, markeredgewidth=2)
    ax.text(0.275, 4.6, "Maverick's pattern:\ntoo low", fontsize=8, color=PALETTE[0], va="center")
    ax.plot(*scout, "o", color="black")
    ax.text(scout[0] + 0.02, scout[1] - 0.12, "Scout", fontsize=8, va="top")
    ax.set(
        xlabel="share of the active parameters that are routed experts",
        ylabel="total / active",
        xlim=(0, 1),
        ylim=(1, 9),
    )
    ax.set_title("Two patterns of four reach Behemoth's band")
    show(
        fig,
        "Total over active parameters against the share of routed experts among the active ones, for 16 experts. The "
        "line of one picked expert rises steeply and ends at one half; it crosses the gray band of Behemoth just right of "
        "Scout's point. Maverick's pattern ends on that line at one quarter, below the band. The line of two picked "
        "experts and a shared one ends at two thirds, below the band; without a shared one it crosses the band.",
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
        ax.annotate(f"{width:,}", (hidden_size, layers), xytext=offset, textcoords="offset points", fontsize=8, ha=side)
    ax.text(0.98, 0.88, "number at a point: width of its experts", transform=ax.transAxes, fontsize=8, ha="right")
    ax.set(xlabel="hidden size", ylabel="layers (logarithmic)", yscale="log", xlim=(3000, 33000), ylim=(20, 420))
    plain_ticks(ax, "y", [25, 50, 100, 200, 400])
    ax.set_title(f"{len(shapes)} models, all with Behemoth's three numbers")
    show(
        fig,
        "Shapes that fit Behemoth's numbers, hidden size against layers, each labeled with its expert width. They are on a"
        " falling curve, from 10240 wide and 288 layers deep to 29696 wide and 28 layers deep. Scout's point is far below "
        "the curve.",
    )


def stored_and_used(models: Mapping[str, tuple[float, float]], behemoth: tuple[float, float, float]) -> None:
    """Stored against used parameters, in billions.

    Args:
        models: (used, stored) of each counted model.
        behemoth: used, and the lowest and the highest that is said to be stored.
    """
    fig, ax = plt.subplots(figsize=(6, 3.4))
    ends = np.array([8, 4000])
    ax.plot(ends, ends, ":", color="#666666")
    ax.text(130, 85, "a dense model\nuses all that it stores", fontsize=8, color="#444444", va="center")
    for (name, (used, stored)), color in zip(models.items(), PALETTE, strict=False):
        ax.plot([used], [stored], "o", color=color, markersize=9)
        ax.text(used * 1.13, stored, f"{name}: {stored:.0f}", fontsize=8, va="center")
    used, low, high = behemoth
    ax.plot([used, used], [low, high], color="black", linewidth=7, solid_capstyle="butt")
    ax.text(used * 1.13, (low * high) ** 0.5, f"Behemoth:\n{low:,.0f} to {high:,.0f}", fontsize=8, va="center")
    used_here, low_here = models["Scout"]
    high_here = models["Maverick"][1]
    arrow = {"arrowstyle": "->", "linewidth": 1.6, "color": "black"}
    ax.annotate("", (used_here * 0.9, high_here), xytext=(used_here * 0.9, low_here), arrowprops=arrow)
    ax.text(used_here * 0.84, (low_here * high_here) ** 0.5, "more\nexperts", fontsize=8, ha="right", va="center")
    ax.set(xscale="log", yscale="log", xlim=(8, 1500), ylim=(8, 4000))
    ax.set(xlabel="used by a token (billions, logarithmic)", ylabel="stored (billions, logarithmic)")
    plain_ticks(ax, "x", [10, 30, 100, 300, 1000])
    plain_ticks(ax, "y", [10, 30, 100, 300, 1000, 3000])
    ax.set_title("Experts move a model up, not to the right")
    show(
        fig,
        "Stored against used parameters on logarithmic axes. Scout and Maverick are on one vertical line, at 17 billion "
        "used, Maverick far above Scout. Behemoth is at 288 billion used and about two thousand stored. All are far above "
        "the dotted diagonal of dense models, in which everything stored is used.",
    )
