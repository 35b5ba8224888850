"""Rules on what no notebook and no file of the course may hold: secrets, paths, downloads, undeclared packages."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions

import yaml
from IPython.core.inputtransformer2 import TransformerManager

from llama4lab.installed_packages import canonical_name
from tests.checking.stored_notebooks import ROOT, Notebook, texts_of_outputs

FORBIDDEN_TEXT = {
    "a path of a machine": re.compile(
        r"(?<![\w.:/~-])/(?:home|root|work|tmp|Users|private|mnt)(?:/[^\s\"'`)<]*|\b)|\b[A-Z]:\\+(?:Users|Windows)\b"
    ),
    "a token": re.compile(
        r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9]{20,})"
    ),
    "the host of a package registry": re.compile(
        r"\b(?:pypi\.org|pypi\.python\.org|pythonhosted\.org|anaconda\.org|download\.pytorch\.org|npmjs\.(?:org|com))"
    ),
}
DOWNLOADS = ("urlretrieve", "urlopen", "snapshot_download", "hf_hub_download", "load_dataset")
SHELL_LINE = re.compile(r"^\s*(?:!|%%?(?:pip|conda|mamba|sh|bash|system|sx)\b).*", re.MULTILINE)
INSTALL = re.compile(r"[\"']pip[\"'],\s*[\"']install[\"']|\bpip3? install\b")
COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def no_private_text(notebook: Notebook) -> list[str]:
    """Neither sources nor outputs hold a path of a machine, a token or the host of a package registry."""
    return [
        f"cell {place} of all holds {problem}"
        for place, cell in enumerate(notebook.cells, 1)
        for text in (cell.source, *texts_of_outputs(cell))
        for problem in private_text(text)
    ]


def private_text(text: str) -> list[str]:
    # A token must not be repeated in the log of the check.
    return [
        kind if kind == "a token" else f"{kind}: {match[0]}"
        for kind, pattern in FORBIDDEN_TEXT.items()
        if (match := pattern.search(text))
    ]


def nothing_is_fetched(notebook: Notebook) -> list[str]:
    """No cell installs or downloads, runs a shell line, or trusts remote code."""
    problems = []
    for number, cell in notebook.code:
        if shell := SHELL_LINE.search(cell.source):
            problems.append(f"code cell {number} runs a shell line: {shell[0].strip()}")
        if INSTALL.search(COMMENT.sub("", cell.source)):
            problems.append(f"code cell {number} installs a package; list it in environment.yml")
        for call in ast.walk(tree_of(cell.source)):
            if isinstance(call, ast.Call):
                options = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                if name in DOWNLOADS and not options.get("local_files_only"):
                    problems.append(f"code cell {number} downloads with {name}()")
                if options.get("trust_remote_code") is True:
                    problems.append(f"code cell {number} trusts remote code")
    return problems


def imports_are_declared(notebook: Notebook) -> list[str]:
    """Every import is of the standard library, of the course or of a package in environment.yml."""
    return [
        f"code cell {number}: {problem}"
        for number, cell in notebook.code
        for problem in undeclared_imports(tree_of(cell.source))
    ]


def tree_of(source: str) -> ast.AST:
    return ast.parse(TransformerManager().transform_cell(source))


def undeclared_imports(tree: ast.AST) -> list[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return [
        f"{name} is imported, but is not in environment.yml"
        for name in sorted(names - sys.stdlib_module_names - local_modules())
        if not pinned_packages() & {canonical_name(package) for package in distributions().get(name, ())}
    ]


@cache
def local_modules() -> set[str]:
    return {
        "llama4lab",
        "tests",
        *(file.stem for file in (*ROOT.glob("*.py"), *ROOT.glob("notebooks/*.py"), *ROOT.glob("assets/recipes/*.py"))),
    }


@cache
def distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


@cache
def pinned_packages() -> frozenset[str]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    return frozenset(canonical_name(line.partition("==")[0]) for line in pip if not line.startswith("-"))
