"""Packages that are missing, as a whole or in part, are noticed: pinned ones and what they need."""

import sys
from pathlib import Path

import pytest

from llama4lab.installed_packages import find_missing_packages


def install(folder: Path, name: str, *requires: str) -> None:
    """Lay out a package as pip does: its one module, and its description."""
    description = folder / f"{name}-1.0.dist-info"
    description.mkdir()
    (folder / f"{name}.py").write_text("")
    needed = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (description / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}")
    record = [f"{name}.py,,", f"__pycache__/{name}.cpython-311.pyc,,", f"{name}-1.0.dist-info/METADATA,,"]
    (description / "RECORD").write_text("\n".join(record))


@pytest.mark.parametrize(
    ("deleted", "missing"),
    [
        ([], []),
        (["first_part.py"], ["first-part"]),
        (["second.py", "second-1.0.dist-info/METADATA", "second-1.0.dist-info/RECORD"], ["second"]),
        (["first_part.py", "second.py"], ["first-part", "second"]),
    ],
)
def test_what_is_missing(tmp_path, monkeypatch, deleted, missing):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(tmp_path, "first_part", 'elsewhere>=2; sys_platform == "win32"')
    install(tmp_path, "pinned", "second<2")
    install(tmp_path, "second")
    for name in deleted:
        (tmp_path / name).unlink()
    assert find_missing_packages(["First-Part", "pinned"]) == missing
