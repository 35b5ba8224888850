"""The checking is checked: a small good notebook passes, and each fault planted in it fails by its name.

The faults that show when a notebook runs are told by pytest itself, started as a program on a folder of small
notebooks, with the course's own rules. Those that show in the stored file go through the rules of
test_notebooks_static.py.
"""

import base64
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llama4lab.store import canonical_text, read_notebook, store
from tests.checking import test_notebooks_static as static
from tests.checking.nbval_rules import output_difference, same_line, text_difference

ROOT = Path(__file__).resolve().parents[2]

TITLE = """# A small notebook

**Question:** does the checking see what is wrong?

You will be able to trust it. Prerequisites: none. 5 minutes.

**Runs in** at most 40 s and 1 GiB on two CPU cores."""

PLOT = """import matplotlib.pyplot as plt
from llama4lab.figures import show, use_style
use_style()
fig, ax = plt.subplots()
ax.plot([(place * 37 % 101) / 101 + 0.2 for place in range(200)])
ax.set(xlabel="step", ylabel="loss (nats per token)")
show(fig, "A jagged loss over two hundred steps.")"""

RECAP = "## Recap\nNothing was computed, measured or published."


def exercise(number: int) -> list:
    """Hint, stub, grader and solution of one exercise, without a need for llama4lab's graders."""
    return [
        new_markdown_cell(f"### Exercise {number}, easy, 2 minutes\n<details><summary>Hint</summary>Add.</details>"),
        new_code_cell("def add(a, b):\n    raise NotImplementedError", metadata={"tags": ["exercise"]}),
        new_code_cell(f'def grade(name, answer):\n    return "not yet"\n\n\ngrade("42.{number}", add)'),
        new_code_cell(
            f'print(grade("42.{number}", add))',
            metadata={"tags": ["solution"], "jupyter": {"source_hidden": True}},
        ),
    ]


def light_notebook(*sources: str, title: str = TITLE) -> nbformat.NotebookNode:
    """A notebook that computes almost nothing, so that its kernel starts and ends at once."""
    return new_notebook(cells=[new_markdown_cell(title), *map(new_code_cell, sources)])


