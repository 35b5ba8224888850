"""An explorer of a picture's size: width and height above the tiles and tokens that Llama 4 makes of it."""

from collections.abc import Callable

import ipywidgets as widgets
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from llama4lab.explore.still import show_still
from llama4lab.figures.style import PALETTE

STATES = ((336, 336), (640, 480), (1344, 340))  # width and height of the still's pictures, in pixels


def explore_pictures(
    count_tokens: Callable[[int, int], tuple[int, int, int]], choose_grid: Callable[[int, int], tuple[int, int]]
) -> widgets.VBox:
    """Sliders of width and height in pixels above the grid of tiles and the tokens of such a picture.

    A still of three sizes is shown first.

    Args:
        count_tokens: from height and width to tiles, patch tokens, and all tokens.
        choose_grid: from height and width to rows and columns of tiles.
    """

    def drawer(width: int, height: int) -> Callable[[Axes], list]:
        def draw(ax: Axes) -> list:
            rows, columns = choose_grid(height, width)
            tiles, _, tokens = count_tokens(height, width)
            for row in range(rows):
                for column in range(columns):
                    ax.add_patch(Rectangle((column, row), 0.92, 0.92, facecolor=PALETTE[5]))
            if tiles > rows * columns:
                ax.add_patch(Rectangle((0, rows + 0.3), 0.92, 0.92, facecolor=PALETTE[4]))
                ax.text(1.1, rows + 0.76, "the whole picture,\nshrunk", va="center", fontsize=8)
            ax.set(xlim=(-0.1, 4.1), ylim=(3.4, -0.2), aspect="equal", xlabel=f"{tokens} tokens", xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            return [rows, columns, tiles, tokens]

        return draw

    show_still(
        {f"{width} × {height} pixels": drawer(width, height) for width, height in STATES},
        "Three pictures as the tiles that Llama 4 cuts them into; where there is more than one tile, a global tile is added.",
        counts="rows, columns, tiles, tokens",
    )
    width = widgets.IntSlider(value=640, min=1, max=4000, description="Width:")
    height = widgets.IntSlider(value=480, min=1, max=4000, description="Height:")
    result = widgets.HTML()

    def draw() -> None:
        rows, columns = choose_grid(height.value, width.value)
        tiles, patches, tokens = count_tokens(height.value, width.value)
        shown = "<br>".join(["&#9633;" * columns] * rows)
        result.value = (
            f"<p>{columns} × {rows} tiles, {tiles} with the global one: {patches} patch tokens, {tokens} in all</p>"
            f"<p style='font-size:200%;line-height:1'>{shown}</p>"
        )

    for slider in (width, height):
        slider.observe(lambda change: draw(), names="value")
    draw()
    return widgets.VBox([width, height, result])
