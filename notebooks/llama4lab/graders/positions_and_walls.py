"""Graders of notebook 07: what a bounded logit allows, reach through layers, keys in the cache, kinds of layers."""

import math
from bisect import bisect_left

from llama4lab.errors import CourseError
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
        "The largest logit is the square root of head_dim, not head_dim.": [
            lambda d, w: math.floor(exact_keys(d, w, logit=float)),
            lambda d, w: math.floor(1 + (1 / w - 1) * math.exp(d)),
        ],
        "This is right for a weight of one half alone; it ignores `weight`.": lambda d, w: most_keys(d, 0.5),
        "This is the number of keys for the weight 1 − `weight`.": lambda d, w: most_keys(d, 1 - w),
        "It forgets that the aligned key's own weight is in the sum: e / (e + n − 1).": [
            lambda d, w: math.floor(math.exp(math.sqrt(d)) / w),
            lambda d, w: math.floor(math.exp(math.sqrt(d)) / w + 1),
        ],
        "The logit is √head_dim; its weight before normalizing is exp of that.": (
            lambda d, w: math.floor(exact_keys(d, w, logit=lambda d: math.log(math.sqrt(d))))
        ),
        "The other keys are at right angles, so their logits are 0, not −√head_dim.": (
            lambda d, w: math.floor(exact_keys(d, w, logit=lambda d: 2 * math.sqrt(d)))
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


def looked_up(find, may_look_ahead=False, sees_its_chunk=True):
    """Answers that look a global layer up with `find`, which raises an error where there is none."""

    def answer(query, key, layer_types, chunk):
        if key > query and not may_look_ahead:
            return None
        return 0 if sees_its_chunk and query // chunk == key // chunk else find(layer_types)

    return answer


LOOK_UPS = [
    lambda layer_types: layer_types.index(GLOBAL),
    lambda layer_types: [at for at, kind in enumerate(layer_types) if kind == GLOBAL][0],
    lambda layer_types: next(at for at, kind in enumerate(layer_types) if kind == GLOBAL),
    lambda layer_types: min(at for at, kind in enumerate(layer_types) if kind == GLOBAL),
]


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
        "Your look-up of a global layer fails where there is none; return None there.": [
            looked_up(find) for find in LOOK_UPS
        ],
        "Your look-up of a global layer fails where there is none, and for a key in the future; return None for both.": [
            looked_up(find, may_look_ahead=True) for find in LOOK_UPS
        ],
        "A token sees its own chunk in layer 0, and your look-up of a global layer fails where there is none.": [
            looked_up(find, may_look_ahead=ahead, sees_its_chunk=False) for find in LOOK_UPS for ahead in (False, True)
        ],
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
        "This takes a whole chunk in every chunked layer; after a wall there are only the keys since then.": (
            lambda n, t, c: add_up(t, c, n)
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

# ---- 4: walls, window or global, from at most 64 questions whether a query sees a key ----

MOST_QUESTIONS = 64


def layer(kind, size, length):
    """`sees(query, key)` of one layer, for queries and keys of a text of `length` tokens."""

    def sees(query, key):
        if not (0 <= query < length and 0 <= key < length):
            raise CourseError(
                f"Token {query} or {key} is not in a text of {length} tokens; ask from 0 to {length - 1}."
            )
        near = {"walls": query // size == key // size, "window": query - key < size, "global": True}
        return key <= query and near[kind]

    return sees


def asked(answer, sees, length):
    """What `answer` finds out, with `MOST_QUESTIONS` questions at most."""
    questions = iter(range(MOST_QUESTIONS))

    def sees_counted(query, key):
        if next(questions, None) is None:
            raise CourseError(
                f"more than {MOST_QUESTIONS} questions; halve the keys instead of trying one after another"
            )
        return sees(query, key)

    return answer(sees_counted, length)


def halving(sees, query):
    return bisect_left(range(query), True, key=lambda key: sees(query, key))


def counting(sees, query):
    return next(key for key in range(query, -1, -1) if key == 0 or not sees(query, key - 1))


def kind_of(sees, length, oldest=halving, told_apart=True, whole=True):
    """The right answer; without `told_apart` a last token alone in its chunk is taken for one in a window."""
    last = length - 1
    first = oldest(sees, last)
    if first == 0:
        return "global", length
    if (first < last or not told_apart) and sees(last - 1, first - 1):
        return "window", length - first
    return "walls", first - oldest(sees, first - 1) if whole else length - first


def from_the_middle(sees, length):
    query = length // 2
    first = halving(sees, query)
    if first == 0:
        return "global", length
    return "walls" if sees(query + 1, first) else "window", query - first + 1


def seen_in_both(sees, length):
    """It asks the query one before about a key that walls and a window both show it."""
    kind, size = kind_of(sees, length, told_apart=False, whole=False)
    return ("walls" if size > 1 and kind == "window" else kind), size


def with_size(change):
    """The right answer with the size of a window changed."""

    def answer(sees, length):
        kind, size = kind_of(sees, length)
        return kind, change(size) if kind == "window" else size

    return answer


def always(kind):
    """The right answer, but this kind wherever it is not global."""

    def answer(sees, length):
        right, size = kind_of(sees, length)
        return right if right == "global" else kind, size

    return answer


EXERCISES[4] = Exercise(
    right=kind_of,
    run=asked,
    returns='a pair of the kind ("walls", "window" or "global") and the size',
    cases=[
        Case((layer("walls", 8192, 1_000_000), 1_000_000), "These are Scout's walls, chunks of 8192."),
        Case((layer("window", 8192, 1_000_000), 1_000_000), "This is a window of 8192."),
        Case((layer("walls", 128, 300), 300), "Chunks of 128: the last one has only 44 tokens."),
        Case((layer("window", 128, 300), 300), "A window of 128, in a text that no wall cuts."),
        Case((layer("walls", 128, 257), 257), "Chunks of 128: the last token is the first of its chunk."),
        Case((layer("walls", 2, 11), 11), "Chunks of 2: the last token is alone in its chunk."),
        Case((layer("window", 2, 10), 10), "A window of 2 shows a token and the one before it."),
        Case((layer("walls", 150, 300), 300), "Two chunks of 150."),
        Case((layer("global", 300, 300), 300), "The last token sees the first one, so nothing is hidden: global, 300."),
        Case((layer("global", 50, 50), 50), "The last token sees the first one, so nothing is hidden: global, 50."),
    ],
    mistakes={
        "That takes more than 64 questions; halve the keys instead of trying one after another.": (
            lambda sees, length: kind_of(sees, length, oldest=counting)
        ),
        "A last token that sees only itself is the first of its chunk; no window has a size of 1.": (
            lambda sees, length: kind_of(sees, length, told_apart=False)
        ),
        "The last chunk may be cut off by the end of the text; measure a whole one, between two walls.": (
            lambda sees, length: kind_of(sees, length, whole=False)
        ),
        "A query in the middle sees only the part of its chunk before it; measure a whole chunk, between two walls.": (
            from_the_middle
        ),
        "Two things are missing: a last token that sees only itself is in no window, and the last chunk may be cut off.": (
            lambda sees, length: kind_of(sees, length, told_apart=False, whole=False)
        ),
        "A window counts the query itself too.": with_size(lambda size: size - 1),
        "Every boundary is a window to it; ask the query one before whether the boundary moves along.": always(
            "window"
        ),
        "Every boundary is a wall to it; ask the query one before whether the boundary moves along.": always("walls"),
        "Every boundary is a wall to it: ask about the key just before the boundary, not the one after it. "
        "And the last chunk may be cut off; measure a whole one, between two walls.": seen_in_both,
        "The size of a global layer is `length`.": (
            lambda sees, length: (kind_of(sees, length)[0], 0) if sees(length - 1, 0) else kind_of(sees, length)
        ),
    },
)
