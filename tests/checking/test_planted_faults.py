"""The checking is checked: a small good notebook passes, and each fault planted in it fails by its name.

The faults that show when a notebook runs are told by pytest itself, started as a program on a folder of small
notebooks, with the course's own rules. Those that show in the stored file go through the static rules.
"""

import base64
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llama4lab.store import canonical_text, read_notebook, store
from tests.checking.comparison import output_difference, same_line, text_difference
from tests.checking.numbers_in_prose import explained
from tests.checking.resources import waited_for_a_core
from tests.checking.stored_notebooks import ROOT, Notebook, open_notebook, tags
from tests.checking.test_notebooks_static import COUNTED, RULES

TITLE = """# 42 · Does the checking see what is wrong?

You will be able to trust it. Prerequisites: none. 5 minutes.

**Runs in** at most 40 s and 1 GiB on two CPU cores."""

SOURCES = ('print("loss 0.1239999 after 100 steps")', '["walks", "talks"];', '"quiet";', "In[1][:5]")

PLOT = """import matplotlib.pyplot as plt
from llama4lab.figures import show, use_style
use_style()
fig, ax = plt.subplots()
ax.plot([(place * 37 % 101) / 101 + 0.2 for place in range(200)])
ax.set(xlabel="step", ylabel="loss (nats per token)")
show(fig, "A jagged loss over two hundred steps.")"""

PROSE = """## 1. One curve

After 100 steps the loss is 0.12, 12.4 % of one nat. (In April 2025, `x = 77`, transformers 5.23.0, int4 on one H100.)

**Predict first.** Where does it end? Others reached 0.57 (*published*, [their paper](https://example.org))."""

CLOSING = ("## Recap\n\nNothing was computed, measured or published.", "## Where to go next\n\n[43](43_light.ipynb)")


def exercise(number: int) -> list:
    """Heading, stub and hint of one exercise, without a need for llama4lab's graders."""
    heading = f"### Exercise 42.{number} · difficulty ●○○ · 2 minutes\n\nAdd two numbers."
    stub = f'def add(a, b):\n    raise NotImplementedError\n\n\ngrade("42.{number}", add)'
    return [
        new_markdown_cell(heading),
        new_code_cell(stub, metadata={"tags": ["exercise"]}),
        new_markdown_cell("<details><summary>Hint</summary>\n\nThink of `+`.\n\n</details>"),
    ]


def solution(number: int):
    return new_code_cell(f'grade("42.{number}", int.__add__)', metadata={"tags": ["solution"]})


def light_notebook() -> nbformat.NotebookNode:
    """A notebook that computes almost nothing, so that its kernel starts and ends at once."""
    return new_notebook(cells=[new_markdown_cell(TITLE), *map(new_code_cell, SOURCES)])


def full_notebook() -> nbformat.NotebookNode:
    """A notebook that breaks no rule, with a figure and exercises."""
    full = light_notebook()
    full.cells += [new_markdown_cell(PROSE), new_code_cell(PLOT), new_code_cell("def grade(number, answer):\n    ...")]
    full.cells += [cell for number in (1, 2, 3) for cell in exercise(number)]
    full.cells += [new_markdown_cell("## Solutions, as run"), *map(solution, (1, 2, 3))]
    full.cells += map(new_markdown_cell, CLOSING)
    return full


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with the two good notebooks, stored by the course's own script."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "notebooks"))
        for name, notebook in (("42_full", full_notebook()), ("43_light", light_notebook())):
            nbformat.write(notebook, folder / f"{name}.ipynb")
            store(folder / f"{name}.ipynb")
    return folder


# ---- what plants a fault: each takes what to change, and returns a function that changes a notebook ---------


