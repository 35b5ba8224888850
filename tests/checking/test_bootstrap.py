"""course.py and the mended import of torchvision.

The set-ups here are real, from a temporary checkout whose environment.yml pins one small wheel made on the
spot: it holds stand-ins for pytest and jupyterlab that print how they were called.
"""

import ast
import contextlib
import errno
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import course
from llama4lab import torchvision_pair

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
import json, os, sys
names = ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "JUPYTER_PREFER_ENV_PATH")
print("CALLED " + json.dumps({
    "arguments": sys.argv[1:], "folder": os.getcwd(), "python": sys.prefix,
    "variables": {name: os.environ.get(name) for name in names},
    "program_folder": os.environ["PATH"].split(os.pathsep)[0],
}))
sys.exit(int(os.environ.get("STAND_IN_EXIT", "0")))
"""


# ---- a checkout to try things in ----


def make_wheel(folder: Path) -> None:
    """Write a wheel of the package "standins" 1.0, with no build tool."""
    record = "standins-1.0.dist-info/RECORD"
    members = {
        "pytest/__init__.py": "",
        "pytest/__main__.py": STAND_IN,
        "jupyterlab/__init__.py": "",
        "jupyterlab/__main__.py": STAND_IN,
        "standins-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: standins\nVersion: 1.0\n",
        "standins-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[record] = "".join(f"{name},,\n" for name in [*members, record])
    folder.mkdir()
    with zipfile.ZipFile(folder / "standins-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)


def make_checkout(folder: Path) -> Path:
    """Copy what the bootstrap needs into `folder`, with one pin in environment.yml and two notebooks."""
    package = folder / "notebooks" / "llama4lab"
    package.mkdir(parents=True)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "course.py", folder)
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("__init__.py", "torchvision_pair.py", "errors.py", "assets.py", "doctor.py"):
        shutil.copy(ROOT / "notebooks" / "llama4lab" / name, package)
    for name in ("00_start_here.ipynb", "02_moe_routing.ipynb"):
        (folder / "notebooks" / name).write_text("{}")
    (package / "store.py").write_text(STAND_IN)
    (folder / "environment.yml").write_text(
        "dependencies:\n  - pip\n  - pip:\n      # one wheel\n      - standins==1.0\n"
    )
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
    kept = {name: v for name, v in variables.items() if name not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")}
    return {**kept, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_RETRIES": "0", "NO_PROXY": "*"}


def start(checkout: Path, variables: dict[str, str], *arguments: str, folder: Path | None = None):
    """Start course.py without a terminal."""
    return subprocess.Popen(
        [sys.executable, str(checkout / "course.py"), *arguments],
        cwd=folder or checkout.parent,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background lets them ignore Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process) -> SimpleNamespace:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def run_course(checkout: Path, variables: dict[str, str], *arguments: str, folder: Path | None = None):
    return finish(start(checkout, variables, *arguments, folder=folder))


def read_call(out: str) -> dict:
    """Return what the stand-in printed about its call."""
    (line,) = [line for line in out.splitlines() if line.startswith("CALLED ")]
    return json.loads(line.removeprefix("CALLED "))


def one_sentence(err: str) -> str:
    """Return the one line on stderr, without the program's name."""
    (line,) = err.strip().splitlines()
    assert line.startswith("course.py: ") and line.endswith(".")
    return line.removeprefix("course.py: ")


@pytest.fixture(scope="module")
def set_up(tmp_path_factory, variables):
    """A checkout in a path with spaces, set up by two calls at once; and what they printed."""
    checkout = make_checkout(tmp_path_factory.mktemp("with spaces") / "the course")
    runs = [finish(process) for process in [start(checkout, variables, "test") for _ in range(2)]]
    assert [run.code for run in runs] == [0, 0], [run.err for run in runs]
    other, first = sorted(runs, key=lambda run: "Setting up" in run.out)
    return SimpleNamespace(root=checkout, first=first, other=other)


