"""Graders of notebook 11, "How does a picture become tokens?"."""

import math

import torch
from transformers.models.llama4.modeling_llama4 import pixel_shuffle

from llama4lab.grading import grader


@grader(1)
def tokens_of_a_page(answer: object) -> str | None:
    """All tokens of a picture of 1240 x 1754 pixels: a grid of 5 x 3 tiles and the global tile."""
    if isinstance(answer, bool) or not isinstance(answer, int):
        return f"Give one whole number; this is a {type(answer).__name__}."
    grid = 5 * 3
    mistakes = {
        (grid + 1) * 144: "Those are the patch tokens; add the separators and the three marks.",
        (grid + 1) * 144 + grid: "You left out the three marks: image_start, image and image_end.",
        (grid + 1) * 144 + 3: "You left out the separators, one for each tile of the grid.",
        (grid + 1) * 144 + grid + 1 + 3: "The global tile has no separator.",
        grid * 144 + grid + 3: "You left out the global tile.",
        grid * 144: "You left out the global tile, the separators and the three marks.",
        17 * 144 + 16 + 3: "That is a grid of 4 x 4; it shrinks the page more than 5 x 3 does.",
        13 * 144 + 12 + 3: "That is a grid of 4 x 3; it shrinks the page more than 5 x 3 does.",
        147: "That is one tile; the page is larger.",
        1754 * 1240 // 28**2: "You divided the area by that of a token; tiles are whole.",
    }
    right = (grid + 1) * 144 + grid + 3
    if answer == right:
        return None
    return mistakes.get(answer, f"{answer} is not it; find the grid, then count tiles + 1, separators and three marks.")


@grader(2)
def unshuffle(answer: object) -> str | None:
    """The inverse of pixel shuffle with ratio 0.5."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    for tiles, side, width in ((1, 4, 1), (2, 8, 3), (3, 6, 5)):
        patches = torch.arange(float(tiles * side**2 * width)).view(tiles, side**2, width)
        found = answer(pixel_shuffle(patches, 0.5))
        if not isinstance(found, torch.Tensor):
            return f"Return a tensor; yours returned a {type(found).__name__}."
        if found.shape != patches.shape:
            return f"The shape should be {list(patches.shape)}, yours is {list(found.shape)}."
        if torch.equal(found, patches):
            continue
        if torch.equal(found, pixel_shuffle(patches, 0.5).reshape(patches.shape)):
            return "You only reshaped: four neighbors of a square came out one after the other; permute first."
        grid, turned = (x.view(tiles, side // 2, 2, side // 2, 2, width) for x in (patches, found))
        if torch.equal(turned, grid.transpose(2, 4)):
            return "Rows and columns inside the squares are exchanged."
        if torch.equal(found.view(tiles, side, side, width).transpose(1, 2).flatten(1, 2), patches):
            return "Rows and columns of the whole tile are exchanged."
        return "The numbers are right, but some stand in the wrong patch; compare with shuffle_pixels, step by step."
    return None


@grader(3)
def tiles_of_pictures(answer: object) -> str | None:
    """Tiles of each picture of a prompt, from its ids."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    patch, end, tile = 92, 81, 4
    one = [80, 90, *[patch] * tile, end]
    two_by_one = [80, *[patch] * tile, 84, *[patch] * tile, 85, 90, *[patch] * tile, end]
    cases = (
        ([1, 2, 3], [], "Text without pictures should give an empty list."),
        ([1, *one, 2], [1], "One picture of one tile should give [1]."),
        ([1, *two_by_one, 2], [3], "Two tiles and the global one are 3: separators do not end a picture."),
        ([1, *one, *two_by_one, 7, *one], [1, 3, 1], "Three pictures should give [1, 3, 1]: start each from 0."),
    )
    for ids, wanted, sentence in cases:
        found = answer(list(ids), patch, end, tile)
        if not isinstance(found, list):
            return f"Return a list; yours returned a {type(found).__name__}."
        if found != wanted:
            if wanted and found == [n * tile for n in wanted]:
                return "You counted tokens; divide by tokens_a_tile."
            return f"{sentence} Yours gave {found}."
    return None


@grader(4)
def position_null(answer: object) -> str | None:
    """Mean chance of a guess among occupied corners, over questions."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    for pictures in ([1], [4, 4], [1, 4], [1, 2, 3, 4, 4]):
        found = answer(list(pictures))
        if isinstance(found, bool) or not isinstance(found, int | float):
            return f"Return a float; yours returned a {type(found).__name__}."
        wanted = len(pictures) / sum(pictures)
        if math.isclose(found, wanted, rel_tol=1e-6):
            continue
        if math.isclose(found, 0.25):
            return "That is a guess among all four corners; only those with a shape count."
        if math.isclose(found, sum(1 / n for n in pictures) / len(pictures)):
            return "You averaged over pictures; a picture with four shapes has four questions."
        if math.isclose(found, 100 * wanted):
            return "That is in percent; return a number between 0 and 1."
        return f"For {pictures} your function gave {found:.4g}, which is not {wanted:.4g}."
    return None
