"""The graders of notebook 10 against right answers and a catalog of plausible wrong ones."""

import math

import pytest

from llama4lab.graders.cost_of_context import CHUNKED, GLOBAL, cache_bytes, chunk_by_chunk, cut, longest, pairs
from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


def judge(exercise, answer):
    return verdict(exercise, answer).removeprefix(f"Exercise {exercise}: ")


# ---- 10.1: bytes ----


def bytes_by_counting(layer_types, chunk, tokens, bytes_per_layer):
    chunked = layer_types.count(CHUNKED)
    return bytes_per_layer * (chunked * min(tokens, chunk - 1) + (len(layer_types) - chunked) * tokens)


def bytes_by_loop(layer_types, chunk, tokens, bytes_per_layer):
    total = 0
    for kind in layer_types:
        total += bytes_per_layer * (min(chunk - 1, tokens) if kind == CHUNKED else tokens)
    return total


@pytest.mark.parametrize("answer", [cache_bytes, bytes_by_counting, bytes_by_loop])
def test_right_bytes(answer):
    assert judge("10.1", answer) == "correct."


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (untried, "not tried"),
        (lambda k, c, t, b: len(k) * t * b, "keeps every token in every layer"),
        (lambda k, c, t, b: b * sum(min(t, c - 1) if x == GLOBAL else t for x in k), "other way round"),
        (lambda k, c, t, b: b * sum(t if x == GLOBAL else min(t, c) for x in k), "not chunk: the newest"),
        (lambda k, c, t, b: b * sum(t if x == GLOBAL else c - 1 for x in k), "take the minimum"),
        (lambda k, c, t, b: b * t * k.count(GLOBAL), "chunked layers are missing"),
        (lambda k, c, t, b: b * len(k) * min(t, c - 1), "cuts every layer off"),
        (lambda k, c, t, b: b * sum(t if x == GLOBAL else t % c for x in k), "fixed window"),
        (lambda k, c, t, b: cache_bytes(k, c, t, 1), "multiply by bytes_per_layer"),
        (lambda k, c, t, b: 2 * cache_bytes(k, c, t, b), "do not double"),
        (lambda k, c, t, b: b * (len(k) // 4 * t + (len(k) - len(k) // 4) * min(t, c - 1)), "layer types"),
        (lambda k, c, t, b: cache_bytes(k, c, t, b) / 1, "a float"),
        (lambda k, c, t, b: cache_bytes(k, c, t, b) + 1, "it should be"),
        (lambda k, c, t, b: None, "one whole number"),
        (lambda k, c, t, b: k[c], "IndexError"),
    ],
)
def test_wrong_bytes(answer, word):
    found = judge("10.1", answer)
    assert word in found and "correct" not in found


# ---- 10.2: pairs ----


