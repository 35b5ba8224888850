"""Graders of 13: tokens of a page, a size within a budget, tiles from ids, pixel shuffle undone, a null for positions."""

import torch
from transformers.models.llama4.modeling_llama4 import pixel_shuffle

from llama4lab.grading import Case, Exercise

EXERCISES = {}

# ---- 1: all tokens of a picture of 1240 x 1754 pixels: a grid of 5 x 3 tiles and the global tile ----


def tokens_of(tiles, separators, marks=3, global_tile=1):
    return (tiles + global_tile) * 144 + separators + marks


EXERCISES[1] = Exercise(
    right=tokens_of(15, 15),
    mistakes={
        "Those are the patch tokens; add the separators and the three marks.": tokens_of(15, 0, marks=0),
        "You left out the three marks: image_start, image and image_end.": tokens_of(15, 15, marks=0),
        "You left out the separators, one for each tile of the grid.": tokens_of(15, 0),
        "The global tile has no separator.": tokens_of(15, 16),
        "You left out the global tile.": tokens_of(15, 15, global_tile=0),
        "You left out the global tile, the separators and the three marks.": tokens_of(15, 0, marks=0, global_tile=0),
        "That is a grid of 4 x 4; it shrinks the page more than 5 x 3 does.": tokens_of(16, 16),
        "That is a grid of 4 x 3; it shrinks the page more than 5 x 3 does.": tokens_of(12, 12),
        "That is one tile; the page is larger.": tokens_of(1, 0, global_tile=0),
        "You divided the area by that of a token; tiles are whole.": 1754 * 1240 // 28**2,
    },
    otherwise="Find the grid, then count tiles + 1, separators and three marks.",
)

# ---- 2: the largest size within a budget of tokens, where the cost is no staircase ----


