"""The graders of notebook 11: right answers pass, each plausible wrong one is told its mistake."""

import pytest
import torch

from llama4lab.grading import verdict


def not_written(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize(
    "exercise, stub", [("13.1", ...), ("13.2", not_written), ("13.3", not_written), ("13.4", not_written)]
)
def test_stubs_are_not_tried(exercise, stub):
    assert verdict(exercise, stub) == f"Exercise {exercise}: not tried yet."


def unshuffle(tokens):
    tiles, count, width = tokens.shape
    n = int(count**0.5)
    return tokens.reshape(tiles, n, n, 2, 2, width // 4).permute(0, 1, 3, 2, 4, 5).reshape(tiles, 4 * count, width // 4)


def unshuffle_with_loops(tokens):
    tiles, count, width = tokens.shape
    n, narrow = int(count**0.5), width // 4
    out = torch.empty(tiles, 2 * n, 2 * n, narrow)
    for row in range(n):
        for column in range(n):
            for place in range(4):
                part = tokens[:, row * n + column, place * narrow : (place + 1) * narrow]
                out[:, 2 * row + place // 2, 2 * column + place % 2] = part
    return out.flatten(1, 2)


def tiles_of(ids, patch_id, end_id, tokens_a_tile):
    found, patches = [], 0
    for token in ids:
        patches += token == patch_id
        if token == end_id:
            found.append(patches // tokens_a_tile)
            patches = 0
    return found


def tiles_by_slices(ids, patch_id, end_id, tokens_a_tile):
    ends = [place for place, token in enumerate(ids) if token == end_id]
    starts = [0, *ends]
    return [ids[a:b].count(patch_id) // tokens_a_tile for a, b in zip(starts, ends, strict=False)]


def tiles_without_reset(ids, patch_id, end_id, tokens_a_tile):
    return [ids[:place].count(patch_id) // tokens_a_tile for place, token in enumerate(ids) if token == end_id]


@pytest.mark.parametrize(
    "exercise, answer",
    [
        ("13.1", 2322),
        ("13.2", unshuffle),
        ("13.2", unshuffle_with_loops),
        ("13.3", tiles_of),
        ("13.3", tiles_by_slices),
        ("13.4", lambda pictures: len(pictures) / sum(pictures)),
        ("13.4", lambda pictures: sum(1 / n for n in pictures for _ in range(n)) / sum(pictures)),
    ],
)
def test_right(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


def rows_for_columns(tokens):
    tiles, count, width = tokens.shape
    n = int(count**0.5)
    return tokens.reshape(tiles, n, n, 2, 2, width // 4).permute(0, 1, 4, 2, 3, 5).reshape(tiles, 4 * count, width // 4)


def whole_turned(tokens):
    right = unshuffle(tokens)
    side = int(right.shape[1] ** 0.5)
    return right.view(len(right), side, side, -1).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize(
    "exercise, answer, mistake",
    [
        ("13.1", 2304, "Those are the patch tokens"),
        ("13.1", 2319, "left out the three marks"),
        ("13.1", 2307, "left out the separators"),
        ("13.1", 2323, "no separator"),
        ("13.1", 2178, "left out the global tile."),
        ("13.1", 2160, "left out the global tile, the separators"),
        ("13.1", 2467, "4 x 4"),
        ("13.1", 1887, "4 x 3"),
        ("13.1", 147, "one tile"),
        ("13.1", 2774, "divided the area"),
        ("13.1", 5, "is not it"),
        ("13.1", 2322.0, "Give one whole number"),
        ("13.1", True, "Give one whole number"),
        ("13.2", lambda x: x.reshape(len(x), 4 * x.shape[1], -1), "only reshaped"),
        ("13.2", rows_for_columns, "inside the squares"),
        ("13.2", whole_turned, "whole tile"),
        ("13.2", lambda x: x, "The shape should be"),
        ("13.2", lambda x: unshuffle(x).flip(1), "wrong patch"),
        ("13.2", lambda x: None, "Return a tensor"),
        ("13.2", 4, "Give the function itself"),
        ("13.3", tiles_without_reset, "start each from 0"),
        ("13.3", lambda i, p, e, t: [t * n for n in tiles_of(i, p, e, t)], "divide by tokens_a_tile"),
        ("13.3", lambda i, p, e, t: [n - 1 for n in tiles_of(i, p, e, t)], "should give [1]"),
        ("13.3", lambda i, p, e, t: [i.count(p) // t], "empty list"),
        ("13.3", lambda i, p, e, t: sum(tiles_of(i, p, e, t)), "Return a list"),
        ("13.3", [1], "Give the function itself"),
        ("13.4", lambda pictures: 0.25, "all four corners"),
        ("13.4", lambda pictures: 0.7, "is not 1"),
        ("13.4", lambda pictures: sum(1 / n for n in pictures) / len(pictures), "averaged over pictures"),
        ("13.4", lambda pictures: 100 * len(pictures) / sum(pictures), "percent"),
        ("13.4", lambda pictures: None, "Return a float"),
        ("13.4", 0.4, "Give the function itself"),
    ],
)
def test_wrong(exercise, answer, mistake):
    text = verdict(exercise, answer)
    assert "not yet" in text and mistake in text
