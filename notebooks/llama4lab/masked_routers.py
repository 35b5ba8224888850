"""Six routers that go by one thing each, for readers who find out by which: an exercise's material."""

import numpy as np


def masked_routers(token_ids: np.ndarray, domains: np.ndarray, texts: np.ndarray, experts: int = 16) -> dict:
    """The expert of each token `[tokens]` under six routers, by letter; token_ids, domains and texts are `[tokens]`.

    Their names are in the grader of the exercise; do not look before you have measured.
    """
    rng = np.random.default_rng(8)
    previous = np.concatenate([token_ids[:1], token_ids[:-1]])
    dice, other_dice = rng.integers(0, experts, (2, len(token_ids)))
    is_loyal = rng.random(len(token_ids)) < 0.4
    of_text = rng.integers(0, experts, texts.max() + 1)
    of_domain = rng.permutation(experts)[: domains.max() + 1]  # each has a favorite of its own
    of_word, of_previous, of_both = rng.integers(0, experts, (3, token_ids.max() + 1))
    return {
        "P": np.where(is_loyal, of_text[texts], dice),
        "Q": of_word[token_ids],
        "R": (of_both[token_ids] + of_domain[domains]) % experts,
        "S": rng.permutation(dice),
        "T": np.where(is_loyal, of_domain[domains], other_dice),
        "U": of_previous[previous],
    }