def code(notebook, number: int):
    """The code cell with this number, from 1."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"][number - 1]


def source(number, text):
    return lambda notebook: code(notebook, number).update(source=text)


def field(number, **fields):
    return lambda notebook: code(notebook, number).update(fields)


def printed(number, text, name="stdout"):
    return field(number, outputs=[new_output("stream", name=name, text=text)])


def marked(*names, **course):
    metadata = {"tags": list(names), "course": course}
    return lambda notebook: [code(notebook, n).update(metadata=nbformat.from_dict(metadata)) for n in (1, 2)]


def prose(text):
    return lambda notebook: notebook.cells.insert(1, new_markdown_cell(text))


def replaced(old, new, kind="markdown"):
    def fault(notebook):
        chosen = [cell for cell in notebook.cells if cell.cell_type == kind and old in cell.source]
        assert chosen, f"no {kind} cell holds {old!r}"
        for cell in chosen:
            cell.source = cell.source.replace(old, new)

    return fault


def without(tag):
    def fault(notebook):
        notebook.cells = [cell for cell in notebook.cells if tag not in tags(cell)]

    return fault


def moved_solution(notebook):
    notebook.cells.insert(2, notebook.cells.pop(next(n for n, c in enumerate(notebook.cells) if "solution" in tags(c))))


# ---- faults that show when the notebook runs ---------------------------------------------------------------

SKIPPED, RAISING = ("marked to be skipped", "marked to raise")
RUNNING_FAULTS = {
    "unexecuted": (field(2, execution_count=None, outputs=[]), "Cell 2", "without having been executed"),
    "changed_number": (printed(1, "loss 0.1252 after 100 steps\n"), "Cell 1", "+loss 0.1239999 after 100 steps"),
    "changed_integer": (printed(1, "loss 0.124 after 101 steps\n"), "Cell 1", "-loss 0.124 after 101 steps"),
    "changed_word": (source(4, '"In [1]"'), "Cell 4", "-'print'\n+'In [1]'"),
    "changed_point": (replaced("plot([", "plot([0.9 if place == 77 else ", "code"), "Cell 5", "+    y 200 values"),
    "raised_exception": (source(2, 'raise ValueError("no such expert")'), "Cell 2", "ValueError: no such expert"),
    "dead_kernel": (source(2, "import os\nos._exit(1)"), "Cell 2", "the kernel died"),
    "stderr": (source(2, 'import sys\nprint("old", file=sys.stderr)'), "Cell 2", "wrote to stderr: old"),
    "skip_tag": (lambda n: code(n, 2).metadata.update(tags=["nbval-skip"]), "Cell 2", SKIPPED),
    "skip_comment": (source(2, '# NBVAL_SKIP\n"talks";'), "Cell 2", SKIPPED),
    "raises_tag": (lambda n: code(n, 2).metadata.update(tags=["raises-exception"]), "Cell 2", RAISING),
    "removed_output": (field(4, outputs=[]), "Cell 4", "stored 0 outputs (none)"),
    "added_output": (printed(3, "more\n"), "Cell 3", "stored 1 outputs (stdout)"),
    "over_time": (replaced("40 s", "0.1 s"), "budget", "over its budget of 0.1 s"),
    "over_memory": (replaced("1 GiB", "0.01 GiB"), "budget", "over its budget of 10 MiB"),
    "over_the_cap": (replaced("40 s", "90 s"), "budget", "allows more than 60 s and 2 GiB"),
    "no_budget": (replaced("**Runs in**", "Runs in"), "budget", "states no budget"),
}
STOPPING = ("raised_exception", "dead_kernel")  # later cells of these do not run


def warning_in_ignored_cell(notebook):
    source(2, 'import warnings\nwarnings.warn("deprecated")')(notebook)
    code(notebook, 2).metadata["tags"] = ["nbval-ignore-output"]


RUNNING_FAULTS["ignored_warning"] = (warning_in_ignored_cell, "Cell 2", "wrote to stderr")


def run_pytest(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess, dict]:
    """Check a folder as the course does. Returns the process and {(notebook, item): (verdict, message)}."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    report = folder / "report.xml"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "notebooks")]), "OMP_NUM_THREADS": "1"}
    environment.pop("COURSE_TIME_SLACK", None)
    plugins = ["-p", "tests.checking.nbval_rules", "-p", "no:cacheprovider", "-c", "pytest.ini"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, f"--rootdir={folder}", f"--junitxml={report}", *options, "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    verdicts = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        children = [child for child in case if child.tag in ("failure", "error", "skipped")]
        verdict = children[0].tag if children else "passed"
        words = "\n".join(child.text or "" for child in children)
        verdicts[case.get("classname").removesuffix(".ipynb"), case.get("name")] = (verdict, words)
    return done, verdicts


@pytest.fixture(scope="module")
def verdicts(good, tmp_path_factory):
    """One run of pytest, on two workers, over the good notebooks and one notebook a fault."""
    folder = tmp_path_factory.mktemp("faults")
    for path in good.glob("*.ipynb"):
        (folder / path.name).write_bytes(path.read_bytes())
    within_tolerance = {"within_tolerance": (printed(1, "loss 0.1240001 after 100 steps\n"),)}
    for name, (fault, *_) in (RUNNING_FAULTS | within_tolerance).items():
        notebook = read_notebook(good / ("42_full.ipynb" if name == "changed_point" else "43_light.ipynb"))
        fault(notebook)
        (folder / f"{name}.ipynb").write_text(canonical_text(notebook))
    return run_pytest(folder, "-n", "2")


@pytest.mark.parametrize("name", ["42_full", "43_light", "within_tolerance"])
def test_good_notebook_passes(verdicts, name):
    mine = {item: verdict for (notebook, item), (verdict, _) in verdicts[1].items() if notebook == name}
    assert len(mine) >= 5 and "budget" in mine
    assert set(mine.values()) == {"passed"}


@pytest.mark.parametrize("name", RUNNING_FAULTS)
def test_running_fault_fails_and_is_named(verdicts, name):
    _, item, message = RUNNING_FAULTS[name]
    mine = {place: outcome for (notebook, place), outcome in verdicts[1].items() if notebook == name}
    verdict, words = mine.pop(item)
    assert verdict == "failure" and message in words
    if name in STOPPING:
        assert "only 2 of 4 code cells ran" in mine.pop("budget")[1]
        assert [mine.pop(later)[0] for later in ("Cell 3", "Cell 4")] == ["skipped", "skipped"]
    mine.pop("budget", None)  # a cell that was not run is told there too
    assert {verdict for verdict, _ in mine.values()} <= {"passed"}


def test_only_the_lines_that_differ_are_shown(verdicts):
    _, words = verdicts[1]["changed_point", "Cell 5"]
    assert len(re.findall(r"^[+-](?![+-])", words, re.MULTILINE)) == 2


def test_failure_and_summary_are_reported_by_workers(verdicts):
    process, _ = verdicts
    assert process.returncode == 1
    assert re.search(r"^43_light\.ipynb +4 +2 +\d+\.\d of 40 +\d+ of 1024$", process.stdout, re.MULTILINE)


def test_timeout_ends_one_notebook_and_is_named_without_workers(good, tmp_path):
    notebook = read_notebook(good / "43_light.ipynb")
    code(notebook, 2).source = "import time\ntime.sleep(60)"
    (tmp_path / "slow.ipynb").write_text(canonical_text(notebook))
    (tmp_path / "zlight.ipynb").write_bytes((good / "43_light.ipynb").read_bytes())
    process, verdicts = run_pytest(tmp_path, "--nbval-cell-timeout=2")
    assert process.returncode == 1
    assert "Timeout of 2 seconds" in verdicts["slow", "Cell 2"][1]
    outcomes = {item: verdict for (name, item), (verdict, _) in verdicts.items() if name == "slow"}
    assert [outcomes[item] for item in ("Cell 1", "Cell 3", "budget")] == ["passed", "skipped", "failure"]
    assert {verdict for (name, _), (verdict, _) in verdicts.items() if name == "zlight"} == {"passed"}


def test_wrong_time_slack_is_told_before_anything_runs(good):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.checking.nbval_rules", str(good / "43_light.ipynb")],
        cwd=ROOT,
        env=os.environ | {"COURSE_TIME_SLACK": "much"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4
    assert "COURSE_TIME_SLACK is 'much'" in done.stderr


def test_seconds_in_which_others_have_the_core_are_told():
    core = {min(os.sched_getaffinity(0))}
    spin = f"import os, time; os.sched_setaffinity(0, {core})\nwhile time.process_time() < 60: pass"
    crowd = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    try:
        time.sleep(3)
        assert all(waited_for_a_core(process.pid) > 0.2 for process in crowd)
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert waited_for_a_core(crowd[0].pid) == 0


# ---- what counts as the same -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("loss 0.1239999", "loss 0.1240001"),
        ("[ 9.9996 1.5]", "[10.0001 1.5]"),
        ("gap 1.2e-08", "gap -3e-09"),
        ("took 1.2345e+04 ms", "took 12345.1 ms"),
        ("p=0.5000.", "p=0.5001."),
    ],
)
def test_small_changes_of_floats_are_the_same(stored, now):
    assert same_line(stored, now)


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("loss 0.124", "loss 0.125"),
        ("108,641,793,536 parameters", "108,641,793,537 parameters"),
        ("1000.", "1001."),
        ("torch 2.13.0", "torch 2.13.1"),
        ("0.5 up", "0.5 down"),
        ("nan", "0.5"),
        ("0.5", "-0.5"),
        ("layer1.5", "layer1.6"),
    ],
)
def test_other_changes_are_not_the_same(stored, now):
    assert text_difference(stored, now) == ["--- stored", "+++ now", f"-{stored}", f"+{now}"]


