"""Which exercises of the course a reader has solved, and what to do next:  python course.py progress

`grade` notes an answer that is right in .work/progress.json, a file of this checkout alone. The course's own solutions
are not noted when they are run, nor what `store` and the tests run. Standard library only: course.py needs no package
for this command.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama4lab.course_notebooks import NOTEBOOKS, course_notebooks
from llama4lab.errors import CourseError

FILE = NOTEBOOKS.parent / ".work" / "progress.json"
SWITCHED_OFF = "COURSE_NOTES_NO_PROGRESS"  # set in the kernels of `store` and of the tests
HEADING = re.compile(r"^### Exercise (\d\d\.\d+) · difficulty (●○○|●●○|●●●) · (\d+ minutes)$", re.MULTILINE)
TITLE = re.compile(r"# \d\d · (.+)")


@dataclass(frozen=True)
class Task:
    """An exercise as its heading announces it."""

    number: str
    difficulty: str
    minutes: str


@dataclass(frozen=True)
class Sheet:
    """The exercises of one notebook."""

    file: str
    question: str
    tasks: tuple[Task, ...]


# ---- what grade notes ----


def solved_exercises(file: Path) -> list[str]:
    """The numbers of the exercises that were solved, in that order; none where there is no file yet.

    Raises CourseError where the file cannot be read or is damaged.
    """
    try:
        solved = json.loads(file.read_text(encoding="utf-8"))["solved"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CourseError(f"{shown(file)} cannot be read ({error.strerror}): make it readable.") from None
    except (ValueError, KeyError, TypeError):
        solved = None
    if not isinstance(solved, list) or not all(isinstance(number, str) for number in solved):
        raise CourseError(f"{shown(file)}, the list of the exercises that you solved, is damaged: delete it.")
    return solved


def note_solved(number: str, file: Path) -> None:
    """Add an exercise to the file, which is replaced at once. Raises CourseError where that is not possible."""
    solved = solved_exercises(file)
    if number in solved:
        return
    try:
        file.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix="progress-") as folder:
            whole = Path(folder) / file.name
            whole.write_text(json.dumps({"solved": [*solved, number]}, indent=1) + "\n", encoding="utf-8")
            whole.replace(file)
    except OSError as error:
        raise CourseError(f"{shown(file)} cannot be written ({error.strerror}): make its folder writable.") from None


def shown(file: Path) -> str:
    return "/".join(file.parts[-2:])


def running_cell() -> str:
    """The source of the notebook cell that runs now; empty outside of a notebook."""
    return (getattr(sys.modules["__main__"], "In", None) or [""])[-1]


def is_the_courses_solution(number: str, cell: str) -> bool:
    """Whether a cell has the text of the cell with the solution of this exercise."""
    for path in NOTEBOOKS.glob(f"{number[:2]}_*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        solutions = ["".join(other["source"]) for other in cells if "solution" in other["metadata"].get("tags", [])]
        return any(source.strip() == cell.strip() for source in solutions)
    return False


def note(number: str, cell: str, variables: Mapping[str, str] = os.environ, file: Path | None = None) -> str:
    """Note that a reader's cell has solved an exercise; returns a sentence where that fails, and else no text.

    An empty cell, the course's own solution, and what `store` and the tests run, are not noted.
    """
    try:
        if cell.strip() and SWITCHED_OFF not in variables and not is_the_courses_solution(number, cell):
            note_solved(number, file or FILE)
    except CourseError as problem:
        return f"It is not counted in your progress: {problem}"
    except (OSError, ValueError, LookupError, TypeError):  # a notebook that is being saved, or was damaged
        return "It is not counted in your progress, because the notebook's file cannot be read: save it and run again."
    return ""


# ---- what the command shows ----


def sheet_of(path: Path) -> Sheet:
    """The exercises of a notebook. Raises CourseError where the file is no notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    except (OSError, ValueError, LookupError, TypeError):
        raise CourseError(f"{path.name} cannot be read as a notebook: take it from git again.") from None
    title = TITLE.match(text)
    return Sheet(path.name, title[1] if title else path.stem, tuple(Task(*match) for match in HEADING.findall(text)))


def next_task(sheets: list[Sheet], solved: list[str]) -> tuple[Sheet, Task] | None:
    """The first open exercise, from the notebook on in which the last one was solved, and then from the first."""
    last = solved[-1][:2] if solved else ""
    later = [sheet for sheet in sheets if sheet.file[:2] >= last]
    for sheet in [*later, *sheets]:
        for task in sheet.tasks:
            if task.number not in solved:
                return sheet, task
    return None


def report(sheets: list[Sheet], solved: list[str]) -> str:
    """One line a notebook, a box for each exercise, and what to do next."""
    tasks = [task.number for sheet in sheets for task in sheet.tasks]
    done = sum(number in solved for number in tasks)
    widest = max((len(sheet.tasks) for sheet in sheets), default=0)
    lines = [f"You have solved {done} of the course's {len(tasks)} exercises.", ""]
    for sheet in sheets:
        boxes = "".join("■" if task.number in solved else "□" for task in sheet.tasks)
        lines.append(f"{sheet.file[:2]}  {boxes:<{widest}}  {sheet.question}")
    if upcoming := next_task(sheets, solved):
        sheet, task = upcoming
        lines += ["", f"Next: exercise {task.number}, {task.difficulty}, {task.minutes}, in notebooks/{sheet.file}."]
    else:
        lines += ["", "Next: change a line of notebooks/llama4.py, and predict what breaks before you run it."]
    return "\n".join(lines)


def main() -> int:
    sys.stdout.reconfigure(errors="replace")  # a terminal without boxes shows question marks
    try:
        print(report([sheet_of(path) for path in course_notebooks()], solved_exercises(FILE)))
    except CourseError as problem:
        print(f"course.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
