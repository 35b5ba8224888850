"""Storing notebooks: one form, the same bytes twice, and nothing written when a cell fails."""

import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llama4lab import store as store_notebooks
from llama4lab.store import NotStored, canonical_text, main, read_notebook

ROOT = Path(__file__).resolve().parents[2]

PLOT = """import matplotlib.pyplot as plt
from llama4lab.figures import show, use_style
use_style()
fig, ax = plt.subplots()
ax.plot([place % 7 / 7 for place in range(100)])
ax.set(xlabel="step", ylabel="share")
show(fig, "A saw of one hundred steps.")"""


def write(path: Path, *sources: str) -> Path:
    nbformat.write(new_notebook(cells=[new_markdown_cell("# T"), *map(new_code_cell, sources)]), path)
    return path


def test_storing_twice_gives_the_same_bytes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "notebooks"))
    path = write(tmp_path / "a.ipynb", 'print("a")\nprint("b")', "{3, 1, 2}", PLOT)
    assert main([str(path)]) == 0
    first = path.read_bytes()
    assert main([str(path)]) == 0
    assert path.read_bytes() == first
    assert capsys.readouterr().out.startswith("a.ipynb: 3 code cells, ")
    stored = read_notebook(path)
    assert [cell.get("execution_count") for cell in stored.cells] == [None, 1, 2, 3]
    assert stored.cells[1].outputs[0].text == "a\nb\n"
    assert stored.cells[3].metadata.mystnb.image.alt == "A saw of one hundred steps."
    assert stored.cells[3].outputs[0].metadata["image/png"].width == 600
    assert first == canonical_text(stored).encode()
    assert os.listdir(tmp_path) == ["a.ipynb"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import math\nmath.sqrt(-1)", "cell 2 failed with ValueError: "),
        ("def f(:", "cell 2 failed with SyntaxError: "),
        ("import sys\nprint('careful', file=sys.stderr)", "cell 2 wrote to stderr: careful"),
        ("import os\nos._exit(3)", "the kernel died in cell 2"),
    ],
)
def test_a_failing_notebook_stays_as_it_was(tmp_path, capfd, source, reason):
    path = write(tmp_path / "bad.ipynb", "1 + 1", source, "2 + 2")
    before = path.read_bytes()
    assert main([str(path)]) == 1
    said = capfd.readouterr()
    assert said.err.startswith(f"bad.ipynb: {reason}") and said.err.endswith("; nothing was written.\n")
    assert said.err.count("\n") == 1 and not said.out
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["bad.ipynb"]


def test_one_failure_does_not_keep_others_from_being_stored(tmp_path, capsys):
    bad = write(tmp_path / "bad.ipynb", "1 / 0")
    good = write(tmp_path / "good.ipynb", "1 + 1")
    assert main([str(bad), str(good)]) == 1
    assert "good.ipynb: 1 code cells" in capsys.readouterr().out
    assert read_notebook(good).cells[1].execution_count == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such notebook"),
        ("{", "not a notebook ("),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 3, "worksheets": []}', "not a notebook of format 4"),
    ],
)
def test_what_is_not_a_notebook_is_told(tmp_path, capsys, content, reason):
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    assert f"x.ipynb: {reason}" in capsys.readouterr().err


def test_no_arguments_is_told(capsys):
    assert main([]) == 2
    assert "Name the notebooks to store" in capsys.readouterr().err


def test_canonical_form_drops_what_differs_between_readers():
    slider = {"application/vnd.jupyter.widget-view+json": {"model_id": "9"}, "text/plain": "IntSlider()"}
    cell = new_code_cell("x", metadata={"tags": ["exercise"], "collapsed": True, "execution": {"busy": "10:00"}})
    cell.outputs = [
        new_output("display_data", data=slider),
        new_output("display_data", data={"text/plain": "kept"}, metadata={"isolated": True}),
    ]
    notebook = new_notebook(
        cells=[cell], metadata={"widgets": {"a": 1}, "kernelspec": {"name": "mine", "display_name": "My own"}}
    )
    stored = nbformat.reads(canonical_text(notebook), as_version=4)
    assert stored.cells[0].metadata == {"tags": ["exercise"]}
    assert [output.data for output in stored.cells[0].outputs] == [{"text/plain": "kept"}]
    assert stored.cells[0].outputs[0].metadata == {}
    assert stored.metadata.kernelspec.name == "python3" and "widgets" not in stored.metadata
    assert cell.metadata["collapsed"], "the notebook given was changed"


def test_ids_are_kept_and_missing_ones_are_always_the_same(tmp_path):
    cells = ['{"cell_type": "markdown", "metadata": {}, "source": ["a"]}'] * 2
    cells.append('{"cell_type": "markdown", "id": "mine", "metadata": {}, "source": ["b"]}')
    path = tmp_path / "x.ipynb"
    path.write_text(f'{{"nbformat": 4, "nbformat_minor": 4, "metadata": {{}}, "cells": [{", ".join(cells)}]}}')
    first, second = ([cell.id for cell in read_notebook(path).cells] for _ in range(2))
    assert first == second and len(set(first)) == 3 and first[2] == "mine"


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.ipynb"
    path.write_text("old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_notebooks.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store_notebooks.write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.ipynb"]


def test_reading_tells_an_unreadable_file(tmp_path):
    (tmp_path / "x.ipynb").write_text("")
    with pytest.raises(NotStored, match="x.ipynb: not a notebook"):
        read_notebook(tmp_path / "x.ipynb")
