"""Every exercise: the notebook's right answer counts in every form, each listed mistake draws its own sentence."""

import copy
import functools
import inspect
import re

import numpy as np
import pytest
import torch

from llama4lab.grading import NOTEBOOKS, Case, Sign, exercise_of, verdict
from llama4lab.notebook_functions import graded_answers

NOTEBOOK = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
HEADINGS = [
    number
    for path in NOTEBOOK.values()
    for number in re.findall(r"### Exercise (\d\d\.\d+)", path.read_text(encoding="utf-8"))
]
NUMBERS = [number for number in HEADINGS if exercise_of(number)]
FUNCTIONS = [number for number in NUMBERS if callable(exercise_of(number).right)]
every_exercise = pytest.mark.parametrize("number", NUMBERS)
every_function = pytest.mark.parametrize("number", FUNCTIONS)


@functools.cache
def answers(subject, tag):
    return graded_answers(subject, tag)


def solution(number):
    return answers(NOTEBOOK[number[:2]].stem[3:], "solution")[number]


def test_every_exercise_has_a_grader():
    assert HEADINGS == NUMBERS


def correct(number):
    return f"Exercise {number}: correct."


@every_exercise
def test_the_solution_of_the_notebook_is_correct(number):
    assert verdict(number, solution(number)) == correct(number)


@every_exercise
def test_the_stub_of_the_notebook_is_not_tried_yet(number):
    assert (
        verdict(number, answers(NOTEBOOK[number[:2]].stem[3:], "exercise")[number])
        == f"Exercise {number}: not tried yet."
    )


# ---- a right answer in other forms ----