def pairs_by_chunks(tokens, chunk):
    if chunk is None:
        chunk = tokens
    return (tokens // chunk) * (chunk**2 + chunk) // 2 + sum(range(1, tokens % chunk + 1))


@pytest.mark.parametrize("answer", [pairs, pairs_by_chunks])
def test_right_pairs(answer):
    assert judge("10.2", answer) == "correct."


def test_pairs_equal_counting_one_by_one():
    for tokens in range(40):
        for chunk in (1, 3, 8, None):
            seen = sum(position % chunk + 1 if chunk else position + 1 for position in range(tokens))
            assert pairs(tokens, chunk) == seen


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (untried, "not tried"),
        (lambda t, c: t // c * c * c + (t % c) ** 2, "not c²"),
        (lambda t, c: t // c * (c * (c - 1) // 2) + (t % c) * (t % c - 1) // 2, "sees itself"),
        (lambda t, c: t // c * (c * (c + 1) // 2), "after the last full chunk"),
        (lambda t, c: -(-t // c) * (c * (c + 1) // 2), "counted as full"),
        (lambda t, c: t * (t + 1) // 2, "ignores the walls"),
        (lambda t, c: t * t, "wanted or not"),
        (lambda t, c: t * c - c * (c - 1) // 2 if t > c else t * (t + 1) // 2, "sliding window"),
        (lambda t, c: pairs(t, c) / 1, "a float"),
        (lambda t, c: pairs(t, c or 8192), "Without walls"),
        (lambda t, c: pairs(t, c) + 1, "it should be"),
        (lambda t, c: str(t), "one whole number"),
    ],
)
def test_wrong_pairs(answer, word):
    found = judge("10.2", answer)
    assert word in found and "correct" not in found


# ---- 10.3: cuts ----


def cut_by_cases(first, stop, chunk):
    parts, place = [], first
    if first % chunk:
        place = min(stop, first + chunk - first % chunk)
        parts.append([first, place])
    whole = (stop - place) // chunk * chunk
    if whole:
        parts.append([place, place + whole])
        place += whole
    if place < stop:
        parts.append([place, stop])
    return parts


@pytest.mark.parametrize("answer", [cut, cut_by_cases, lambda *a: iter(cut(*a))])
def test_right_cuts(answer):
    assert judge("10.3", answer) == "correct."


def keep_empty(first, stop, chunk):
    first_wall = min(-(-first // chunk) * chunk, stop)
    last_wall = max(first_wall, stop // chunk * chunk)
    return [(first, first_wall), (first_wall, last_wall), (last_wall, stop)]


def no_wall_between_forgotten(first, stop, chunk):
    first_wall, last_wall = -(-first // chunk) * chunk, stop // chunk * chunk
    return [part for part in ((first, first_wall), (first_wall, last_wall), (last_wall, stop)) if part[0] != part[1]]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (untried, "not tried"),
        (keep_empty, "empty part"),
        (no_wall_between_forgotten, "ends before it begins"),
        (chunk_by_chunk, "one part, not one part each"),
        (lambda f, s, c: [(a, b - 1) for a, b in cut(f, s, c)], "exclusive"),
        (lambda f, s, c: [(f, s)], "crosses the wall"),
        (lambda f, s, c: cut(0, s - f, c), "is in no part"),
        (lambda f, s, c: cut(f, s, c)[:-1] or [(f, s)], "is in no part"),
        (lambda f, s, c: cut(f, s + 1, c), "was not asked for"),
        (lambda f, s, c: cut(f, s, c)[::-1], "not in order"),
        (lambda f, s, c: 3, "list of pairs"),
        (lambda f, s, c: [f, s], "pair of whole numbers"),
        (lambda f, s, c: [(p, p + 1) for p in range(f, s)], "more parts than needed"),
    ],
)
def test_wrong_cuts(answer, word):
    found = judge("10.3", answer)
    assert word in found and "correct" not in found


# ---- 10.4: longest context ----


def longest_by_halving(free_bytes, layer_types, chunk, bytes_per_layer):
    if GLOBAL not in layer_types and cache_bytes(layer_types, chunk, chunk, bytes_per_layer) <= free_bytes:
        return math.inf
    low, high = 0, 2**60
    while low + 1 < high:
        middle = (low + high) // 2
        fits = cache_bytes(layer_types, chunk, middle, bytes_per_layer) <= free_bytes
        low, high = (middle, high) if fits else (low, middle)
    return low


@pytest.mark.parametrize("answer", [longest, longest_by_halving])
def test_right_lengths(answer):
    assert judge("10.4", answer) == "correct."


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (untried, "not tried"),
        (lambda f, k, c, b: f // (len(k) * b), "every layer keep every token"),
        (lambda f, k, c, b: f // (k.count(GLOBAL) * b), "free of charge"),
        (lambda f, k, c, b: max(0, (f - k.count(CHUNKED) * (c - 1) * b) // (k.count(GLOBAL) * b)), "cache is small"),
        (lambda f, k, c, b: (f - k.count(CHUNKED) * (c - 1) * b) // (k.count(GLOBAL) * b), "negative length"),
        (lambda f, k, c, b: longest(f, k, c, b) + 1, "one token more"),
        (lambda f, k, c, b: float(longest(f, k, c, b)), "whole"),
        (lambda f, k, c, b: longest(f, k, c, b) + 0.5, "whole"),
        (lambda f, k, c, b: longest(f, k, c, b) if GLOBAL in k else 0, "return math.inf"),
        (lambda f, k, c, b: longest(f, k, c, b) if GLOBAL in k else math.inf, "smaller than chunk"),
        (lambda f, k, c, b: longest(f, k, c, b) if f > 0 else -1, "return 0"),
        (lambda f, k, c, b: longest(f, k, c, b) * 2, "tokens fit"),
        (lambda f, k, c, b: None, "one number"),
    ],
)
def test_wrong_lengths(answer, word):
    found = judge("10.4", answer)
    assert word in found and "correct" not in found
