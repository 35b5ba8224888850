"""Solutions of exercises: folded for every reader, tested at the end of the notebook.

A cell tagged `solution` is run under "Solutions, as run". From it `fold_solutions` makes the block that readers open
right after the exercise: JupyterLab's own folding of cells is unknown to GitHub and to the book. An exercise to be solved
without looking has no such block.
"""

import ast
import re
import sys
from collections.abc import Callable

import nbformat
from nbformat.v4 import new_markdown_cell

from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.errors import CourseError

FOLD_TAG = "folded-solution"
UNSEEN_TAG = "solution-unseen"  # of a stub whose solution is shown at the end of the notebook alone
GRADED = re.compile(r"\bgrade\(\s*[\"'](\d\d\.\d+)[\"']")


def tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def solutions_of(cells: list[nbformat.NotebookNode]) -> dict[str, str]:
    """The sources of the cells tagged solution by number of exercise, such as "02.1"."""
    solved = [cell for cell in cells if tagged(cell, "solution")]
    return {number[1]: cell.source for cell in solved if (number := GRADED.search(cell.source))}


def fold(number: str, source: str) -> nbformat.NotebookNode:
    """The Markdown cell that shows a solution when it is opened."""
    # The blank lines make Markdown of what is inside the HTML element.
    text = f"<details><summary>Solution of exercise {number}</summary>\n\n```python\n{source}\n```\n\n</details>"
    return new_markdown_cell(text, id="fold-" + number.replace(".", "-"), metadata={"tags": [FOLD_TAG]})


def fold_solutions(notebook: nbformat.NotebookNode) -> None:
    """Write the folded solutions anew, in place: each after the stub of its exercise, and after the hint if one follows."""
    cells = [cell for cell in notebook.cells if not tagged(cell, FOLD_TAG)]
    solutions = solutions_of(cells)
    places = [place for place, cell in enumerate(cells) if tagged(cell, "exercise")]
    for start, end in reversed(list(zip(places, [*places, len(cells)][1:], strict=True))):
        code = "\n".join(c.source for c in cells[start:end] if c.cell_type == "code" and not tagged(c, "solution"))
        seen = not tagged(cells[start], UNSEEN_TAG)
        if seen and (graded := GRADED.search(code)) and (number := graded[1]) in solutions:
            after = next((n for n in range(start + 1, end) if "<summary>Hint" in cells[n].source), start)
            cells.insert(after + 1, fold(number, solutions[number]))
    notebook.cells = cells


def solution(number: str) -> Callable:
    """The function that solves an exercise, for cells that go on with it. It sees what the notebook has defined so far.

    number: notebook and exercise, such as "10.3". Raises CourseError where that exercise has no function as its solution.
    """
    for path in NOTEBOOKS.glob(f"{number[:2]}_*.ipynb"):
        source = solutions_of(nbformat.read(path, as_version=4).cells).get(number, "")
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        if functions:
            namespace = sys.modules["__main__"].__dict__
            exec(compile(ast.Module(functions, []), f"<solution of exercise {number}>", "exec"), namespace)
            return namespace[functions[-1].name]
    raise CourseError(
        f"Exercise {number} has no function as its solution; give the number of one that asks for a function."
    )
