"""What counts as solved by a reader, where it is kept, and what `python course.py progress` says."""

import json
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from llama4lab import progress
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.progress import SWITCHED_OFF, Sheet, Task, next_task, note, report, solved_exercises

OWN_CELL = 'grade("98.1", my_answer)'
SHEETS = [
    Sheet("02_a.ipynb", "How?", (Task("02.1", "●○○", "5 minutes"), Task("02.2", "●●○", "9 minutes"))),
    Sheet("03_b.ipynb", "Why?", (Task("03.1", "●●●", "30 minutes"),)),
]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where progress is kept; beside it a course with one notebook."""
    cells = [
        new_markdown_cell("# 98 · Why?\n\n### Exercise 98.1 · difficulty ●○○ · 5 minutes"),
        new_code_cell('grade("98.1", 4)', metadata={"tags": ["solution"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "98_a.ipynb")
    monkeypatch.setattr(progress, "NOTEBOOKS", tmp_path)
    return tmp_path / ".work" / "progress.json"


def test_an_answer_is_noted_once(file):
    for number in ("98.1", "98.2", "98.1"):
        assert note(number, OWN_CELL, {}, file) == ""
    assert solved_exercises(file) == ["98.1", "98.2"]
    assert [path.name for path in file.parent.iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    ("cell", "variables"),
    [("", {}), ('grade("98.1", 4)\n', {}), (OWN_CELL, {SWITCHED_OFF: "1"})],
    ids=["no notebook", "the course's solution", "store and tests"],
)
def test_what_is_not_a_readers_answer_is_not_noted(file, cell, variables):
    assert note("98.1", cell, variables, file) == ""
    assert not file.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"solved": 3}', '{"solved": [1]}', "null"])
def test_a_damaged_file_gets_one_sentence_and_stays(file, content):
    file.parent.mkdir()
    file.write_text(content)
    told = note("98.1", OWN_CELL, {}, file)
    assert told.startswith("It is not counted in your progress: .work/progress.json") and told.endswith("delete it.")
    assert file.read_text() == content


def test_a_folder_that_cannot_be_written_gets_one_sentence(file):
    file.parent.write_text("a file where the folder should be")
    assert note("98.1", OWN_CELL, {}, file).startswith("It is not counted in your progress: .work/progress.json cannot")


def test_a_damaged_notebook_gets_one_sentence(file):
    (NOTEBOOK := file.parent.parent / "98_a.ipynb").write_text("{")
    assert "the notebook's file cannot be read" in note("98.1", OWN_CELL, {}, file)
    with pytest.raises(progress.CourseError, match=r"98_a\.ipynb cannot be read as a notebook"):
        progress.sheet_of(NOTEBOOK)


def test_grade_notes_what_a_reader_runs_in_a_notebook(tmp_path):
    code = [
        f"import os, pathlib\nfrom llama4lab import progress\nprogress.FILE = pathlib.Path({str(tmp_path / 'p.json')!r})",
        f"from llama4lab.grading import grade\nos.environ.pop({SWITCHED_OFF!r}, None)",
        'grade("00.1", 99)',
        'grade("01.2", (399, 17.2))',
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in code])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    assert notebook.cells[-1].outputs[0].text == "Exercise 01.2: correct.\n"
    assert solved_exercises(tmp_path / "p.json") == ["01.2"]


@pytest.mark.parametrize(
    ("solved", "upcoming"),
    [
        ([], "02.1"),
        (["02.1"], "02.2"),
        (["02.1", "02.2"], "03.1"),
        (["03.1"], "02.1"),
        (["02.1", "02.2", "03.1"], None),
    ],
)
def test_what_to_do_next(solved, upcoming):
    found = next_task(SHEETS, solved)
    assert (found and found[1].number) == upcoming


def test_the_report():
    lines = report(SHEETS, ["02.2", "77.1"]).splitlines()
    assert lines[0] == "You have solved 1 of the course's 3 exercises."
    assert lines[2:4] == ["02  □■  How?", "03  □   Why?"]
    assert lines[-1] == "Next: exercise 02.1, ●○○, 5 minutes, in notebooks/02_a.ipynb."
    assert "llama4.py" in report(SHEETS, ["02.1", "02.2", "03.1"]).splitlines()[-1]


def test_the_command_needs_no_package():
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(NOTEBOOKS)!r})\n"]
    command[-1] += "import runpy; runpy.run_module('llama4lab.progress', run_name='__main__')"
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert run.returncode == 0 and not run.stderr
    exercises = sum(len(progress.sheet_of(path).tasks) for path in progress.course_notebooks())
    assert f"of the course's {exercises} exercises." in run.stdout


def test_a_damaged_file_ends_the_command_with_its_sentence(file, monkeypatch, capsys):
    file.parent.mkdir()
    file.write_text("{")
    monkeypatch.setattr(progress, "FILE", file)
    assert progress.main() == 1
    assert capsys.readouterr().err.count("\n") == 1
    file.write_text(json.dumps({"solved": []}))
    assert progress.main() == 0
