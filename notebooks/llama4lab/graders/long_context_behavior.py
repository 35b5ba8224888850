"""Graders of notebook 09: chunk walls, reach, effective length, dilution, a fair test."""

import math

import numpy as np

from llama4lab.grading import Exercise, Sign
from llama4lab.recall import FILLER, NAMES, VALUES, VOCABULARY

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

# ---- 3: rows for a recall test that no shortcut passes ----

ROWS, WINDOW, BAR = 300, 32, 0.35
FILLER_WORDS, KNOWN = np.array(FILLER), frozenset(VOCABULARY)  # faster than tuples


def haystack(rng, length, facts=7, places=None, told=1):
    """A row that asks about its first fact; `places`: where the facts begin, the asked one first, if not by lot."""
    words = list(rng.choice(FILLER_WORDS, length))
    names = rng.choice(NAMES, facts, replace=False)
    values = rng.choice(VALUES, facts, replace=False)
    if places is None:
        places = 2 * rng.choice(length // 2 - 1, facts + told - 1, replace=False)
    for place, name, value in zip(places, [*names, *names[:1]], [*values, *values[:1]], strict=False):
        words[place : place + 2] = str(name), str(value)
    words[-2:] = "?", str(names[0])
    return [str(word) for word in words], str(values[0])


def in_order(first):
    """Rows whose asked fact comes first, or last, of all facts."""

    def row(rng, length):
        places = sorted(2 * rng.choice(length // 2 - 1, 7, replace=False), reverse=not first)
        return haystack(rng, length, places=places)

    return row


def same_value(rng, length):
    """Rows whose answer is always seven."""
    words, answer = haystack(rng, length)
    return ["seven" if word == answer else word for word in words], "seven"


def same_place(rng, length):
    """Rows whose asked fact is always told at word 40."""
    others = rng.choice(np.delete(np.arange(length // 2 - 1), 20), 6, replace=False)
    return haystack(rng, length, places=[40, *(2 * others)])


def after_the_name(words, wanted):
    """The word after the first place of `wanted`, which is no question."""
    places = [place for place, word in enumerate(words[:-1]) if word == wanted and words[place - 1] != "?"]
    return words[places[0] + 1] if places else None


def shortcuts(rows):
    """What readers with a shortcut say, by the name of the shortcut: a list of one word for each row."""
    rng = np.random.default_rng(1)
    told = [[word for word in words if word in VALUES] or [None] for words, _ in rows]
    answers = [answer for _, answer in rows]
    where = [words.index(answer) if answer in words else 0 for words, answer in rows]
    usual = max(set(where), key=where.count)
    return {
        "any value": [values[rng.integers(len(values))] for values in told],
        "the last value": [values[-1] for values in told],
        "the first value": [values[0] for values in told],
        "the most frequent value": [max(sorted(set(map(str, values))), key=values.count) for values in told],
        "always the same word": [max(set(answers), key=answers.count)] * len(rows),
        "always the same place": [words[usual] if usual < len(words) else None for words, _ in rows],
        f"only the last {WINDOW} words": [after_the_name(words[-WINDOW:], words[-1]) for words, _ in rows],
    }


def is_row(row, length):
    """Whether it is a list of words that ends in a question, and an answer."""
    if not isinstance(row, tuple | list) or len(row) != 2 or isinstance(row[0], str) or not hasattr(row[0], "__len__"):
        return False
    words = list(row[0])
    return len(words) == length and words[-2] == "?" and all(isinstance(w, str) and w in KNOWN for w in words)


def flaws(make_row, length):
    """What is wrong with the rows of `make_row`: form, answers, or the names of the shortcuts that pass the test."""
    rng = np.random.default_rng(0)
    rows = [make_row(rng, length) for _ in range(ROWS)]
    if not all(is_row(row, length) for row in rows):
        return ["form"]
    if any(answer not in VALUES or after_the_name(words, words[-1]) != answer for words, answer in rows):
        return ["answer"]
    answers = [answer for _, answer in rows]
    return [name for name, said in shortcuts(rows).items() if np.mean(np.array(said) == np.array(answers)) > BAR]


def passes(name):
    return lambda result, right, arguments: isinstance(result, list) and name in result


EXERCISES[3] = Exercise(
    right=haystack,
    cases=[(128,), (256,)],
    run=flaws,
    returns="a list of words, and the value that should follow",
    mistakes={
        "A row is a list of `length` words of the vocabulary that ends in ? and a name.": Sign(
            passes("form"), lambda rng, length: haystack(rng, length + 1)
        ),
        "The answer is not the value told right after the first place of the asked name.": Sign(
            passes("answer"), lambda rng, length: (haystack(rng, length)[0], "one")
        ),
        "A reader who says any value of the row passes your test: tell facts about other names.": Sign(
            passes("any value"), lambda rng, length: haystack(rng, length, facts=1)
        ),
        "A reader who says the last value passes your test: let facts come after the asked one, too.": Sign(
            passes("the last value"), in_order(first=False)
        ),
        "A reader who says the first value passes your test: let facts come before the asked one, too.": Sign(
            passes("the first value"), in_order(first=True)
        ),
        "A reader who always says one and the same word passes your test: draw the value.": Sign(
            passes("always the same word"), same_value
        ),
        "A reader who says the most frequent value passes your test: tell each fact equally often.": Sign(
            passes("the most frequent value"), lambda rng, length: haystack(rng, length, told=2)
        ),
        "A reader who looks at one place of the row only passes your test: draw the place of the fact.": Sign(
            passes("always the same place"), same_place
        ),
        f"A reader who sees only the last {WINDOW} words passes your test: put most facts farther back.": Sign(
            passes(f"only the last {WINDOW} words"),
            lambda rng, length: haystack(rng, length, places=length - 30 + 2 * rng.permutation(14)[:7]),
        ),
    },
    otherwise="Draw everything by lot: names, values, places, and which of the facts is asked for.",
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
        "The factor multiplies the logit, inside of exp: exp(factor * lead), not factor * exp(lead).": (
            lambda lead, n, factor: factor * math.exp(lead) / (factor * math.exp(lead) + n - 1)
        ),
        "The others have the logit 0, and 0 times the factor is 0: each adds 1 to the sum, not exp(factor).": (
            lambda lead, n, factor: needle_weight(lead - 1, n, factor)
        ),
        "The right key is part of the sum, too: exp(factor * lead) + n - 1.": (
            lambda lead, n, factor: math.exp(factor * lead) / (n - 1)
        ),
        "A weight is a share of exponentials: take exp of the logit first.": (
            lambda lead, n, factor: factor * lead / (factor * lead + n - 1)
        ),
        "The factor divides the logit here; in Llama 4 it multiplies the query.": (
            lambda lead, n, factor: needle_weight(lead, n, 1 / factor)
        ),
        "It is the same for every length; more keys leave less weight for each.": lambda lead, n, factor: 0.5,
    },
)

# ---- 5: the longest length whose score, and every one before, is 85 % of the base or more ----


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


EXERCISES[5] = Exercise(
    right=nolima_length,
    cases=[
        ({250: 0.9, 500: 1.0, 1000: 0.95, 2000: 0.86, 4000: 0.84, 8000: 0.5},),
        ({250: 0.5, 500: 0.5, 2000: 0.44, 4000: 0.2},),
        ({250: 1.0, 500: 0.5, 1000: 1.0, 2000: 1.0},),
        ({250: 0.8, 2000: 0.75, 4000: 1.0},),
        ({1000: 0.9, 250: 1.0, 2000: 0.2},),
        ({500: 1.0, 2000: 0.85, 4000: 0.5},),  # 85 % to the digit
        ({500: 0.8, 1000: 1.0, 2000: 0.7},),  # the base is at 1000 itself
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
        "85 % is enough: at least is >=, not >.": lambda scores: walk(scores, np.nextafter(0.85 * base(scores), 2)),
        "The base may be at 1000 itself: at most 1000 is <= 1000.": (
            lambda scores: walk(
                scores, 0.85 * max([score for length, score in scores.items() if length < 1000] or [base(scores)])
            )
        ),
        "The base is the best score among the short lengths, not that of the shortest, nor their mean.": [
            lambda scores: walk(scores, 0.85 * scores[min(scores)]),
            lambda scores: walk(
                scores, 0.85 * float(np.mean([score for length, score in scores.items() if length <= 1000]))
            ),
        ],
        "Walk the lengths from short to long; the dictionary need not be sorted.": (
            lambda scores: walk(scores, 0.85 * base(scores), list(scores))
        ),
    },
)
