"""Graders of notebook 14: gigabytes with scales, rounding to a codebook, speed with a cache, foresight."""

from functools import partial

import torch

from llama4lab.grading import Exercise

EXERCISES = {}

# ---- 1: GB of a model whose experts have `bits` and a scale a group ----


def gigabytes(experts, rest, bits, group, scale=16, of_rest=16, unit=8e9):
    return (experts * (bits + scale / group) + rest * of_rest) / unit


EXERCISES[1] = Exercise(
    right=gigabytes,
    cases=[(96e9, 12e9, 4, 32), (96e9, 12e9, 3, 64), (386e9, 15e9, 2, 32)],
    mistakes={
        "The scales are missing: 16 bits for each group.": partial(gigabytes, scale=0),
        "A scale has 16 bits, not 32.": partial(gigabytes, scale=32),
        "That is in gigabits; eight bits are a byte.": partial(gigabytes, unit=1e9),
        "That is in GiB; a GB is 1e9 bytes.": partial(gigabytes, unit=8 * 2**30),
        "That is in bytes; a GB is 1e9 of them.": partial(gigabytes, unit=8),
        "The rest stays in bfloat16: 16 bits each.": lambda e, r, b, g: gigabytes(e, r, b, g, of_rest=b),
        "That is the experts alone; add the rest.": partial(gigabytes, of_rest=0),
        "The rest is not quantized, so it has no scales.": lambda e, r, b, g: gigabytes(
            e, r, b, g, of_rest=16 + 16 / g
        ),
        "A group shares one scale; divide by its size.": lambda e, r, b, g: (e * (b + 16 * g) + r * 16) / 8e9,
        "A scale has 16 bits, two bytes; yours counts bytes as bits.": partial(gigabytes, scale=2),
        "A scale serves a whole group, not one weight.": lambda e, r, b, g: gigabytes(e, r, b, 1),
    },
    otherwise="A weight of the experts takes bits + 16 / group bits.",
)

# ---- 2: a group of weights at the nearest levels of a codebook ----


def round_to_levels(group, levels, largest=lambda group: group.abs().max(), back=True, pick="argmin", dim=1):
    scale = largest(group)
    nearest = getattr((group[:, None] / scale - levels).abs(), pick)(dim=dim)
    return levels[nearest] * (scale if back else 1)


def from_below(group, levels):
    scale, ordered = group.abs().max(), levels.sort().values
    return ordered[(torch.searchsorted(ordered, group / scale, right=True) - 1).clamp(min=0)] * scale


def from_above(group, levels):
    return -from_below(-group, -levels)


def places(group, levels):
    return (group[:, None] / group.abs().max() - levels).abs().argmin(dim=1).float()


LEVELS = torch.tensor([-1.0, -0.4, -0.1, 0.0, 0.1, 0.4, 1.0])

EXERCISES[2] = Exercise(
    right=round_to_levels,
    cases=[
        (torch.tensor([0.3, -2.0, 0.5, 1.1]), LEVELS),
        (torch.tensor([-4.0, 0.3, 2.5, 1.5, -0.9]), LEVELS),
        (torch.tensor([0.3, -2.0, 0.5, 1.1]), torch.tensor([-1.0, 0.0, 1.0])),
    ],
    mistakes={
        "Multiply back by the largest magnitude.": partial(round_to_levels, back=False),
        "Scale by the largest magnitude: the largest weight may be negative.": partial(
            round_to_levels, largest=torch.max
        ),
        "It takes the level below, not the nearest.": from_below,
        "It takes the level above, not the nearest.": from_above,
        "It finds the nearest weight of each level, not the nearest level of each weight.": partial(
            round_to_levels, dim=0
        ),
        "It takes the farthest level.": partial(round_to_levels, pick="argmax"),
        "Those are the numbers of the levels; return the weights that come back.": places,
        "Nothing was rounded.": lambda group, levels: group.clone(),
    },
    otherwise="For -2 in a group whose largest magnitude is 2, the level is -1 and -2 comes back.",
)

# ---- 3: tokens a second of experts in fast and slow memory ----


def tokens_a_second(gigabytes, hit_rate, fast, slow):
    return 1 / (gigabytes * (hit_rate / fast + (1 - hit_rate) / slow))


