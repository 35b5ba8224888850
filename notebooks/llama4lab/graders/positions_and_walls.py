"""Graders of notebook 07: what a bounded logit allows, reach through layers, keys in the cache, facts across walls."""

import math

from llama4lab.grading import Case, Exercise

EXERCISES = {}

CHUNKED, GLOBAL = "chunked_attention", "full_attention"
PROXY = [CHUNKED] * 3 + [GLOBAL]
SCOUT = PROXY * 12

# ---- 1: the largest n with weight e / (e + n - 1) of at least `weight`, e = exp(sqrt(head_dim)) ----


def exact_keys(head_dim, weight, logit=math.sqrt):
    best = math.exp(logit(head_dim))
    return best / weight - best + 1


def most_keys(head_dim, weight):
    return math.floor(exact_keys(head_dim, weight))


EXERCISES[1] = Exercise(
    right=most_keys,
    cases=[(128, 0.5), (128, 0.9), (64, 0.5), (64, 0.25), (16, 0.7)],
    mistakes={
        "This is not a whole number; round down.": exact_keys,
        "One key too many: among that many the weight falls short; round down, not up.": (
            lambda d, w: math.ceil(exact_keys(d, w))
        ),
        "One key too few: of the n keys one is the aligned one, which counts too.": lambda d, w: most_keys(d, w) - 1,
        "The largest logit is the square root of head_dim, not head_dim.": (
            lambda d, w: math.floor(exact_keys(d, w, logit=float))
        ),
        "This is right for a weight of one half alone; it ignores `weight`.": lambda d, w: most_keys(d, 0.5),
        "This is the number of keys for the weight 1 − `weight`.": lambda d, w: most_keys(d, 1 - w),
        "It forgets that the aligned key's own weight is in the sum: e / (e + n − 1), not e / n.": (
            lambda d, w: math.floor(math.exp(math.sqrt(d)) / w)
        ),
        "The logit is √head_dim; its weight before normalizing is exp of that.": (
            lambda d, w: math.floor(exact_keys(d, w, logit=lambda d: math.log(math.sqrt(d))))
        ),
        "This is right for a head_dim of 128 alone; it ignores `head_dim`.": lambda d, w: most_keys(128, w),
    },
)

# ---- 2: the first layer after which the token at `query` can know of the one at `key`, or None ----


def layers_that_show(query, key, layer_types, chunk):
    """The layers in which the token at `query` sees the one at `key`."""
    if key > query:
        return []
    near = query // chunk == key // chunk
    return [layer for layer, kind in enumerate(layer_types) if near or kind == GLOBAL]


def first_layer(query, key, layer_types, chunk):
    return next(iter(layers_that_show(query, key, layer_types, chunk)), None)


def layer_of_a_window(query, key, layer_types, chunk):
    for layer, kind in enumerate(layer_types):
        if 0 <= query - key <= (layer + 1) * (chunk - 1) or (kind == GLOBAL and key <= query):
            return layer
    return None


def always_the_fourth_layer(query, key, layer_types, chunk):
    return first_layer(query, key, PROXY, chunk)


def last_global_layer(query, key, layer_types, chunk):
    first = first_layer(query, key, layer_types, chunk)
    return max(layer for layer, kind in enumerate(layer_types) if kind == GLOBAL) if first else first


def first_layer_from_1(query, key, layer_types, chunk):
    first = first_layer(query, key, layer_types, chunk)
    return None if first is None else first + 1


def minus_1_for_none(query, key, layer_types, chunk):
    first = first_layer(query, key, layer_types, chunk)
    return -1 if first is None else first


EXERCISES[2] = Exercise(
    right=first_layer,
    cases=[
        Case((7, 5, PROXY, 8), "Both are in one chunk: the first layer shows it."),
        Case((5, 5, PROXY, 8), "A token knows itself; after layer 0 at the latest."),
        Case((5, 7, PROXY, 8), "The key is in the future of the query; no layer ever shows it."),
        Case((5, 70, SCOUT, 8), "The key is in the future of the query; no layer ever shows it."),
        Case((8, 7, PROXY, 8), "Tokens 7 and 8 are neighbors, but a wall of chunks of 8 is between them."),
        Case((100, 3, PROXY, 8), "Chunked layers hand nothing on, however many there are: only a global one does."),
        Case((100, 3, [CHUNKED] * 9, 8), "Without a global layer nothing crosses a wall: return None."),
        Case((15, 8, [CHUNKED] * 2, 8), "Both are in the chunk from 8 to 15."),
        Case((8, 7, [GLOBAL, CHUNKED], 8), "The first layer is global here, so layer 0 shows it."),
        Case((20, 1, [CHUNKED, GLOBAL] * 2, 8), "The FIRST global layer counts; read it from layer_types."),
        Case((100_000, 99_000, SCOUT, 8192), "Use `chunk`: 99,000 and 100,000 are in one chunk of 8192."),
        Case((8192, 8191, SCOUT, 8192), "Use `chunk`: the wall of Scout is before token 8192."),
    ],
    mistakes={
        "Chunked layers are no sliding windows: a wall of chunks of 8 is between tokens 7 and 8.": layer_of_a_window,
        "It looks into the future: no token can know of a later one.": (
            lambda q, k, t, c: first_layer(max(q, k), min(q, k), t, c)
        ),
        "This takes three layers of four to be chunked; read it from layer_types.": always_the_fourth_layer,
        "Use `chunk`: the walls of the proxy and of Scout differ.": [
            lambda q, k, t, c: first_layer(q, k, t, 8),
            lambda q, k, t, c: first_layer(q, k, t, 8192),
        ],
        "This is the last global layer; the FIRST one shows it.": last_global_layer,
        "Layers count from 0: the first layer is layer 0.": first_layer_from_1,
        "Where no layer shows it return None, not -1.": minus_1_for_none,
        "Two tokens of one chunk see each other in layer 0; they need no global layer.": (
            lambda q, k, t, c: t.index(GLOBAL) if k <= q and GLOBAL in t else None
        ),
    },
)

