"""A checkout of the course with stand-ins for its packages, and its course.py run as a program.

Its environment.yml pins one small wheel made on the spot, which holds stand-ins for pytest and jupyterlab that print
how they were called.
"""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

from tests.checking.stored_notebooks import ROOT

STAND_IN = """
import json, os, sys
print("CALLED " + json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "variables": dict(os.environ)}))
sys.exit(int(os.environ.get("STAND_IN_EXIT", "0")))
"""
# In .venv, the course's modules are found as its editable installation would find them.
MODULES = "import sys, pathlib; sys.path.append(str(pathlib.Path(sys.prefix).parent / 'notebooks'))\n"


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
    shutil.copytree(
        ROOT / "notebooks" / "llama4lab", modules, ignore=shutil.ignore_patterns("__pycache__", "graders", "book")
    )
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
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


def network_variables(variables: dict[str, str], port: int) -> dict[str, str]:
    """`variables`, with a package index on a local port instead of the wheel."""
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
