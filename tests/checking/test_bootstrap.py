"""course.py: what it calls and with which Python, what it notices in its .venv, and what it installs.

The set-ups here are real, from a temporary checkout with stand-ins for the packages.
"""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

import course
from tests.checking.stand_in_course import find_python, finish, load_course, make_checkout, run_course, start
from tests.checking.stored_notebooks import ROOT


@pytest.fixture(scope="module")
def set_up(tmp_path_factory, variables):
    """A checkout in a path with spaces, set up by two calls at once; and what they printed."""
    checkout = make_checkout(tmp_path_factory.mktemp("with spaces") / "the course")
    runs = [finish(process) for process in [start(checkout, variables, "test") for _ in range(2)]]
    assert [run.code for run in runs] == [0, 0], [run.err for run in runs]
    other, first = sorted(runs, key=lambda run: "Setting up" in run.out)
    return SimpleNamespace(root=checkout, first=first, other=other)


# ---- what is called ----


def test_of_two_first_calls_one_sets_up_and_the_other_waits(set_up):
    assert "Setting up the course, once: 1 pinned packages" in set_up.first.out and "2.2 GB" in set_up.first.out
    assert "Set-up done in" in set_up.first.out and "waiting" not in set_up.first.out
    assert "Setting up the course" not in set_up.other.out and "waiting" in set_up.other.out
    for run in (set_up.first, set_up.other):
        assert [call["variables"]["VIRTUAL_ENV"] for call in run.called] == [str(set_up.root / ".venv")]
    assert not (set_up.root / ".work" / "tmp").exists()


def test_a_complete_environment_needs_no_writing(set_up, monkeypatch):
    monkeypatch.setattr(course, "setup_lock", lambda root: pytest.fail("the lock was taken"))
    assert course.ensure_environment(set_up.root) is None


