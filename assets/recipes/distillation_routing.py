"""Whether a student's experts agree with its teacher's, beyond what both read off the token."""

import numpy as np
import torch

FEWEST = 20  # occurrences of a token that counts
SHUFFLES = 5


def bits(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information of two choices of the same tokens, in bits."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1 / len(first))
    expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / expected[seen])).sum())


def bits_beyond_token(first: np.ndarray, second: np.ndarray, places: list[np.ndarray]) -> float:
    """Mutual information of two choices given the token; `places`: where each token occurs."""
    total = sum(len(at) for at in places)
    return sum(len(at) / total * bits(first[at], second[at]) for at in places)


def agreement(student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> dict[str, list[list[float]]]:
    """Bits that the choices share, `[teacher layers][student layers]`: all, given the token, and that one's null.

    student, teacher: experts, `[layers, tokens]`. The null shuffles the student's choices among the occurrences of each
    token, so that it keeps what both read off the token itself.
    """
    rng = np.random.default_rng(0)
    ids, counts = np.unique(tokens.numpy(), return_counts=True)
    places = [np.flatnonzero(tokens.numpy() == token) for token in ids[counts >= FEWEST]]
    result = {"bits": [], "bits_given_token": [], "null_given_token": []}
    for theirs in teacher.numpy():
        row = {key: [] for key in result}
        for ours in student.numpy():
            row["bits"].append(round(bits(ours, theirs), 4))
            row["bits_given_token"].append(round(bits_beyond_token(ours, theirs, places), 4))
            nulls = []
            for _ in range(SHUFFLES):
                shuffled = ours.copy()
                for at in places:
                    shuffled[at] = rng.permutation(shuffled[at])
                nulls.append(bits_beyond_token(shuffled, theirs, places))
            row["null_given_token"].append(round(float(np.mean(nulls)), 4))
        for key, values in row.items():
            result[key].append(values)
    return result
