"""Graders of notebook 06: what a bounded logit allows, reach through layers, keys in the cache, facts across walls."""

import math
from collections.abc import Callable

from llama4lab.grading import grader

CHUNKED, GLOBAL = "chunked_attention", "full_attention"
PROXY = [CHUNKED] * 3 + [GLOBAL]
SCOUT = PROXY * 12


def kind_problem(value: object, kind: type) -> str | None:
    """Why `value` is no whole number (`kind` int) or no truth value (`kind` bool)."""
    if kind is bool:
        return None if isinstance(value, bool) else f"It returned {value!r}; return True or False."
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return None if is_whole else f"It returned {value!r}; return a whole number."


@grader(1)
def grade_most_keys(answer: Callable) -> str | None:
    """most_keys(head_dim, weight) -> largest n with weight e / (e + n - 1) of at least `weight`, e = exp(sqrt(d))."""

    def exact(head_dim: int, weight: float) -> float:
        best = math.exp(math.sqrt(head_dim))
        return best / weight - best + 1

    cases = [(128, 0.5), (128, 0.9), (64, 0.5), (64, 0.25), (16, 0.7)]
    found = [answer(*case) for case in cases]
    if found == [math.floor(exact(*case)) for case in cases] and all(isinstance(value, int) for value in found):
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        return f"It returned {found[0]!r}; return a whole number."
    mistakes = {
        "This is not a whole number; round down.": exact,
        "One key too many: among that many the weight falls short; round down, not up.": lambda d, w: math.ceil(
            exact(d, w)
        ),
        "One key too few: the key itself counts too, it is among n keys in all.": lambda d, w: (
            math.floor(exact(d, w)) - 1
        ),
        "This is one key off: of the n keys one is the aligned one, so n − 1 have the logit 0.": lambda d, w: (
            math.floor(exact(d, w) - 1)
        ),
        "The largest logit is the square root of head_dim, not head_dim.": lambda d, w: math.floor(
            math.exp(d) / w - math.exp(d) + 1
        ),
        "This is right for a weight of one half alone; it ignores `weight`.": lambda d, w: math.floor(exact(d, 0.5)),
        "This is the number of keys for the weight 1 − `weight`.": lambda d, w: math.floor(exact(d, 1 - w)),
        "It forgets that the aligned key's own weight is in the sum: e / (e + n − 1), not e / n.": lambda d, w: (
            math.floor(math.exp(math.sqrt(d)) / w)
        ),
        "The logit is √head_dim; its weight before normalizing is exp of that.": lambda d, w: math.floor(
            math.sqrt(d) / w - math.sqrt(d) + 1
        ),
    }
    for sentence, formula in mistakes.items():
        if all(math.isclose(value, formula(*case), rel_tol=1e-9) for value, case in zip(found, cases, strict=True)):
            return sentence
    for value, (head_dim, weight) in zip(found, cases, strict=True):
        expected = math.floor(exact(head_dim, weight))
        if value != expected:
            best = math.exp(math.sqrt(head_dim))
            return (
                f"For head_dim {head_dim} and weight {weight} it gives {value}; among {expected} keys the best weight "
                f"is {best / (best + expected - 1):.6f}, among {expected + 1} it is {best / (best + expected):.6f}."
            )
    return "The numbers are right, but not whole; return an int."


def layers_that_show(query: int, key: int, layer_types: list[str], chunk: int) -> list[int]:
    """The layers in which the token at `query` sees the one at `key`."""
    if key > query:
        return []
    near = query // chunk == key // chunk
    return [layer for layer, kind in enumerate(layer_types) if near or kind == GLOBAL]


@grader(2)
def grade_first_layer(answer: Callable) -> str | None:
    """first_layer(query, key, layer_types, chunk) -> first layer after which `query` can know of `key`, or None."""
    # Positions, layers, chunk, and what is wrong if just this case fails.
    cases = [
        (7, 5, PROXY, 8, "Both are in one chunk: the first layer shows it."),
        (5, 5, PROXY, 8, "A token knows itself; after layer 0 at the latest."),
        (5, 7, PROXY, 8, "The key is in the future of the query; no layer ever shows it."),
        (5, 70, SCOUT, 8, "The key is in the future of the query; no layer ever shows it."),
        (8, 7, PROXY, 8, "Tokens 7 and 8 are neighbors, but a wall of chunks of 8 stands between them."),
        (100, 3, PROXY, 8, "Chunked layers do not hand anything on, however many there are: only a global one does."),
        (100, 3, [CHUNKED] * 9, 8, "Without a global layer nothing crosses a wall: return None."),
        (15, 8, [CHUNKED] * 2, 8, "Both are in the chunk from 8 to 15."),
        (8, 7, [GLOBAL, CHUNKED], 8, "The first layer is global here, so layer 0 shows it; read it from layer_types."),
        (20, 1, [CHUNKED, GLOBAL, CHUNKED, GLOBAL], 8, "The FIRST global layer counts; read it from layer_types."),
        (100_000, 99_000, SCOUT, 8192, "Use `chunk`: 99,000 and 100,000 are in one chunk of 8192."),
        (8192, 8191, SCOUT, 8192, "Use `chunk`: the wall of Scout stands before token 8192."),
    ]
    for query, key, layer_types, chunk, sentence in cases:
        shown = layers_that_show(query, key, layer_types, chunk)
        expected = shown[0] if shown else None
        value = answer(query, key, list(layer_types), chunk)
        is_layer = isinstance(value, int) and not isinstance(value, bool)
        if expected is not None and is_layer and value == expected + 1:
            return "Layers count from 0: the first layer is layer 0."
        if value is not None and not is_layer:
            return f"It returned {value!r}; return the number of a layer, or None."
        if value != expected:
            return f"From token {key} to token {query}, chunks of {chunk}: it gives {value!r}. {sentence}"
    return None