# ---- commands ----


def test_first_call_sets_up_and_says_so(set_up):
    assert "Setting up the course, once: 1 pinned packages" in set_up.first.out
    assert "1 minute" in set_up.first.out and "1.6 GB" in set_up.first.out
    assert re.search(r"Set-up done in \d+ s\.", set_up.first.out)
    call = read_call(set_up.first.out)
    assert call["python"] == str(set_up.root / ".venv")


def test_second_call_leaves_the_environment_alone(set_up, variables):
    stamp = set_up.root / ".venv" / course.STAMP_NAME
    before = stamp.stat().st_mtime_ns
    assert "Setting up" not in run_course(set_up.root, variables, "test").out
    assert stamp.stat().st_mtime_ns == before


def test_tests_run_in_the_checkout_with_its_defaults(set_up, variables):
    call = read_call(run_course(set_up.root, variables, "test", "-k", "routing").out)
    assert call["arguments"] == ["-n", "2", "--dist", "loadfile", "-k", "routing"]
    assert call["folder"] == str(set_up.root)
    assert call["variables"] == {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    assert call["program_folder"] == str(set_up.root / ".venv" / "bin")


def test_exit_code_of_the_tests_is_passed_on(set_up, variables):
    assert run_course(set_up.root, {**variables, "STAND_IN_EXIT": "5"}, "test").code == 5


def test_ci_runs_the_same_command(set_up, variables):
    variables = {**variables, "STAND_IN_EXIT": "3"}
    run = subprocess.run([set_up.root / ".ci" / "run"], cwd="/", env=variables, capture_output=True, text=True)
    assert run.returncode == 3
    assert read_call(run.stdout)["arguments"] == ["-n", "2", "--dist", "loadfile"]


def test_lab_opens_the_first_notebook_and_passes_options_on(set_up, variables):
    call = read_call(run_course(set_up.root, variables, "lab", "--no-browser", "--port", "8899").out)
    assert f"--ServerApp.root_dir={set_up.root}" in call["arguments"]
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in call["arguments"]
    assert call["arguments"][-3:] == ["--no-browser", "--port", "8899"]


def test_store_takes_notebooks_by_number(set_up, variables):
    folder = set_up.root / "notebooks"
    everything = [str(folder / "00_start_here.ipynb"), str(folder / "02_moe_routing.ipynb")]
    assert read_call(run_course(set_up.root, variables, "store").out)["arguments"] == everything
    assert read_call(run_course(set_up.root, variables, "store", "2").out)["arguments"] == everything[1:]


def test_unknown_notebook_number(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    run = run_course(checkout, variables, "store", "02", "77")
    assert (run.code, run.out) == (2, "")
    assert one_sentence(run.err) == "There is no notebook 77: take from 00, 02."
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("arguments", [[], ["frobnicate"]])
def test_no_command_or_an_unknown_one(tmp_path, variables, arguments):
    checkout = make_checkout(tmp_path / "checkout")
    run = run_course(checkout, variables, *arguments)
    assert (run.code, run.out) == (2, "")
    sentence, *usage = run.err.splitlines()
    assert sentence.startswith("course.py: Unknown command 'frobnicate'." if arguments else "course.py: Which")
    assert [line.split()[2] for line in usage] == ["lab", "test", "doctor", "store"]
    assert not (checkout / ".venv").exists()


def test_doctor_takes_no_options_and_installs_nothing(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    assert run_course(checkout, variables, "doctor", "--fast").code == 2
    run = run_course(checkout, variables, "doctor")
    assert run.code == 1
    assert "FAIL  packages: 1 of 1 are missing (standins)" in run.out
    assert not (checkout / ".venv").exists()


def test_doctor_examines_the_environment(set_up, variables):
    run = run_course(set_up.root, variables, "doctor")
    assert "ok    packages: 1 packages match their pins" in run.out
    assert "the Python that you called" not in run.out
    assert run.code == 1 and "FAIL  assets: assets/SHA256SUMS is missing" in run.out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["-n", "2", "--dist", "loadfile"]),
        (["-x", "-k", "store"], ["-n", "2", "--dist", "loadfile", "-x", "-k", "store"]),
        (["--nbval-cell-timeout=9"], ["-n", "2", "--dist", "loadfile", "--nbval-cell-timeout=9"]),
        (["-n0"], ["-n0"]),
        (["-n", "4"], ["-n", "4"]),
        (["--numprocesses=1"], ["--numprocesses=1"]),
        (["-p", "no:xdist"], ["-p", "no:xdist"]),
        (["--pdb"], ["--pdb"]),
        (["tests/test_a.py::test_b"], ["{root}/tests/test_a.py::test_b"]),
        (["test_a.py"], ["{root}/tests/test_a.py"]),
    ],
)
def test_pytest_options(tmp_path, options, expected):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("")
    chosen = course.pytest_options(options, caller_folder=tmp_path / "tests", root=tmp_path)
    assert chosen == [option.format(root=tmp_path) for option in expected]