GOOD_SOURCES = ('print("loss 0.1239999 after 100 steps")', '["walks", "talks"]', '"quiet";', "In[1][:5]")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with two good notebooks, stored by the course's own script: one with a figure, one light."""
    folder = tmp_path_factory.mktemp("good")
    full = light_notebook(*GOOD_SOURCES, PLOT)
    full.cells += [cell for number in (1, 2, 3) for cell in exercise(number)]
    full.cells.append(new_markdown_cell(RECAP))
    for name, notebook in (("42_full", full), ("43_light", light_notebook(*GOOD_SOURCES))):
        nbformat.write(notebook, folder / f"{name}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "notebooks"))
        for path in sorted(folder.glob("*.ipynb")):
            store(path)
    return folder


def code(notebook, number: int):
    """The code cell with this number, from 1."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"][number - 1]


# ---- faults that show when the notebook runs ---------------------------------------------------------------
# Each takes the notebook apart; the value says which item must fail and what its message must hold.


def unexecuted(notebook):
    code(notebook, 2).execution_count, code(notebook, 2).outputs = None, []


def changed_number(notebook):
    code(notebook, 1).outputs[0].text = "loss 0.1252 after 100 steps\n"


def changed_integer(notebook):
    code(notebook, 1).outputs[0].text = "loss 0.124 after 101 steps\n"


def changed_word(notebook):
    code(notebook, 2).outputs[0].data["text/plain"] = "['walks', 'talked']"


def within_tolerance(notebook):
    code(notebook, 1).outputs[0].text = "loss 0.1240001 after 100 steps\n"


def changed_point(notebook):
    cell = code(notebook, 5)
    cell.source = cell.source.replace("ax.plot([", "ax.plot([0.9 if place == 77 else ")


def raised_exception(notebook):
    code(notebook, 2).source = 'raise ValueError("no such expert")'


def warning_on_stderr(notebook):
    code(notebook, 2).source = 'import sys\nprint("deprecated", file=sys.stderr)\n["walks", "talks"]'


def warning_in_ignored_cell(notebook):
    code(notebook, 2).source = 'import warnings\nwarnings.warn("deprecated")'
    code(notebook, 2).metadata["tags"] = ["nbval-ignore-output"]


def skipped_cell(notebook):
    code(notebook, 2).metadata["tags"] = ["nbval-skip"]


def skipped_by_comment(notebook):
    code(notebook, 2).source = '# NBVAL_SKIP\n["walks", "talks"]'


def allowed_to_raise(notebook):
    code(notebook, 2).metadata["tags"] = ["raises-exception"]


def removed_output(notebook):
    code(notebook, 4).outputs = []


def added_output(notebook):
    code(notebook, 3).outputs = [new_output("stream", name="stdout", text="more\n")]


def over_time(notebook):
    notebook.cells[0].source = TITLE.replace("40 s", "0.1 s")


def over_memory(notebook):
    notebook.cells[0].source = TITLE.replace("1 GiB", "0.01 GiB")


def over_the_cap(notebook):
    notebook.cells[0].source = TITLE.replace("40 s", "90 s")


def no_budget(notebook):
    notebook.cells[0].source = TITLE.replace("**Runs in**", "Runs in")


def dead_kernel(notebook):
    code(notebook, 2).source = "import os\nos._exit(1)"


RUNNING_FAULTS = {
    unexecuted: ("Cell 2", "without having been executed"),
    changed_number: ("Cell 1", "-loss 0.1252 after 100 steps\n+loss 0.1239999 after 100 steps"),
    changed_integer: ("Cell 1", "-loss 0.124 after 101 steps\n+loss 0.1239999 after 100 steps"),
    changed_word: ("Cell 2", "-['walks', 'talked']\n+['walks', 'talks']"),
    changed_point: ("Cell 5", "+    y 200 values"),
    raised_exception: ("Cell 2", "ValueError: no such expert"),
    warning_on_stderr: ("Cell 2", "wrote to stderr: deprecated"),
    warning_in_ignored_cell: ("Cell 2", "wrote to stderr"),
    skipped_cell: ("Cell 2", "marked to be skipped"),
    skipped_by_comment: ("Cell 2", "marked to be skipped"),
    allowed_to_raise: ("Cell 2", "marked to raise"),
    removed_output: ("Cell 4", "stored 0 outputs (none)"),
    added_output: ("Cell 3", "stored 1 outputs (stdout)"),
    over_time: ("budget", "over its budget of 0.1 s"),
    over_memory: ("budget", "over its budget of 10 MiB"),
    over_the_cap: ("budget", "allows more than 60 s and 2 GiB"),
    no_budget: ("budget", "states no budget"),
    dead_kernel: ("Cell 2", "the kernel died"),
}
STOPPING = (raised_exception, dead_kernel)  # later cells of these do not run
NEEDS_FIGURE = (changed_point,)


def run_pytest(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess, dict]:
    """Check a folder as the course does. Returns the process and {(notebook, item): (verdict, message)}."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    report = folder / "report.xml"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "notebooks")]),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("COURSE_TIME_SLACK", None)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.checking.nbval_rules",
            "-p",
            "no:cacheprovider",
            "-c",
            "pytest.ini",
        ]
        + [f"--rootdir={folder}", f"--junitxml={report}", *options, "."],
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
    for fault in (*RUNNING_FAULTS, within_tolerance):
        notebook = read_notebook(good / ("42_full.ipynb" if fault in NEEDS_FIGURE else "43_light.ipynb"))
        fault(notebook)
        (folder / f"{fault.__name__}.ipynb").write_text(canonical_text(notebook))
    return run_pytest(folder, "-n", "2")


@pytest.mark.parametrize("name", ["42_full", "43_light", "within_tolerance"])
def test_good_notebook_passes(verdicts, name):
    mine = {item: verdict for (notebook, item), (verdict, _) in verdicts[1].items() if notebook == name}
    assert len(mine) >= 5 and "budget" in mine
    assert set(mine.values()) == {"passed"}


@pytest.mark.parametrize("fault", RUNNING_FAULTS, ids=lambda fault: fault.__name__)
def test_running_fault_fails_and_is_named(verdicts, fault):
    item, message = RUNNING_FAULTS[fault]
    verdict, words = verdicts[1][fault.__name__, item]
    assert verdict == "failure"
    assert message in words
    others = {
        name: verdict
        for (notebook, name), (verdict, _) in verdicts[1].items()
        if notebook == fault.__name__ and name not in (item, "budget")
    }
    later = {name for name in others if fault in STOPPING and int(name.split()[1]) > int(item.split()[1])}
    assert {name for name, verdict in others.items() if verdict == "skipped"} == later
    assert {others[name] for name in set(others) - later} <= {"passed"}


@pytest.mark.parametrize("fault", STOPPING, ids=lambda fault: fault.__name__)
def test_cells_that_did_not_run_are_no_success(verdicts, fault):
    verdict, words = verdicts[1][fault.__name__, "budget"]
    assert verdict == "failure"
    assert "only 2 of 4 code cells ran" in words


def test_only_the_lines_that_differ_are_shown(verdicts):
    _, words = verdicts[1]["changed_point", "Cell 5"]
    shown = [line for line in words.splitlines() if re.match(r"[+-](?![+-])", line)]
    assert len(shown) == 2


