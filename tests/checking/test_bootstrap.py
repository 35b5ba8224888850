"""course.py: what it survives, each fault once.

The set-ups here are real, from a temporary checkout whose environment.yml pins one small wheel made on the spot: it
holds stand-ins for pytest and jupyterlab that print how they were called.
"""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import course

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
import json, os, sys
print("CALLED " + json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "variables": dict(os.environ)}))
sys.exit(int(os.environ.get("STAND_IN_EXIT", "0")))
"""
# In .venv, the course's modules are found as its editable installation would find them.
MODULES = "import sys, pathlib; sys.path.append(str(pathlib.Path(sys.prefix).parent / 'notebooks'))\n"


# ---- a checkout to try things in ----


def find_python(version: str) -> str | None:
    """Another Python of this machine, on PATH or where pyenv has it."""
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(installed[-1]) if installed else shutil.which(f"python{version}")


def make_wheel(folder: Path) -> None:
    """Write a wheel of the package "standins" 1.0, with no build tool."""
    record = "standins-1.0.dist-info/RECORD"
    members = {
        "pytest/__init__.py": "",
        "pytest/__main__.py": STAND_IN,
        "jupyterlab/__init__.py": "",
        "jupyterlab/__main__.py": STAND_IN,
        "modules.pth": MODULES,
        "standins-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: standins\nVersion: 1.0\n",
        "standins-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[record] = "".join(f"{name},,\n" for name in [*members, record])
    folder.mkdir()
    with zipfile.ZipFile(folder / "standins-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)


def make_checkout(folder: Path) -> Path:
    """Copy what the bootstrap needs into `folder`, with one pin in environment.yml and one notebook."""
    modules = folder / "notebooks" / "llama4lab"
    shutil.copytree(ROOT / "notebooks" / "llama4lab", modules, ignore=shutil.ignore_patterns("__pycache__", "graders"))
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    shutil.copy(ROOT / "course.py", folder)
    (folder / "notebooks" / "00_start_here.ipynb").write_text("{}")
    (modules / "store.py").write_text(STAND_IN)
    (folder / "environment.yml").write_text("dependencies:\n  - pip:\n      # one wheel\n      - standins==1.0\n")
    return folder


def load_course(checkout: Path):
    """Return the checkout's own course.py as a module."""
    spec = importlib.util.spec_from_file_location("course_in_checkout", checkout / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def variables(tmp_path_factory) -> dict[str, str]:
    """Environment variables with which pip finds the small wheel and nothing else."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder / "links")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "HF_", "OMP_"))}
    links = (folder / "links").as_uri()  # as a URI, because pip splits this variable at spaces
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": links}


def network_variables(variables: dict[str, str], port: int) -> dict[str, str]:
    """The same, with a package index on a local port instead of the wheel."""
    kept = {name: value for name, value in variables.items() if name not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")}
    return {**kept, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_RETRIES": "0", "NO_PROXY": "*"}


def start(checkout: Path, variables: dict[str, str], *arguments: str, python: str = sys.executable):
    """Start course.py without a terminal, from another folder."""
    return subprocess.Popen(
        [python, str(checkout / "course.py"), *arguments],
        cwd=checkout.parent,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background lets them ignore Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process) -> SimpleNamespace:
    """What a course.py printed and returned; `said` is the last line on stderr, where its own sentence is."""
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    called = [json.loads(line.removeprefix("CALLED ")) for line in out.splitlines() if line.startswith("CALLED ")]
    said = err.strip().splitlines()[-1] if err.strip() else ""
    return SimpleNamespace(code=process.returncode, out=out, err=err, said=said, called=called)


def run_course(checkout: Path, variables: dict[str, str], *arguments: str, **options):
    return finish(start(checkout, variables, *arguments, **options))


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
    assert "Setting up the course, once: 1 pinned packages" in set_up.first.out and "1.6 GB" in set_up.first.out
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


# ---- a set-up that fails ----


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
    assert "not enough disk space to set up the course: free 2.5 GB" in capsys.readouterr().err
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


def test_a_home_that_cannot_be_written_is_replaced(set_up, variables):
    for home in ({"HOME": "/proc/nothing"}, {"HOME": str(set_up.root / "course.py" / "x")}):
        (call,) = run_course(set_up.root, {**variables, **home}, "lab").called
        assert call["variables"]["HOME"] == str(set_up.root / ".work" / "home")


# ---- the list of packages ----


def test_pip_list_of_the_course():
    pins = [line for line in course.read_pip_list(ROOT) if not line.startswith("-")]
    options = [line for line in course.read_pip_list(ROOT) if line.startswith("-")]
    assert options == ["--extra-index-url https://download.pytorch.org/whl/cpu", "--editable ."]
    assert "torch==2.13.0" in pins and all(line.count("==") == 1 for line in pins) and len(pins) > 20


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
    assert "and up to 5.3 GB of disk" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7 * 10**9))
    assert module.main(["test"]) == 1
    assert "free 8 GB" in capsys.readouterr().err


def test_an_index_that_does_not_answer_is_given_up(monkeypatch, silent_index):
    monkeypatch.setattr(course, "INDEX_SECONDS", 0.5)
    assert not course.answers(f"http://127.0.0.1:{silent_index.getsockname()[1]}/whl")
    assert not course.answers("http://127.0.0.1:1/whl")
