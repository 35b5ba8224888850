"""An explorer of a picture's size: width and height above the tiles and tokens that Llama 4 makes of it."""

from collections.abc import Callable

import ipywidgets as widgets


def explore_pictures(
    count_tokens: Callable[[int, int], tuple[int, int, int]], choose_grid: Callable[[int, int], tuple[int, int]]
) -> widgets.VBox:
    """Sliders of width and height in pixels above the grid of tiles and the tokens of such a picture.

    Args:
        count_tokens: from height and width to tiles, patch tokens, and all tokens.
        choose_grid: from height and width to rows and columns of tiles.
    """
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
