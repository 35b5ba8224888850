"""Graders of notebook 07: chunk walls, reach, effective length, dilution."""

import math
from collections.abc import Callable

from llama4lab.grading import grader


@grader(1)
def grade_sees(answer: Callable) -> str | None:
    """sees(query, key, chunk) -> bool: may the token at `query` attend to the one at `key` in a chunked layer?"""
    cases = [(query, key, chunk) for chunk in (3, 4, 8) for query in range(17) for key in range(17)]
    right = {case: case[1] <= case[0] and case[0] // case[2] == case[1] // case[2] for case in cases}
    found = {case: bool(answer(*case)) for case in cases}
    if found == right:
        return None
    readings = {
        "This is a sliding window: token 8 with chunks of 4 may see only itself, not the 3 tokens before it.": (
            lambda q, k, c: k <= q and q - k < c
        ),
        "The future is visible: a token may not see later tokens of its own chunk.": lambda q, k, c: q // c == k // c,
        "Every earlier token is visible; in a chunked layer only those of the same chunk are.": lambda q, k, c: k <= q,
        "A token sees itself too: the last condition is key <= query, not key < query.": (
            lambda q, k, c: k < q and q // c == k // c
        ),
        "The wall is one token off: position 4 opens the second chunk of 4, so the chunk is position // chunk.": (
            lambda q, k, c: k <= q and (q - 1) // c == (k - 1) // c
        ),
    }
    for mistake, reading in readings.items():
        if found == {case: bool(reading(*case)) for case in cases}:
            return mistake
    query, key, chunk = next(case for case in cases if found[case] != right[case])
    return f"For query {query}, key {key} and chunk {chunk} it should be {right[query, key, chunk]}."


@grader(2)
def grade_share(answer: Callable) -> str | None:
    """share_reachable(distance, chunk) -> share of question places that see a fact `distance` tokens back."""
    cases = [(distance, chunk) for chunk in (4, 8, 8192) for distance in (0, 1, 3, 4, 7, 8, 20, 4096)]
    found = {case: float(answer(*case)) for case in cases}

    def is_reading(reading: Callable) -> bool:
        return all(abs(found[case] - reading(*case)) < 1e-9 for case in cases)

    if is_reading(lambda d, c: max(0, c - d) / c):
        return None
    if min(found.values()) < 0:
        return "A share cannot be negative: beyond a chunk's length it is 0."
    readings = {
        "That holds for a sliding window; with walls it depends on where in its chunk the question stands.": (
            lambda d, c: float(d < c)
        ),
        "Off by one: a question at place p of its chunk sees the fact if p is at least the distance.": (
            lambda d, c: max(0, c - d - 1) / c
        ),
        "That is the share that cannot reach the fact; take the rest.": lambda d, c: min(1, d / c),
    }
    for mistake, reading in readings.items():
        if is_reading(reading):
            return mistake
    distance, chunk = next(c for c in cases if abs(found[c] - max(0, c[1] - c[0]) / c[1]) >= 1e-9)
    right = max(0, chunk - distance) / chunk
    return f"For distance {distance} and chunk {chunk} it should be {right:g}, not {found[distance, chunk]:g}."


@grader(3)
def grade_length(answer: Callable) -> str | None:
    """nolima_length(scores) -> longest length whose score, and every one before, is 85 % of the base or more."""
    falling = {250: 0.9, 500: 1.0, 1000: 0.95, 2000: 0.86, 4000: 0.84, 8000: 0.5}
    if answer(falling) == 4000 or answer({250: 0.5, 500: 0.5, 2000: 0.44, 4000: 0.2}) == 0:
        return "The bar is relative: 85 % of the model's own base score, not a fixed 0.85."
    if answer(falling) == 8000:
        return "Stop at the first length that misses the bar."
    dip = {250: 1.0, 500: 0.5, 1000: 1.0, 2000: 1.0}
    if answer(dip) == 2000:
        return "A length counts only if every shorter one passes too; here the score at 500 misses the bar."
    late_peak = {250: 0.8, 2000: 0.75, 4000: 1.0}
    if answer(late_peak) != 4000:
        return "The base is the best score among lengths of at most 1000, not of all lengths."
    mixed = {1000: 0.9, 250: 1.0, 2000: 0.2}
    if answer(mixed) != 1000:
        return "Walk the lengths from short to long; the dictionary need not be sorted."
    return None if answer(falling) == 2000 else "For the scores 0.9, 1.0, 0.95, 0.86, 0.84 it should be 2000."


@grader(4)
def grade_weight(answer: Callable) -> str | None:
    """needle_weight(lead, n, factor) -> softmax weight of one logit factor * lead among n - 1 zeros."""
    for lead, n, factor in ((0.0, 4, 1.0), (2.0, 10, 1.5), (9.0, 10_485_760, 1.716), (9.0, 10_485_760, 1.0)):
        expected, found = 1 / (1 + (n - 1) * math.exp(-factor * lead)), float(answer(lead, n, factor))
        if math.isclose(found, expected, rel_tol=1e-6):
            continue
        if math.isclose(found, 1 / (1 + n * math.exp(-factor * lead)), rel_tol=1e-6):
            return "Off by one: the right key has n - 1 others beside it, not n."
        if math.isclose(found, 1 / (1 + (n - 1) * math.exp(-lead)), rel_tol=1e-6):
            return "The factor is not used; it multiplies the logit."
        if math.isclose(found, factor / (1 + (n - 1) * math.exp(-lead)), rel_tol=1e-6):
            return "The factor multiplies the logit before the softmax, not the weight after it."
        if math.isclose(found, 1 / (1 + (n - 1) * math.exp(-lead / factor)), rel_tol=1e-6):
            return "The factor divides the logit here; in Llama 4 it multiplies the query."
        return f"For lead {lead}, n {n} and factor {factor} it should be {expected:.3g}, not {found:.3g}."
    return None
