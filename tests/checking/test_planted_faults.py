"""The static rules are checked: a small good notebook breaks none, and each fault planted in it fails by its name."""

import base64

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_output

from llama4lab.store import read_notebook
from tests.checking.small_notebooks import (
    code,
    field,
    find,
    marked,
    moved_solution,
    printed,
    prose,
    replaced,
    source,
    without,
)
from tests.checking.stored_notebooks import Notebook, open_notebook
from tests.checking.test_notebooks_static import COUNTED, RULES

LONG_CELL = "\n".join(f"value_{number} = {number}" for number in range(41))
PLANTED_TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
HEAVY = {"image/png": base64.b64encode(bytes(200_001)).decode(), "text/plain": "x"}
REASON = "the time differs from run to run"

STATIC_FAULTS = {
    "executed_in_order": {
        "code cell 2 was not executed": field(2, execution_count=None),
        "code cell 3 has execution count 7": field(3, execution_count=7),
        "code cell 2 is empty": source(2, " "),
    },
    "no_errors_or_warnings": {
        "code cell 2 holds an error": field(2, outputs=[new_output("error", ename="E", evalue="no", traceback=[])]),
        "written to stderr: old": printed(1, "old\n", "stderr"),
    },
    "outputs_are_compared": {
        "code cell 1 is not compared, and": marked("nbval-ignore-output"),
        "cells with outputs are compared, under 95%": marked("nbval-ignore-output", not_compared=REASON),
        "tagged nbval-skip": marked("nbval-skip"),
        "tagged raises-exception": marked("raises-exception"),
        "the comment NBVAL_SKIP": source(2, "# NBVAL_SKIP\n1"),
        "the comment not compared: times": source(2, "# not compared: times differ\n1"),
    },
    "small_enough": {
        "code cell 1 has 41 lines": source(1, LONG_CELL),
        "a picture of 200001 bytes": field(5, outputs=[new_output("display_data", data=HEAVY)]),
    },
    "pictures_have_words": {
        "code cell 5 shows a picture without alt text": lambda n: code(n, 5).outputs[0].update(metadata={}),
        "lacks the alt text in its metadata": lambda n: code(n, 5).metadata.pop("mystnb"),
        "a picture without its numbers": lambda n: code(n, 5).outputs[0].data.pop("text/plain"),
    },
    "stored_canonically": {"not in canonical form": lambda n: n.metadata.update(authors=["someone"])},
    "no_private_text": {
        "a path of a machine: /home/someone/x": printed(1, "/home/someone/x\n"),
        "a path of a machine: /tmp/x": prose("see `/tmp/x`"),
        "a path of a machine: C:\\Users": printed(1, "C:\\Users\\me\n"),
        "holds a token": source(1, f"key = '{PLANTED_TOKEN}'"),
        "registry: pypi.org": prose("from https://pypi.org/simple"),
    },
    "nothing_is_fetched": {
        "runs a shell line: %pip install": source(1, "%pip install torch"),
        "runs a shell line: !ls": source(1, "!ls"),
        "installs a package": source(1, 'run([python, "-m", "pip", "install", "torch"])'),
        "downloads with snapshot_download": source(1, "hub.snapshot_download('a/b')"),
        "trusts remote code": source(1, "load('a', trust_remote_code=True)"),
    },
    "imports_are_declared": {"pandas is imported": source(1, "def f():\n    import pandas.core")},
    "links_resolve": {
        "44_next.ipynb leads nowhere": prose("[next](44_next.ipynb)"),
        "a heading that is not there": prose("[next](43_light.ipynb#Nowhere)"),
        "leads out of the course": prose("[up](..)"),
        "neither https nor relative": prose("[a](http://example.org)"),
    },
    "images_have_words": {
        "image a.svg has no alt text": prose("![](a.svg)"),
        "image b.svg has no alt text": prose('<img src="b.svg">'),
    },
    "title_is_complete": {
        "does not begin with '# 42 · The question?'": replaced("is wrong?", "is wrong"),
        "lacks the budget": replaced("**Runs in**", "Runs in"),
        "lacks the minutes": replaced("5 minutes", "5 min"),
    },
    "sections_are_numbered": {
        "section 1 is headed '## One curve'": replaced("## 1. One", "## One"),
        "section 1 is headed '## 1 · One curve'": replaced("## 1. One", "## 1 · One"),
        "section 2 is headed '## 3. Two'": lambda n: n.cells.insert(7, new_markdown_cell("## 3. Two")),
        "the last sections are not": replaced("## Where to go next", "### Where to go next"),
    },
    "recap_names_evidence": {"does not say what was measured": replaced("measured", "seen")},
    "predictions_have_one_form": {
        "'**Predict'": prose("**Predict:** how many?"),
        "'**predict'": prose("Now **predict** it."),
        "'Guess:'": prose("Guess: how many?"),
        "it asks for 7 predictions": prose("**Predict first.** " * 6),
    },
    "exercises_are_complete": {
        "there are 0 exercises; 3 to 5 are wanted": without("exercise"),
        "'### Exercise 42.2 · easy' is not of the form": replaced("42.2 · difficulty ●○○ · 2 minutes", "42.2 · easy"),
        "exercise 3 has no heading": replaced("### Exercise 42.3", "### Task 42.3"),
        "exercise 2 has no hint": lambda n: n.cells.pop(n.cells.index(find(n, "42.2", "exercise")) + 1),
        'exercise 3 is followed by no grade("42.3"': lambda n: find(n, "42.3", "exercise").update(source="add = ..."),
        "exercise 1 has no cell tagged solution": without("solution"),
    },
    "solutions_are_folded": {
        "a solution outside of the section": moved_solution,
        "the folded solution of 42.2 is not that of its tested cell": replaced("42.2\", int.__add__", '42.2", sum', "code"),
        "the folded solution of 42.1, 42.2, 42.3": without("folded-solution"),
    },
    "long_lines": {"prints a line of 101 characters": printed(1, "x" * 101)},
    "raw_objects": {"shows {'a': 1}": printed(1, "{'a': 1}"), "shows tensor([1.])": printed(2, "tensor([1.])")},
    "unexplained_numbers": {
        "cell 2 of all states 612: ... It has 612 parts": prose("It has 612 parts."),
        "states 0.13: ": replaced("0.12,", "0.13,"),
        "states 0.57: ": replaced("[their paper](https://example.org)", "their paper"),
    },
}  # fmt: skip

ALL_RULES = {rule.__name__: rule for rule in (*RULES, *COUNTED)}


@pytest.mark.parametrize("rule", ALL_RULES)
def test_good_notebook_breaks_no_rule(good, rule):
    assert ALL_RULES[rule](open_notebook(good / "42_full.ipynb", good)) == []


@pytest.mark.parametrize(
    ("rule", "message"), [(rule, text) for rule, faults in STATIC_FAULTS.items() for text in faults]
)
def test_static_fault_fails_and_is_named(good, rule, message):
    notebook = read_notebook(good / "42_full.ipynb")
    STATIC_FAULTS[rule][message](notebook)
    planted = Notebook(good / "42_full.ipynb", good, nbformat.writes(notebook) + "\n", notebook)
    problems = ALL_RULES[rule](planted)
    assert any(message in problem for problem in problems), problems
    assert PLANTED_TOKEN not in " ".join(problems)


def test_every_rule_has_a_planted_fault():
    assert STATIC_FAULTS.keys() == ALL_RULES.keys()
