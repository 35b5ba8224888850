"""Graders of notebook 09: chunk walls, reach, effective length, dilution."""

import math

from llama4lab.grading import Exercise

EXERCISES = {}

# ---- 1: may the token at `query` attend to the one at `key` in a chunked layer? ----


def sees(query, key, chunk):
    return key <= query and query // chunk == key // chunk


EXERCISES[1] = Exercise(
    right=sees,
    cases=[(query, key, chunk) for chunk in (3, 4) for query in range(9) for key in range(9)],
    mistakes={
        "This is a sliding window: token 8 with chunks of 4 may see only itself, not the 3 tokens before it.": (
            lambda q, k, c: 0 <= q - k < c
        ),
        "The future is visible: a token may not see later tokens of its own chunk.": lambda q, k, c: q // c == k // c,
        "Every earlier token is visible; in a chunked layer only those of the same chunk are.": lambda q, k, c: k <= q,
        "A token sees itself too: the last condition is key <= query, not key < query.": (
            lambda q, k, c: k < q and q // c == k // c
        ),
        "The wall is one token off: position 4 opens the second chunk of 4, so the chunk is position // chunk.": (
            lambda q, k, c: k <= q and (q - 1) // c == (k - 1) // c
        ),
        "Every token is visible, the future and other chunks too.": lambda q, k, c: True,
    },
)

# ---- 2: the share of question places that see a fact `distance` tokens back ----


def share_reachable(distance, chunk):
    return max(0, chunk - distance) / chunk


EXERCISES[2] = Exercise(
    right=share_reachable,
    cases=[(distance, chunk) for chunk in (4, 8, 8192) for distance in (0, 1, 3, 4, 7, 8, 20, 4096)],
    mistakes={
        "A share cannot be negative: beyond a chunk's length it is 0.": lambda d, c: (c - d) / c,
        "That holds for a sliding window; with walls it depends on where in its chunk the question is.": (
            lambda d, c: float(d < c)
        ),
        "Off by one: a question at place p of its chunk sees the fact if p is at least the distance.": (
            lambda d, c: max(0, c - d - 1) / c
        ),
        "That is the share that cannot reach the fact; take the rest.": lambda d, c: min(1, d / c),
        "It is the same for every distance; the further the fact, the fewer questions see it.": [
            lambda d, c: 0.25,
            lambda d, c: 0.0,
        ],
    },
)

# ---- 3: the longest length whose score, and every one before, is 85 % of the base or more ----


def walk(scores, bar, lengths=None):
    reached = 0
    for length in lengths or sorted(scores):
        if scores[length] < bar:
            break
        reached = length
    return reached


def base(scores):
    return max(score for length, score in scores.items() if length <= 1000)


def nolima_length(scores):
    return walk(scores, 0.85 * base(scores))


EXERCISES[3] = Exercise(
    right=nolima_length,
    cases=[
        ({250: 0.9, 500: 1.0, 1000: 0.95, 2000: 0.86, 4000: 0.84, 8000: 0.5},),
        ({250: 0.5, 500: 0.5, 2000: 0.44, 4000: 0.2},),
        ({250: 1.0, 500: 0.5, 1000: 1.0, 2000: 1.0},),
        ({250: 0.8, 2000: 0.75, 4000: 1.0},),
        ({1000: 0.9, 250: 1.0, 2000: 0.2},),
    ],
    mistakes={
        "The bar is relative: 85 % of the model's own base score, not a fixed 0.85.": [
            lambda scores: walk(scores, 0.85),
            lambda scores: walk(scores, 0.856),
        ],
        "Stop at the first length that misses the bar.": lambda scores: max(scores),
        "A length counts only if every shorter one passes too.": (
            lambda scores: max(length for length, score in scores.items() if score >= 0.85 * base(scores))
        ),
        "The base is the best score among lengths of at most 1000, not of all lengths.": (
            lambda scores: walk(scores, 0.85 * max(scores.values()))
        ),
        "Walk the lengths from short to long; the dictionary need not be sorted.": (
            lambda scores: walk(scores, 0.85 * base(scores), list(scores))
        ),
    },
)

# ---- 4: the softmax weight of one logit factor * lead among n - 1 zeros ----


def needle_weight(lead, n, factor):
    return 1 / (1 + (n - 1) * math.exp(-factor * lead))


EXERCISES[4] = Exercise(
    right=needle_weight,
    cases=[(0.0, 4, 1.0), (2.0, 10, 1.5), (9.0, 10_485_760, 1.716), (9.0, 10_485_760, 1.0)],
    mistakes={
        "Off by one: the right key has n - 1 others beside it, not n.": (
            lambda lead, n, factor: needle_weight(lead, n + 1, factor)
        ),
        "The factor is not used; it multiplies the logit.": lambda lead, n, factor: needle_weight(lead, n, 1.0),
        "The factor multiplies the logit before the softmax, not the weight after it.": (
            lambda lead, n, factor: factor * needle_weight(lead, n, 1.0)
        ),
        "The factor divides the logit here; in Llama 4 it multiplies the query.": (
            lambda lead, n, factor: needle_weight(lead, n, 1 / factor)
        ),
        "It is the same for every length; more keys leave less weight for each.": lambda lead, n, factor: 0.5,
    },
)
