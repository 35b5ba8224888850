"""The verdicts on exercises: their forms, and which sentence an answer draws."""

import math
import re

import numpy as np
import pytest
import torch

from llama4lab import grading
from llama4lab.errors import CourseError
from llama4lab.grading import Case, Exercise, Sign, grade, verdict
from llama4lab.plain_answers import Values, kind, plain, same, shown


def with_last(entries, more, least=0):
    """The entries from `least` on, and one more."""
    return [entry for entry in entries if entry >= least] + [more]


LISTS = Exercise(
    right=with_last,
    cases=[
        Case(([1, 2], 3), "Keep 1 and 2."),
        Case(([-1, 2], 4), "Drop -1."),
        Case(([], 5, -3), "An empty list gets one entry."),
        ([-2, 1], 6, -3),
    ],
    mistakes={
        "The new entry is missing.": lambda entries, more, least=0: [entry for entry in entries if entry >= least],
        "Nothing is dropped.": [lambda entries, more, least=0: [*entries, more], lambda *case: [*case[0], case[1]]],
        "It fails on an empty list.": lambda entries, more, least=0: with_last(entries, more, least + 0 * entries[0]),
        "The new entry comes last.": Sign(
            lambda result, right, arguments: result[:1] == [arguments[1]] and f"It is {arguments[1]}.",
            lambda entries, more, least=0: [more, *with_last(entries, more, least)[:-1]],
        ),
    },
)
PAIR = Exercise(
    right=(2.5, 4),
    tolerance=1e-2,
    mistakes={"Half of it.": (1.25, ...), "Twice five.": (..., 10), "Sum.": Sign(lambda r, *_: sum(r) == 9, (4.0, 5))},
    otherwise="Look again.",
)
NAMES = Exercise(
    right={"a": {1, 2}, "b": set()},
    mistakes={"b is empty.": {"b": {3}}, "a is off.": Sign(lambda result, right, _: result["a"] != right["a"], {})},
    returns="sets by name",
)
TEXT = Exercise(right=lambda name: f"Hello, {name}!", cases=[("Ada",)], mistakes={})
EVEN = Exercise(right=4, accepts=lambda result, right, _: result % 2 == 0, mistakes={}, otherwise="It is odd.")
FLAGS = Exercise(right=lambda array: array > 0, cases=[(np.array([1, -1]),), (np.array([0, 2]),)], mistakes={})
GRID = Exercise(right=lambda x: torch.outer(x, x), cases=[(torch.tensor([1.0, 2.0]),)], mistakes={})
HALF = Exercise(right=lambda n: n // 2 if n else math.inf, cases=[(0,), (4,)], mistakes={})
SAMPLES = {
    "97.8": GRID,
    "97.7": HALF,
    "97.1": LISTS,
    "97.2": PAIR,
    "97.3": NAMES,
    "97.4": TEXT,
    "97.5": EVEN,
    "97.6": FLAGS,
}


@pytest.fixture(autouse=True)
def _samples(monkeypatch):
    monkeypatch.setattr(grading, "exercise_of", lambda number: SAMPLES.get(number))


def untried(*arguments):
    raise NotImplementedError


def emptying(entries, more, least=0):
    result = with_last(entries, more, least)
    entries.clear()
    return result


def dropping(entries, more, least=0):
    return [entry for entry in with_last(entries, more, least) if entry != 1]


@pytest.mark.parametrize(
    ("number", "answer", "expected"),
    [
        ("97.1", with_last, "correct."),
        ("97.1", lambda *case: tuple(with_last(*case)), "correct."),
        ("97.1", lambda *case: torch.tensor(with_last(*case)), "correct."),
        ("97.1", ..., "not tried yet."),
        ("97.1", untried, "not tried yet."),
        ("97.1", [1, 2, 3], "not yet. Give the function itself, without calling it."),
        ("97.1", lambda entries: entries, "not yet. Your code raised TypeError: "),
        ("97.1", lambda *case: 1 / 0, "not yet. Your code raised ZeroDivisionError: division by zero"),
        ("97.1", emptying, "not yet. It changes `entries`, which it was given; work on a copy."),
        ("97.1", lambda *case: with_last(*case)[:-1], "not yet. The new entry is missing."),
        ("97.1", lambda *case: [*case[0], case[1]], "not yet. Nothing is dropped."),
        ("97.1", lambda e, m, least=0: with_last([e[0], *e[1:]], m, least), "not yet. It fails on an empty list."),
        ("97.1", lambda e, m, least=0: [m, *e], "not yet. The new entry comes last. It is 3."),
        ("97.1", lambda *case: None, "not yet. Return a list; yours is None."),
        ("97.1", dropping, "not yet. For entries = [1, 2], more = 3 it gives [2, 3]; it should be [1, 2, 3]. Keep 1"),
        ("97.1", lambda e, m, least=0: with_last(e, 3, least), "not yet. The result does not depend on `more`"),
        ("97.2", (2.5, 4), "correct."),
        ("97.2", torch.tensor([2.51, 4.0]), "not yet. Give 2 values (a number, a whole number); yours is"),
        ("97.2", [np.float32(2.51), np.int64(4)], "correct."),
        ("97.2", (2.5, 4.0), "not yet. The numbers are right, but they are floats; give whole numbers, of type int."),
        ("97.2", (1.25, 77), "not yet. Half of it."),
        ("97.2", (77.0, 10), "not yet. Twice five."),
        ("97.2", (4.5, 4.5), "not yet. Give 2 values"),
        ("97.2", (3.0, 6), "not yet. Sum."),
        ("97.2", (3, 6), "not yet. Sum."),
        ("97.2", (2.6, 4), "not yet. Look again."),
        ("97.7", lambda n: n / 2 if n else math.inf, "not yet. The numbers are right, but they are floats;"),
        ("97.2", (2.5, True), "not yet. Give 2 values"),
        ("97.2", 2.5, "not yet. Give 2 values"),
        ("97.3", {"a": [2, 1, 1], "b": ()}, "correct."),
        ("97.3", {"a": {9}, "b": {3}}, "not yet. b is empty."),
        ("97.3", {"a": {9}, "b": set()}, "not yet. a is off."),
        ("97.3", {"a": {1, 2}}, "not yet. Give sets by name; yours is {'a': {1, 2}}."),
        ("97.4", lambda name: f"Hello, {name}.", "not yet. For name = 'Ada' it differs from the right text at character 10: '.', not '!'."),
        ("97.5", 8, "correct."),
        ("97.5", 7, "not yet. It is odd."),
        ("97.6", lambda array: (array > 0).tolist(), "correct."),
        ("97.6", lambda array: (array > 0).astype(int), "not yet. Return a tensor or an array of shape [2]"),
        ("97.6", lambda array: array[:1] > 0, "not yet. Return a tensor or an array of shape [2]; yours is a tensor or an array of shape [1]."),
        ("97.8", lambda x: torch.outer(x, x) + torch.tensor([[0, 0], [1, 0]]), "not yet. For x = [1.0, 2.0] it gives 3 at [1, 0]; it should be 2."),
    ],
)  # fmt: skip
def test_verdict(number, answer, expected):
    assert verdict(number, answer).startswith(f"Exercise {number}: {expected}")


def test_a_mistake_is_named_that_explains_all_that_is_wrong():
    def keeps_negative(entries, more, least=0):
        return [*entries, more] if least == 0 else with_last(entries, more, least)

    wrong_twice = Exercise(right=with_last, cases=[([-1], 1), ([-2], 2), ([-9], 3, -8)], mistakes=LISTS.mistakes)
    assert wrong_twice.mistake_of(keeps_negative) == "Nothing is dropped."
    wrong_once = Exercise(right=with_last, cases=[([-1], 1), ([4], 2), ([-9], 3, -8)], mistakes=LISTS.mistakes)
    assert wrong_once.mistake_of(keeps_negative).startswith("For entries = [-1], more = 1 it gives [-1, 1]")


def test_a_sign_without_a_detail_gives_its_sentence_alone():
    assert verdict("97.2", (3.0, 6)) == "Exercise 97.2: not yet. Sum."


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (62_914_560, "62,914,560"),
        (0.25, "0.25"),
        (2.0, "2"),
        (Values([1, 2]), "[1, 2]"),
        (math.inf, "inf"),
        ("a", "'a'"),
    ],
)
def test_values_are_shown_short(value, told):
    assert shown(value) == told


