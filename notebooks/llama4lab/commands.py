"""The commands of course.py, run with the Python in .venv: `python -m llama4lab.commands lab|test|store|book|drift ...`.

course.py makes .venv complete first; here is what each command starts, and in which environment.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from llama4lab.course_notebooks import course_notebooks
from llama4lab.errors import CourseError
from llama4lab.variables import offline_variables

ROOT = Path(__file__).resolve().parents[2]
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
LOOPBACK = "127.0.0.1,localhost,::1"


def run_program(arguments: list[str], variables: dict[str, str]) -> int:
    """Become `python -m ARGUMENTS` in the checkout, so that signals and the exit code are its own."""
    command = [sys.executable, "-m", *arguments]
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.call(command, cwd=ROOT, env=variables)
    os.chdir(ROOT)
    return os.execve(command[0], command, variables)


def program_variables() -> dict[str, str]:
    """This process's variables, with the programs of this Python first on PATH; the loopback interface needs no proxy."""
    variables = dict(os.environ)
    variables["PATH"] = str(Path(sys.executable).parent) + os.pathsep + variables.get("PATH", os.defpath)
    variables["VIRTUAL_ENV"] = sys.prefix
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # A kernel named python3 that the user installed elsewhere must not be taken instead of .venv's.
    variables["JUPYTER_PREFER_ENV_PATH"] = "1"
    for name in ("no_proxy", "NO_PROXY"):
        variables[name] = ",".join(filter(None, (os.environ.get(name), LOOPBACK)))
    return variables


def start_lab(options: list[str]) -> int:
    """Open the course in JupyterLab."""
    # The root folder is the checkout, because notebooks link to files in assets/.
    program = ["jupyterlab", f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}"]
    # Without this, Ctrl-C asks a question and goes on when it gets no answer.
    program += ["--ServerApp.answer_yes=True"]
    # The course works offline: no news, no look for updates.
    program += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In containers one is root as a rule, and Jupyter refuses that unless told.
        program += ["--allow-root"]
    return run_program([*program, *options], program_variables())


def resolve_test_path(option: str, caller_folder: Path, root: Path) -> str | None:
    """The option as an absolute test path if it names a file or folder, else None."""
    path, separator, rest = option.partition("::")
    if option.startswith("-") or not path:
        return None
    for folder in (caller_folder, root):
        if (folder / path).exists():
            return str((folder / path).resolve()) + separator + rest
    return None


def pytest_options(options: list[str], caller_folder: Path, root: Path) -> list[str]:
    """The options for pytest: notebooks in parallel, unless the options say what or how to run.

    Paths may be relative to the folder of the caller or to the checkout.
    """
    paths = [resolve_test_path(option, caller_folder, root) for option in options]
    chosen = [path or option for path, option in zip(paths, options, strict=True)]
    own_workers = any(re.match(r"-n|--numprocesses|--pdb$|--trace$", option) for option in options)
    if any(paths) or own_workers or "no:xdist" in options or "-pno:xdist" in options:
        return chosen
    # A notebook's cells must stay together, on one worker.
    return ["-n", "2", "--dist", "loadfile", *chosen]


def leave_out_checkpoint(variables: dict[str, str]) -> dict[str, str]:
    """The variables without LLAMA4_CHECKPOINT, and a sentence where it was set."""
    if variables.get("LLAMA4_CHECKPOINT"):
        print("LLAMA4_CHECKPOINT is left out: stored outputs are those of the course's own models.", flush=True)
    return {name: value for name, value in variables.items() if name != "LLAMA4_CHECKPOINT"}


def run_tests(options: list[str]) -> int:
    """Check the notebooks, the exercises and the code."""
    variables = leave_out_checkpoint(offline_variables(program_variables()))
    # Two workers on two cores: more threads would only get into each other's way.
    variables.setdefault("OMP_NUM_THREADS", "1")
    return run_program(["pytest", *pytest_options(options, Path.cwd(), ROOT)], variables)


def choose_notebooks(numbers: list[str], folder: Path) -> list[Path]:
    """The course's notebooks with these numbers ("02" or "2"), all when none is given. Raises CourseError."""
    known = {path.name[:2]: path for path in course_notebooks(folder)}
    unknown = [number for number in numbers if number.zfill(2) not in known]
    if unknown:
        raise CourseError(f"There is no notebook {', '.join(unknown)}: take from {', '.join(known)}.")
    return [known[number] for number in sorted({number.zfill(2) for number in numbers} or known)]


def store_notebooks(numbers: list[str]) -> int:
    """Execute notebooks from the top and store their outputs."""
    notebooks = choose_notebooks(numbers, ROOT / "notebooks")
    variables = leave_out_checkpoint(program_variables())
    return run_program(["llama4lab.store", *map(str, notebooks)], variables)


def build_book(options: list[str]) -> int:
    """Build the course as a web page."""
    # A folder that the options name is relative to where the caller is.
    return run_program(["llama4lab.book", f"--from={Path.cwd()}", *options], program_variables())


def run_drift(options: list[str]) -> int:
    """Try the course on the newest releases of its packages."""
    return run_program(["llama4lab.drift", *options], program_variables())


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "lab": start_lab,
    "test": run_tests,
    "store": store_notebooks,
    "book": build_book,
    "drift": run_drift,
}


def main(arguments: list[str]) -> int:
    """Run one command; return its exit code."""
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except CourseError as problem:
        print(f"course.py: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