def test_failure_and_summary_are_reported_by_workers(verdicts):
    process, _ = verdicts
    assert process.returncode == 1
    assert re.search(r"^43_light\.ipynb +4 +3 +\d+\.\d of 40 +\d+ of 1024$", process.stdout, re.MULTILINE)


def test_timeout_ends_one_notebook_and_is_named_without_workers(good, tmp_path):
    notebook = read_notebook(good / "43_light.ipynb")
    code(notebook, 2).source = "import time\ntime.sleep(60)"
    (tmp_path / "slow.ipynb").write_text(canonical_text(notebook))
    (tmp_path / "zlight.ipynb").write_bytes((good / "43_light.ipynb").read_bytes())
    process, verdicts = run_pytest(tmp_path, "--nbval-cell-timeout=2")
    assert process.returncode == 1
    assert verdicts["slow", "Cell 1"][0] == "passed"
    assert "Timeout of 2 seconds" in verdicts["slow", "Cell 2"][1]
    assert verdicts["slow", "Cell 3"][0] == "skipped"
    assert verdicts["slow", "budget"][0] == "failure"
    assert {verdict for (name, _), (verdict, _) in verdicts.items() if name == "zlight"} == {"passed"}
    assert re.search(r"^zlight\.ipynb +4 +3 ", process.stdout, re.MULTILINE)


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
        ("1000 steps", "1001 steps"),
        ("1000.", "1001."),
        ("torch 2.13.0", "torch 2.13.1"),
        ("0.5 up", "0.5 down"),
        ("nan", "0.5"),
        ("0.5", "-0.5"),
        ("layer1.5", "layer1.6"),
    ],
)
def test_other_changes_are_not_the_same(stored, now):
    assert not same_line(stored, now)
    assert text_difference(stored, now) == ["--- stored", "+++ now", f"-{stored}", f"+{now}"]


def test_kinds_and_order_of_outputs_matter():
    text = new_output("stream", name="stdout", text="a\n")
    table = new_output("display_data", data={"text/plain": "t", "text/html": "<b>t</b>"})
    plain = new_output("display_data", data={"text/plain": "t"})
    assert not output_difference([text, table], [text, table])
    assert output_difference([text, table], [table, text])
    assert output_difference([text, table], [text, plain])
    assert output_difference([table], [new_output("display_data", data={"text/plain": "t", "text/html": "<i>t</i>"})])


# ---- faults that show in the stored file -------------------------------------------------------------------


def insert_prose(text):
    def fault(notebook):
        notebook.cells.insert(1, new_markdown_cell(text))

    return fault


def set_source(number, text):
    def fault(notebook):
        code(notebook, number).source = text

    return fault


def set_output(number, text, name="stdout"):
    def fault(notebook):
        code(notebook, number).outputs = [new_output("stream", name=name, text=text)]

    return fault


def wrong_count(notebook):
    code(notebook, 3).execution_count = 7


def stored_error(notebook):
    code(notebook, 2).outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


def ignored_without_reason(notebook):
    code(notebook, 2).metadata["tags"] = ["nbval-ignore-output"]


def many_ignored(notebook):
    for number in (1, 2):
        code(notebook, number).metadata["tags"] = ["nbval-ignore-output"]
        code(notebook, number).source = "# not compared: the time differs from run to run\n1"


def no_alt(notebook):
    code(notebook, 5).outputs[0].metadata = {}


def alt_not_copied(notebook):
    code(notebook, 5).metadata.pop("mystnb")


def heavy_picture(notebook):
    code(notebook, 5).outputs[0].data["image/png"] = base64.b64encode(bytes(200_001)).decode()


def no_title(notebook):
    del notebook.cells[0]


def no_recap(notebook):
    del notebook.cells[-1]


def no_exercises(notebook):
    for _, cell in enumerate(notebook.cells):
        cell.metadata.pop("tags", None)


def open_solution(notebook):
    next(cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])).metadata.pop("jupyter")


def no_solution(notebook):
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]