def test_ci_runs_the_command_of_a_reader_and_passes_its_exit_code_on(set_up, variables):
    variables = {**variables, "STAND_IN_EXIT": "3"}
    process = subprocess.Popen(
        [set_up.root / ".ci" / "run"], cwd="/", env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = finish(process)
    assert run.code == 3 and run.called[0]["folder"] == str(set_up.root)
    assert run.called[0]["arguments"] == ["-n", "2", "--dist", "loadfile"]


@pytest.mark.parametrize("arguments", [[], ["frobnicate"]])
def test_no_command_or_an_unknown_one_is_answered_with_the_commands(tmp_path, variables, arguments):
    checkout = make_checkout(tmp_path / "checkout")
    run = run_course(checkout, variables, *arguments)
    sentence, *usage = run.err.splitlines()
    assert sentence.startswith("course.py: Unknown command 'frobnicate'." if arguments else "course.py: Which")
    assert run.code == 2 and [line.split()[2] for line in usage] == list(course.COMMANDS)
    assert not (checkout / ".venv").exists()


def test_the_doctor_installs_nothing(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    # The Python of the suite has the course's packages, whose doctor it would call.
    run = run_course(checkout, variables, "doctor", python=sys._base_executable)
    assert run.code == 1 and "the Python that you called" in run.out
    assert "FAIL  packages: 1 is missing as a whole or in part (standins)" in run.out
    assert not (checkout / ".venv").exists()


def test_progress_needs_no_set_up(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")  # whose notebook is none
    run = run_course(checkout, variables, "progress", python=sys._base_executable)
    assert (
        run.code == 1
        and run.said == "course.py: 00_start_here.ipynb cannot be read as a notebook: take it from git again."
    )
    assert not (checkout / ".venv").exists()


def test_a_home_that_cannot_be_written_is_replaced(set_up, variables):
    for home in ({"HOME": "/proc/nothing"}, {"HOME": str(set_up.root / "course.py" / "x")}):
        (call,) = run_course(set_up.root, {**variables, **home}, "lab").called
        assert call["variables"]["HOME"] == str(set_up.root / ".work" / "home")


# ---- which Python ----


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_an_older_python_gets_a_sentence(tmp_path, variables, version):
    if (python := find_python(version)) is None:
        pytest.skip(f"no Python {version} on this machine")
    checkout = make_checkout(tmp_path / "checkout")
    run = run_course(checkout, variables, "lab", python=python)
    assert run.code == 1 and run.err == run.said + "\n"
    assert run.said.startswith(
        f"course.py: This course needs Python 3.11 to 3.14 and this is Python {version}: install"
    )


def test_a_newer_python_gets_the_same_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))
    assert course.main(["lab"]) == 1
    assert "needs Python 3.11 to 3.14 and this is Python 3.15" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_other_pythons_set_the_course_up(tmp_path, variables, version):
    if (python := find_python(version)) is None:
        pytest.skip(f"no Python {version} on this machine")
    checkout = make_checkout(tmp_path / "checkout")
    run = run_course(checkout, variables, "test", python=python)
    assert run.code == 0 and len(run.called) == 1, run.err


# ---- a .venv that is not complete any more ----


def test_a_deleted_package_is_noticed_by_the_doctor_and_set_up_again_by_the_others(set_up, variables):
    shutil.rmtree(next((set_up.root / ".venv").glob("lib/python*/site-packages/pytest")))
    assert "FAIL  packages: 1 is missing as a whole or in part" in run_course(set_up.root, variables, "doctor").out
    run = run_course(set_up.root, variables, "test")
    assert run.code == 0 and "Setting up the course" in run.out and len(run.called) == 1, run.err


@pytest.mark.parametrize("lost", [".venv/bin/python", "environment.yml", "the course"])
def test_an_environment_without_its_python_its_list_or_its_place_is_not_complete(set_up, lost):
    assert course.is_stamped(set_up.root)
    if lost == "the course":
        moved = set_up.root.rename(set_up.root.with_name("moved"))
        assert not course.is_stamped(moved)
        moved.rename(set_up.root)
    else:
        aside = (set_up.root / lost).rename(set_up.root / "aside")
        (set_up.root / "environment.yml").exists() or shutil.copy(ROOT / "environment.yml", set_up.root)
        assert not course.is_stamped(set_up.root)
        aside.rename(set_up.root / lost)
    assert course.is_stamped(set_up.root)


@pytest.mark.parametrize("kind", ["file", "link to a folder"])
def test_a_venv_of_somebody_else_is_kept(tmp_path, variables, kind):
    checkout = make_checkout(tmp_path / "checkout")
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (checkout / ".venv").write_text("mine")
    else:
        (checkout / ".venv").symlink_to(tmp_path / "elsewhere")
    run = run_course(checkout, variables, "test")
    assert run.code == 1 and ".venv is not a folder" in run.said
    assert (checkout / ".venv").exists() and (tmp_path / "elsewhere").is_dir()


# ---- the list of packages ----


def test_pip_list_of_the_course():
    pins = [line for line in course.read_pip_list(ROOT) if not line.startswith("-")]
    options = [line for line in course.read_pip_list(ROOT) if line.startswith("-")]
    assert options == ["--extra-index-url https://download.pytorch.org/whl/cpu", "--editable ."]
    assert "torch==2.13.0" in pins and all(line.partition(";")[0].count("==") == 1 for line in pins) and len(pins) > 20


@pytest.mark.parametrize(
    ("platform", "is_answering", "kept", "may_be_cuda"),
    [("linux", True, True, False), ("linux", False, False, True), ("darwin", False, False, False)],
)
def test_extra_index_only_on_linux_and_where_it_answers(platform, is_answering, kept, may_be_cuda):
    index = "--extra-index-url https://index.example/cpu"
    chosen = course.choose_requirements([index, "torch==1"], platform, lambda url: is_answering)
    assert chosen == ([index, "torch==1"] if kept else ["torch==1"], may_be_cuda)


def test_the_cuda_build_is_announced_with_its_size(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    module = load_course(checkout)
    monkeypatch.setattr(module, "choose_requirements", lambda pip_list: (pip_list, True))
    monkeypatch.setattr(module, "run_step", lambda command, root, lock: 1)
    assert module.main(["test"]) == 1
    assert "and up to 5.9 GB of disk" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7 * 10**9))
    assert module.main(["test"]) == 1
    assert "free 9 GB" in capsys.readouterr().err
