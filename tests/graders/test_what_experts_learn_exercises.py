"""The graders of notebook 05 against right answers and a catalog of plausible wrong ones."""

import numpy as np
import pytest

from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


# ---- 05.1: conditional information ----


def entropy(*labels):
    _, times = np.unique(np.stack(labels), axis=1, return_counts=True)
    share = times / times.sum()
    return -(share * np.log2(share)).sum()


def information(first, second):
    return entropy(first) + entropy(second) - entropy(first, second)


def by_token(experts, domains, tokens):
    """(I(E;D) at the places of a token, its share of all places), token by token."""
    for token, times in zip(*np.unique(tokens, return_counts=True), strict=True):
        here = tokens == token
        yield information(experts[here], domains[here]), times / len(tokens)


def right_conditional(experts, domains, tokens):
    return sum(bits * share for bits, share in by_token(experts, domains, tokens))


def by_chain_rule(experts, domains, tokens):
    return information(experts, tokens * 100 + domains) - information(experts, tokens)


def plain_mean(experts, domains, tokens):
    return np.mean([bits for bits, _ in by_token(experts, domains, tokens)])


def plain_sum(experts, domains, tokens):
    return sum(bits for bits, _ in by_token(experts, domains, tokens))


def by_runs(experts, domains, tokens):
    """Right only where equal tokens stand together."""
    ends = [*(np.flatnonzero(np.diff(tokens)) + 1), len(tokens)]
    starts = [0, *ends[:-1]]
    parts = [
        (information(experts[a:b], domains[a:b]), (b - a) / len(tokens)) for a, b in zip(starts, ends, strict=True)
    ]
    return sum(bits * share for bits, share in parts)


def in_place_conditional(experts, domains, tokens):
    bits = right_conditional(experts, domains, tokens)
    tokens += 1
    return bits


# ---- 05.2: shuffling whole texts ----


def right_shuffle(domains, texts, rng):
    _, first, rank = np.unique(texts, return_index=True, return_inverse=True)
    return rng.permutation(domains[first])[rank]


def shuffle_by_loop(domains, texts, rng):
    numbers = list(dict.fromkeys(texts.tolist()))
    of_text = {number: domains[texts == number][0] for number in numbers}
    dealt = dict(zip(numbers, rng.permutation([of_text[n] for n in numbers]), strict=True))
    return np.array([dealt[number] for number in texts.tolist()])


def shuffle_in_place(domains, texts, rng):
    rng.shuffle(domains)
    return domains


def drawn_with_replacement(domains, texts, rng):
    _, first, rank = np.unique(texts, return_index=True, return_inverse=True)
    return rng.choice(domains[first], len(first))[rank]


def numbered_from_0(domains, texts, rng):
    of_text = np.zeros(texts.max() + 1, dtype=int)  # numbers that no text has get domain 0
    of_text[texts] = domains
    return rng.permutation(of_text)[texts]


def permuted_texts(domains, texts, rng):
    _, rank = np.unique(texts, return_inverse=True)
    return rng.permutation(np.unique(texts))[rank]


def fixed_seed(domains, texts, rng):
    return right_shuffle(domains, texts, np.random.default_rng(3))


def own_source(domains, texts, rng):
    return right_shuffle(domains, texts, np.random.default_rng())


def rolled(domains, texts, rng):
    """Two different results only."""
    _, first, rank = np.unique(texts, return_index=True, return_inverse=True)
    return np.roll(domains[first], rng.integers(1, 3))[rank]


