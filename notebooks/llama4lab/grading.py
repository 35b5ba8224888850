"""Exercises that check themselves: a grader names the mistake instead of saying only 'wrong'.

The exercises of the notebook `NN_subject.ipynb` are in the table `EXERCISES` of `llama4lab/graders/subject.py`, by their
number there: the number of a notebook is in its file name alone. Such an exercise is its right answer, cases, and mistakes:

    def share(part, whole):
        return part / whole

    EXERCISES[1] = Exercise(
        right=share,
        cases=[(1, 4), (3, 5)],
        mistakes={
            "That is in percent; return a share between 0 and 1.": lambda part, whole: 100 * part / whole,
            "That is the share of the rest.": lambda part, whole: 1 - part / whole,
        },
    )

An answer is right in every form: numbers of NumPy or torch, tensors, arrays or tuples for lists. The tests need no more than
this table: they take the right answer from the notebook, and try each mistake, other inputs and other types.
"""

import copy
import importlib
import importlib.util
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama4lab import progress
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.errors import CourseError
from llama4lab.plain_answers import Array, Values, first_difference, has_form, kind, plain, same, shape, shown

SHORT_TEXTS = 20  # characters, both together, of two texts that are shown whole
LONGEST_ARGUMENT = 100  # in characters: a longer one says nothing in a sentence


@dataclass(frozen=True)
class Sign:
    """A mistake that shows in a result, whatever else is wrong in it.

    Args:
        shows: takes a wrong result, the right one (both in plain Python) and the tuple of arguments, and says whether
            this is the mistake; a text that it returns follows the sentence.
        example: a wrong answer with this mistake, or a list of them; tests hold the sentence to it.
    """

    shows: Callable[[object, object, tuple], bool | str]
    example: object


@dataclass(frozen=True)
class Case:
    """Arguments of a function, and a hint for an answer that is wrong there in a way of its own."""

    arguments: tuple
    hint: str = ""


