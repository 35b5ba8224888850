"""The course on the newest releases of its packages: `python course.py drift [pytest options]`.

A copy of the checkout and an environment without pins are made in `.work/drift`; the checkout itself is not touched.
The table says what differs by file, and which failures have one cause: the same exception.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from llama4lab.commands import pytest_options
from llama4lab.doctor import load_bootstrap, read_pins
from llama4lab.errors import CourseError
from llama4lab.installed_packages import canonical_name
from llama4lab.variables import offline_variables

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".work" / "drift"
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".work", "__pycache__", ".pytest_cache", ".ruff_cache")
EXCEPTION = re.compile(r"^(?:E\s+)?((?:\w+\.)*\w*(?:Error|Exception|Warning|Interrupt)\b: .+)$", re.MULTILINE)
SHOWN_CAUSES = 20


@dataclass(frozen=True)
class Result:
    """One test or cell: the file it is in, "passed", "failed" or "skipped", and why it failed."""

    file: str
    verdict: str
    cause: str = ""


def newest_requirements(pip_list: list[str]) -> list[str]:
    """The lines for pip without their versions; options stay, the course's own installation too."""
    return [line if line.startswith("-") else line.partition("==")[0] for line in pip_list]


def cause_of(message: str) -> str:
    """The last exception that the report of a failure names, else its first line without place and numbers."""
    if exceptions := EXCEPTION.findall(message):
        return exceptions[-1]
    first_line = re.sub(r"^\S+\.ipynb(, cell \d+)?: ", "", message.strip().partition("\n")[0])
    return re.sub(r"\d+(\.\d+)?", "N", first_line)


def read_results(report: Path) -> list[Result]:
    """The results of a run of pytest, from its JUnit report."""
    results = []
    for case in ElementTree.parse(report).iter("testcase"):
        failures = [part for part in case if part.tag in ("failure", "error")]
        verdict = "failed" if failures else "skipped" if case.find("skipped") is not None else "passed"
        file = case.get("file") or case.get("classname", "").replace(".", "/")
        cause = cause_of("\n".join(filter(None, (failures[0].get("message"), failures[0].text)))) if failures else ""
        results.append(Result(file, verdict, cause))
    return results


def describe_results(results: list[Result]) -> str:
    """The table by file, and the causes of the failures, the most frequent first, with the files they are in."""
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    causes: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        verdicts[result.file][result.verdict] += 1
        if result.verdict == "failed":
            causes[result.cause][result.file] += 1
    width = max(map(len, verdicts), default=0)
    lines = [f"{'':{width}}{'passed':>9}{'failed':>9}{'skipped':>9}"]
    for file, counts in sorted(verdicts.items()):
        if counts["failed"]:
            lines.append(f"{file:{width}}{counts['passed']:>9}{counts['failed']:>9}{counts['skipped']:>9}")
    same = sum(not counts["failed"] for counts in verdicts.values())
    lines.append(f"{same} of {len(verdicts)} files: nothing differs")
    ordered = sorted(causes.items(), key=lambda item: -item[1].total())
    for cause, files in ordered[:SHOWN_CAUSES]:
        where = ", ".join(f"{Path(file).stem} {count}" for file, count in files.most_common())
        lines.append(f"{files.total()} x {cause[:200]}\n    {where}")
    return "\n".join(lines)


def describe_versions(pins: dict[str, str], newest: dict[str, str]) -> str:
    """The packages whose newest release is not the pinned one."""
    changed = {package: newest[package] for package, pin in pins.items() if newest[package].partition("+")[0] != pin}
    return "\n".join(f"{package:18} {pins[package]:>10} -> {version}" for package, version in changed.items())


def run(command: list[str], folder: Path, variables: dict[str, str]) -> int:
    print("$", " ".join(Path(part).name if part == command[0] else part for part in command), flush=True)
    return subprocess.run(command, cwd=folder, env=variables).returncode


def make_environment(python: Path, copy: Path, pip_list: list[str]) -> None:
    """Install the newest releases; what an earlier drift installed is brought up to date. Raises CourseError."""
    temporary = FOLDER / "tmp"
    temporary.mkdir(exist_ok=True)
    requirements, _ = load_bootstrap().choose_requirements(newest_requirements(pip_list))
    (FOLDER / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    install = ["-m", "pip", "install", "--quiet", "--upgrade", "--upgrade-strategy", "eager", "--requirement"]
    try:
        for command in (
            [sys.executable, "-m", "venv", str(python.parents[1])],
            [str(python), *install, str(FOLDER / "requirements.txt")],
        ):
            if run(command, copy, {**os.environ, "TMPDIR": str(temporary)}) != 0:
                raise CourseError("The newest releases cannot be installed: fix what pip says above.")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main(options: list[str]) -> int:
    """Try the course on the newest releases of its packages; return what pytest returns."""
    copy, report = FOLDER / "course", FOLDER / "report.xml"
    python = FOLDER / "venv" / Path(sys.executable).relative_to(sys.prefix)
    pip_list = load_bootstrap().read_pip_list(ROOT)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    report.unlink(missing_ok=True)
    try:
        make_environment(python, copy, pip_list)
    except CourseError as problem:
        print(f"course.py: {problem}", file=sys.stderr)
        return 1
    variables = offline_variables(os.environ) | {"VIRTUAL_ENV": str(python.parents[1]), "OMP_NUM_THREADS": "1"}
    variables.pop("PYTHONPATH", None)  # the modules are those of the copy
    variables["GIT_CEILING_DIRECTORIES"] = str(FOLDER)  # the copy is no part of the checkout's repository
    variables["PATH"] = f"{python.parent}{os.pathsep}{variables.get('PATH', os.defpath)}"
    tests = ["-m", "pytest", f"--junitxml={report}", "-o", "junit_family=xunit1", "--tb=short"]
    code = run([str(python), *tests, *pytest_options(options, copy, copy)], copy, variables)
    listed = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    newest = {canonical_name(package["name"]): package["version"] for package in json.loads(listed.stdout)}
    print("\nThe pins, and the newest releases that differ:")
    print(describe_versions({canonical_name(name): pin for name, pin in read_pins(pip_list).items()}, newest))
    print("\nWhat differs, by file:")
    print(describe_results(read_results(report)))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
