"""The graders of notebook 09 pass right answers and name the mistake of plausible wrong ones."""

import math

import pytest

from llama4lab.grading import verdict


def walk(scores, bar, items=None):
    reached = 0
    for length in items or sorted(scores):
        if scores[length] < bar:
            break
        reached = length
    return reached


def base(scores):
    return max(share for length, share in scores.items() if length <= 1000)


RIGHT = {
    "09.1": lambda q, k, c: k <= q and q // c == k // c,
    "09.2": lambda d, c: max(0, c - d) / c,
    "09.3": lambda s: walk(s, 0.85 * base(s)),
    "09.4": lambda lead, n, f: 1 / (1 + (n - 1) * math.exp(-f * lead)),
}

WRONG = [
    ("09.1", lambda q, k, c: 0 <= q - k < c, "sliding window"),
    ("09.1", lambda q, k, c: q // c == k // c, "future is visible"),
    ("09.1", lambda q, k, c: k <= q, "only those of the same chunk"),
    ("09.1", lambda q, k, c: k < q and q // c == k // c, "sees itself"),
    ("09.1", lambda q, k, c: k <= q and (q - 1) // c == (k - 1) // c, "one token off"),
    ("09.1", lambda q, k, c: True, "it should be False"),
    ("09.2", lambda d, c: (c - d) / c, "negative"),
    ("09.2", lambda d, c: float(d < c), "sliding window"),
    ("09.2", lambda d, c: max(0, c - d - 1) / c, "Off by one"),
    ("09.2", lambda d, c: min(1, d / c), "cannot reach"),
    ("09.2", lambda d, c: 0.25, "it should be"),
    ("09.2", lambda d, c: 0.0, "it should be 1, not 0"),
    ("09.3", lambda s: walk(s, 0.85), "fixed 0.85"),
    ("09.3", lambda s: walk(s, 0.856), "fixed 0.85"),
    ("09.3", lambda s: max(s), "Stop at the first"),
    ("09.3", lambda s: max(n for n in s if s[n] >= 0.85 * base(s)), "every shorter one"),
    ("09.3", lambda s: walk(s, 0.85 * max(s.values())), "not of all lengths"),
    ("09.3", lambda s: walk(s, 0.85 * base(s), list(s)), "need not be sorted"),
    ("09.4", lambda lead, n, f: 1 / (1 + n * math.exp(-f * lead)), "n - 1"),
    ("09.4", lambda lead, n, f: 1 / (1 + (n - 1) * math.exp(-lead)), "not used"),
    ("09.4", lambda lead, n, f: f / (1 + (n - 1) * math.exp(-lead)), "before the softmax"),
    ("09.4", lambda lead, n, f: 1 / (1 + (n - 1) * math.exp(-lead / f)), "divides"),
    ("09.4", lambda lead, n, f: 0.5, "it should be"),
]


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answer_passes(exercise):
    assert verdict(exercise, RIGHT[exercise]) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize(("exercise", "answer", "mistake"), WRONG)
def test_wrong_answer_is_named(exercise, answer, mistake):
    found = verdict(exercise, answer)
    assert "not yet" in found and mistake in found


def test_stub_counts_as_not_tried():
    def stub(*arguments):
        raise NotImplementedError

    assert {verdict(exercise, stub) for exercise in RIGHT} == {f"Exercise {e}: not tried yet." for e in RIGHT}