def cost(height: int, width: int) -> int:
    """All tokens of a picture of Scout's, as the notebook's `count_tokens` has them."""
    scales = {
        (rows, columns): min(rows * 336 / height, columns * 336 / width)
        for rows in range(1, 17)
        for columns in range(1, 16 // rows + 1)
    }
    enough = [scale for scale in scales.values() if scale >= 1]
    best = min(enough) if enough else max(scales.values())
    tiles = min(rows * columns for (rows, columns), scale in scales.items() if scale == best)
    return 145 * tiles + 147 if tiles > 1 else 147


def sizes(height, width):
    """All sizes from the smallest to the picture's own."""
    return [(max(1, round(height * w / width)), w) for w in range(1, width + 1)]


def shrink_to_budget(height, width, budget, count):
    return next((size for size in reversed(sizes(height, width)) if count(*size) <= budget), None)


def bisected(height, width, budget, count):
    """As if the cost never fell when the picture grows."""
    low, high = 0, width
    while low < high:
        middle = (low + high + 1) // 2
        fits = count(max(1, round(height * middle / width)), middle) <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return (max(1, round(height * low / width)), low) if low else None


def first_rise(height, width, budget, count):
    """Going up, the size before the first that is too dear."""
    last = None
    for size in sizes(height, width):
        if count(*size) > budget:
            return last
        last = size
    return last


EXERCISES[2] = Exercise(
    right=shrink_to_budget,
    cases=[
        Case((300, 200, 147, cost), "A picture that fits the budget should keep its size."),
        Case((480, 640, 200, cost), "640 x 480 with 200 tokens should give (252, 336): one tile."),
        (480, 640, 100, cost),
        Case(
            (1051, 1401, 2400, cost), "A photo of 4 to 3 fits 3 x 4 tiles again and again; find the largest that does."
        ),
        Case((60, 97, 3, lambda height, width: width % 10), "Use `count` for the cost, it differs by model."),
    ],
    mistakes={
        "A larger picture may cost less: your search stopped too early, as a binary search does.": [
            bisected,
            first_rise,
        ],
        "Return (height, width), in this order.": [
            lambda *case: (shrink_to_budget(*case) or (None, None))[::-1],
            lambda height, width, budget, count: next(
                (size[::-1] for size in reversed(sizes(height, width)) if count(*size[::-1]) <= budget), None
            ),
        ],
        "A height that you round down may be 0; take max(1, round(height * w / width)).": (
            lambda height, width, budget, count: next(
                ((height * w // width, w) for w in range(width, 0, -1) if count(height * w // width, w) <= budget), None
            )
        ),
        "That is the smallest size that fits; return the largest.": lambda height, width, budget, count: next(
            (size for size in sizes(height, width) if count(*size) <= budget), None
        ),
        "Nothing fits there: return None.": lambda *case: shrink_to_budget(*case) or (1, 1),
    },
    otherwise="Walk down from the full width, and stop at the first size that fits.",
)

# ---- 3: the tiles of each picture of a prompt, from its ids ----


def tiles_of_pictures(input_ids, patch_id, end_id, tokens_a_tile):
    ends = [place for place, token in enumerate(input_ids) if token == end_id]
    return [input_ids[a:b].count(patch_id) // tokens_a_tile for a, b in zip([0, *ends], ends, strict=False)]


def without_reset(ids, patch_id, end_id, tokens_a_tile):
    return [ids[:place].count(patch_id) // tokens_a_tile for place, token in enumerate(ids) if token == end_id]


def without_global_tile(*case):
    return [tiles - 1 if tiles > 1 else tiles for tiles in tiles_of_pictures(*case)]


ONE = [80, 90, *[92] * 4, 81]
TWO_BY_ONE = [80, *[92] * 4, 84, *[92] * 4, 85, 90, *[92] * 4, 81]

EXERCISES[3] = Exercise(
    right=tiles_of_pictures,
    cases=[
        Case(([1, 2, 3], 92, 81, 4), "Text without pictures should give an empty list."),
        Case(([1, *ONE, 2], 92, 81, 4), "One picture of one tile should give [1]."),
        Case(([1, *TWO_BY_ONE, 2], 92, 81, 4), "Two tiles and the global one are 3: separators do not end a picture."),
        Case(([1, *ONE, *TWO_BY_ONE, 7, *ONE], 92, 81, 4), "Three pictures should give [1, 3, 1]: start each from 0."),
        Case(([7, 6, 6, 6, 6, 5], 6, 5, 2), "Use `patch_id`, `end_id` and `tokens_a_tile`; they differ by model."),
    ],
    mistakes={
        "Start each picture from 0: its tiles were added to those before.": without_reset,
        "You counted tokens; divide by tokens_a_tile.": lambda i, p, e, t: [
            t * n for n in tiles_of_pictures(i, p, e, t)
        ],
        "The global tile counts too.": [
            without_global_tile,
            lambda *case: [tiles - 1 for tiles in tiles_of_pictures(*case)],
        ],
        "These are the tiles of all pictures together; return a list with those of each.": [
            lambda i, p, e, t: [i.count(p) // t],
            lambda *case: sum(tiles_of_pictures(*case)),
        ],
    },
)

# ---- 4: the inverse of pixel shuffle with ratio 0.5 ----


def unshuffle(tokens, order=(0, 1, 3, 2, 4, 5)):
    tiles, count, width = tokens.shape
    side = int(count**0.5)
    squares = tokens.reshape(tiles, side, side, 2, 2, width // 4)
    return squares.permute(order).reshape(tiles, 4 * count, width // 4)


def turned(tokens):
    patches = unshuffle(tokens)
    side = int(patches.shape[1] ** 0.5)
    return patches.view(len(patches), side, side, -1).transpose(1, 2).flatten(1, 2)


def by_torch(tokens):
    side = int(tokens.shape[1] ** 0.5)
    return torch.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side, side)), 2).flatten(2).transpose(1, 2)


def shuffled_patches(tiles, side, width):
    return pixel_shuffle(torch.arange(float(tiles * side**2 * width)).view(tiles, side**2, width), 0.5)


EXERCISES[4] = Exercise(
    right=unshuffle,
    cases=[(shuffled_patches(1, 4, 1),), (shuffled_patches(2, 8, 3),), (shuffled_patches(3, 6, 5),)],
    mistakes={
        "You only reshaped: four neighbors of a square came out one after the other; permute first.": (
            lambda tokens: tokens.reshape(len(tokens), 4 * tokens.shape[1], -1)
        ),
        "Rows and columns inside the squares are exchanged.": lambda tokens: unshuffle(tokens, (0, 1, 4, 2, 3, 5)),
        "Rows and columns of the whole tile are exchanged.": turned,
        "That is PyTorch's order: its pixel_shuffle undoes pixel_unshuffle, not Llama 4's.": by_torch,
        "The patches come in reverse order.": lambda tokens: unshuffle(tokens).flip(1),
        "Nothing is undone: these are the tokens that were given.": lambda tokens: tokens.clone(),
    },
    otherwise="Compare with shuffle_pixels, step by step.",
)

# ---- 5: the mean chance of a guess among occupied corners, over questions ----


def position_null(pictures):
    return sum(1 for shapes in pictures if shapes) / sum(pictures)


EXERCISES[5] = Exercise(
    right=position_null,
    cases=[([1],), ([4, 4],), ([1, 4],), ([1, 2, 3, 4, 4],), ([0, 2],)],
    mistakes={
        "That is a guess among all four corners; only those with a shape count.": lambda pictures: 0.25,
        "You averaged over pictures; a picture with four shapes has four questions.": [
            lambda pictures: sum(1 / n for n in pictures if n) / len(pictures),
            lambda pictures: sum(1 / n for n in pictures if n) / sum(1 for n in pictures if n),
            lambda pictures: sum(1 / n for n in pictures) / len(pictures),
        ],
        "A picture with n shapes has n questions, each right with a chance of 1/n; you counted one of them.": [
            lambda pictures: sum(1 / n for n in pictures if n) / sum(pictures),
            lambda pictures: sum(1 / n for n in pictures) / sum(pictures),
        ],
        "A picture without a shape has no question, so nothing is guessed there.": [
            lambda pictures: len(pictures) / sum(pictures),
            lambda pictures: sum(n * (1 / n) for n in pictures) / sum(pictures),
        ],
        "That is in percent; return a number between 0 and 1.": lambda pictures: 100 * position_null(pictures),
    },
)
