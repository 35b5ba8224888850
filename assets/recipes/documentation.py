"""Prose and code that every machine with the course has: what CPython and the pinned packages say about themselves.

Prose is CPython's documentation topics and the docstrings of the standard library and of PACKAGES; code is the source
of the standard library without its docstrings. A document is kept once, however many files repeat it, and whole folders
of a package's models go to one split, so that a docstring's near twin is not held out while it is trained on.
"""

import ast
import hashlib
import platform
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pydoc_data.topics import topics

from corpus import is_held_out

PACKAGES = ("numpy", "matplotlib", "torch", "torchvision", "transformers", "accelerate", "huggingface_hub", "peft")
PACKAGES += ("IPython", "PIL")
DISTRIBUTIONS = {"huggingface_hub": "huggingface-hub", "IPython": "ipython", "PIL": "pillow"}

# Folders whose source is mostly tables or tests would fill the corpus with one kind of line.
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "testing",
    "idle_test",
    "lib2to3",
    "encodings",
    "idlelib",
    "pydoc_data",
    "site-packages",
}
LARGEST_FILE = 300_000  # bytes
SHORTEST_PROSE, SHORTEST_CODE = 120, 400  # characters
# transformers says nearly the same in hundreds of models: one in four of them is enough.
MODELS_FOLDER, KEPT_MODELS = "transformers/models/", 4


def _python_files(root: Path, prefix: str = "") -> list[tuple[str, str]]:
    """Name and source of each module below `root`, in the order of their names."""
    files = []
    for path in sorted(root.rglob("*.py")):
        name = prefix + path.relative_to(root).as_posix()
        folders = name.split("/")
        # These are written when Python or a package is built, and may name folders of the machine that built it.
        of_the_build = folders[0].startswith(("config-", "_sysconfigdata")) or folders[-1] == "version.py"
        if of_the_build or not SKIPPED_FOLDERS.isdisjoint(folders) or path.stat().st_size >= LARGEST_FILE:
            continue
        try:
            files.append((name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # a handful of files are in another encoding on purpose
    return files


@cache
def _standard_library() -> list[tuple[str, str]]:
    return _python_files(Path(sysconfig.get_paths()["stdlib"]))


@cache
def _packages() -> list[tuple[str, str]]:
    root = Path(sysconfig.get_paths()["purelib"])
    files = [file for package in PACKAGES for file in _python_files(root / package, f"{package}/")]
    return [(name, source) for name, source in files if _is_kept(name)]


def _is_kept(name: str) -> bool:
    digest = hashlib.sha256(("kept " + document_group(name)).encode()).digest()[0]
    return not name.startswith(MODELS_FOLDER) or digest % KEPT_MODELS == 0


def document_group(name: str) -> str:
    """What is held out or trained on together: a module, or the folder of one of transformers' models."""
    return "/".join(name.split("/")[:3]) if name.startswith(MODELS_FOLDER) else name


def sources() -> str:
    """Versions of the running Python and of PACKAGES, and a hash of all files that prose and code are taken from."""
    digest = hashlib.sha256(repr((sorted(topics.items()), _standard_library(), _packages())).encode())
    packages = " ".join(f"{name} {version(DISTRIBUTIONS.get(name, name)).split('+')[0]}" for name in PACKAGES)
    return f"python {platform.python_version()} {packages} {digest.hexdigest()[:16]}"


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.value


def _clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.expandtabs(4).strip().splitlines())


def _parse(source: str) -> tuple[list[str], str] | None:
    """A module's docstrings that are long enough, and its source without any; None if it only looks like Python."""
    try:
        constants = list(_docstrings(ast.parse(source)))
    except SyntaxError:
        return None
    prose, lines = [], source.splitlines()
    for constant in sorted(constants, key=lambda item: -item.lineno):
        text = _clean(ast.get_docstring(ast.Module([ast.Expr(constant)], []), clean=True) or "")
        if len(text) >= SHORTEST_PROSE:
            prose.append(text)
        lines[constant.lineno - 1 : constant.end_lineno] = []
    return prose, _clean("\n".join(lines))


@cache
def _documents() -> dict[str, dict[str, str]]:
    """For prose and code: each document once, and the name by which it is split."""
    prose = {_clean(text): f"topic {name}" for name, text in sorted(topics.items())}
    code: dict[str, str] = {}
    for files, is_code in ((_standard_library(), True), (_packages(), False)):
        for name, source in files:
            if (parsed := _parse(source)) is None:
                continue
            for text in parsed[0]:
                prose.setdefault(text, document_group(name))
            if is_code and len(parsed[1]) > SHORTEST_CODE:
                code.setdefault(parsed[1], name)
    return {"prose": prose, "code": code}


def prose_and_code(held_out: bool) -> dict[str, list[str]]:
    """The documents of one split, by domain."""
    return {
        domain: [text for text, name in documents.items() if is_held_out(name) == held_out]
        for domain, documents in _documents().items()
    }
