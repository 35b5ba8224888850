"""Graders of notebook 10: bytes of a chunk-aware cache, wanted pairs, cuts at the walls, the longest context."""

import math
from functools import partial

from llama4lab.graders import attention_in_pieces
from llama4lab.grading import Exercise, Sign

EXERCISES = {5: attention_in_pieces.EXERCISE}

GLOBAL, CHUNKED = "full_attention", "chunked_attention"
SCOUT = [CHUNKED, CHUNKED, CHUNKED, GLOBAL] * 12

# ---- 1: bytes of a chunk-aware cache ----


def add_up(layer_types, bytes_per_layer, chunked, whole):
    return bytes_per_layer * sum(whole if kind == GLOBAL else chunked for kind in layer_types)


def kv_bytes_chunk_aware(layer_types, chunk, tokens, bytes_per_layer):
    return add_up(layer_types, bytes_per_layer, min(tokens, chunk - 1), tokens)


def one_in_four_global(layer_types, chunk, tokens, bytes_per_layer):
    whole = len(layer_types) // 4
    return bytes_per_layer * (whole * tokens + (len(layer_types) - whole) * min(tokens, chunk - 1))


EXERCISES[1] = Exercise(
    right=kv_bytes_chunk_aware,
    cases=[
        (SCOUT, 8192, 10_485_760, 4096),
        (SCOUT, 8192, 5000, 4096),
        ([CHUNKED, GLOBAL, GLOBAL, CHUNKED, CHUNKED], 64, 300, 1024),
        ([CHUNKED] * 3, 32, 32, 8),
        ([GLOBAL] * 2, 32, 100, 8),
    ],
    mistakes={
        "This keeps every token in every layer; a chunked layer keeps at most chunk − 1.": (
            lambda k, c, t, b: len(k) * t * b
        ),
        "It is the other way round: global layers keep everything, chunked ones forget.": (
            lambda k, c, t, b: add_up(k, b, t, min(t, c - 1))
        ),
        "A chunked layer keeps the last chunk − 1 tokens, not chunk: the newest token brings its own key.": (
            lambda k, c, t, b: add_up(k, b, min(t, c), t)
        ),
        "With fewer tokens than chunk − 1 a chunked layer keeps only those that there are: take the minimum.": (
            lambda k, c, t, b: add_up(k, b, c - 1, t)
        ),
        "The chunked layers are missing; they keep up to chunk − 1 tokens.": lambda k, c, t, b: add_up(k, b, 0, t),
        "Global layers keep all tokens; this cuts every layer off at chunk − 1.": (
            lambda k, c, t, b: b * len(k) * min(t, c - 1)
        ),
        "A chunked layer keeps a fixed window, here the library's chunk − 1, not only the chunk begun last.": (
            lambda k, c, t, b: add_up(k, b, t % c, t)
        ),
        "These are tokens, not bytes: multiply by bytes_per_layer.": (
            lambda k, c, t, b: kv_bytes_chunk_aware(k, c, t, 1)
        ),
        "`bytes_per_layer` already holds key and value; do not double it.": (
            lambda k, c, t, b: 2 * kv_bytes_chunk_aware(k, c, t, b)
        ),
        "This takes one layer in four to be global; count the layer types that were given.": one_in_four_global,
    },
)

# ---- 2: wanted pairs of query and key; chunk None means no walls ----


def pairs_of(tokens):
    return tokens * (tokens + 1) // 2


def wanted_pairs(tokens, chunk, of_chunk=pairs_of, of_rest=pairs_of):
    if chunk is None:
        return pairs_of(tokens)
    return tokens // chunk * of_chunk(chunk) + of_rest(tokens % chunk)


