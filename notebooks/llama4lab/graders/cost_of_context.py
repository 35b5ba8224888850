"""Graders of notebook 08: bytes of a chunk-aware cache, wanted pairs, cuts at the walls, the longest context."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from llama4lab.grading import grader

GLOBAL, CHUNKED = "full_attention", "chunked_attention"
SCOUT = [CHUNKED, CHUNKED, CHUNKED, GLOBAL] * 12


def is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def first_match(found: list, cases: list[tuple], mistakes: dict[str, Callable]) -> str | None:
    """The sentence of the first formula that gives all that was found."""
    for sentence, formula in mistakes.items():
        if found == [formula(*case) for case in cases]:
            return sentence
    return None


def cache_bytes(layer_types: list[str], chunk: int, tokens: int, bytes_per_layer: int) -> int:
    """Bytes of a chunk-aware cache: global layers keep all tokens, chunked ones the last `chunk` - 1."""
    return bytes_per_layer * sum(tokens if kind == GLOBAL else min(tokens, chunk - 1) for kind in layer_types)


@grader(1)
def grade_cache_bytes(answer: Callable) -> str | None:
    """kv_bytes_chunk_aware(layer_types, chunk, tokens, bytes_per_layer) -> bytes."""
    cases = [
        (SCOUT, 8192, 10_485_760, 4096),
        (SCOUT, 8192, 5000, 4096),
        ([CHUNKED, GLOBAL, GLOBAL, CHUNKED, CHUNKED], 64, 300, 1024),
        ([CHUNKED] * 3, 32, 32, 8),
        ([GLOBAL] * 2, 32, 100, 8),
    ]
    found = [answer(list(kinds), *rest) for kinds, *rest in cases]
    expected = [cache_bytes(*case) for case in cases]
    if any(isinstance(value, float) for value in found) and [float(value) for value in found] == expected:
        return "The bytes are right, but a float; bytes are whole numbers, so use integers throughout."
    if not all(map(is_whole, found)):
        return "Return one whole number."
    if found == expected:
        return None

    def counts(kinds: list[str]) -> tuple[int, int]:
        return kinds.count(GLOBAL), kinds.count(CHUNKED)

    mistakes = {
        "This keeps every token in every layer; a chunked layer keeps at most chunk − 1.": lambda k, c, t, b: (
            len(k) * t * b
        ),
        "It is the other way round: global layers keep everything, chunked ones forget.": lambda k, c, t, b: (
            b * (counts(k)[0] * min(t, c - 1) + counts(k)[1] * t)
        ),
        "A chunked layer keeps the last chunk − 1 tokens, not chunk: the newest token brings its own key.": (
            lambda k, c, t, b: b * (counts(k)[0] * t + counts(k)[1] * min(t, c))
        ),
        "With fewer tokens than chunk − 1 a chunked layer keeps only those that there are: take the minimum.": (
            lambda k, c, t, b: b * (counts(k)[0] * t + counts(k)[1] * (c - 1))
        ),
        "The chunked layers are missing; they keep up to chunk − 1 tokens.": lambda k, c, t, b: b * counts(k)[0] * t,
        "Global layers keep all tokens; this cuts every layer off at chunk − 1.": lambda k, c, t, b: (
            b * len(k) * min(t, c - 1)
        ),
        "A chunked layer keeps a fixed window, here the library's chunk − 1, not only the chunk begun last.": (
            lambda k, c, t, b: b * (counts(k)[0] * t + counts(k)[1] * (t % c))
        ),
        "These are tokens, not bytes: multiply by bytes_per_layer.": lambda k, c, t, b: cache_bytes(k, c, t, 1),
        "`bytes_per_layer` already holds key and value; do not double it.": lambda k, c, t, b: (
            2 * cache_bytes(k, c, t, b)
        ),
        "This takes one layer in four to be global; count the layer types that were given.": lambda k, c, t, b: (
            b * (len(k) // 4 * t + (len(k) - len(k) // 4) * min(t, c - 1))
        ),
    }
    sentence = first_match(found, cases, mistakes)
    if sentence:
        return sentence
    wrong = next(place for place, value in enumerate(found) if value != expected[place])
    kinds, chunk, tokens, per_layer = cases[wrong]
    return (
        f"For {kinds.count(GLOBAL)} global and {kinds.count(CHUNKED)} chunked layers, chunk {chunk}, {tokens} tokens and "
        f"{per_layer} bytes it gives {found[wrong]:,}; it should be {expected[wrong]:,}."
    )


def pairs(tokens: int, chunk: int | None) -> int:
    """Wanted pairs of one causal layer."""
    full, rest = divmod(tokens, chunk) if chunk else (0, tokens)
    return (full * chunk * (chunk + 1) // 2 if chunk else 0) + rest * (rest + 1) // 2


@grader(2)
def grade_pairs(answer: Callable) -> str | None:
    """wanted_pairs(tokens, chunk) -> pairs of query and key; chunk None means no walls."""
    cases = [(10, 4), (12, 4), (3, 8), (10_485_760, 8192), (1000, 1)]
    found = [answer(*case) for case in cases]
    if any(isinstance(value, float) for value in found):
        return "It returns a float; pairs are counted, so divide with // and return a whole number."
    if not all(map(is_whole, found)):
        return "Return one whole number."
    expected = [pairs(*case) for case in cases]
    if found == expected:
        for tokens in (7, 10_485_760):
            if answer(tokens, None) != pairs(tokens, None):
                return "Without walls (chunk None) all tokens form one chunk: tokens · (tokens + 1) / 2 pairs."
        return None
    mistakes = {
        "A query sees no later keys: a chunk of c tokens has c(c+1)/2 pairs, not c².": lambda t, c: (
            t // c * c * c + (t % c) ** 2
        ),
        "A query sees itself too: 1 + 2 + … + c = c(c+1)/2, not c(c−1)/2.": lambda t, c: (
            t // c * (c * (c - 1) // 2) + (t % c) * (t % c - 1) // 2
        ),
        "The tokens after the last full chunk are missing; they form a shorter chunk.": lambda t, c: (
            t // c * (c * (c + 1) // 2)
        ),
        "The last chunk is counted as full; it holds only the tokens that are left.": lambda t, c: (
            -(-t // c) * (c * (c + 1) // 2)
        ),
        "This counts a sliding window: every query sees the last `chunk` keys. At a wall a chunked layer forgets all.": (
            lambda t, c: sum(min(p + 1, c) for p in range(t)) if t < 10**5 else t * c - c * (c - 1) // 2
        ),
        "This ignores the walls: it counts all earlier tokens.": lambda t, c: t * (t + 1) // 2,
        "These are the pairs that the mask holds, wanted or not.": lambda t, c: t * t,
        "The rest after the full chunks is short: its pairs are rest · (rest + 1) / 2.": lambda t, c: (
            t // c * (c * (c + 1) // 2) + (t % c) * (c + 1) // 2
        ),
    }
    sentence = first_match(found, cases, mistakes)
    if sentence:
        return sentence
    wrong = next(place for place, value in enumerate(found) if value != expected[place])
    tokens, chunk = cases[wrong]
    return f"For {tokens} tokens and chunk {chunk} it gives {found[wrong]:,}; it should be {expected[wrong]:,}."


def cut(first: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    """Head, whole chunks and tail of the positions `first` to `stop` - 1, without empty parts."""
    first_wall = min(-(-first // chunk) * chunk, stop)
    last_wall = max(first_wall, stop // chunk * chunk)
    return [(a, b) for a, b in ((first, first_wall), (first_wall, last_wall), (last_wall, stop)) if a < b]


def chunk_by_chunk(first: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    edges = [first, *range((first // chunk + 1) * chunk, stop, chunk), stop]
    return list(zip(edges, edges[1:], strict=False))


@grader(3)
def grade_cut(answer: Callable) -> str | None:
    """cut_at_walls(first, stop, chunk) -> list of (begin, end)."""
    cases = [
        (0, 200, 64),
        (130, 230, 64),
        (130, 330, 64),
        (64, 192, 64),
        (200, 201, 64),
        (191, 192, 64),
        (70, 100, 64),
        (0, 5, 64),
        (3, 9, 1),
    ]
    for first, stop, chunk in cases:
        found = answer(first, stop, chunk)
        here = f"for positions {first} to {stop - 1} and chunk {chunk}"
        if not isinstance(found, Iterable):
            return "Return a list of pairs (begin, end)."
        found = [tuple(part) if isinstance(part, Iterable) else part for part in found]
        if not all(isinstance(part, tuple) and len(part) == 2 and all(map(is_whole, part)) for part in found):
            return "Each part is a pair of whole numbers, (begin, end)."
        expected = cut(first, stop, chunk)
        if found == expected:
            continue
        if any(begin == end for begin, end in found):
            return f"There is an empty part {here}; leave out parts that are empty."
        if any(begin > end for begin, end in found):
            return f"A part ends before it begins {here}: there may be no wall between, so the head ends at `stop`."
        if [(begin, end - 1) for begin, end in expected] == found:
            return "`end` is exclusive: it is one past the last position of the part."
        if found == chunk_by_chunk(first, stop, chunk):
            return f"Whole chunks that follow each other are one part, not one part each ({here})."
        covered = sorted(position for begin, end in found for position in range(begin, end))
        if covered != list(range(first, stop)):
            missing = sorted(set(range(first, stop)) - set(covered))
            extra = sorted(set(covered) - set(range(first, stop)))
            if missing:
                return f"Position {missing[0]} is in no part {here}."
            if extra:
                return f"Position {extra[0]} is in a part {here}, but was not asked for."
            return f"Some position is in two parts {here}."
        if found != sorted(found):
            return f"The parts are not in order {here}."
        begin, end = next(part for part in found if part not in expected)
        crosses = [wall for wall in range(-(-(begin + 1) // chunk) * chunk, end, chunk)]
        if crosses and (begin % chunk or end % chunk):
            return f"The part ({begin}, {end}) crosses the wall at {crosses[0]} without being made of whole chunks ({here})."
        if len(found) > len(expected):
            return f"There are more parts than needed {here}: {found}, where {expected} is enough."
        return f"It gives {found} {here}; it should be {expected}."
    return None


def longest(free_bytes: float, layer_types: list[str], chunk: int, bytes_per_layer: int) -> float:
    """Tokens whose chunk-aware cache takes at most `free_bytes`; infinity if any number does."""
    layers, global_layers = len(layer_types), layer_types.count(GLOBAL)
    growing = max(0, int(free_bytes // (layers * bytes_per_layer)))
    if growing < chunk - 1:
        return growing
    if not global_layers:
        return math.inf
    return int(
        (free_bytes - (layers - global_layers) * (chunk - 1) * bytes_per_layer) // (global_layers * bytes_per_layer)
    )


@grader(4)
def grade_longest(answer: Callable) -> str | None:
    """longest_context(free_bytes, layer_types, chunk, bytes_per_layer) -> tokens, or math.inf."""
    small = [CHUNKED, CHUNKED, CHUNKED, GLOBAL]
    cases = [
        (358_716_412_928, SCOUT, 8192, 4096),
        (3 * 10**8, SCOUT, 8192, 4096),
        (250_000, small, 64, 1024),
        (4 * 63 * 1024, small, 64, 1024),
        (100, small, 64, 1024),
        (10**6, [GLOBAL] * 5, 64, 1024),
    ]

    def named(case: tuple) -> str:
        free, kinds, chunk, per_layer = case
        return (
            f"{free:,} bytes, {kinds.count(GLOBAL)} global and {kinds.count(CHUNKED)} chunked layers, chunk {chunk} and "
            f"{per_layer} bytes a layer"
        )

    found = [answer(free, list(kinds), *rest) for free, kinds, *rest in cases]
    expected = [longest(*case) for case in cases]
    if not all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in found):
        return "Return one number."
    if found != expected:
        if not all(is_whole(value) for value in found):
            return "Tokens are whole: round down with //, and return a whole number."
        mistakes = {
            "This has every layer keep every token; beyond chunk − 1 tokens only the global layers grow.": (
                lambda f, k, c, b: f // (len(k) * b)
            ),
            "The chunked layers are free of charge here; first take off what they keep.": lambda f, k, c, b: (
                f // (k.count(GLOBAL) * b)
            ),
            "It is wrong where the cache is small: below chunk − 1 tokens the chunked layers grow as well.": (
                lambda f, k, c, b: max(0, (f - k.count(CHUNKED) * (c - 1) * b) // (k.count(GLOBAL) * b))
            ),
            "A small cache gives a negative length: below chunk − 1 tokens the chunked layers grow as well.": (
                lambda f, k, c, b: (f - k.count(CHUNKED) * (c - 1) * b) // (k.count(GLOBAL) * b)
            ),
            "A chunked layer keeps chunk − 1 tokens, not chunk.": lambda f, k, c, b: (
                f // (len(k) * b) if f // (len(k) * b) < c else (f - k.count(CHUNKED) * c * b) // (k.count(GLOBAL) * b)
            ),
        }
        sentence = first_match(found, cases, mistakes)
        if sentence:
            return sentence
        wrong = next(place for place, value in enumerate(found) if value != expected[place])
        free, kinds, chunk, per_layer = cases[wrong]
        if found[wrong] == expected[wrong] + 1:
            return f"For {named(cases[wrong])} it gives one token more than fits; round down."
        return f"For {named(cases[wrong])} it gives {found[wrong]:,}; {expected[wrong]:,} tokens fit."
    if not all(is_whole(value) for value in found):
        return "The lengths are right, but not whole numbers in type; return int."
    local = [CHUNKED] * 3
    if answer(10**6, local, 64, 1024) != math.inf:
        return "Without global layers the cache stops growing, so any length fits: return math.inf."
    if answer(3 * 62 * 1024, local, 64, 1024) != 62:
        return (
            "Even without global layers a cache smaller than chunk − 1 tokens can be too small: see how many fit first."
        )
    if answer(-5.0, small, 64, 1024) != 0:
        return "With less than nothing free (weights larger than the machine) no token fits: return 0."
    return None
