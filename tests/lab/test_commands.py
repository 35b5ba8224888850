"""What the commands of course.py start, and with which options and variables."""

from pathlib import Path

import pytest

from llama4lab import commands
from llama4lab.errors import CourseError


@pytest.fixture
def started(monkeypatch) -> list:
    """What would be started, instead of starting it: a list of (arguments, variables)."""
    calls = []
    monkeypatch.setattr(commands, "run_program", lambda arguments, variables: calls.append((arguments, variables)))
    return calls


def test_lab_opens_the_first_notebook_and_passes_options_on(started):
    commands.main(["lab", "--no-browser", "--port", "8899"])
    ((arguments, _),) = started
    assert f"--ServerApp.root_dir={commands.ROOT}" in arguments
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in arguments
    assert (commands.ROOT / commands.FIRST_NOTEBOOK).is_file()
    assert arguments[-3:] == ["--no-browser", "--port", "8899"]


def test_the_lab_keeps_a_proxy_but_not_for_the_loopback_interface(started, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "corp")
    monkeypatch.setenv("LLAMA4_CHECKPOINT", "maverick-proxy")
    commands.main(["lab"])
    ((_, variables),) = started
    assert variables["HTTP_PROXY"] == "http://proxy:3128" and variables["LLAMA4_CHECKPOINT"] == "maverick-proxy"
    assert variables["NO_PROXY"] == "corp,127.0.0.1,localhost,::1"


@pytest.mark.parametrize("command", ["test", "store"])
def test_tests_and_stored_outputs_are_of_the_courses_own_models(started, monkeypatch, capsys, command):
    monkeypatch.setenv("LLAMA4_CHECKPOINT", "maverick-proxy")
    commands.main([command])
    ((_, variables),) = started
    assert "LLAMA4_CHECKPOINT" not in variables
    assert capsys.readouterr().out.startswith("LLAMA4_CHECKPOINT is left out: ")


def test_store_takes_notebooks_by_number(monkeypatch, tmp_path):
    for name in ("00_a.ipynb", "02_b.ipynb", "02_b-Copy1.ipynb", "Untitled.ipynb"):
        (tmp_path / name).write_text("{}")
    both = [tmp_path / "00_a.ipynb", tmp_path / "02_b.ipynb"]
    assert commands.choose_notebooks([], tmp_path) == both
    assert commands.choose_notebooks(["2", "02"], tmp_path) == both[1:]
    with pytest.raises(CourseError, match="There is no notebook 77: take from 00, 02."):
        commands.choose_notebooks(["02", "77"], tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["-n", "2", "--dist", "loadfile"]),
        (["-x", "-k", "store"], ["-n", "2", "--dist", "loadfile", "-x", "-k", "store"]),
        (["--nbval-cell-timeout=9"], ["-n", "2", "--dist", "loadfile", "--nbval-cell-timeout=9"]),
        (["-n0"], ["-n0"]),
        (["--numprocesses=1"], ["--numprocesses=1"]),
        (["-p", "no:xdist"], ["-p", "no:xdist"]),
        (["--pdb"], ["--pdb"]),
        (["tests/test_a.py::test_b"], ["{root}/tests/test_a.py::test_b"]),
        (["test_a.py"], ["{root}/tests/test_a.py"]),
    ],
)
def test_pytest_runs_in_parallel_unless_the_options_say_what_or_how(tmp_path: Path, options, expected):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("")
    chosen = commands.pytest_options(options, caller_folder=tmp_path / "tests", root=tmp_path)
    assert chosen == [option.format(root=tmp_path) for option in expected]