@grader(3)
def grade_keys_in_cache(answer: Callable) -> str | None:
    """keys_in_cache(length, layer_types, chunk) -> keys kept after `length` tokens, all layers together."""

    def total(layer_types: list[str], chunked: int, whole: int) -> int:
        return sum(whole if kind == GLOBAL else chunked for kind in layer_types)

    cases = [
        (150, PROXY, 64),
        (64, PROXY, 64),
        (63, PROXY, 64),
        (20, PROXY, 64),
        (100, [CHUNKED] * 4, 32),
        (8193, SCOUT, 8192),
        (70, [GLOBAL] * 3, 16),
    ]
    found = [answer(length, list(layer_types), chunk) for length, layer_types, chunk in cases]
    for value in found:
        if problem := kind_problem(value, int):
            return problem
    if found == [total(layer_types, length % chunk, length) for length, layer_types, chunk in cases]:
        return None
    mistakes = {
        "This is a cache without walls: chunked layers keep only their chunk so far.": lambda n, t, c: total(t, n, n),
        "This is what transformers keeps, the last chunk − 1 keys; at a wall our cache drops them.": (
            lambda n, t, c: total(t, min(n, c - 1), n)
        ),
        "This keeps the last `chunk` keys, a sliding window; at a wall the chunk is dropped.": lambda n, t, c: total(
            t, min(n, c), n
        ),
        "After a whole chunk it keeps the chunk, but the next token stands behind the wall and sees none of it.": (
            lambda n, t, c: total(t, (n - 1) % c + 1, n)
        ),
        "It counts the next token's own key too, which is not there yet.": lambda n, t, c: total(t, n % c + 1, n),
        "It is one key short: the last token's key is kept as well.": lambda n, t, c: total(t, (n - 1) % c, n),
        "These are the keys of one chunked and one global layer; add up all layers.": lambda n, t, c: (
            n + n % c if len(set(t)) > 1 else (n if GLOBAL in t else n % c)
        ),
        "The chunked layers are missing.": lambda n, t, c: total(t, 0, n),
        "The global layers keep every key.": lambda n, t, c: total(t, n % c, n % c),
        "The two kinds of layers are exchanged: the global ones keep every key.": lambda n, t, c: total(t, n, n % c),
        "This takes three layers of four to be chunked; read it from layer_types.": lambda n, t, c: (
            len(t) // 4 * n + (len(t) - len(t) // 4) * (n % c)
        ),
    }
    for sentence, formula in mistakes.items():
        if found == [formula(*case) for case in cases]:
            return sentence
    for value, (length, layer_types, chunk) in zip(found, cases, strict=True):
        expected = total(layer_types, length % chunk, length)
        if value != expected:
            return (
                f"After {length} tokens, chunks of {chunk}, {layer_types.count(CHUNKED)} chunked and "
                f"{layer_types.count(GLOBAL)} global layers it gives {value}; the cache keeps {expected}."
            )
    return None


@grader(4)
def grade_can_answer(answer: Callable) -> str | None:
    """can_answer(subject, value, question, layer_types, chunk) -> whether value sees subject before question sees value."""
    cases = [
        (1, 3, 6, PROXY, 8, "All three are in one chunk: layer 0 packs the fact, layer 1 reads it."),
        (1, 3, 60, PROXY, 8, "The fact is whole within its chunk; the global layer carries it to the question."),
        (
            7,
            8,
            60,
            PROXY,
            8,
            "The wall cuts the fact. Layer 3 shows the subject to the value, and no LATER layer is left.",
        ),
        (7, 8, 60, SCOUT, 8, "The wall cuts the fact. Layer 3 shows the subject to the value, and layer 7 reads it."),
        (7, 8, 10, PROXY, 8, "Subject and value meet in layer 3, the last one; no later layer reads it, however near."),
        (7, 8, 10, PROXY + [CHUNKED], 8, "Layer 3 packs, and layer 4 reads within the chunk of value and question."),
        (7, 8, 60, PROXY + [CHUNKED], 8, "Layer 4 is chunked, and a wall stands between the value and the question."),
        (1, 3, 60, [CHUNKED] * 4, 8, "Without a global layer nothing reaches a question behind the wall."),
        (1, 3, 6, [CHUNKED], 8, "One layer can not do both: the value must be packed BEFORE it is read."),
        (1, 3, 60, [GLOBAL, CHUNKED], 8, "The global layer comes first: when it reads, the fact is not yet packed."),
        (1, 3, 60, [GLOBAL, GLOBAL], 8, "Two global layers: one packs, the next reads."),
        (8190, 8192, 30_000, SCOUT, 8192, "Scout has twelve global layers; the first packs, the second reads."),
        (8000, 8191, 30_000, PROXY, 8192, "Use `chunk`: 8000 and 8191 are in one chunk of 8192."),
    ]
    for subject, value, question, layer_types, chunk, sentence in cases:
        packed = layers_that_show(value, subject, layer_types, chunk)
        read = layers_that_show(question, value, layer_types, chunk)
        expected = bool(packed and read) and packed[0] < read[-1]
        given = answer(subject, value, question, list(layer_types), chunk)
        if problem := kind_problem(given, bool):
            return problem
        if given != expected:
            where = (
                f"subject {subject}, value {value}, question {question}, chunks of {chunk}, {len(layer_types)} layers"
            )
            return f"For {where} it gives {given}. {sentence}"
    return None
