"""Rules on the one form that all notebooks have."""

import copy
import re

from llama4lab.folds import FOLD_TAG, GRADED, fold_solutions, solutions_of
from tests.checking.nbval_rules import BUDGET, BUDGET_EXAMPLE
from tests.checking.stored_notebooks import FENCED, Notebook, tags

SOLUTIONS, RECAP, NEXT = "Solutions, as run", "Recap", "Where to go next"
CLOSING = ("Check yourself", SOLUTIONS, RECAP, NEXT)  # sections that bear no number, in this order
TITLE = re.compile(r"# (?P<number>\d\d) · (?P<question>[^\n]+\?)$", re.MULTILINE)
EXERCISE = re.compile(r"### Exercise (\d\d\.\d+) · difficulty (●○○|●●○|●●●) · \d+ minutes")
EXERCISES = {
    "00": (1, 5),
    "01": (3, 6),
    "04": (3, 6),
    "19": (12, 12),
}  # how many a notebook has; 3 to 5 where it is not named here
OTHER_PREDICTION = re.compile(
    r"\*\*[Pp]redict(?!\w|ed\b| first\.\*\*)|^(?:Predict|Guess)(?: first)?[.:,]", re.MULTILINE
)
PREDICTIONS = 6  # at most: where intuition fails


def title_is_complete(notebook: Notebook) -> list[str]:
    """The first cell says what a reader needs to decide: question, aims, prerequisites, minutes, budget."""
    first = notebook.cells[0].source if notebook.cells and notebook.cells[0].cell_type == "markdown" else ""
    title = TITLE.match(first)
    if not title or title["number"] != notebook.number:
        return [f"the notebook does not begin with '# {notebook.number} · The question?'"]
    wanted = {
        "'You will be able to'": r"You will be able to",
        "'Prerequisites'": r"\bPrerequisites?\b",
        "the minutes it takes to read": r"\b\d+ minutes\b",
        f"the budget, as in: {BUDGET_EXAMPLE}": BUDGET.pattern,
    }
    return [f"the title cell lacks {what}" for what, pattern in wanted.items() if not re.search(pattern, first)]


def headings(notebook: Notebook, level: int) -> list[str]:
    """The headings of one level as they are written, those in code left out."""
    text = "\n\n".join(FENCED.sub("", cell.source) for cell in notebook.prose)
    return re.findall(rf"^#{{{level}}} (.*)$", text, re.MULTILINE)


def sections_are_numbered(notebook: Notebook) -> list[str]:
    """Sections are `## 1. Name`, counted from 1; the closing ones bear no number and end in Recap, Where to go next."""
    names = headings(notebook, 2)
    numbered = [name for name in names if name not in CLOSING]
    problems = [
        f"section {number} is headed '## {name}' instead of '## {number}. Name'"
        for number, name in enumerate(numbered, 1)
        if not re.match(rf"{number}\. \S", name)
    ]
    closing = [name for name in CLOSING if name in names]
    if names[len(numbered) :] != closing or closing[-2:] != [RECAP, NEXT]:
        problems.append(f"the last sections are not {', '.join(CLOSING[1:])}, in this order")
    return problems


def recap_names_evidence(notebook: Notebook) -> list[str]:
    """The recap says what was computed, measured and published."""
    text = "\n\n".join(cell.source for cell in notebook.prose)
    recap = re.search(rf"^## {RECAP}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    missing = [
        word for word in ("computed", "measured", "published") if word not in (recap[1].lower() if recap else "")
    ]
    return [f"the recap does not say what was {' and '.join(missing)}"] if missing else []


def predictions_have_one_form(notebook: Notebook) -> list[str]:
    """A prediction is asked for with `**Predict first.**` and in no other way, at most six times."""
    count = sum(cell.source.count("**Predict first.**") for cell in notebook.prose)
    problems = [f"it asks for {count} predictions; at most {PREDICTIONS} are wanted"] if count > PREDICTIONS else []
    return problems + [
        f"cell {place} of all asks for a prediction with '{match[0]}' instead of '**Predict first.**'"
        for place, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "markdown"
        for match in OTHER_PREDICTION.finditer(cell.source)
    ]


def exercises_are_complete(notebook: Notebook) -> list[str]:
    """Each exercise has its heading, a stub, a hint, a grader, and a solution that was run at the end."""
    cells = notebook.cells
    stubs = [place for place, cell in enumerate(cells) if "exercise" in tags(cell)]
    least, most = EXERCISES.get(notebook.number, (3, 5))
    problems = []
    if not least <= len(stubs) <= most:
        problems.append(f"there are {len(stubs)} exercises; {least} to {most} are wanted")
    headed = [name for name in headings(notebook, 3) if name.startswith("Exercise")]
    problems += [
        f"the heading '### {name}' is not of the form '### Exercise {notebook.number}.1 · difficulty ●○○ · 5 minutes'"
        for name in headed
        if not EXERCISE.fullmatch(f"### {name}")
    ]
    solutions = solutions_of(cells)
    for k, (stub, end) in enumerate(zip(stubs, [*stubs, len(cells)][1:], strict=True), 1):
        number = f"{notebook.number}.{k}"
        if not any(name.startswith(f"Exercise {number} ") for name in headed):
            problems.append(f"exercise {k} has no heading '### Exercise {number} ...'")
        code = [cell.source for cell in cells[stub:end] if cell.cell_type == "code" and "solution" not in tags(cell)]
        if number not in GRADED.findall("\n".join(code)):
            problems.append(f'exercise {k} is followed by no grade("{number}", answer)')
        if not any("<summary>Hint" in cell.source for cell in cells[stub - 1 : end]):
            problems.append(f"exercise {k} has no hint in <details>")
        if number not in solutions:
            problems.append(f'exercise {k} has no cell tagged solution with grade("{number}", ...)')
    return problems


def solutions_are_folded(notebook: Notebook) -> list[str]:
    """Solutions are run in a section of their own at the end, and shown after their exercise as `store` writes them."""
    places = {cell.source.partition("\n")[0]: place for place, cell in enumerate(notebook.cells)}
    first, last = places.get(f"## {SOLUTIONS}", len(notebook.cells)), places.get(f"## {RECAP}", 0)
    problems = [
        f"cell {place} of all is a solution outside of the section '{SOLUTIONS}'"
        for place, cell in enumerate(notebook.cells)
        if "solution" in tags(cell) and not first < place < last
    ]
    anew = copy.deepcopy(notebook.content)
    fold_solutions(anew)
    if [cell.source for cell in anew.cells] != [cell.source for cell in notebook.cells]:
        stored = {cell.source for cell in notebook.cells}
        stale = [
            cell.id.removeprefix("fold-") for cell in anew.cells if FOLD_TAG in tags(cell) and cell.source not in stored
        ]
        named = ", ".join(stale).replace("-", ".") or "some exercise"
        problems.append(f"the folded solution of {named} is not that of its tested cell; store the notebook again")
    return problems
