"""The game of guessing an expert from a clue: counted on some tokens, played on the others, so that luck cannot help."""

import numpy as np


def best_guess(experts: np.ndarray, clues: np.ndarray, is_counted: np.ndarray) -> np.ndarray:
    """For each token the expert that its clue had most often among the counted tokens; all `[tokens]`."""
    counts = np.zeros((clues.max() + 1, experts.max() + 1), dtype=int)
    np.add.at(counts, (clues[is_counted], experts[is_counted]), 1)
    counts[counts.sum(axis=1) == 0] = counts.sum(axis=0)  # a clue never met: the busiest expert
    return counts.argmax(axis=1)[clues]


def guess_by_pair(experts: np.ndarray, token_ids: np.ndarray, clue: np.ndarray, is_counted: np.ndarray) -> np.ndarray:
    """Guess by token and clue together; by the token alone where the pair was counted less than three times."""
    pairs = np.unique(token_ids * (clue.max() + 1) + clue, return_inverse=True)[1]
    is_known = np.bincount(pairs[is_counted], minlength=pairs.max() + 1)[pairs] >= 3
    by_pair, by_token = (best_guess(experts, clues, is_counted) for clues in (pairs, token_ids))
    return np.where(is_known, by_pair, by_token)


def guesses_right(
    experts: np.ndarray, token_ids: np.ndarray, domains: np.ndarray, is_counted: np.ndarray
) -> dict[str, float]:
    """Share of right guesses on the tokens that were not counted, by clue."""
    previous = np.concatenate([token_ids[:1], token_ids[:-1]])  # for a text's first token: the text before
    clues = {"no clue": np.zeros_like(token_ids), "domain": domains, "token": token_ids}
    guesses = {name: best_guess(experts, clue, is_counted) for name, clue in clues.items()}
    for name, clue in (("domain", domains), ("previous token", previous)):
        guesses[f"token, {name}"] = guess_by_pair(experts, token_ids, clue, is_counted)
    return {clue: (guess == experts)[~is_counted].mean() for clue, guess in guesses.items()}
