"""Graders of notebook 04: conditional information, a null by texts, saturation, judging findings."""

from collections.abc import Callable

import numpy as np

from llama4lab.grading import grader


def bits(*labels: np.ndarray) -> float:
    """The joint entropy of one or more arrays of labels, in bits."""
    _, times = np.unique(np.stack(labels), axis=1, return_counts=True)
    share = times / times.sum()
    return float(-(share * np.log2(share)).sum())


def information(first: np.ndarray, second: np.ndarray) -> float:
    return bits(first) + bits(second) - bits(first, second)


def conditional(experts: np.ndarray, domains: np.ndarray, tokens: np.ndarray) -> float:
    """I(E;D|T) from entropies."""
    return bits(experts, tokens) + bits(domains, tokens) - bits(tokens) - bits(experts, domains, tokens)


def labels_with_ties(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Experts, domains and tokens, `[60]` each, with ties among all three and tokens of unequal frequency."""
    rng = np.random.default_rng(seed)
    tokens = np.sort(np.minimum(rng.geometric(0.35, 60) - 1, 5))
    domains = (rng.integers(0, 3, 60) + tokens // 2) % 3
    experts = np.where(rng.random(60) < 0.6, (domains + tokens) % 4, rng.integers(0, 4, 60))
    return experts, domains, tokens


def per_token(experts: np.ndarray, domains: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """I(E;D) at the places of each token."""
    return np.array([information(experts[tokens == t], domains[tokens == t]) for t in np.unique(tokens)])


@grader(1)
def grade_conditional(answer: Callable) -> str | None:
    """conditional_information(experts, domains, tokens) -> I(E;D|T) in bits; all inputs `[tokens]`."""
    given = labels_with_ties(1)
    copies = [array.copy() for array in given]
    found = answer(*given)
    if not isinstance(found, int | float | np.number) or np.isnan(found):
        return f"It returned {found!r}; return one number of bits."
    if any(not np.array_equal(array, copy) for array, copy in zip(given, copies, strict=True)):
        return "It changes the labels that it was given; work without operations in place."
    experts, domains, tokens = given
    by_token = per_token(*given)
    right = conditional(*given)
    mistakes = {
        "This is the plain mean over tokens: weight each token by how often it occurs.": by_token.mean(),
        "This is the sum over tokens: weight each token by its share of all places.": by_token.sum(),
        "The weights are counts: divide them by the number of places.": right * len(tokens),
        "These are nats; divide by ln 2, or use log2.": right * np.log(2),
        "This is I(E;D): the token is not known yet. Measure at the places of one token at a time.": (
            information(experts, domains)
        ),
        "This is I(E;D,T): it holds what the token tells by itself.": right + information(experts, tokens),
        "This is I(E;T): the domain is not used.": information(experts, tokens),
        "This is I(E;T|D): token and domain have changed places.": conditional(experts, tokens, domains),
        "This is the entropy of the expert given the token: subtract what is left when the domain is known too.": (
            bits(experts, tokens) - bits(tokens)
        ),
        "This is minus the right number: name both one by one, minus both at once.": -right,
    }
    if abs(found - right) > 1e-9:
        for sentence, value in mistakes.items():
            if abs(found - value) < 1e-9:
                return sentence
        return f"For labels drawn by a seed it gives {found:.4f} bits; I(E;D|T) is {right:.4f}."
    others = labels_with_ties(2)
    shuffled = np.random.default_rng(3).permutation(60)  # tokens need not come in order
    if abs(answer(*others) - conditional(*others)) > 1e-9:
        return "It is right for one input only."
    if abs(answer(*(array[shuffled] for array in others)) - conditional(*others)) > 1e-9:
        return "It depends on the order of the tokens; equal tokens need not stand next to each other."
    return None


@grader(2)
def grade_shuffle_texts(answer: Callable) -> str | None:
    """shuffle_texts(domains, texts, rng) -> domains `[tokens]`, shuffled among whole texts."""
    lengths = np.array([3, 5, 4, 6, 3, 5, 4, 6])
    texts = np.repeat(np.arange(10, 18), lengths)  # numbers of texts need not start at 0
    of_text = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    domains = np.repeat(of_text, lengths)
    copies = domains.copy(), texts.copy()
    results = []
    for seed in range(12):
        found = answer(domains, texts, np.random.default_rng(seed))
        if not isinstance(found, np.ndarray) or found.shape != domains.shape:
            shape = list(found.shape) if isinstance(found, np.ndarray) else type(found).__name__
            return f"It returned {shape}; return one label for each token, an array of shape {list(domains.shape)}."
        results.append(found.copy())
        if not np.array_equal(domains, copies[0]) or not np.array_equal(texts, copies[1]):
            return "It changes the arrays that it was given; `rng.permutation` copies, `rng.shuffle` does not."
    starts = np.concatenate([[0], lengths.cumsum()[:-1]])
    if any(not np.isin(found, of_text).all() for found in results):
        return "It returns labels that are no domains; shuffle the domains, not the numbers of the texts."
    if all(np.array_equal(found, domains) for found in results):
        return "Nothing has changed: every text kept its domain."
    if any((np.repeat(found[starts], lengths) != found).any() for found in results):
        if all(np.array_equal(np.sort(found), np.sort(domains)) for found in results):
            return "It shuffles tokens: the tokens of one text must keep one common domain."
        return "The tokens of one text have different domains; give each text one domain."
    if any(not np.array_equal(np.sort(found[starts]), np.sort(of_text)) for found in results):
        return "The texts do not hold the same domains as before; shuffle those of the texts that occur, do not draw them anew."
    if all(np.array_equal(found, results[0]) for found in results):
        return "It gives the same result for each `rng`: use the generator that it is given."
    if not np.array_equal(answer(domains, texts, np.random.default_rng(0)), results[0]):
        return "The same `rng` gives two results: use no other source of chance."
    moved = np.random.default_rng(1).permutation(len(texts))  # tokens of a text need not stand together
    found = answer(domains[moved], texts[moved], np.random.default_rng(5))
    if any(len(np.unique(found[texts[moved] == text])) > 1 for text in np.unique(texts)):
        return "It takes for granted that the tokens of a text stand together; go by the numbers in `texts`."
    seen = {tuple(found[starts]) for found in results}
    if len(seen) < 6:
        return "It makes too few different shuffles; each order of the texts should be possible."
    return None


@grader(3)
def grade_settled_share(answer: Callable) -> str | None:
    """settled_share(chosen, final) -> mean over tokens of |chosen and final| / k; both `[tokens, k]`."""

    def draw(seed: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        rows = [[rng.permutation(8)[:k] for _ in range(40)] for _ in range(2)]
        return np.array(rows[0]), np.array(rows[1])

    chosen, final = draw(0, 3)
    copies = chosen.copy(), final.copy()
    found = answer(chosen, final)
    if not isinstance(found, int | float | np.number):
        return f"It returned {type(found).__name__}; return one number, the mean over all tokens."
    if not np.array_equal(chosen, copies[0]) or not np.array_equal(final, copies[1]):
        return "It changes the experts that it was given; work on copies."

    def common(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        return (now[:, :, None] == then[:, None, :]).any(axis=2).sum(axis=1)

    both = common(chosen, final)
    right = both.mean() / 3
    mistakes = {
        "It compares place by place; order does not matter: compare sets.": (chosen == final).mean(),
        "It looks at the first choice only.": (chosen[:, 0] == final[:, 0]).mean(),
        "It asks whether the first choice is among the final ones; all k choices count.": (
            (chosen[:, :1] == final).any(axis=1).mean()
        ),
        "It divides by the size of the union; saturation divides by k.": (both / (6 - both)).mean(),
        "It counts only tokens whose whole set is the same.": (both == 3).mean(),
        "It counts tokens with at least one common expert.": (both > 0).mean(),
        "This is the mean number of common experts: divide by k.": both.mean(),
        "It divides by the number of experts; divide by k.": both.mean() / 8,
        "This is the share that has changed; count what is the same.": 1 - right,
        "This is a percentage; return a share between 0 and 1.": 100 * right,
        "This is the sum over tokens; return the mean.": both.sum() / 3,
        "This is the number of common experts of all tokens together; divide by tokens and k.": both.sum(),
        "It asks which experts occur anywhere; compare token by token.": (
            len(np.intersect1d(chosen, final)) / len(np.union1d(chosen, final))
        ),
    }
    if abs(found - right) > 1e-9:
        for sentence, value in mistakes.items():
            if abs(found - float(value)) < 1e-9:
                return sentence
        return f"For choices drawn by a seed it gives {found:.4f}; the share is {right:.4f}."
    for seed, k in ((1, 1), (2, 4)):
        chosen, final = draw(seed, k)
        if abs(answer(chosen, final) - common(chosen, final).mean() / k) > 1e-9:
            return "It is right for one input only; take k from the arrays."
    return None


@grader(4)
def grade_judgment(answer: dict) -> str | None:
    """{"A": verdict, ...} for four findings; verdicts are "luck", "rare tokens", "vocabulary", "sound"."""
    verdicts = ("luck", "rare tokens", "vocabulary", "sound")
    if not isinstance(answer, dict) or sorted(answer) != list("ABCD"):
        return 'Answer with a dictionary that has the keys "A", "B", "C" and "D".'
    for key, value in answer.items():
        if value not in verdicts:
            return f"The verdict on {key} is {value!r}; use one of {', '.join(verdicts)}."
    if answer["A"] == "sound":
        return "A: 2000 tokens in a table of 256 columns and as many rows as there are words. What would dice get?"
    if answer["A"] == "vocabulary":
        return "A speaks of tokens only, not of domains; ask what dice would get on 2000 tokens."
    if answer["A"] == "rare tokens":
        return "A: rare tokens make it worse, but dice would get bits for frequent ones too: 256 experts, 2000 tokens."
    if answer["B"] == "sound":
        return "B: English has hardly a token that is Chinese. Would a router that knows words only differ?"
    if answer["B"] != "vocabulary":
        return "B: 60 % against 1 % is no luck, and says nothing about rare tokens. Which tokens do the two share?"
    if answer["C"] != "sound":
        return (
            "C: one token, so vocabulary plays no part; thousands of places; and a null by texts far below. Believe it."
        )
    if answer["D"] == "sound":
        return "D: most distinct tokens of a sample occur once or twice. What share do dice send to their favorite?"
    if answer["D"] != "rare tokens":
        return "D: the average runs over distinct tokens, and most of them occur once or twice."
    return None