EXERCISES[3] = Exercise(
    right=tokens_a_second,
    cases=[(3.4, 0.5, 90, 8), (1.7, 0.8, 60, 4), (3.4, 0.0, 90, 8), (3.4, 1.0, 90, 8)],
    mistakes={
        "Average the times, not the speeds: the slow share takes most of the time.": lambda g, h, f, s: (
            (h * f + (1 - h) * s) / g
        ),
        "Hits are fast and misses slow; yours are swapped.": lambda g, h, f, s: tokens_a_second(g, h, s, f),
        "Those are seconds a token; return tokens a second.": lambda g, h, f, s: 1 / tokens_a_second(g, h, f, s),
        "Hits take time too: they are read from the fast memory.": lambda g, h, f, s: (
            s / (g * (1 - h)) if h < 1 else float("inf")
        ),
        "Those are GB a second; divide by what a token reads.": lambda g, h, f, s: g * tokens_a_second(g, h, f, s),
        "They are read one after the other, so their times add up.": lambda g, h, f, s: (
            1 / (g * max(h / f, (1 - h) / s))
        ),
    },
    otherwise="Seconds a token: gigabytes * (hit_rate / fast + (1 - hit_rate) / slow).",
)

# ---- 4: hits of a cache that knows the future ----


def cache_hits(choices, size, leaves):
    """Hits where `leaves(kept, future, past)` names the expert that makes room; `kept` in the order of loading."""
    kept, hits = [], 0
    for place, expert in enumerate(choices):
        if expert in kept:
            hits += 1
            continue
        if len(kept) == size:
            kept.remove(leaves(kept, choices[place + 1 :], choices[:place]))
        kept.append(expert)
    return hits


def next_use(expert, future, never):
    return future.index(expert) if expert in future else never


def belady_hits(choices, size):
    return cache_hits(choices, size, lambda kept, future, _: max(kept, key=lambda e: next_use(e, future, len(choices))))


def soonest(kept, future, _):
    return min(kept, key=lambda e: next_use(e, future, 10**9))


def keeps_the_useless(kept, future, _):
    return max(kept, key=lambda e: next_use(e, future, -1))


def rarest(kept, future, _):
    return min(kept, key=future.count)


def least_recent(kept, _, past):
    return max(kept, key=lambda e: past[::-1].index(e))


def looks_back(kept, future, past):
    whole = [*past, *future]
    return max(kept, key=lambda e: next_use(e, whole, len(whole)))


def may_skip(choices, size):
    kept, hits = set(), 0
    for place, expert in enumerate(choices):
        hits += expert in kept
        kept.add(expert)
        if len(kept) > size:
            kept.remove(max(kept, key=lambda e: next_use(e, choices[place + 1 :], len(choices))))
    return hits


ROUTES = [3, 1, 2, 3, 0, 1, 2, 0, 3, 1, 1, 0, 2, 3, 2, 1, 0, 0, 3, 1, 2, 1]
OTHER = [5, 0, 1, 5, 2, 0, 5, 3, 0, 4, 1, 4, 3, 5, 4, 1, 0, 2, 2, 3, 4, 5, 0, 3, 1, 4]

EXERCISES[4] = Exercise(
    right=belady_hits,
    cases=[(ROUTES, 2), (ROUTES, 3), (OTHER, 2), (OTHER, 4), ([0, 1, 2, 0, 1], 3)],
    mistakes={
        "It drops the expert that is needed soonest; drop the one needed last.": partial(cache_hits, leaves=soonest),
        "An expert that is never used again must go first.": partial(cache_hits, leaves=keeps_the_useless),
        "It drops the least recently used; here you know the future.": partial(cache_hits, leaves=least_recent),
        "It drops the one that was loaded first; here you know the future.": partial(
            cache_hits, leaves=lambda kept, *_: kept[0]
        ),
        "What counts is when an expert is needed next, not how often.": partial(cache_hits, leaves=rarest),
        "Look only at what comes after this place; yours searches the whole list.": partial(
            cache_hits, leaves=looks_back
        ),
        "A missing expert is always loaded; yours may drop it at once.": may_skip,
        "Those are the misses; return the hits.": lambda choices, size: len(choices) - belady_hits(choices, size),
        "The cache holds one expert too many.": lambda choices, size: belady_hits(choices, size + 1),
        "The cache holds one expert too few.": lambda choices, size: belady_hits(choices, size - 1) if size > 1 else 0,
    },
    otherwise="On a miss with a full cache, drop the expert whose next use is furthest away.",
)
