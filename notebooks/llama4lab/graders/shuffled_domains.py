"""The grader of notebook 05's null by texts: domains shuffled among whole texts. what_experts_learn.py numbers it."""

import numpy as np

from llama4lab.grading import Exercise, Sign
from llama4lab.plain_answers import shape

# ---- domains `[tokens]`, shuffled among whole texts ----

LENGTHS = np.array([3, 5, 4, 6, 3, 5, 4, 6])
TEXTS = np.repeat(np.arange(10, 18), LENGTHS)  # numbers of texts need not start at 0
OF_TEXT = np.array([0, 0, 0, 1, 1, 2, 2, 3])
FIRST = np.concatenate([[0], LENGTHS.cumsum()[:-1]])  # the first token of each text
OUT_OF_RANGE = -99  # in place of every label, where numbers of texts were taken for places
MOVED = np.random.default_rng(1).permutation(len(TEXTS))


def shuffle_texts(domains, texts, rng):
    _, first, rank = np.unique(texts, return_index=True, return_inverse=True)
    return rng.permutation(domains[first])[rank]


def shuffled_often(function, domains, texts, rng_seed):
    """Twelve shuffles, the first of them again, and one where the tokens of a text are apart, put back in order."""
    try:
        shuffles = [np.asarray(function(domains, texts, np.random.default_rng(rng_seed + i))).copy() for i in range(12)]
    except IndexError:
        # If this fails too, it is another mistake.
        function(domains, texts - texts.min(), np.random.default_rng(rng_seed))
        nothing = np.full(len(texts), OUT_OF_RANGE)
        return {"shuffles": [nothing] * 12, "again": nothing, "apart": nothing}
    again = function(domains, texts, np.random.default_rng(rng_seed))
    moved = np.asarray(function(domains[MOVED], texts[MOVED], np.random.default_rng(5)))
    return {
        "shuffles": shuffles,
        "again": again,
        "apart": moved[MOVED.argsort()] if moved.shape == MOVED.shape else moved,
    }


def of_each_text(labels):
    return [labels[place] for place in FIRST]


def one_domain_each(labels):
    return np.array_equal(np.repeat(of_each_text(labels), LENGTHS), labels)


def has_labels(shuffles, labels):
    return all(sorted(shuffle) == sorted(labels) for shuffle in shuffles)


def drawn_anew(domains, texts, rng):
    _, first, rank = np.unique(texts, return_index=True, return_inverse=True)
    return rng.choice(domains[first], len(first))[rank]


def numbered_from_0(domains, texts, rng):
    of_text = np.zeros(texts.max() + 1, dtype=int)  # numbers that no text has get domain 0
    of_text[texts] = domains
    return rng.permutation(of_text)[texts]


def by_runs_of_texts(domains, texts, rng):
    """Right only where the tokens of a text are next to each other."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(texts)) + 1])
    return np.repeat(rng.permutation(domains[starts]), np.diff([*starts, len(texts)]))


def rolled(domains, texts, rng):
    """Two different results only."""
    _, first, rank = np.unique(texts, return_index=True, return_inverse=True)
    return np.roll(domains[first], rng.integers(1, 3))[rank]


def numbers_as_places(domains, texts, rng):
    _, first = np.unique(texts, return_index=True)
    return rng.permutation(domains[first])[texts]


SHUFFLE_MISTAKES = {
    "Return one label for each token, an array of the shape of `domains`.": Sign(
        lambda result, right, _: any(shape(one) != [len(TEXTS)] for one in (*result["shuffles"], result["again"])),
        lambda domains, texts, rng: rng.permutation(np.unique(texts)),
    ),
    "It takes the numbers of the texts for places, but they need not start at 0 and may have gaps: index with ranks.": Sign(
        lambda result, right, _: set(result["again"]) == {OUT_OF_RANGE}, numbers_as_places
    ),
    "It returns labels that are no domains; shuffle the domains, not the numbers of the texts.": Sign(
        lambda result, right, _: not set().union(*result["shuffles"]) <= set(OF_TEXT),
        lambda domains, texts, rng: rng.permutation(np.unique(texts))[np.unique(texts, return_inverse=True)[1]],
    ),
    "Nothing has changed: every text kept its domain.": Sign(
        lambda result, right, case: all(shuffle == case[0].tolist() for shuffle in result["shuffles"]),
        [
            lambda domains, texts, rng: domains.copy(),
            lambda domains, texts, rng: domains[np.lexsort((rng.random(len(texts)), texts))],
        ],
    ),
    "It shuffles tokens: the tokens of one text must keep one common domain.": Sign(
        lambda result, right, case: (
            not all(map(one_domain_each, result["shuffles"])) and has_labels(result["shuffles"], case[0].tolist())
        ),
        lambda domains, texts, rng: rng.permutation(domains),
    ),
    "The tokens of one text have different domains; give each text one domain.": Sign(
        lambda result, right, _: not all(map(one_domain_each, result["shuffles"])),
        lambda domains, texts, rng: rng.integers(0, domains.max() + 1, len(domains)),
    ),
    "It renames the domains, so that texts of one domain stay together; deal the domains out to the texts anew.": Sign(
        lambda result, right, _: all(
            len(set(zip(OF_TEXT.tolist(), of_each_text(shuffle), strict=True))) == len(set(OF_TEXT.tolist()))
            for shuffle in result["shuffles"]
        ),
        lambda domains, texts, rng: rng.permutation(domains.max() + 1)[domains],
    ),
    "It takes for granted that the tokens of a text are next to each other; go by the numbers in `texts`.": Sign(
        lambda result, right, _: not one_domain_each(result["apart"]), by_runs_of_texts
    ),
    "The texts do not hold the same domains as before; shuffle those of the texts that occur, do not draw them anew.": Sign(
        lambda result, right, _: not has_labels(map(of_each_text, [*result["shuffles"], result["apart"]]), OF_TEXT),
        [drawn_anew, numbered_from_0],
    ),
    "It gives the same result for each `rng`: use the generator that it is given.": Sign(
        lambda result, right, _: all(shuffle == result["shuffles"][0] for shuffle in result["shuffles"]),
        lambda domains, texts, rng: shuffle_texts(domains, texts, np.random.default_rng(3)),
    ),
    "The same `rng` gives two results: use no other source of chance.": Sign(
        lambda result, right, _: list(result["again"]) != result["shuffles"][0],
        lambda domains, texts, rng: shuffle_texts(domains, texts, np.random.default_rng()),
    ),
    "It makes too few different shuffles; each order of the texts should be possible.": Sign(
        lambda result, right, _: len({tuple(of_each_text(shuffle)) for shuffle in result["shuffles"]}) < 6, rolled
    ),
}

SHUFFLED_DOMAINS = Exercise(
    right=shuffle_texts,
    cases=[(np.repeat(OF_TEXT, LENGTHS), TEXTS, 0)],
    run=shuffled_often,
    accepts=lambda *triple: not any(sign.shows(*triple) for sign in SHUFFLE_MISTAKES.values()),
    mistakes=SHUFFLE_MISTAKES,
)
