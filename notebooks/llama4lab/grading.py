"""Exercises that check themselves: a grader names the mistake instead of saying only 'wrong'.

The graders of notebook NN live in `llama4lab/graders/nNN.py` and register themselves with `@grader("NN.k")`.
"""

import importlib
import importlib.util
from collections.abc import Callable

from llama4lab.errors import CourseError

Grader = Callable[[object], str | None]
_graders: dict[str, Grader] = {}


def grader(exercise: str) -> Callable[[Grader], Grader]:
    """Register a grader for `exercise`: it takes the answer and returns None, or a sentence that names the mistake."""

    def register(function: Grader) -> Grader:
        _graders[exercise] = function
        return function

    return register


def verdict(exercise: str, answer: object) -> str:
    """The verdict on `answer` (a function or a value; `...` stands for 'not tried') as one line of text.

    Raises:
        CourseError: there is no such exercise.
    """
    if exercise not in _graders:
        module = f"llama4lab.graders.n{exercise.partition('.')[0]}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
    if exercise not in _graders:
        raise CourseError(
            f"There is no exercise {exercise!r}; use the number in the exercise's heading, such as '02.1'."
        )
    if answer is ...:
        return f"Exercise {exercise}: not tried yet."
    try:
        mistake = _graders[exercise](answer)
    except NotImplementedError:
        return f"Exercise {exercise}: not tried yet."
    except Exception as error:  # a reader's code may raise anything; it is reported, not hidden
        return f"Exercise {exercise}: not yet. Your code raised {type(error).__name__}: {error}"
    return f"Exercise {exercise}: correct." if mistake is None else f"Exercise {exercise}: not yet. {mistake}"


def grade(exercise: str, answer: object) -> None:
    """Print the verdict on `answer`; see `verdict`."""
    print(verdict(exercise, answer))