# ---- 3: keys kept after `length` tokens, all layers together ----


def add_up(layer_types, chunked, whole):
    return sum(whole if kind == GLOBAL else chunked for kind in layer_types)


def keys_in_cache(length, layer_types, chunk):
    return add_up(layer_types, length % chunk, length)


EXERCISES[3] = Exercise(
    right=keys_in_cache,
    cases=[
        (150, PROXY, 64),
        (64, PROXY, 64),
        (63, PROXY, 64),
        (20, PROXY, 64),
        (100, [CHUNKED] * 4, 32),
        (8193, SCOUT, 8192),
        (70, [GLOBAL] * 3, 16),
    ],
    mistakes={
        "This is a cache without walls: chunked layers keep only their chunk so far.": lambda n, t, c: n * len(t),
        "This is what transformers keeps, the last chunk − 1 keys; at a wall our cache drops them.": (
            lambda n, t, c: add_up(t, min(n, c - 1), n)
        ),
        "This keeps the last `chunk` keys, a sliding window; at a wall the chunk is dropped.": (
            lambda n, t, c: add_up(t, min(n, c), n)
        ),
        "After a whole chunk it keeps the chunk, but the next token is past the wall and sees none of it.": (
            lambda n, t, c: add_up(t, (n - 1) % c + 1, n)
        ),
        "It counts the next token's own key too, which is not there yet.": lambda n, t, c: add_up(t, n % c + 1, n),
        "It is one key short: the last token's key is kept as well.": lambda n, t, c: add_up(t, (n - 1) % c, n),
        "These are the keys of one chunked and one global layer; add up all layers.": (
            lambda n, t, c: add_up(set(t), n % c, n)
        ),
        "The chunked layers are missing.": lambda n, t, c: add_up(t, 0, n),
        "The global layers keep every key.": lambda n, t, c: add_up(t, n % c, n % c),
        "The two kinds of layers are exchanged: the global ones keep every key.": lambda n, t, c: add_up(t, n, n % c),
        "This takes three layers of four to be chunked; read it from layer_types.": (
            lambda n, t, c: len(t) // 4 * n + (len(t) - len(t) // 4) * (n % c)
        ),
        "This takes chunks of 64; use `chunk`.": lambda n, t, c: keys_in_cache(n, t, 64),
    },
)

# ---- 4: whether the value sees the subject before the question sees the value ----


def can_answer(subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    read = layers_that_show(question, value, layer_types, chunk)
    return bool(packed and read) and packed[0] < read[-1]


def in_one_layer(subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    read = layers_that_show(question, value, layer_types, chunk)
    return bool(packed and read) and packed[0] <= read[-1]


EXERCISES[4] = Exercise(
    right=can_answer,
    cases=[
        Case((1, 3, 6, PROXY, 8), "All three are in one chunk: layer 0 packs the fact, layer 1 reads it."),
        Case((1, 3, 60, PROXY, 8), "The fact is whole in its chunk; the global layer carries it to the question."),
        Case((9, 12, 60, PROXY, 8), "Subject and value are both in the chunk from 8 to 15, so nothing cuts the fact."),
        Case((7, 8, 60, PROXY, 8), "The wall cuts the fact. Layer 3 packs it, and no LATER layer is left to read it."),
        Case((7, 8, 60, SCOUT, 8), "The wall cuts the fact. Layer 3 shows the subject to the value, layer 7 reads it."),
        Case((7, 8, 10, PROXY, 8), "Subject and value meet in layer 3, the last one; no later layer reads it."),
        Case((7, 8, 10, [*PROXY, CHUNKED], 8), "Layer 3 packs, and layer 4 reads in the chunk of value and question."),
        Case((7, 8, 60, [*PROXY, CHUNKED], 8), "Layer 4 is chunked, and a wall is between the value and the question."),
        Case((1, 3, 60, [CHUNKED] * 4, 8), "Without a global layer nothing reaches a question past the wall."),
        Case((1, 3, 6, [CHUNKED], 8), "One layer cannot do both: the value must be packed BEFORE it is read."),
        Case((1, 3, 60, [GLOBAL, CHUNKED], 8), "The global layer is first: when it reads, the fact is not yet packed."),
        Case((1, 3, 60, [GLOBAL, GLOBAL], 8), "Two global layers: one packs, the next reads."),
        Case((8190, 8192, 30_000, SCOUT, 8192), "Scout has twelve global layers; the first packs, the second reads."),
        Case((8000, 8191, 30_000, PROXY, 8192), "Use `chunk`: 8000 and 8191 are in one chunk of 8192."),
    ],
    mistakes={
        "One layer cannot both pack and read: the value must see the subject in an EARLIER layer.": [
            lambda s, v, q, t, c: GLOBAL in t or q // c == s // c,
            in_one_layer,
        ],
        "A fact that a wall cuts is not lost: a global layer packs it, and a later one reads it.": (
            lambda s, v, q, t, c: s // c == v // c and (GLOBAL in t or q // c == v // c)
        ),
        "After a global layer has packed the fact a chunked one may read it, in the chunk of value and question.": (
            lambda s, v, q, t, c: t.count(GLOBAL) >= (1 if s // c == v // c else 2)
        ),
        "Use `chunk`: the walls of the proxy and of Scout differ.": lambda s, v, q, t, c: can_answer(s, v, q, t, 8),
        "It always says yes; try a fact that the wall cuts, and one global layer.": lambda *case: True,
        "It always says no; try a fact and a question in one chunk.": lambda *case: False,
    },
)