def no_hint(notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace("<details>", "")


def no_grader(notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace('grade("42.2"', 'look("42.2"')


def foreign_metadata(notebook):
    notebook.metadata["authors"] = ["someone"]


LONG_CELL = "\n".join(f"value_{number} = {number}" for number in range(41))
PLANTED_TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"

STATIC_FAULTS = {
    "unexecuted cell": (unexecuted, "executed_in_order", "code cell 2 was not executed"),
    "wrong count": (wrong_count, "executed_in_order", "code cell 3 has execution count 7"),
    "empty cell": (set_source(2, " "), "executed_in_order", "code cell 2 is empty"),
    "error output": (stored_error, "no_errors_or_warnings", "code cell 2 holds an error"),
    "stderr output": (set_output(1, "old\n", "stderr"), "no_errors_or_warnings", "written to stderr: old"),
    "path in an output": (
        set_output(1, "/home/someone/x\n"),
        "no_private_text",
        "a path of a machine: /home/someone/x",
    ),
    "path in prose": (insert_prose("see `/tmp/x`"), "no_private_text", "a path of a machine: /tmp/x"),
    "Windows path": (set_output(1, "C:\\Users\\me\n"), "no_private_text", "a path of a machine"),
    "token": (set_source(1, f"key = '{PLANTED_TOKEN}'"), "no_private_text", "holds a token"),
    "registry host": (insert_prose("from https://pypi.org/simple"), "no_private_text", "registry: pypi.org"),
    "long cell": (set_source(1, LONG_CELL), "small_enough", "code cell 1 has 41 lines"),
    "heavy picture": (heavy_picture, "small_enough", "a picture of 200001 bytes"),
    "picture without alt": (no_alt, "pictures_have_words", "code cell 5 shows a picture without alt text"),
    "alt not copied": (alt_not_copied, "pictures_have_words", "lacks the alt text in its metadata"),
    "prose image without alt": (
        insert_prose("![](a.svg)"),
        "pictures_have_words",
        "image a.svg has no alt text",
    ),
    "HTML image without alt": (
        insert_prose('<img src="a.svg">'),
        "pictures_have_words",
        "a.svg has no alt text",
    ),
    "broken link": (insert_prose("[next](44_next.ipynb)"), "links_resolve", "44_next.ipynb leads nowhere"),
    "broken anchor": (
        insert_prose("[next](43_light.ipynb#Nowhere)"),
        "links_resolve",
        "a heading that is not there",
    ),
    "link out of the course": (insert_prose("[up](..)"), "links_resolve", "leads out of the course"),
    "plain http": (insert_prose("[a](http://example.org)"), "links_resolve", "neither https nor relative"),
    "undeclared import": (
        set_source(1, "def f():\n    import pandas.core"),
        "imports_are_declared",
        "pandas is imported",
    ),
    "ignored without reason": (ignored_without_reason, "outputs_are_compared", "'# not compared: <reason>'"),
    "too many ignored": (many_ignored, "outputs_are_compared", "cells with outputs are compared, under 95%"),
    "skip tag": (skipped_cell, "outputs_are_compared", "tagged nbval-skip"),
    "skip comment": (skipped_by_comment, "outputs_are_compared", "the comment NBVAL_SKIP"),
    "allowed to raise": (allowed_to_raise, "outputs_are_compared", "tagged raises-exception"),
    "no title": (no_title, "title_is_complete", "not a title cell"),
    "no budget": (no_budget, "title_is_complete", "lacks the budget"),
    "no recap": (no_recap, "recap_is_last", "no section whose heading holds 'Recap'"),
    "no exercises": (no_exercises, "exercises_are_complete", "there are 0 exercises; 3 to 5 are wanted"),
    "open solution": (open_solution, "exercises_are_complete", "the solution of exercise 1 is not folded"),
    "no solution": (
        no_solution,
        "exercises_are_complete",
        "exercise 1 is followed by no cell tagged solution",
    ),
    "no hint": (no_hint, "exercises_are_complete", "exercise 1 has no hint"),
    "no grader": (no_grader, "exercises_are_complete", "exercise 2 is followed by no grade("),
    "install": (set_source(1, "%pip install torch"), "nothing_is_fetched", "runs a shell line: %pip install"),
    "shell line": (set_source(1, "!ls"), "nothing_is_fetched", "runs a shell line: !ls"),
    "download": (
        set_source(1, "hub.snapshot_download('a/b')"),
        "nothing_is_fetched",
        "downloads with snapshot_download",
    ),
    "remote code": (
        set_source(1, "load('a', trust_remote_code=True)"),
        "nothing_is_fetched",
        "trusts remote code",
    ),
    "foreign metadata": (foreign_metadata, "stored_canonically", "not in canonical form"),
}


@pytest.mark.parametrize("rule", static.RULES, ids=lambda rule: rule.__name__)
def test_good_notebook_breaks_no_rule(good, rule):
    assert rule(static.open_notebook(good / "42_full.ipynb", good)) == []


@pytest.mark.parametrize("name", STATIC_FAULTS)
def test_static_fault_fails_and_is_named(good, name):
    fault, rule, message = STATIC_FAULTS[name]
    notebook = read_notebook(good / "42_full.ipynb")
    fault(notebook)
    planted = static.Notebook(good / "42_full.ipynb", good, nbformat.writes(notebook) + "\n", notebook)
    problems = getattr(static, rule)(planted)
    assert any(message in problem for problem in problems), problems
    assert PLANTED_TOKEN not in " ".join(problems)


def test_every_rule_has_a_planted_fault():
    assert {rule for _, rule, _ in STATIC_FAULTS.values()} == {rule.__name__ for rule in static.RULES}
