"""Which packages this Python has, and whether each is there as a whole. Standard library only, as the doctor needs it."""

import os
import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions


def canonical_name(package: str) -> str:
    """The name by which two spellings of a package are the same: "PyYAML" and "pyyaml", "a_b" and "a-b"."""
    return re.sub(r"[-_.]+", "-", package).lower()


def installed_packages() -> dict[str, Distribution]:
    """Each installed package by its canonical name; one whose own description is gone counts as missing."""
    readable = (package for package in distributions() if package.read_text("METADATA"))
    return {canonical_name(package.metadata["Name"]): package for package in readable}


def is_whole(package: Distribution) -> bool:
    """Whether every file that was installed with a package is there, compiled ones excepted."""
    folder = package.locate_file("")
    files = (line.rsplit(",", 2)[0].strip('"') for line in (package.read_text("RECORD") or "").splitlines())
    return all(os.path.exists(folder / file) for file in files if not file.endswith(".pyc"))


def find_missing_packages(pinned: Iterable[str]) -> list[str]:
    """The pinned packages, and those that they need in any case, that are not installed as a whole."""
    installed = installed_packages()
    names = [canonical_name(package) for package in pinned]
    missing = []
    for name in names:  # grows while it is read
        if name not in installed or not is_whole(installed[name]):
            missing.append(name)
            continue
        # A requirement with a condition ("; extra == ...", "; python_version < ...") may not be needed here.
        needed = (re.match(r"[\w.-]+", line)[0] for line in installed[name].requires or [] if ";" not in line)
        names += [name for name in map(canonical_name, needed) if name not in names]
    return missing
