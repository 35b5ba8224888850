"""What more than one picture is drawn with: levels, moments and labels at their lines."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from llama4lab.figures import luminance

LABEL_POINTS = 11  # height of a label
GRAY = "#666666"


def moment(ax: Axes, value: float, words: str, at: float = 0.02, side: str = "left") -> None:
    """A vertical line with its name beside it; `at`: the label's height, `side`: where the label's line is."""
    ax.axvline(value, color="black", linewidth=0.8, zorder=1)
    words = f" {words} "
    ax.text(value, at, words, transform=ax.get_xaxis_transform(), fontsize=8, ha=side, va="bottom")


def label_ends(ax: Axes, ends: Sequence[tuple[str, float, str]], levels: Mapping[str, float] | None = None) -> None:
    """Name lines at the right of the axes, level with where they end, pushed apart where they would overlap.

    ends: words, y of the line's end and color of each line. levels: values, such as chance, at which a dotted line is
    drawn, by name. Call it when the limits of y are final.
    """
    levels = levels or {}
    for value in levels.values():
        ax.axhline(value, color=GRAY, linewidth=1, linestyle=":", zorder=1)
    ends = [*ends, *((words, value, GRAY) for words, value in levels.items())]
    gap = LABEL_POINTS / (72 * ax.figure.get_figheight() * ax.get_position().height)
    to_axes = ax.transData + ax.transAxes.inverted()
    places = {words: to_axes.transform((ax.get_xlim()[1], y))[1] for words, y, _ in ends}
    for _ in range(50):
        for lower, upper in pairwise(sorted(places, key=places.get)):
            lines = 2 + lower.count("\n") + upper.count("\n")
            lacking = max(0.0, gap * lines / 2 - (places[upper] - places[lower])) / 2
            places[lower], places[upper] = places[lower] - lacking, places[upper] + lacking
    for words, _, color in ends:
        ink = color if luminance(color) < 0.3 else "#444444"  # paler colors are not read on white
        ax.text(1.015, places[words], words, transform=ax.transAxes, fontsize=8, color=ink, va="center")


def plain_ticks(ax: Axes, name: str, values: Sequence[float], words: Sequence[str] | None = None) -> None:
    """Ticks of a logarithmic axis, "x" or "y", at these values only, written as plain numbers."""
    getattr(ax, f"set_{name}ticks")(values, words or [f"{value:g}" for value in values])
    ax.minorticks_off()
