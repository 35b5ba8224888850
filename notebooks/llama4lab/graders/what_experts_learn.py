"""Graders of what experts learn: conditional information, neighbors, saturation, masked routers, a null by texts."""

import numpy as np

from llama4lab.graders.shuffled_domains import SHUFFLED_DOMAINS
from llama4lab.grading import Exercise, Sign
from llama4lab.routing_bits import entropy_in_bits

EXERCISES = {}

# ---- 1: I(E;D|T) in bits; labels are `[tokens]` ----


def entropy(*labels):
    """The joint entropy of one or more arrays of labels, in bits."""
    return entropy_in_bits(np.unique(np.stack(labels), axis=1, return_counts=True)[1])


def information(first, second):
    return entropy(first) + entropy(second) - entropy(first, second)


def conditional_information(experts, domains, tokens):
    return entropy(experts, tokens) + entropy(domains, tokens) - entropy(tokens) - entropy(experts, domains, tokens)


def by_token(experts, domains, tokens):
    """I(E;D) at the places of each token."""
    return np.array([information(experts[tokens == t], domains[tokens == t]) for t in np.unique(tokens)])


def by_runs(experts, domains, tokens):
    """Right only where equal tokens are next to each other."""
    runs = np.concatenate([[0], (np.diff(tokens) != 0).cumsum()])
    return conditional_information(experts, domains, runs)


