"""A model of twelve functions, of which a reader has written some: the others are on loan from the course's solutions."""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

import numpy as np
import torch

from llama4lab.folds import solution
from llama4lab.grading import Sign, exercise_of, verdict


def put_together(notebook: str, own: Sequence[Callable]) -> tuple[list[Callable], list[bool]]:
    """For each exercise of a notebook, from the first: the reader's function if it is right, else the solution.

    The solutions call each other by name, and reach the reader's functions by these names where those are right.
    Returns the functions, and for each whether it is the reader's.
    """
    names = vars(sys.modules["__main__"])
    parts, is_own = [], []
    for place, function in enumerate(own, 1):
        number = f"{notebook}.{place}"
        lent = solution(number)
        is_own.append(verdict(number, function) == f"Exercise {number}: correct.")
        parts.append(in_torch(function) if is_own[-1] else lent)
        names[lent.__name__] = parts[-1]
    return parts, is_own


def in_torch(function: Callable) -> Callable:
    """The function with tensors in place of the NumPy arrays that it returns."""

    def converted(value):
        if isinstance(value, tuple):
            return tuple(map(converted, value))
        if not isinstance(value, np.ndarray):
            return value
        tensor = torch.from_numpy(value)
        return tensor.float() if tensor.is_floating_point() else tensor

    return functools.wraps(function)(lambda *arguments: converted(function(*arguments)))


def wrong_models(notebook: str, parts: int, model: int) -> Iterator[tuple[int, str, Callable]]:
    """The course's model with one mistake at a time: each that the graders list, in the first `parts` exercises.

    Args:
        model: the exercise whose function is the whole model.

    Yields the exercise, the sentence that names the mistake, and the model, which has it until the next is asked for.
    """
    names = vars(sys.modules["__main__"])
    lent = {place: solution(f"{notebook}.{place}").__name__ for place in range(1, parts + 1)}
    for place, name in lent.items():
        for sentence, mistake in exercise_of(f"{notebook}.{place}").mistakes.items():
            wrong = mistake.example if isinstance(mistake, Sign) else mistake
            with mock.patch.dict(names, {name: wrong[0] if isinstance(wrong, list) else wrong}):
                yield place, sentence, names[lent[model]]
