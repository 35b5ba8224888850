"""Folded solutions: written from the tested cell, again without change, and a function for cells that go on with it."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from llama4lab import folds
from llama4lab.errors import CourseError

SOLUTION = 'def double_solution(x):\n    return TWO * x\n\n\ngrade("42.1", double_solution)'


def notebook() -> nbformat.NotebookNode:
    return new_notebook(
        cells=[
            new_code_cell('def double(x): ...\n\n\ngrade("42.1", double)', metadata={"tags": ["exercise"]}),
            new_markdown_cell("<details><summary>Hint</summary>\n\nTwo.\n\n</details>"),
            new_code_cell('answer = ...\ngrade("42.2", answer)', metadata={"tags": ["exercise"]}),
            new_code_cell(SOLUTION, metadata={"tags": ["solution"]}),
            new_code_cell('grade("42.2", 4)', metadata={"tags": ["solution"]}),
        ]
    )


def test_solutions_are_folded_after_stub_and_hint_and_follow_their_tested_cell():
    made = notebook()
    folds.fold_solutions(made)
    assert [cell.id[:7] for cell in made.cells if folds.tagged(cell, folds.FOLD_TAG)] == ["fold-42"] * 2
    assert made.cells[2].source == (
        f"<details><summary>Solution of exercise 42.1</summary>\n\n```python\n{SOLUTION}\n```\n\n</details>"
    )
    assert 'grade("42.2", 4)' in made.cells[4].source
    made.cells[-1].source = 'grade("42.2", 5)'
    folds.fold_solutions(made)
    assert len(made.cells) == 7 and 'grade("42.2", 5)' in made.cells[4].source


def test_an_exercise_to_be_solved_without_looking_has_no_fold():
    made = notebook()
    made.cells[0].metadata["tags"].append(folds.UNSEEN_TAG)
    folds.fold_solutions(made)
    assert [cell.id for cell in made.cells if folds.tagged(cell, folds.FOLD_TAG)] == ["fold-42-2"]


def test_a_solution_serves_the_cells_that_go_on_with_it(tmp_path, monkeypatch):
    nbformat.write(notebook(), tmp_path / "42_doubles.ipynb")
    monkeypatch.setattr(folds, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "TWO", 2, raising=False)
    assert folds.solution("42.1")(21) == 42
    for number in ("42.2", "42.3", "43.1"):
        with pytest.raises(CourseError, match=f"Exercise {number} has no function"):
            folds.solution(number)