def by_runs_of_texts(domains, texts, rng):
    """Right only where the tokens of a text stand together."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(texts)) + 1])
    lengths = np.diff([*starts, len(texts)])
    return np.repeat(rng.permutation(domains[starts]), lengths)


def shuffled_within_text(domains, texts, rng):
    return domains[np.lexsort((rng.random(len(texts)), texts))]


def any_domains_by_token(domains, texts, rng):
    return rng.integers(0, domains.max() + 1, len(domains))


# ---- 05.3: saturation ----


def common(chosen, final):
    return np.array([len(set(a) & set(b)) for a, b in zip(chosen.tolist(), final.tolist(), strict=True)])


def right_share(chosen, final):
    return common(chosen, final).sum() / final.size


def by_broadcasting(chosen, final):
    return (chosen[:, :, None] == final[:, None, :]).any(axis=2).mean()


def union_share(chosen, final):
    both = common(chosen, final)
    return (both / (2 * chosen.shape[1] - both)).mean()


def sorted_in_place(chosen, final):
    chosen.sort(axis=1)
    final.sort(axis=1)
    return right_share(chosen, final)


RIGHT_JUDGMENT = {"A": "luck", "B": "vocabulary", "C": "sound", "D": "rare tokens"}


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("05.1", right_conditional),
        ("05.1", by_chain_rule),
        ("05.1", lambda e, d, t: float(right_conditional(e, d, t))),
        ("05.2", right_shuffle),
        ("05.2", shuffle_by_loop),
        ("05.3", right_share),
        ("05.3", by_broadcasting),
        ("05.4", RIGHT_JUDGMENT),
    ],
)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize("exercise", ["05.1", "05.2", "05.3", "05.4"])
def test_untouched_stubs(exercise):
    assert verdict(exercise, ...) == f"Exercise {exercise}: not tried yet."
    if exercise != "05.4":
        assert verdict(exercise, untried) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("05.1", plain_mean, "plain mean over tokens"),
    ("05.1", plain_sum, "sum over tokens"),
    ("05.1", lambda e, d, t: right_conditional(e, d, t) * len(t), "weights are counts"),
    ("05.1", lambda e, d, t: right_conditional(e, d, t) * np.log(2), "nats"),
    ("05.1", lambda e, d, t: information(e, d), "This is I(E;D)"),
    ("05.1", lambda e, d, t: information(e, t * 100 + d), "I(E;D,T)"),
    ("05.1", lambda e, d, t: information(e, t), "I(E;T): the domain"),
    ("05.1", lambda e, d, t: right_conditional(e, t, d), "I(E;T|D)"),
    ("05.1", lambda e, d, t: entropy(e, t) - entropy(t), "entropy of the expert given the token"),
    ("05.1", lambda e, d, t: -right_conditional(e, d, t), "minus the right number"),
    ("05.1", lambda e, d, t: right_conditional(e, d, t) + 0.1, "I(E;D|T) is"),
    ("05.1", lambda e, d, t: np.array([b for b, _ in by_token(e, d, t)]), "one number"),
    ("05.1", lambda e, d, t: float("nan"), "one number"),
    ("05.1", by_runs, "order of the tokens"),
    ("05.1", in_place_conditional, "changes the labels"),
    ("05.1", lambda e, d, t: e.nothing(), "raised AttributeError"),
    ("05.2", lambda d, t, rng: rng.permutation(d), "shuffles tokens"),
    ("05.2", lambda d, t, rng: d.copy(), "Nothing has changed"),
    ("05.2", shuffled_within_text, "Nothing has changed"),
    ("05.2", shuffle_in_place, "changes the arrays"),
    ("05.2", drawn_with_replacement, "do not draw them anew"),
    ("05.2", numbered_from_0, "texts that occur"),
    ("05.2", permuted_texts, "no domains"),
    ("05.2", fixed_seed, "use the generator"),
    ("05.2", own_source, "no other source of chance"),
    ("05.2", rolled, "too few"),
    ("05.2", by_runs_of_texts, "stand together"),
    ("05.2", any_domains_by_token, "one domain"),
    ("05.2", lambda d, t, rng: rng.permutation(np.unique(t)), "one label for each token"),
    ("05.2", lambda d, t, rng: d.tolist(), "one label for each token"),
    ("05.3", lambda c, f: (c == f).mean(), "place by place"),
    ("05.3", lambda c, f: (c[:, 0] == f[:, 0]).mean(), "first choice only"),
    ("05.3", lambda c, f: (c[:, :1] == f).any(axis=1).mean(), "among the final ones"),
    ("05.3", union_share, "union"),
    ("05.3", lambda c, f: (common(c, f) == c.shape[1]).mean(), "whole set"),
    ("05.3", lambda c, f: (common(c, f) > 0).mean(), "at least one"),
    ("05.3", lambda c, f: common(c, f).mean(), "divide by k"),
    ("05.3", lambda c, f: common(c, f).mean() / 8, "number of experts"),
    ("05.3", lambda c, f: 1 - right_share(c, f), "has changed"),
    ("05.3", lambda c, f: 100 * right_share(c, f), "percentage"),
    ("05.3", lambda c, f: common(c, f).sum() / 3, "sum over tokens"),
    ("05.3", lambda c, f: common(c, f).sum(), "divide by tokens and k"),
    ("05.3", lambda c, f: len(np.intersect1d(c, f)) / len(np.union1d(c, f)), "token by token"),
    ("05.3", lambda c, f: common(c, f).mean() / 3, "right for one input only"),
    ("05.3", sorted_in_place, "changes the experts"),
    ("05.3", lambda c, f: common(c, f) / c.shape[1], "one number"),
    ("05.3", lambda c, f: 0.9 * right_share(c, f), "the share is"),
    ("05.4", RIGHT_JUDGMENT | {"A": "sound"}, "What would dice get?"),
    ("05.4", RIGHT_JUDGMENT | {"A": "vocabulary"}, "tokens only"),
    ("05.4", RIGHT_JUDGMENT | {"A": "rare tokens"}, "frequent ones too"),
    ("05.4", RIGHT_JUDGMENT | {"B": "sound"}, "knows words only"),
    ("05.4", RIGHT_JUDGMENT | {"B": "luck"}, "do the two share"),
    ("05.4", RIGHT_JUDGMENT | {"C": "vocabulary"}, "Believe it"),
    ("05.4", RIGHT_JUDGMENT | {"D": "sound"}, "once or twice"),
    ("05.4", RIGHT_JUDGMENT | {"D": "luck"}, "once or twice"),
    ("05.4", RIGHT_JUDGMENT | {"D": "topic"}, "use one of"),
    ("05.4", {"A": "luck"}, "dictionary"),
    ("05.4", ["luck"], "dictionary"),
]


@pytest.mark.parametrize(("exercise", "answer", "named"), WRONG)
def test_wrong_answers_are_named(exercise, answer, named):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet. ")
    assert named in found