EXERCISES[2] = Exercise(
    right=wanted_pairs,
    cases=[(10, 4), (12, 4), (3, 8), (10_485_760, 8192), (1000, 1), (7, None), (10_485_760, None)],
    mistakes={
        "A query sees no later keys: a chunk of c tokens has c(c+1)/2 pairs, not c².": [
            partial(wanted_pairs, of_chunk=lambda n: n * n, of_rest=lambda n: n * n),
            lambda t, c: wanted_pairs(t, c or t, lambda n: n * n, lambda n: n * n),
        ],
        "A query sees itself too: 1 + 2 + … + c = c(c+1)/2, not c(c−1)/2.": [
            partial(wanted_pairs, of_chunk=lambda n: pairs_of(n - 1), of_rest=lambda n: pairs_of(n - 1)),
            lambda t, c: wanted_pairs(t, c) - t,
        ],
        "Not every query has a full chunk to look at: the first of a chunk sees one key, the next two, and so on.": [
            lambda t, c: t * (c or t),
            lambda t, c: t * c if c else pairs_of(t),
        ],
        "The tokens after the last full chunk are missing; they form a shorter chunk.": (
            partial(wanted_pairs, of_rest=lambda rest: 0)
        ),
        "The last chunk is counted as full; it holds only the tokens that are left.": (
            lambda t, c: -(-t // c) * pairs_of(c) if c else pairs_of(t)
        ),
        "This counts a sliding window: every query sees the last `chunk` keys. At a wall a chunked layer forgets all.": (
            lambda t, c: t * c - pairs_of(c - 1) if c and t > c else pairs_of(t)
        ),
        "This ignores the walls: it counts all earlier tokens.": lambda t, c: pairs_of(t),
        "These are the pairs that the mask holds, wanted or not.": lambda t, c: t * t,
        "The rest after the full chunks is short: its pairs are rest · (rest + 1) / 2.": (
            lambda t, c: wanted_pairs(t, c, of_rest=lambda rest: rest * (c + 1) // 2)
        ),
        "Without walls (chunk None) all tokens form one chunk: tokens · (tokens + 1) / 2 pairs.": (
            lambda t, c: wanted_pairs(t, c or 8192)
        ),
    },
)

# ---- 3: head, whole chunks and tail of the positions `first` to `stop` - 1 ----


def cut_at_walls(first, stop, chunk):
    return [(begin, end) for begin, end in all_parts(first, stop, chunk) if begin < end]


def all_parts(first, stop, chunk):
    """Head, whole chunks and tail, the empty ones too."""
    first_wall = min(-(-first // chunk) * chunk, stop)
    last_wall = max(first_wall, stop // chunk * chunk)
    return [(first, first_wall), (first_wall, last_wall), (last_wall, stop)]


def no_wall_between(first, stop, chunk):
    first_wall, last_wall = -(-first // chunk) * chunk, stop // chunk * chunk
    return [part for part in ((first, first_wall), (first_wall, last_wall), (last_wall, stop)) if part[0] != part[1]]


def chunk_by_chunk(first, stop, chunk):
    edges = [first, *range((first // chunk + 1) * chunk, stop, chunk), stop]
    return list(zip(edges, edges[1:], strict=False))


def always_a_head(first, stop, chunk):
    first_wall = min((first // chunk + 1) * chunk, stop)
    last_wall = max(first_wall, stop // chunk * chunk)
    return [part for part in ((first, first_wall), (first_wall, last_wall), (last_wall, stop)) if part[0] < part[1]]


def head_beyond_stop(first, stop, chunk):
    return [part for part in no_wall_between(first, stop, chunk) if part[0] < part[1]]


def is_pair(part):
    return isinstance(part, list) and len(part) == 2 and all(type(edge) is int for edge in part)


def covered(parts):
    return [position for begin, end in parts for position in range(begin, end)]


def crosses_a_wall(result, right, arguments):
    chunk = arguments[2]
    return any((begin // chunk + 1) * chunk < end and (begin % chunk or end % chunk) for begin, end in result)


EXERCISES[3] = Exercise(
    right=cut_at_walls,
    cases=[
        (0, 200, 64),
        (130, 230, 64),
        (130, 330, 64),
        (64, 192, 64),
        (200, 201, 64),
        (191, 192, 64),
        (70, 100, 64),
        (0, 5, 64),
        (3, 9, 1),
        (70, 100, 16),
    ],
    mistakes={
        "`end` is exclusive: it is one past the last position of the part.": (
            lambda first, stop, chunk: [(begin, end - 1) for begin, end in cut_at_walls(first, stop, chunk)]
        ),
        "Whole chunks that follow each other are one part, not one part each.": chunk_by_chunk,
        "There is no head if `first` is at a wall: the chunk that begins there belongs to the whole ones.": always_a_head,
        "There may be no wall between `first` and `stop`; then the head ends at `stop`.": head_beyond_stop,
        "Each part is a pair of whole numbers, (begin, end).": Sign(
            lambda result, right, _: not all(map(is_pair, result)), lambda first, stop, chunk: [first, stop]
        ),
        "There is an empty part; leave out parts that are empty.": Sign(
            lambda result, right, _: any(begin == end for begin, end in result), all_parts
        ),
        "A part ends before it begins: there may be no wall between, so the head ends at `stop`.": Sign(
            lambda result, right, _: any(begin > end for begin, end in result), no_wall_between
        ),
        "Some position is in no part.": Sign(
            lambda result, right, _: not set(covered(right)) <= set(covered(result)),
            [
                lambda first, stop, chunk: cut_at_walls(0, stop - first, chunk),
                lambda first, stop, chunk: cut_at_walls(first, stop, chunk)[:-1],
            ],
        ),
        "Some position is in a part, but was not asked for.": Sign(
            lambda result, right, _: not set(covered(result)) <= set(covered(right)),
            lambda first, stop, chunk: cut_at_walls(first, stop + 1, chunk),
        ),
        "Some position is in two parts.": Sign(
            lambda result, right, _: len(covered(result)) > len(covered(right)),
            lambda first, stop, chunk: cut_at_walls(first, stop, chunk) * 2,
        ),
        "The parts are not in order.": Sign(
            lambda result, right, _: result != sorted(result),
            lambda first, stop, chunk: cut_at_walls(first, stop, chunk)[::-1],
        ),
        "A part crosses a wall without being made of whole chunks.": Sign(
            crosses_a_wall, lambda first, stop, chunk: [(first, stop)]
        ),
        "There are more parts than needed.": Sign(
            lambda result, right, _: len(result) > len(right),
            lambda first, stop, chunk: [(position, position + 1) for position in range(first, stop)],
        ),
    },
)

# ---- 4: the tokens whose chunk-aware cache takes at most `free_bytes`, or math.inf ----


def longest_context(free_bytes, layer_types, chunk, bytes_per_layer, window=-1, least=0, chunked_layers=1):
    """The window of chunked layers is `chunk + window` tokens; so many times they are taken off."""
    layers, global_layers = len(layer_types), layer_types.count(GLOBAL)
    while_all_grow = max(least, int(free_bytes // (layers * bytes_per_layer)))
    if while_all_grow < chunk + window:
        return while_all_grow
    if not global_layers:
        return math.inf
    taken = chunked_layers * (layers - global_layers) * (chunk + window) * bytes_per_layer
    return int((free_bytes - taken) // (global_layers * bytes_per_layer))


def large_caches_only(free_bytes, layer_types, chunk, bytes_per_layer):
    chunked = layer_types.count(CHUNKED) * (chunk - 1) * bytes_per_layer
    whole = layer_types.count(GLOBAL) * bytes_per_layer
    return int((free_bytes - chunked) // whole) if whole else math.inf


def zero_without_global_layers(free_bytes, layer_types, chunk, bytes_per_layer):
    length = longest_context(free_bytes, layer_types, chunk, bytes_per_layer)
    return 0 if length == math.inf else length


SMALL, LOCAL = [CHUNKED, CHUNKED, CHUNKED, GLOBAL], [CHUNKED] * 3

EXERCISES[4] = Exercise(
    right=longest_context,
    cases=[
        (358_716_412_928, SCOUT, 8192, 4096),
        (3 * 10**8, SCOUT, 8192, 4096),
        (250_000, SMALL, 64, 1024),
        (4 * 63 * 1024, SMALL, 64, 1024),
        (100, SMALL, 64, 1024),
        (10**6, [GLOBAL] * 5, 64, 1024),
        (10**6, LOCAL, 64, 1024),
        (3 * 62 * 1024, LOCAL, 64, 1024),
        (-5.0, SMALL, 64, 1024),
    ],
    mistakes={
        "This has every layer keep every token; beyond chunk − 1 tokens only the global layers grow.": (
            lambda f, k, c, b: max(0, int(f // (len(k) * b)))
        ),
        "The chunked layers are free of charge here; first take off what they keep.": [
            lambda f, k, c, b: longest_context(f, k, c, b, chunked_layers=0),
            lambda f, k, c, b: int(f // (k.count(GLOBAL) * b)) if GLOBAL in k else math.inf,
        ],
        "It is wrong where the cache is small: below chunk − 1 tokens the chunked layers grow as well.": (
            lambda f, k, c, b: max(0, large_caches_only(f, k, c, b))
        ),
        "A small cache gives a negative length: below chunk − 1 tokens the chunked layers grow as well.": Sign(
            lambda result, right, _: isinstance(result, int | float) and result < 0 < right, large_caches_only
        ),
        "A chunked layer keeps chunk − 1 tokens, not chunk.": partial(longest_context, window=0),
        "Tokens are whole: round down with //.": lambda *case: longest_context(*case) + 0.5,
        "It is one token more than fits; round down.": lambda *case: longest_context(*case) + 1,
        "Without global layers the cache stops growing, so any length fits: return math.inf.": zero_without_global_layers,
        "Even without global layers a cache smaller than chunk − 1 tokens can be too small: see how many fit first.": (
            lambda f, k, c, b: longest_context(f, k, c, b) if GLOBAL in k else math.inf
        ),
        "With less than nothing free (weights larger than the machine) no token fits: return 0.": (
            partial(longest_context, least=-1)
        ),
        "It is twice as many tokens as fit.": lambda *case: 2 * longest_context(*case),
    },
)
