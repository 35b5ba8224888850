"""The still of an explorer: three of its states side by side, for readers who cannot move its controls."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from llama4lab.figures.publish import show
from llama4lab.figures.style import MAX_WIDTH


def show_still(states: Mapping[str, Callable[[Axes], Sequence]], alt: str, counts: str, height: float = 2.3) -> None:
    """Publish a picture of an explorer's states side by side.

    Args:
        states: by title, what draws a state into axes and returns the numbers or words behind the drawing.
        alt: what is seen, in a sentence.
        counts: what those numbers are.
        height: inches.
    """
    fig, axes = plt.subplots(1, len(states), figsize=(MAX_WIDTH, height))
    values = {}
    for ax, (title, draw) in zip(axes, states.items(), strict=True):
        values[f"{title}, {counts}:"] = draw(ax)
        ax.set_title(title)
        ax.grid(False)
    show(fig, alt, values)
