"""What must hold of every stored notebook without running it, and of the checkout as a whole.

Each rule takes a notebook and returns its problems as sentences, so that test_planted_faults.py can hold the
same rules against notebooks with planted faults.
"""

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests.checking import rules_form, rules_links, rules_safety, rules_stored
from tests.checking.numbers_in_prose import unexplained_numbers
from tests.checking.stored_notebooks import NOTEBOOKS, ROOT, open_notebook

MOST_CHECKOUT_BYTES = 100_000_000
MOST_ASSETS_BYTES = 80_000_000

RULES = (
    rules_stored.executed_in_order,
    rules_stored.no_errors_or_warnings,
    rules_stored.outputs_are_compared,
    rules_stored.small_enough,
    rules_stored.pictures_have_words,
    rules_stored.stored_canonically,
    rules_safety.no_private_text,
    rules_safety.nothing_is_fetched,
    rules_safety.imports_are_declared,
    rules_links.links_resolve,
    rules_links.images_have_words,
    rules_form.title_is_complete,
    rules_form.sections_are_numbered,
    rules_form.recap_names_evidence,
    rules_form.predictions_have_one_form,
    rules_form.exercises_are_complete,
    rules_form.solutions_are_folded,
)

# Rules that stored notebooks still break, and how often each does. A count may only fall; a notebook that is not named
# here has none.
COUNTED = {
    unexplained_numbers: {},
    rules_stored.long_lines: {},
    rules_stored.raw_objects: {},
}


def test_the_course_has_notebooks_with_numbers_of_their_own():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers and numbers[0] == "00"
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, rule):
    problems = rule(open_notebook(path))
    assert not problems, f"{path.name}: " + "; ".join(problems)


@pytest.mark.parametrize("rule", COUNTED, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_count_of_notebook_only_falls(path, rule):
    problems, recorded = rule(open_notebook(path)), COUNTED[rule].get(path.name[:2], 0)
    listed = "\n".join(problems)
    assert len(problems) <= recorded, f"{path.name}: {len(problems)} where {recorded} are recorded\n{listed}"
    assert len(problems) == recorded, (
        f"{path.name} has {len(problems)} now: record this in COUNTED instead of {recorded}"
    )


def test_links_and_images_of_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not rules_links.broken_links(text, ROOT / "README.md", ROOT)
    assert not rules_links.images_without_alt(text)


def python_files() -> list[Path]:
    folders = ("notebooks/llama4lab", "tests", "assets/recipes")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *ROOT.glob("notebooks/*.py"), *files])


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_of_python_files_are_declared(path):
    assert not rules_safety.undeclared_imports(ast.parse(path.read_text(encoding="utf-8")))


def checkout_files() -> list[Path]:
    """The files that belong to the checkout: as git tells, or all but what the course itself makes."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        made = {".git", ".venv", ".work", "__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache"}
        listed = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in made]
            listed += [os.path.join(folder, name) for name in files]
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_checkout_is_small_enough():
    sizes = {file: file.stat().st_size for file in checkout_files()}
    assets = sum(size for file, size in sizes.items() if file.is_relative_to(ROOT / "assets"))
    assert 0 < sum(sizes.values()) <= MOST_CHECKOUT_BYTES
    assert assets <= MOST_ASSETS_BYTES


def test_no_file_holds_private_text():
    problems = []
    for file in checkout_files():
        # A tokenizer's vocabulary is made of pieces of every kind of text.
        if file.suffix in (".md", ".yml", ".json", ".jsonl", ".log", ".svg", ".txt") and file.name != "tokenizer.json":
            found = rules_safety.private_text(file.read_text(encoding="utf-8"))
            # environment.yml names the index with CPU builds of torch: that is its place.
            if file.name == "environment.yml":
                found = [problem for problem in found if "registry" not in problem]
            problems += [f"{file.relative_to(ROOT)} holds {problem}" for problem in found]
    assert not problems