def test_grade_prints_the_verdict(capsys):
    grade("97.1", untried)
    assert capsys.readouterr().out == "Exercise 97.1: not tried yet.\n"


@pytest.mark.parametrize("exercise", ["97.9", "98.1", "00.9", "nonsense", ""])
def test_unknown_exercise(exercise, monkeypatch):
    monkeypatch.undo()
    sentence = f"There is no exercise {exercise!r}; use the number in the exercise's heading, such as '02.1'."
    with pytest.raises(CourseError, match=re.escape(sentence)):
        verdict(exercise, ...)


def test_an_interruption_is_not_taken_for_a_mistake():
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict("97.1", interrupted)


@pytest.mark.parametrize(
    ("value", "in_python", "called"),
    [
        (np.float64(2.5), 2.5, "a number"),
        (torch.tensor(3), 3, "a whole number"),
        (np.bool_(True), True, "True or False"),
        (torch.tensor([[1.0], [2.0]], requires_grad=True), [[1.0], [2.0]], "a tensor or an array of shape [2, 1]"),
        ((1, (2.0, None)), [1, [2.0, None]], "2 values (a whole number, 2 values (a number, None))"),
        (iter([1, 2]), [1, 2], "a list"),
        ({"a": np.int32(1)}, {"a": 1}, "a dictionary with the keys 'a'"),
        ({np.int64(4)}, {4}, "a set"),
        ("text", "text", "a text"),
        (math.inf, math.inf, "inf"),
    ],
)
def test_plain_values(value, in_python, called):
    found = plain(value)
    assert found == in_python and type(leaf(found)) is type(leaf(in_python)) and kind(found) == called


def leaf(value):
    return leaf(value[0]) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("value", "other", "equal"),
    [
        (1, True, False),
        (2.0, 2, True),
        (10_000_001, 10_000_000, False),  # whole numbers have no tolerance
        (10_000_001, 10_000_000.0, True),
        (1e-9, 0.0, True),
        (1e-7, 0.0, False),
        (True, 1.0, False),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (1.0, math.nan, False),
        (-math.inf, -math.inf, True),
        ([1, 2], [1], False),
        ([2, 1, 1], {1, 2}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (ValueError("one"), ValueError("two"), True),
        (ValueError(), KeyError(), False),
        ("anything", ..., True),
    ],
)
def test_same(value, other, equal):
    assert same(value, other, tolerance=1e-6) is equal