def test_kinds_and_order_of_outputs_matter():
    text = new_output("stream", name="stdout", text="a\n")
    table, other = (new_output("display_data", data={"text/plain": "t", "text/html": html}) for html in ("t", "u"))
    plain = new_output("display_data", data={"text/plain": "t"})
    assert not output_difference([text, table], [text, table])
    for different in ([table, text], [text, plain], [text, other], [text]):
        assert output_difference([text, table], different)


@pytest.mark.parametrize(
    ("number", "unit", "printed", "same"),
    [
        ("217", " GB", 217_283_587_072, True),
        ("217", " GB", 217.3, True),
        ("217", " GB", 217.6, False),
        ("89", " %", 0.8895, True),
        ("89", "", 0.8895, False),
        ("17", " B", 17_172_894_720, True),
        ("17", "", 17_172_894_720, False),
        ("16,384", "", 16384, True),
        ("16,384", "", 16383, False),
        ("14,000", "", 13_925, True),
        ("1e-5", "", 1e-05, True),
        ("0.12", "", 0.1239999, True),
        ("0.13", "", 0.1239999, False),
    ],
)
def test_a_number_is_that_which_was_printed_as_the_text_rounds_it(number, unit, printed, same):
    assert explained(number, unit, [printed]) == same


# ---- faults that show in the stored file -------------------------------------------------------------------

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


def find(notebook, text: str, tag: str):
    return next(cell for cell in notebook.cells if tag in tags(cell) and text in cell.source)


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