def labels_with_ties(seed):
    """Experts, domains and tokens, `[60]` each, with ties among all three and tokens of unequal frequency."""
    rng = np.random.default_rng(seed)
    tokens = np.sort(np.minimum(rng.geometric(0.35, 60) - 1, 5))
    domains = (rng.integers(0, 3, 60) + tokens // 2) % 3
    experts = np.where(rng.random(60) < 0.6, (domains + tokens) % 4, rng.integers(0, 4, 60))
    return experts, domains, tokens


SHUFFLED = np.random.default_rng(3).permutation(60)

EXERCISES[1] = Exercise(
    right=conditional_information,
    cases=[labels_with_ties(1), labels_with_ties(2), tuple(labels[SHUFFLED] for labels in labels_with_ties(2))],
    mistakes={
        "This is the plain mean over tokens: weight each token by how often it occurs.": (
            lambda e, d, t: by_token(e, d, t).mean()
        ),
        "This is the sum over tokens: weight each token by its share of all places.": (
            lambda e, d, t: by_token(e, d, t).sum()
        ),
        "The weights are counts: divide them by the number of places.": (
            lambda e, d, t: conditional_information(e, d, t) * len(t)
        ),
        "These are nats; divide by ln 2, or use log2.": lambda e, d, t: conditional_information(e, d, t) * np.log(2),
        "This is I(E;D): the token is not known yet. Measure at the places of one token at a time.": (
            lambda e, d, t: information(e, d)
        ),
        "This is I(E;D,T): it holds what the token tells by itself.": (
            lambda e, d, t: conditional_information(e, d, t) + information(e, t)
        ),
        "This is I(E;D) − I(E;T); what the domain adds is I(E;D,T) − I(E;T), or the mean over tokens.": (
            lambda e, d, t: information(e, d) - information(e, t)
        ),
        "This is I(E;T|D): token and domain have changed places.": lambda e, d, t: conditional_information(e, t, d),
        "This is the entropy of the expert given the token: subtract what is left when the domain is known too.": (
            lambda e, d, t: entropy(e, t) - entropy(t)
        ),
        "It depends on the order of the tokens; equal tokens need not be next to each other.": by_runs,
        "This is no number: some share is 0, and 0 · log 0 counts as 0.": lambda e, d, t: float("nan"),
    },
)

# ---- 2: the share of pairs of tokens, `distance` apart in a text, that have the same expert ----


def share_at_distance(chosen, distance):
    return (chosen[:, distance:] == chosen[:, :-distance]).mean()


def share_up_to(chosen, distance):
    equal = [(chosen[:, apart:] == chosen[:, :-apart]).flatten() for apart in range(1, distance + 1)]
    return np.concatenate(equal).mean()


def drawn_experts(seed, experts, *shape):
    return np.random.default_rng(seed).integers(0, experts, shape)


ONE_APART = "tokens `distance` apart have distance - 1 tokens between them: compare t with t + distance."

EXERCISES[2] = Exercise(
    right=share_at_distance,
    cases=[(drawn_experts(32, 3, 4, 14), 3), (drawn_experts(31, 4, 3, 17), 1), (drawn_experts(31, 4, 3, 17), 5)],
    mistakes={
        "`roll` joins the end of each text to its start; compare only pairs that are both inside the text.": [
            lambda chosen, distance: (chosen == np.roll(chosen, distance, axis=1)).mean(),
            lambda chosen, distance: (chosen == np.roll(chosen, -distance, axis=1)).mean(),
        ],
        "It counts pairs across the border of two texts; cut along the last axis, not after flattening.": (
            lambda chosen, distance: share_at_distance(chosen.reshape(1, -1), distance)
        ),
        "It compares whole texts that are `distance` apart; cut along the last axis, the tokens of a text.": (
            lambda chosen, distance: (chosen[distance:] == chosen[:-distance]).mean() if distance < len(chosen) else 0.0
        ),
        "A text of n tokens has n - distance such pairs, not n: divide by the number of pairs.": (
            lambda chosen, distance: (chosen[:, distance:] == chosen[:, :-distance]).sum() / chosen.size
        ),
        "This is the share of pairs whose experts differ; count those that are the same.": (
            lambda chosen, distance: 1 - share_at_distance(chosen, distance)
        ),
        "This is a percentage; return a share between 0 and 1.": (
            lambda chosen, distance: 100 * share_at_distance(chosen, distance)
        ),
        f"This is the share for one token further apart; {ONE_APART}": (
            lambda chosen, distance: share_at_distance(chosen, distance + 1)
        ),
        f"This is the share for one token less apart; {ONE_APART}": (
            lambda chosen, distance: share_at_distance(chosen, distance - 1)
        ),
        "It counts all pairs up to this distance; only those exactly `distance` apart belong here.": [
            share_up_to,
            lambda chosen, distance: np.mean([share_at_distance(chosen, apart) for apart in range(1, distance + 1)]),
        ],
        "It takes every `distance`-th token and leaves the others out; every token starts a pair.": (
            lambda chosen, distance: share_at_distance(chosen[:, ::distance], 1)
        ),
        "It compares different texts; the tokens of a text are along the last axis.": (
            lambda chosen, distance: share_at_distance(chosen.T, distance)
        ),
        "It asks whether the experts' numbers are close; experts are names, only equal ones count.": (
            lambda chosen, distance: (np.abs(chosen[:, distance:] - chosen[:, :-distance]) <= 1).mean()
        ),
    },
)

# ---- 3: in shuffled_domains.py ----

EXERCISES[3] = SHUFFLED_DOMAINS

# ---- 4: the mean over tokens of |chosen and final| / k; both `[tokens, k]` ----


def common(chosen, final):
    return (chosen[:, :, None] == final[:, None, :]).any(axis=2).sum(axis=1)


def settled_share(chosen, final):
    return float(common(chosen, final).mean() / chosen.shape[1])


def drawn_choices(seed, k):
    rng = np.random.default_rng(seed)
    return tuple(np.array([rng.permutation(8)[:k] for _ in range(40)]) for _ in range(2))


EXERCISES[4] = Exercise(
    right=settled_share,
    cases=[drawn_choices(0, 3), drawn_choices(1, 1), drawn_choices(2, 4)],
    mistakes={
        "It compares place by place; order does not matter: compare sets.": lambda c, f: (c == f).mean(),
        "It looks at the first choice only.": lambda c, f: (c[:, 0] == f[:, 0]).mean(),
        "It asks whether the first choice is among the final ones; all k choices count.": (
            lambda c, f: (c[:, :1] == f).any(axis=1).mean()
        ),
        "It divides by the size of the union; saturation divides by k.": (
            lambda c, f: (common(c, f) / (2 * c.shape[1] - common(c, f))).mean()
        ),
        "It counts only tokens whose whole set is the same.": lambda c, f: (common(c, f) == c.shape[1]).mean(),
        "This is the share that has changed; count what is the same.": lambda c, f: 1 - settled_share(c, f),
        "This is a percentage; return a share between 0 and 1.": lambda c, f: 100 * settled_share(c, f),
        "It sorts both and compares place by place; one new expert moves all that follow. Compare sets.": (
            lambda c, f: (np.sort(c, axis=1) == np.sort(f, axis=1)).mean()
        ),
        "This is the mean count of common experts; divide it by k.": lambda c, f: common(c, f).mean(),
        "This is the sum over tokens; return the mean.": lambda c, f: common(c, f).sum() / c.shape[1],
        "This is the share of each token; return the mean over all tokens.": lambda c, f: common(c, f) / c.shape[1],
    },
)

# ---- 5: six routers without their names ----

MASKED = {"P": "text", "Q": "word", "R": "word and topic", "S": "dice", "T": "topic", "U": "previous word"}
QUESTIONS = {
    "text": "its I(E;D) is far above shuffled tokens. Is it still, once the topics of whole texts are dealt anew?",
    "word": "what does the topic add to its word?",
    "word and topic": "what does the word tell alone, and what do word and topic tell together?",
    "dice": "compare each of its numbers with the null that belongs to it. Is one of them above?",
    "topic": "how far is its I(E;D) above the largest that you get by dealing the topics of whole texts anew?",
    "previous word": "guess by the word before. How often is that right?",
}

EXERCISES[5] = Exercise(
    right=MASKED,
    mistakes={
        f"{letter}: {QUESTIONS[name]}": [{letter: other} for other in QUESTIONS if other != name]
        for letter, name in MASKED.items()
    }
    | {
        f"Some name is not one of {', '.join(QUESTIONS)}.": Sign(
            lambda result, right, _: not set(result.values()) <= set(QUESTIONS), MASKED | {"P": "luck"}
        ),
    },
    otherwise='Answer with a dictionary that has the keys "P" to "U".',
)