class Changed(Exception):
    """An answer changed an argument that it was given."""


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """What is right in an exercise, and the sentence that each mistake draws.

    An answer makes a mistake if it gives in every case what the mistake gives, or at least in all those (two or more)
    in which it is wrong.

    Args:
        right: a right answer, a function or a value. Where it gives an int, a float is refused.
        mistakes: sentence -> wrong answer, a list of wrong answers, or a Sign. In a wrong value `...` stands for
            anything, and a dictionary has only the entries that are wrong.
        cases: arguments with which functions are called.
        otherwise: what is said of any other wrong answer.
        tolerance: of floats, relative.
        returns: what is asked for, in words, where the form of the right result does not say it.
        run: (answer, *arguments) -> what is compared, where that is not the answer or just what it returns.
        accepts: (result, right result, arguments) -> whether it is right, where more than one is.
    """

    right: object
    mistakes: dict[str, object]
    cases: Sequence[tuple | Case] = (Case(()),)
    otherwise: str = ""
    tolerance: float = 1e-6
    returns: str = ""
    run: Callable | None = None
    accepts: Callable[[object, object, tuple], bool] | None = None

    def result(self, answer: object, arguments: tuple) -> object:
        """What the answer gives, in plain Python; an error that it raises takes the place of its result."""
        given = copy.deepcopy(arguments)
        try:
            if self.run:
                result = plain(self.run(answer, *given))
            else:
                result = plain(answer(*given) if callable(self.right) else answer)
        except NotImplementedError:
            raise
        except Exception as error:  # a reader's code may raise anything; `mistake_of` raises it again
            return error
        changed = [not same(plain(after), plain(before)) for before, after in zip(arguments, given, strict=True)]
        if any(changed):
            return Changed(f"It changes `{self.names[changed.index(True)]}`, which it was given; work on a copy.")
        return result

    @property
    def names(self) -> list[str]:
        return list(inspect.signature(self.right).parameters)

    @property
    def arguments(self) -> list[tuple]:
        return [case.arguments if isinstance(case, Case) else case for case in self.cases]

    def results(self, answer: object) -> list:
        return [self.result(answer, arguments) for arguments in self.arguments]

    def mistake_of(self, answer: object) -> str | None:
        """The sentence that names the mistake, or None where the answer is right."""
        if callable(self.right) and not callable(answer):
            return "Give the function itself, without calling it."
        results, rights = self.results(answer), self.results(self.right)
        if changed := next((result for result in results if isinstance(result, Changed)), None):
            return str(changed)
        malformed = self.malformed(results, rights)
        triples = list(zip(results, rights, self.arguments, strict=True))
        accepts = self.accepts or (lambda result, right, arguments: same(result, right, self.tolerance))
        wrong = [bool(malformed) or isinstance(triple[0], Exception) or not accepts(*triple) for triple in triples]
        if not any(wrong):
            return None
        if sentence := self.listed(results, wrong):
            return sentence
        if error := next((result for result in results if isinstance(result, Exception)), None):
            raise error
        if malformed:
            return malformed
        for sentence, mistake in self.mistakes.items():
            for triple, is_wrong in zip(triples, wrong, strict=True):
                if is_wrong and isinstance(mistake, Sign) and (detail := mistake.shows(*triple)):
                    return f"{sentence} {detail}" if isinstance(detail, str) else sentence
        if not callable(self.right):
            return self.otherwise
        return self.ignored(answer, results, rights) or self.difference(wrong.index(True), results, rights)

    def listed(self, results: list, wrong: list[bool]) -> str | None:
        """The sentence of the listed mistake that has these results everywhere, or wherever the answer is wrong."""
        explains = None
        for sentence, mistakes in self.mistakes.items():
            for mistake in [] if isinstance(mistakes, Sign) else mistakes if isinstance(mistakes, list) else [mistakes]:
                if isinstance(mistake, dict):
                    (answer,) = results
                    fits = [isinstance(answer, dict) and all(same(answer.get(k), plain(v)) for k, v in mistake.items())]
                else:
                    pairs = zip(results, self.results(mistake), strict=True)
                    fits = [same(result, other, self.tolerance) for result, other in pairs]
                if all(fits):
                    return sentence
                if explains is None and sum(wrong) > 1 and all(f or not w for f, w in zip(fits, wrong, strict=True)):
                    explains = sentence
        return explains

    def malformed(self, results: list, rights: list) -> str | None:
        """A sentence if a result is not of the form of a right one: another type or shape, a float for an int."""
        anywhere = [right for right in rights if not isinstance(right, Array | Values)]
        for result, right in zip(results, rights, strict=True):
            if isinstance(result, Exception) or any(has_form(result, form) for form in (right, *anywhere)):
                continue
            if all(map(same, results, rights)):
                return "The numbers are right, but they are floats; give whole numbers, of type int."
            wanted = self.returns or " or ".join(dict.fromkeys(map(kind, (right, *anywhere))))
            yours = kind(result) if isinstance(result, Array) else shown(result)
            return f"{'Return' if callable(self.right) else 'Give'} {wanted}; yours is {yours}."
        return None

    def ignored(self, answer: Callable, results: list, rights: list) -> str | None:
        """A sentence if the answer gives the same whatever the value of one of its arguments."""
        for at, name in enumerate(self.names):
            matters = depends = False
            for place, other in itertools.islice(itertools.permutations(range(len(self.cases)), 2), 200):
                arguments, replacement = self.arguments[place], self.arguments[other][at : at + 1]
                if replacement and at < len(arguments):
                    mixed = arguments[:at] + replacement + arguments[at + 1 :]
                    matters |= not same(self.result(self.right, mixed), rights[place])
                    depends |= not same(self.result(answer, mixed), results[place])
            if matters and not depends:
                return f"The result does not depend on `{name}`: it ignores this argument."
        return None

    def difference(self, place: int, results: list, rights: list) -> str:
        """A sentence about the case at `place`, which is wrong in a way of its own, with its hint."""
        case, result, right = self.cases[place], results[place], rights[place]
        hint = case.hint if isinstance(case, Case) else self.otherwise
        pairs = zip(self.names, self.arguments[place], strict=False)
        told = [f"{name} = {shown(plain(value))}" for name, value in pairs if not callable(value)]
        told = ", ".join(argument for argument in told if len(argument) <= LONGEST_ARGUMENT) or "the inputs tried"
        texts = [text for text in (result, right) if isinstance(text, str)]
        if len(texts) == 2 and len("".join(texts)) > SHORT_TEXTS:
            at = next((at for at, (a, b) in enumerate(zip(result, right, strict=False)) if a != b), len(right))
            compared = (
                f"differs from the right text at character {at}: {result[at : at + 20]!r}, not {right[at : at + 20]!r}"
            )
        elif self.accepts:
            compared = f"gives {shown(result)}"
        elif len(shape(right)) > 1 and isinstance(right, Array):
            at, yours, rights = first_difference(result, right, self.tolerance)
            compared = f"gives {shown(yours)} at {at}; it should be {shown(rights)}"
        else:
            compared = f"gives {shown(result)}; it should be {shown(right)}"
        return f"For {told} it {compared}. {hint}".rstrip()


def exercise_of(number: str) -> Exercise | None:
    """The exercise `number`, such as "02.1"; None where there is no such notebook or exercise."""
    notebook, _, place = number.partition(".")
    paths = list(NOTEBOOKS.glob(f"{notebook}_*.ipynb")) if notebook.isdigit() else []
    if not paths or not place.isdigit():
        return None
    module = f"llama4lab.graders.{paths[0].stem.partition('_')[2]}"
    if importlib.util.find_spec(module) is None:
        return None
    return importlib.import_module(module).EXERCISES.get(int(place))


def verdict(exercise: str, answer: object) -> str:
    """The verdict on `answer` (a function or a value; `...` stands for 'not tried') as one line of text.

    Raises:
        CourseError: there is no such exercise.
    """
    checked = exercise_of(exercise)
    if checked is None:
        raise CourseError(
            f"There is no exercise {exercise!r}; use the number in the exercise's heading, such as '02.1'."
        )
    if answer is ...:
        return f"Exercise {exercise}: not tried yet."
    try:
        mistake = checked.mistake_of(answer)
    except NotImplementedError:
        return f"Exercise {exercise}: not tried yet."
    except Exception as error:  # a reader's code may raise anything; it is reported, not hidden
        return f"Exercise {exercise}: not yet. Your code raised {type(error).__name__}: {error}"
    return f"Exercise {exercise}: correct." if mistake is None else f"Exercise {exercise}: not yet. {mistake}"


def grade(exercise: str, answer: object) -> None:
    """Print the verdict on `answer`, and note in the reader's progress that it is right; see `verdict`."""
    told = verdict(exercise, answer)
    print(told)
    if told.endswith(": correct.") and (problem := progress.note(exercise, progress.running_cell())):
        print(problem)
