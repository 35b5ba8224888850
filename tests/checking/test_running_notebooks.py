"""The checking is checked: a fault that shows when a notebook runs fails by its name, and a good notebook passes.

pytest itself tells it, started as a program on a folder of small notebooks, with the course's own rules.
"""

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import pytest

from llama4lab.store import canonical_text, read_notebook
from tests.checking.resources import waited_for_a_core
from tests.checking.small_notebooks import code, field, printed, replaced, source
from tests.checking.stored_notebooks import ROOT

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
    "over_the_cap": (replaced("40 s", "90 s"), "budget", "allows more than 60 s and 2 GiB"),
    "no_budget": (replaced("**Runs in**", "Runs in"), "budget", "states no budget"),
}
STOPPING = ("raised_exception", "dead_kernel")  # later cells of these do not run


def warning_in_ignored_cell(notebook):
    source(2, 'import warnings\nwarnings.warn("deprecated")')(notebook)
    code(notebook, 2).metadata["tags"] = ["nbval-ignore-output"]


def memory_over_budget(notebook):
    replaced("1 GiB", "0.01 GiB")(notebook)
    cell = code(notebook, 2)
    # More than is left out where torch is the CUDA build.
    cell.source = f'large = b"x" * (600 * 2**20)\n{cell.source}'


RUNNING_FAULTS["over_memory"] = (memory_over_budget, "budget", "over its budget of 10 MiB")
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
