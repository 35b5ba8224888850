"""course.py: a set-up that fails is told in one sentence and leaves nothing unfinished, each fault once."""

import shutil
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

import course
from tests.checking.stand_in_course import finish, load_course, make_checkout, network_variables, run_course, start


def test_no_network(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = run_course(checkout, network_variables(variables, port), "test")
    assert run.code == 1 and "the network or the package index does not answer: connect, or set" in run.said
    assert not (checkout / ".venv").exists()


def test_a_version_that_the_index_lacks_is_told_by_pip(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    (checkout / "environment.yml").write_text("dependencies:\n  - pip:\n      - standins==2.0\n")
    run = run_course(checkout, variables, "test")
    assert "No matching distribution found for standins==2.0" in run.err
    assert run.code == 1 and "cannot be installed: fix what is reported above" in run.said


def test_no_disk_space_before_the_set_up(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert load_course(checkout).main(["test"]) == 1
    assert "not enough disk space to set up the course: free 3.2 GB" in capsys.readouterr().err
    assert not (checkout / ".venv").exists()


def test_no_disk_space_during_the_set_up(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    module = load_course(checkout)

    def fill_the_disk(command, root, lock):
        (checkout / ".venv" / "lib").mkdir(parents=True)
        (checkout / ".work" / "setup.log").write_text("ERROR: [Errno 28] No space left on device\n")
        return 1

    monkeypatch.setattr(module, "run_step", fill_the_disk)
    assert module.main(["test"]) == 1
    assert "not enough disk space" in capsys.readouterr().err
    assert not (checkout / ".venv").exists() and not (checkout / ".work" / "tmp").exists()


def test_a_read_only_checkout(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")

    def refuse(path, *arguments, **options):
        raise OSError(30, "Read-only file system", str(path))

    # Not by permissions: the tests may run as root, who has all of them.
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert load_course(checkout).main(["test"]) == 1
    assert "cannot be written: copy or clone the course into a folder of your own" in capsys.readouterr().err


def test_a_missing_environment_yml(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    (checkout / "environment.yml").unlink()
    run = run_course(checkout, variables, "test")
    assert run.code == 1 and "environment.yml cannot be read" in run.said


def test_packages_that_pip_puts_elsewhere(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    (tmp_path / "pip.conf").write_text(f"[install]\ntarget = {tmp_path / 'elsewhere'}\n")
    run = run_course(checkout, {**variables, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}, "test")
    assert run.code == 1 and "packages are not in .venv" in run.said
    assert not (checkout / ".venv").exists()


@pytest.fixture
def silent_index():
    """A package index that takes connections and never answers, so that pip waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(300)
        yield server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_set_up_leaves_nothing(tmp_path, variables, silent_index, number):
    checkout = make_checkout(tmp_path / "checkout")
    process = start(checkout, network_variables(variables, silent_index.getsockname()[1]), "test")
    connection, _ = silent_index.accept()
    with connection:
        process.send_signal(number)
        run = finish(process)
    assert (run.code, run.said) == (130, "course.py: stopped; the next call starts an unfinished set-up again.")
    assert not (checkout / ".venv").exists() and not (checkout / ".work" / "tmp").exists()


def test_a_killed_set_up_is_repaired_once_its_pip_has_ended(tmp_path, variables, silent_index):
    checkout = make_checkout(tmp_path / "checkout")
    process = start(checkout, network_variables(variables, silent_index.getsockname()[1]), "test")
    connection, _ = silent_index.accept()
    process.kill()
    process.wait(timeout=10)
    assert (checkout / ".venv").is_dir() and not course.is_stamped(checkout)
    repair = start(checkout, variables, "test")
    # The killed program's pip still runs, and would write into the new .venv.
    assert "waiting" in repair.stdout.readline()
    connection.close()
    silent_index.close()
    run = finish(repair)
    process.communicate(timeout=10)
    assert run.code == 0 and "Set-up done" in run.out and len(run.called) == 1, run.err


def test_an_index_that_does_not_answer_is_given_up(monkeypatch, silent_index):
    monkeypatch.setattr(course, "INDEX_SECONDS", 0.5)
    assert not course.answers(f"http://127.0.0.1:{silent_index.getsockname()[1]}/whl")
    assert not course.answers("http://127.0.0.1:1/whl")
