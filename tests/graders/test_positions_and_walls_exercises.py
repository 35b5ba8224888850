"""The graders of notebook 07 against right answers and a catalog of plausible wrong ones."""

import math

import pytest
import torch

from llama4lab.graders.positions_and_walls import CHUNKED, GLOBAL
from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


# ---- 07.1: keys among which one can have a given weight ----


def exact(head_dim, weight):
    best = math.exp(math.sqrt(head_dim))
    return best / weight - best + 1


def right_keys(head_dim, weight):
    return math.floor(exact(head_dim, weight))


def counted_keys(head_dim, weight):
    best, low, high = math.exp(math.sqrt(head_dim)), 1, 10**9
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if best / (best + middle - 1) >= weight else (low, middle)
    return low


# ---- 07.2: the first layer ----


def right_layer(query, key, layer_types, chunk):
    if key > query:
        return None
    for layer, kind in enumerate(layer_types):
        if kind == GLOBAL or query // chunk == key // chunk:
            return layer
    return None


def layer_by_masks(query, key, layer_types, chunk):
    if query > 200:
        return right_layer(query, key, layer_types, chunk)
    position = torch.arange(max(query, key) + 1)
    causal = position[:, None] >= position[None, :]
    near = causal & (position[:, None] // chunk == position[None, :] // chunk)
    arrived = torch.eye(len(position), dtype=torch.bool)
    for layer, kind in enumerate(layer_types):
        arrived = ((causal if kind == GLOBAL else near).float() @ arrived.float()) > 0
        if arrived[query, key]:
            return layer
    return None


def layer_of_a_window(query, key, layer_types, chunk):
    for layer, kind in enumerate(layer_types):
        if 0 <= query - key <= (layer + 1) * (chunk - 1) or (kind == GLOBAL and key <= query):
            return layer
    return None


def layer_without_future(query, key, layer_types, chunk):
    return right_layer(max(query, key), min(query, key), layer_types, chunk)


def layer_always_three(query, key, layer_types, chunk):
    if key > query:
        return None
    return 0 if query // chunk == key // chunk else 3


def layer_chunk_of_8192(query, key, layer_types, chunk):
    return right_layer(query, key, layer_types, 8192)


def layer_last_global(query, key, layer_types, chunk):
    found = right_layer(query, key, layer_types, chunk)
    globals_ = [layer for layer, kind in enumerate(layer_types) if kind == GLOBAL]
    return globals_[-1] if found else found


def layer_from_one(query, key, layer_types, chunk):
    found = right_layer(query, key, layer_types, chunk)
    return None if found is None else found + 1


def layer_minus_one(query, key, layer_types, chunk):
    found = right_layer(query, key, layer_types, chunk)
    return -1 if found is None else found


# ---- 07.3: keys in the cache ----


def add_up(layer_types, chunked, whole):
    return sum(whole if kind == GLOBAL else chunked for kind in layer_types)


def right_cache(length, layer_types, chunk):
    return add_up(layer_types, length % chunk, length)


def stepped_cache(length, layer_types, chunk):
    kept = [0] * len(layer_types)
    for position in range(length):
        for layer, kind in enumerate(layer_types):
            kept[layer] += 1
            if kind == CHUNKED and (position + 1) % chunk == 0:
                kept[layer] = 0
    return sum(kept)


# ---- 07.4: can it be answered ----


def right_answer(subject, value, question, layer_types, chunk, strict=True):
    def shown(query, key):
        near = query // chunk == key // chunk
        return [layer for layer, kind in enumerate(layer_types) if near or kind == GLOBAL]

    pairs = [(a, b) for a in shown(value, subject) for b in shown(question, value)]
    return any(a < b if strict else a <= b for a, b in pairs)


def stepped_answer(subject, value, question, layer_types, chunk):
    packed = False
    for kind in layer_types:
        sees = kind == GLOBAL
        if packed and (sees or question // chunk == value // chunk):
            return True
        packed = packed or sees or value // chunk == subject // chunk
    return False


def answer_by_reach(subject, value, question, layer_types, chunk):
    return GLOBAL in layer_types or question // chunk == subject // chunk


def answer_if_not_cut(subject, value, question, layer_types, chunk):
    return subject // chunk == value // chunk and (GLOBAL in layer_types or question // chunk == value // chunk)


def answer_two_globals(subject, value, question, layer_types, chunk):
    return layer_types.count(GLOBAL) >= (1 if subject // chunk == value // chunk else 2)


RIGHT = [
    ("07.1", right_keys),
    ("07.1", counted_keys),
    ("07.2", right_layer),
    ("07.2", layer_by_masks),
    ("07.3", right_cache),
    ("07.3", stepped_cache),
    ("07.4", right_answer),
    ("07.4", stepped_answer),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize("exercise", ["07.1", "07.2", "07.3", "07.4"])
def test_stubs_are_not_tried(exercise):
    assert verdict(exercise, untried) == f"Exercise {exercise}: not tried yet."
    assert verdict(exercise, ...) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("07.1", exact, "not a whole number; round down"),
    ("07.1", lambda d, w: float(right_keys(d, w)), "not whole; return an int"),
    ("07.1", lambda d, w: math.ceil(exact(d, w)), "round down, not up"),
    ("07.1", lambda d, w: right_keys(d, w) - 1, "the key itself counts too"),
    ("07.1", lambda d, w: math.floor(math.exp(d) / w - math.exp(d) + 1), "square root of head_dim"),
    ("07.1", lambda d, w: right_keys(d, 0.5), "ignores `weight`"),
    ("07.1", lambda d, w: right_keys(d, 1 - w), "1 − `weight`"),
    ("07.1", lambda d, w: math.floor(math.exp(math.sqrt(d)) / w), "not e / n"),
    ("07.1", lambda d, w: math.floor(math.sqrt(d) / w - math.sqrt(d) + 1), "exp of that"),
    ("07.1", lambda d, w: right_keys(128, w), "For head_dim 64"),
    ("07.1", lambda d, w: [right_keys(d, w)], "return a whole number"),
    ("07.2", layer_of_a_window, "a wall of chunks of 8 stands between"),
    ("07.2", layer_without_future, "in the future"),
    ("07.2", layer_always_three, "Without a global layer"),
    ("07.2", layer_chunk_of_8192, "neighbors"),
    ("07.2", layer_last_global, "The FIRST global layer counts"),
    ("07.2", layer_from_one, "count from 0"),
    ("07.2", layer_minus_one, "in the future"),
    ("07.2", lambda q, k, t, c: right_layer(q, k, t, c) is not None, "the number of a layer, or None"),
    ("07.2", lambda q, k, t, c: right_layer(q, k, t, 8), "Use `chunk`"),
    ("07.2", lambda q, k, t, c: t.index(GLOBAL) if k <= q else None, "one chunk"),
    ("07.3", lambda n, t, c: n * len(t), "without walls"),
    ("07.3", lambda n, t, c: add_up(t, min(n, c - 1), n), "what transformers keeps"),
    ("07.3", lambda n, t, c: add_up(t, min(n, c), n), "a sliding window"),
    ("07.3", lambda n, t, c: add_up(t, (n - 1) % c + 1, n), "behind the wall"),
    ("07.3", lambda n, t, c: add_up(t, n % c + 1, n), "next token's own key"),
    ("07.3", lambda n, t, c: add_up(t, (n - 1) % c, n), "one key short"),
    ("07.3", lambda n, t, c: n * t.count(GLOBAL), "chunked layers are missing"),
    ("07.3", lambda n, t, c: len(t) * (n % c), "keep every key"),
    ("07.3", lambda n, t, c: add_up(t, n, n % c), "exchanged"),
    ("07.3", lambda n, t, c: n * (len(t) // 4) + n % c * (len(t) - len(t) // 4), "read it from layer_types"),
    ("07.3", lambda n, t, c: right_cache(n, t, 64), "After 100 tokens"),
    ("07.3", lambda n, t, c: right_cache(n, t, c) / 2, "return a whole number"),
    ("07.4", answer_by_reach, "no LATER layer is left"),
    ("07.4", lambda *given: right_answer(*given, strict=False), "no LATER layer is left"),
    ("07.4", answer_if_not_cut, "layer 7 reads it"),
    ("07.4", answer_two_globals, "Layer 3 packs, and layer 4 reads"),
    ("07.4", lambda s, v, q, t, c: right_answer(s, v, q, t, 8), "Use `chunk`"),
    ("07.4", lambda *given: True, "no LATER layer is left"),
    ("07.4", lambda *given: False, "All three are in one chunk"),
    ("07.4", lambda *given: int(right_answer(*given)), "return True or False"),
]


@pytest.mark.parametrize(("exercise", "answer", "named"), WRONG)
def test_wrong_answers_are_named(exercise, answer, named):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet. ")
    assert named in found
