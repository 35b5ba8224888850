"""Pictures of 13: how a picture is cut."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show


def cut_picture(picture: np.ndarray, tiles: Sequence[np.ndarray], grid: tuple[int, int], tile: int) -> None:
    """A picture with its cut lines, its tiles in their places, and the global tile, which is the last of `tiles`.

    grid: rows and columns of tiles. tile: pixels of the picture from one cut to the next.
    """
    rows, columns = grid
    fig, panels = plt.subplot_mosaic(
        [["picture", *(f"{row} {column}" for column in range(columns)), "global"] for row in range(rows)],
        figsize=(6, 2.6),
        width_ratios=(2, *[1] * columns, 2),
    )
    panels["picture"].imshow(picture)
    for cut in range(1, columns):
        panels["picture"].axvline(cut * tile - 0.5, color=PALETTE[1], linewidth=1.5, linestyle="--")
    for cut in range(1, rows):
        panels["picture"].axhline(cut * tile - 0.5, color=PALETTE[1], linewidth=1.5, linestyle="--")
    for place, pixels in enumerate(tiles[:-1]):
        row, column = divmod(place, columns)
        panels[f"{row} {column}"].imshow(pixels)
        panels[f"{row} {column}"].set_title(f"tile {place}", fontsize=8)
    panels["global"].imshow(tiles[-1])
    panels["picture"].set_title("picture and cuts")
    panels["global"].set_title("global tile")
    for panel in panels.values():
        panel.set_axis_off()
    show(
        fig,
        "A picture of 80 by 60 pixels with four shapes, its four tiles of 48 pixels with black padding at the right and "
        "below, and the global tile, in which the whole picture is squeezed into a square.",
    )
