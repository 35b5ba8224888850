"""The verdicts on exercises: their forms, and what a reader's own mistakes lead to."""

import re
import sys
from pathlib import Path

import pytest

from llama4lab import grading
from llama4lab.errors import CourseError
from llama4lab.grading import grade, grader, verdict


@pytest.fixture(autouse=True)
def _sample_exercise(monkeypatch, tmp_path):
    """An exercise 97.1 whose answer is a function that doubles; gone again after the test."""
    monkeypatch.setattr(grading, "NOTEBOOKS", tmp_path)
    (tmp_path / "97_test_grading.ipynb").touch()
    monkeypatch.setattr(grading, "_graders", dict(grading._graders))

    @grader(1)
    def grade_double(answer):
        found = answer(3)
        return None if found == 6 else f"For 3 it returned {found}, not 6."


def untried(number):
    raise NotImplementedError


def dividing(number):
    return number / 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda number: 2 * number, "Exercise 97.1: correct."),
        (lambda number: number, "Exercise 97.1: not yet. For 3 it returned 3, not 6."),
        (..., "Exercise 97.1: not tried yet."),
        (untried, "Exercise 97.1: not tried yet."),
        (dividing, "Exercise 97.1: not yet. Your code raised ZeroDivisionError: division by zero"),
        (6, "Exercise 97.1: not yet. Your code raised TypeError: 'int' object is not callable"),
    ],
)
def test_verdict(answer, expected):
    assert verdict("97.1", answer) == expected


def test_grade_prints_the_verdict(capsys):
    grade("97.1", untried)
    assert capsys.readouterr().out == "Exercise 97.1: not tried yet.\n"


@pytest.mark.parametrize("exercise", ["97.2", "98.1", "00.9", "nonsense", ""])
def test_unknown_exercise(exercise):
    sentence = f"There is no exercise {exercise!r}; use the number in the exercise's heading, such as '02.1'."
    with pytest.raises(CourseError, match=re.escape(sentence)):
        verdict(exercise, ...)


def test_graders_of_a_notebook_are_found_without_being_imported(monkeypatch):
    monkeypatch.setattr(grading, "NOTEBOOKS", Path(grading.__file__).parents[1])
    monkeypatch.setattr(grading, "_graders", {})
    monkeypatch.delitem(sys.modules, "llama4lab.graders.start_here", raising=False)
    assert verdict("00.1", ...) == "Exercise 00.1: not tried yet."


def test_an_interruption_is_not_taken_for_a_mistake():
    def interrupted(number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict("97.1", interrupted)


def test_a_course_error_shows_its_sentence_and_no_traceback():
    with pytest.raises(CourseError) as caught:
        verdict("97.9", 1)
    assert caught.value._render_traceback_() == [f"CourseError: {caught.value}"]
