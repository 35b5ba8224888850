"""Prose and code that every Python machine has: CPython's documentation topics, docstrings and source."""

import ast
import hashlib
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from corpus import is_held_out

# Packages whose source is mostly tables or tests would fill the corpus with one kind of line.
SKIPPED_PACKAGES = {
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "encodings",
    "idlelib",
    "pydoc_data",
    "site-packages",
}


def _standard_library_files() -> list[tuple[str, str]]:
    """Name and source of each module of the running Python.

    One of them, `_sysconfigdata...`, is written when Python is built: `python_build` tells two builds apart.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        folders = name.split("/")
        # config-... belongs to the build, too, and names a folder of the machine that made it.
        skipped = folders[0].startswith("config-") or not SKIPPED_PACKAGES.isdisjoint(folders)
        if not skipped and path.stat().st_size < 300_000:
            try:
                files.append((name, path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue  # a handful of files are in another encoding on purpose
    return files


def python_build() -> str:
    """Version of the running Python and a hash of the files that prose and code are taken from."""
    digest = hashlib.sha256(repr((sorted(topics.items()), _standard_library_files())).encode())
    return f"{platform.python_version()} {digest.hexdigest()[:16]}"


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, ast.Constant]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield getattr(node, "name", "module"), first.value


def _clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.expandtabs(4).strip().splitlines())


def prose_and_code(held_out: bool) -> dict[str, list[str]]:
    """Documentation topics and docstrings as prose, module sources without their docstrings as code."""
    prose = [_clean(text) for name, text in sorted(topics.items()) if is_held_out("topic " + name) == held_out]
    code = []
    for name, source in _standard_library_files():
        if is_held_out(name) != held_out:
            continue
        try:
            found = list(_docstrings(ast.parse(source)))
        except SyntaxError:
            continue  # templates that only look like Python
        lines = source.splitlines()
        for _, constant in sorted(found, key=lambda item: -item[1].lineno):
            text = _clean(ast.get_docstring(ast.Module([ast.Expr(constant)], []), clean=True) or "")
            if len(text) >= 120:
                prose.append(text)
            lines[constant.lineno - 1 : constant.end_lineno] = []
        code.append(_clean("\n".join(lines)))
    return {"prose": prose, "code": [text for text in code if len(text) > 400]}