def mapped(value, of_number, of_list):
    """A result with its numbers, and its lists, tensors and arrays, in another form."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, int | float):
        return of_number(value)
    if isinstance(value, dict):
        return {key: mapped(entry, of_number, of_list) for key, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(mapped(entry, of_number, of_list) for entry in value)
    return of_list(value) if isinstance(value, list) and not any(isinstance(entry, str) for entry in value) else value


def tupled(value):
    return tuple(map(tupled, value)) if isinstance(value, list) else value


FORMS = {
    "numpy": lambda value: mapped(value, lambda number: np.array(number)[()], np.array),
    "torch": lambda value: mapped(
        value, lambda n: torch.tensor(n, dtype=torch.float64 if isinstance(n, float) else None), torch.tensor
    ),
    "tuple": lambda value: mapped(value, lambda number: number, tupled),
}
NEEDS_A_GRADIENT = {"04.2"}  # which NumPy and Python cannot give


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [number for number in NUMBERS if number not in NEEDS_A_GRADIENT])
def test_a_right_answer_counts_in_every_form(number, form):
    right, in_form = solution(number), FORMS[form]
    answer = (lambda *arguments: in_form(right(*arguments))) if callable(right) else in_form(right)
    assert verdict(number, answer) == correct(number)


LANGUAGE_ONLY, EXPERTS = r"language_model\..*\.(q_proj|v_proj)", ["experts.gate_up_proj", "experts.down_proj"]
BEHEMOTH = {"hidden_size": 16640, "num_hidden_layers": 100, "num_attention_heads": 130, "intermediate_size": 22272}


def shuffle_by_loop(domains, texts, rng):
    numbers = list(dict.fromkeys(texts.tolist()))
    dealt = rng.permutation([domains[texts == number][0] for number in numbers])
    return np.array([dealt[numbers.index(number)] for number in texts.tolist()])


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("00.1", 0.214),
        ("01.2", [399, 17.2]),
        ("01.5", BEHEMOTH),
        ("05.3", shuffle_by_loop),
        ("11.1", 60.3),
        ("11.4", {"target_modules": LANGUAGE_ONLY, "target_parameters": EXPERTS[::-1], "r": 4}),
        (
            "11.4",
            {
                "target_modules": ["q_proj", "v_proj"],
                "exclude_modules": r"vision_model\..*",
                "target_parameters": EXPERTS,
            },
        ),
        ("17.5", 1_000_000),
    ],
)
def test_another_right_answer_counts_too(number, answer):
    assert verdict(number, answer) == correct(number)


# ---- mistakes ----


def filled(wrong, right):
    """A wrong value whose other entries, `...` or those that a dictionary leaves out, are right."""
    if isinstance(wrong, dict):
        return right | wrong
    if isinstance(wrong, tuple):
        return tuple(entry if given is ... else given for given, entry in zip(wrong, right, strict=True))
    return wrong


def wrong_answers(number):
    exercise = exercise_of(number)
    for sentence, mistake in exercise.mistakes.items():
        example = mistake.example if isinstance(mistake, Sign) else mistake
        for wrong in example if isinstance(example, list) else [example]:
            yield (
                sentence,
                wrong if callable(exercise.right) or isinstance(mistake, Sign) else filled(wrong, exercise.right),
            )


MISTAKES = [(number, sentence, wrong) for number in NUMBERS for sentence, wrong in wrong_answers(number)]


@pytest.mark.parametrize(("number", "sentence", "wrong"), MISTAKES, ids=[f"{n}: {s[:40]}" for n, s, _ in MISTAKES])
def test_each_mistake_draws_its_own_sentence(number, sentence, wrong):
    assert verdict(number, wrong).startswith(f"Exercise {number}: not yet. {sentence}")


@every_exercise
def test_each_exercise_names_three_mistakes_or_more(number):
    assert len(exercise_of(number).mistakes) >= 3


def assert_wrong(number, answer, told=""):
    found = verdict(number, answer)
    assert found.startswith(f"Exercise {number}: not yet. ") and told in found
    return found


@every_exercise
@pytest.mark.parametrize("malformed", ["text", 0.123, object(), [[]]], ids=["text", "number", "object", "list"])
def test_a_malformed_answer_is_told_what_is_asked_for(number, malformed):
    if number in FUNCTIONS:
        assert_wrong(number, malformed, "Give the function itself")
        assert "raised" not in assert_wrong(number, lambda *arguments: malformed)
    else:
        assert "raised" not in assert_wrong(number, malformed)


def cases(number):
    """Each case of an exercise: its place, its arguments, its hint."""
    for place, case in enumerate(exercise_of(number).cases):
        yield place, *((case.arguments, case.hint) if isinstance(case, Case) else (case, ""))


@every_function
def test_an_argument_that_is_changed_is_named(number):
    right = solution(number)
    for at, name in enumerate(inspect.signature(exercise_of(number).right).parameters):
        changed = []

        def changing(*arguments, at=at, changed=changed):
            result = right(*arguments)
            for argument in arguments[at : at + 1]:
                if isinstance(argument, dict | list) and argument:
                    changed.append(argument.clear())
                elif isinstance(argument, torch.Tensor | np.ndarray):
                    changed.append(argument.fill_(0) if isinstance(argument, torch.Tensor) else argument.fill(0))
            return result

        found = verdict(number, changing)
        in_cases = any(
            isinstance(entry, dict | list | torch.Tensor | np.ndarray)
            for _, a, _ in cases(number)
            for entry in a[at : at + 1]
        )
        assert not (changed and in_cases) or f"not yet. It changes `{name}`" in found


@every_function
def test_an_argument_that_is_ignored_makes_an_answer_wrong(number):
    right = solution(number)
    for at in range(len(inspect.signature(right).parameters)):
        first = []

        def ignoring(*arguments, at=at, first=first):
            if at < len(arguments):
                first.append(copy.deepcopy(arguments[at]))
                arguments = (*arguments[:at], copy.deepcopy(first[0]), *arguments[at + 1 :])
            return right(*arguments)

        assert_wrong(number, ignoring)


def other_than(result, others):
    """A wrong result of the same form: other numbers in a tensor, and else one of the other results."""
    if isinstance(result, torch.Tensor):
        return result + 1
    if isinstance(result, tuple) and all(isinstance(entry, torch.Tensor) for entry in result):
        return tuple(entry + 1 for entry in result)
    return next(other for other in others if other != result)


@every_function
def test_a_case_that_alone_is_wrong_draws_its_hint(number):
    right, rights = (
        solution(number),
        [solution(number)(*copy.deepcopy(arguments)) for _, arguments, hint in cases(number) if hint],
    )
    for place, _, hint in cases(number):
        calls = iter(range(10**6))

        def wrong_there(*arguments, place=place, calls=calls):
            result = right(*arguments)
            return other_than(result, rights) if next(calls) == place else result

        if hint:
            found = assert_wrong(number, wrong_there)
            assert any(sentence in found for sentence in (hint, *exercise_of(number).mistakes))
