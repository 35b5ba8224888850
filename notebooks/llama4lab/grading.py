"""Exercises that check themselves: a grader names the mistake instead of saying only 'wrong'.

The graders of the notebook `NN_subject.ipynb` live in `llama4lab/graders/subject.py` and register themselves with
`@grader(k)` for exercise NN.k: the number of a notebook is in its file name alone.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from llama4lab.errors import CourseError

NOTEBOOKS = Path(__file__).resolve().parents[1]

Grader = Callable[[object], str | None]
_graders: dict[tuple[str, int], Grader] = {}


def grader(number: int) -> Callable[[Grader], Grader]:
    """Register a grader of its module's exercise `number`.

    A grader takes the answer and returns None, or a sentence that names the mistake.
    """

    def register(function: Grader) -> Grader:
        _graders[function.__module__.rpartition(".")[2], number] = function
        return function

    return register


def grader_of(exercise: str) -> Grader | None:
    """The grader of `exercise`, such as "02.1"; None where there is no such notebook or exercise."""
    notebook, _, number = exercise.partition(".")
    paths = list(NOTEBOOKS.glob(f"{notebook}_*.ipynb")) if notebook.isdigit() else []
    if not paths or not number.isdigit():
        return None
    subject = paths[0].stem.partition("_")[2]
    module = f"llama4lab.graders.{subject}"
    if importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    return _graders.get((subject, int(number)))


def verdict(exercise: str, answer: object) -> str:
    """The verdict on `answer` (a function or a value; `...` stands for 'not tried') as one line of text.

    Raises:
        CourseError: there is no such exercise.
    """
    check = grader_of(exercise)
    if check is None:
        raise CourseError(
            f"There is no exercise {exercise!r}; use the number in the exercise's heading, such as '02.1'."
        )
    if answer is ...:
        return f"Exercise {exercise}: not tried yet."
    try:
        mistake = check(answer)
    except NotImplementedError:
        return f"Exercise {exercise}: not tried yet."
    except Exception as error:  # a reader's code may raise anything; it is reported, not hidden
        return f"Exercise {exercise}: not yet. Your code raised {type(error).__name__}: {error}"
    return f"Exercise {exercise}: correct." if mistake is None else f"Exercise {exercise}: not yet. {mistake}"


def grade(exercise: str, answer: object) -> None:
    """Print the verdict on `answer`; see `verdict`."""
    print(verdict(exercise, answer))