# ---- Python ----


def test_python_3_6_can_parse_it():
    ast.parse((ROOT / "course.py").read_text(), feature_version=(3, 6))


def test_old_python_gets_one_sentence(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    program = (
        "import runpy, sys; sys.version_info = (3, 9, 1); sys.argv = ['course.py', 'lab']; "
        f"runpy.run_path({str(checkout / 'course.py')!r}, run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert one_sentence(run.stderr).startswith("This course needs Python 3.11 or newer and this is Python 3.9:")
    assert not (checkout / ".venv").exists()


# ---- is .venv complete? ----


def test_complete_environment_is_recognized(set_up):
    found = course.complete_environment(set_up.root)
    assert found["version"] == f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize("change", ["list", "python", "location"])
def test_stamp_of_another_environment_is_void(set_up, change):
    stamp = set_up.root / ".venv" / course.STAMP_NAME
    text = stamp.read_text()
    try:
        stamp.write_text(json.dumps({**json.loads(text), change: "another"}))
        assert course.complete_environment(set_up.root) is None
    finally:
        stamp.write_text(text)
    assert course.complete_environment(set_up.root)


def test_moved_checkout_is_set_up_again(set_up):
    moved = set_up.root.with_name("moved")
    set_up.root.rename(moved)
    try:
        assert course.complete_environment(moved) is None
    finally:
        moved.rename(set_up.root)
    assert course.complete_environment(set_up.root)


def test_environment_whose_python_was_removed_is_set_up_again(set_up):
    python = course.environment_python(set_up.root)
    aside = python.with_name("aside")
    python.rename(aside)
    python.symlink_to(python.with_name("no-such-python"))
    try:
        assert course.complete_environment(set_up.root) is None
    finally:
        python.unlink()
        aside.rename(python)
    assert course.complete_environment(set_up.root)


def test_complete_environment_needs_no_writing(set_up, monkeypatch):
    @contextlib.contextmanager
    def refuse(root):
        raise OSError(errno.EROFS, "Read-only file system")
        yield

    monkeypatch.setattr(course, "setup_lock", refuse)
    assert course.ensure_environment(set_up.root) is None


# ---- set-up: what can go wrong ----


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_no_network(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    run = run_course(checkout, network_variables(variables, closed_port()), "test")
    assert run.code == 1
    sentence = one_sentence(run.err)
    assert "the network or the package index does not answer" in sentence and "PIP_INDEX_URL" in sentence
    assert not (checkout / ".venv").exists()


def test_other_failures_show_the_end_of_what_pip_says(tmp_path, capsys):
    log = tmp_path / "setup.log"
    log.write_text("".join(f"line {n}\n" for n in range(50)) + "ERROR: Could not build wheels\n")
    error = course.explain_failure(log, tmp_path / "setup-details.log")
    assert ".work/setup.log" in str(error)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 8 and shown[-1] == "  | ERROR: Could not build wheels"


def test_version_that_an_answering_index_lacks_is_no_network_failure(tmp_path):
    details = tmp_path / "setup-details.log"
    details.write_text("Could not fetch URL https://other/: connection error: timed out - skipping\n")
    log = tmp_path / "setup.log"
    log.write_text(
        "ERROR: Could not find a version that satisfies the requirement a==2 (from versions: 1)\n"
        "ERROR: No matching distribution found for a==2\n"
    )
    assert "cannot be installed" in str(course.explain_failure(log, details))


def test_no_disk_space_before_the_set_up(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    usage = SimpleNamespace(total=10**12, used=10**12 - 10**9, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert load_course(checkout).main(["test"]) == 1
    sentence = one_sentence(capsys.readouterr().err)
    assert "not enough disk space" in sentence and "free 2.5 GB" in sentence
    assert not (checkout / ".venv").exists()


def test_no_disk_space_during_the_set_up(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    module = load_course(checkout)

    def fill_the_disk(command, log, lock):
        (checkout / ".venv" / "lib").mkdir(parents=True)
        log.write_text("ERROR: Could not install packages: [Errno 28] No space left on device\n")
        return 1

    monkeypatch.setattr(module, "run_logged", fill_the_disk)
    assert module.main(["test"]) == 1
    assert "not enough disk space" in one_sentence(capsys.readouterr().err)
    assert not (checkout / ".venv").exists()


def test_full_disk_is_the_reason_even_where_no_program_says_so(tmp_path, monkeypatch):
    log = tmp_path / "setup.log"
    log.write_text("")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert "not enough disk space" in str(course.explain_failure(log, tmp_path / "setup-details.log"))


def test_disk_fills_up_while_course_py_writes(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    module = load_course(checkout)

    def fail(root, version):
        raise OSError(errno.ENOSPC, "No space left on device")

    def make_folder(command, log, lock):
        (checkout / ".venv").mkdir(exist_ok=True)
        return 0

    monkeypatch.setattr(module, "run_logged", make_folder)
    monkeypatch.setattr(module, "probe_interpreter", lambda python: {"version": "3.11", "packages": tmp_path})
    monkeypatch.setattr(module, "write_stamp", fail)
    assert module.main(["test"]) == 1
    assert "not enough disk space" in one_sentence(capsys.readouterr().err)
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_read_only_checkout(tmp_path, monkeypatch, capsys, code):
    checkout = make_checkout(tmp_path / "checkout")

    def refuse(path, *arguments, **options):
        raise OSError(code, os.strerror(code), str(path))

    # Not by permissions: the tests may run as root, who has all of them.
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert load_course(checkout).main(["test"]) == 1
    sentence = one_sentence(capsys.readouterr().err)
    assert "cannot be written: copy or clone the course into a folder of your own" in sentence


@pytest.mark.parametrize("kind", ["file", "link to a folder"])
def test_foreign_venv_is_kept(tmp_path, variables, kind):
    checkout = make_checkout(tmp_path / "checkout")
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (checkout / ".venv").write_text("mine")
    else:
        (checkout / ".venv").symlink_to(tmp_path / "elsewhere")
    run = run_course(checkout, variables, "test")
    assert run.code == 1 and ".venv is not a folder" in one_sentence(run.err)
    assert (checkout / ".venv").exists() and (tmp_path / "elsewhere").is_dir()


def test_missing_environment_yml(tmp_path, variables):
    checkout = make_checkout(tmp_path / "checkout")
    (checkout / "environment.yml").unlink()
    run = run_course(checkout, variables, "test")
    assert run.code == 1 and "git checkout -- environment.yml" in one_sentence(run.err)


def test_python_without_its_venv_module(tmp_path, monkeypatch, capsys):
    checkout = make_checkout(tmp_path / "checkout")
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert load_course(checkout).main(["test"]) == 1
    assert "sudo apt install python3-venv" in one_sentence(capsys.readouterr().err)


# ---- set-up: interrupted, killed, twice at once ----


@pytest.fixture
def silent_index():
    """A package index that takes connections and never answers, so that pip waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(50)
        yield server


def test_interrupted_set_up_leaves_nothing_behind(tmp_path, variables, silent_index):
    checkout = make_checkout(tmp_path / "checkout")
    process = start(checkout, network_variables(variables, silent_index.getsockname()[1]), "test")
    connection, _ = silent_index.accept()
    with connection:
        process.send_signal(signal.SIGINT)
        run = finish(process)
    assert run.code == 130
    assert one_sentence(run.err) == "the set-up was stopped; the next call starts it again."
    assert not (checkout / ".venv").exists()


def test_killed_set_up_is_repaired_once_its_pip_has_ended(tmp_path, variables, silent_index):
    checkout = make_checkout(tmp_path / "checkout")
    process = start(checkout, network_variables(variables, silent_index.getsockname()[1]), "test")
    connection, _ = silent_index.accept()
    process.kill()
    process.wait(timeout=10)
    assert (checkout / ".venv").is_dir() and course.complete_environment(checkout) is None
    repair = start(checkout, variables, "test")
    # The killed program's pip still runs, and would write into the new .venv.
    assert "waiting" in repair.stdout.readline()
    assert repair.poll() is None
    connection.close()
    silent_index.close()
    run = finish(repair)
    process.communicate(timeout=10)
    assert run.code == 0, run.err
    assert "Set-up done" in run.out and read_call(run.out)["python"] == str(checkout / ".venv")


def test_of_two_set_ups_at_once_one_waits(set_up):
    assert "Setting up" in set_up.first.out and "waiting" not in set_up.first.out
    assert "Setting up" not in set_up.other.out and "waiting" in set_up.other.out
    assert read_call(set_up.other.out) == read_call(set_up.first.out)


def test_progress_is_reported_without_a_terminal(tmp_path, capsys):
    log = tmp_path / "setup.log"
    program = "import time; print('Downloading torch-2.13.0.whl (190 MB)', flush=True); time.sleep(0.8)"
    with open(tmp_path / "lock", "w") as lock:
        code = course.run_logged([sys.executable, "-S", "-c", program], log, lock, report_seconds=0.3)
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r" +\d+ s: downloading torch-2.13.0.whl", lines[-1])


@pytest.mark.parametrize(
    ("logged", "told"),
    [
        (
            "Collecting torch==2.13.0\n  Downloading https://index/a/torch-2.13.0.whl (1 MB)",
            "torch-2.13.0.whl",
        ),
        ("Collecting numpy==2.4.6\n  Using cached numpy-2.4.6.whl", "using numpy-2.4.6.whl"),
        ("Downloading x.whl\nInstalling collected packages: x, y", "unpacking the packages"),
        ("", "preparing"),
    ],
)
def test_last_step_in_a_few_words(tmp_path, logged, told):
    log = tmp_path / "setup.log"
    log.write_text(logged + "\n")
    assert course.describe_last_step(log).endswith(told)


# ---- the list of packages ----


def test_pip_list_of_the_course():
    lines = course.read_pip_list(ROOT)
    options = [line for line in lines if line.startswith("-")]
    assert options == ["--extra-index-url https://download.pytorch.org/whl/cpu", "--editable ."]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines if line not in options)
    assert "torch==2.13.0" in lines and len(lines) > 20


@pytest.mark.parametrize(
    ("platform", "is_answering", "kept"),
    [("linux", True, True), ("linux", False, False), ("darwin", True, False), ("win32", True, False)],
)
def test_extra_index_only_on_linux_and_where_it_answers(platform, is_answering, kept):
    asked = []

    def ask(url):
        asked.append(url)
        return is_answering

    index = "--extra-index-url https://index.example/cpu"
    chosen = course.choose_requirements([index, "torch==1"], platform, ask)
    assert chosen == ([index, "torch==1"] if kept else ["torch==1"])
    assert asked == (["https://index.example/cpu"] if platform == "linux" else [])


class _StatusServer(http.server.BaseHTTPRequestHandler):
    """Answers each request with the status that its path names."""

    def do_GET(self):
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *args):
        """Say nothing on stderr."""


def test_whether_an_index_answers(monkeypatch, silent_index):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(course, "INDEX_TIMEOUT_SECONDS", 0.3)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _StatusServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        answers = {status: course.answers(f"{address}/{status}") for status in (200, 404, 503)}
        server.shutdown()
    assert answers == {200: True, 404: True, 503: False}
    assert not course.answers(f"http://127.0.0.1:{closed_port()}/")
    started = time.monotonic()
    assert not course.answers(f"http://127.0.0.1:{silent_index.getsockname()[1]}/")
    assert time.monotonic() - started < 2


# ---- torch and torchvision ----


@pytest.mark.parametrize(
    ("torch_version", "torchvision_version", "differ"),
    [
        ("2.13.0+cpu", "0.28.0", True),
        ("2.13.0", "0.28.0+cpu", True),
        ("2.13.0+cpu", "0.28.0+cu130", True),
        ("2.13.0", "0.28.0", False),
        ("2.13.0+cpu", "0.28.0+cpu", False),
    ],
)
def test_builds_differ(torch_version, torchvision_version, differ):
    assert torchvision_pair.builds_differ(torch_version, torchvision_version) is differ


@pytest.mark.parametrize(
    ("module", "differ", "acts"),
    [
        ("torchvision._meta_registrations", True, True),
        ("torchvision._meta_registrations", False, False),
        ("torchvision", True, False),
        ("torch", True, False),
    ],
)
def test_operators_are_declared_only_when_torchvision_lacks_them(monkeypatch, module, differ, acts):
    calls = []
    monkeypatch.setattr(torchvision_pair, "installed_builds_differ", lambda: differ)
    monkeypatch.setattr(torchvision_pair, "declare_missing_operators", lambda: calls.append(module))
    # Without the copy that this environment may have installed when Python started.
    others = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_OperatorDeclarer"]
    monkeypatch.setattr(sys, "meta_path", others)
    torchvision_pair.install()
    torchvision_pair.install()
    assert [getattr(f, "__name__", "") for f in sys.meta_path].count("_OperatorDeclarer") == 1
    assert sys.meta_path[0].find_spec(module) is None
    assert calls == ([module] if acts else [])


def test_set_up_installs_the_mend_and_restores_it(set_up, variables):
    program = "import sys; print([getattr(f, '__name__', '') for f in sys.meta_path][0])"
    python = course.environment_python(set_up.root)

    def first_finder():
        return subprocess.run([python, "-I", "-c", program], cwd="/", capture_output=True, text=True).stdout.strip()

    assert first_finder() == "_OperatorDeclarer"
    for path, _ in course.pair_files(set_up.root, course.complete_environment(set_up.root)["packages"]):
        path.unlink()
    assert first_finder() != "_OperatorDeclarer"
    assert "Setting up" not in run_course(set_up.root, variables, "test").out
    assert first_finder() == "_OperatorDeclarer"


def test_this_environment_has_the_current_mend_if_it_needs_it():
    packages = sysconfig.get_path("purelib")
    assert not torchvision_pair.installed_builds_differ() or course.pair_is_installed(ROOT, packages)


def test_image_classes_load_in_any_process_of_the_environment(tmp_path):
    program = """
import sys
assert "torch" not in sys.modules, "torch is imported when Python starts"
import torchvision
from transformers import Llama4ForConditionalGeneration, Llama4ImageProcessor
import torch
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["True", "True"]
