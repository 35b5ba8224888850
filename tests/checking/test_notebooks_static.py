"""What must hold of every stored notebook without running it, and of the checkout as a whole.

Each rule takes a notebook and returns its problems as sentences, so that test_planted_faults.py can hold the
same rules against notebooks with planted faults.
"""

import ast
import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from llama4lab.store import IMAGE_TYPES, canonical_text, read_notebook
from tests.checking.nbval_rules import BUDGET, BUDGET_EXAMPLE, written_to_stderr

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MOST_NOTEBOOK_BYTES = 1_500_000
MOST_PICTURE_BYTES = 200_000
MOST_CELL_LINES = 40
MOST_CHECKOUT_BYTES = 80_000_000
MOST_ASSETS_BYTES = 60_000_000
LEAST_COMPARED = 0.95
LEAST_ALT = 20
EXERCISES = {"00": (1, 5)}  # how many a notebook has; 3 to 5 where it is not named here

IGNORED_TAG = "nbval-ignore-output"
FORBIDDEN_TAGS = ("nbval-skip", "nbval-raises-exception", "raises-exception", "skip-execution")
FORBIDDEN_COMMENT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)\s*$", re.MULTILINE)
REASON = re.compile(r"# not compared: \S.{9,}")

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
FENCED = re.compile(r"^(```|~~~).*?^\1[^\S\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HTML_LINK = re.compile(r"<(a|img)\b[^>]*?\b(?:href|src)\s*=\s*[\"']([^\"']+)[\"'][^>]*>", re.IGNORECASE)
HTML_IMAGE_ALT = re.compile(r"\balt\s*=\s*[\"'][^\"']+[\"']", re.IGNORECASE)


@dataclass(frozen=True)
class Notebook:
    """A stored notebook: where it lies, in which course, its bytes as text, its content."""

    path: Path
    root: Path
    text: str
    content: nbformat.NotebookNode

    @property
    def cells(self) -> list[nbformat.NotebookNode]:
        return self.content.cells

    @property
    def code(self) -> list[tuple[int, nbformat.NotebookNode]]:
        """Code cells with their number from 1, the one JupyterLab shows after running from the top."""
        return list(enumerate((cell for cell in self.cells if cell.cell_type == "code"), 1))

    @property
    def prose(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.cells if cell.cell_type == "markdown"]


def open_notebook(path: Path, root: Path = ROOT) -> Notebook:
    return Notebook(path, root, path.read_text(encoding="utf-8"), read_notebook(path))


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


# ---- rules on one notebook ---------------------------------------------------------------------------------


def executed_in_order(notebook: Notebook) -> list[str]:
    """Code cells hold something and were executed once each, from the top."""
    problems = [f"code cell {n} is empty; delete it" for n, cell in notebook.code if not cell.source.strip()]
    counts = [cell.execution_count for _, cell in notebook.code]
    for number, count in enumerate(counts, 1):
        if count != number:
            stored = "was not executed" if count is None else f"has execution count {count}"
            return [*problems, f"code cell {number} {stored}; store the notebook again"]
    return problems


def no_errors_or_warnings(notebook: Notebook) -> list[str]:
    """No output is an error, none was written to stderr."""
    problems = []
    for number, cell in notebook.code:
        problems += [f"code cell {number} holds an error" for o in cell.outputs if o.output_type == "error"]
        if written := written_to_stderr(cell.outputs):
            problems.append(f"code cell {number} holds text written to stderr: {written}")
    return problems


def no_private_text(notebook: Notebook) -> list[str]:
    """Neither sources nor outputs hold a path of a machine, a token or the host of a package registry."""
    problems = []
    for place, cell in enumerate(notebook.cells, 1):
        for text in (cell.source, *texts_of_outputs(cell)):
            problems += [f"cell {place} of all holds {found}" for found in private_text(text)]
    return problems


def private_text(text: str) -> list[str]:
    # A token must not be repeated in the log of the check.
    return [
        kind if kind == "a token" else f"{kind}: {match[0]}"
        for kind, pattern in FORBIDDEN_TEXT.items()
        if (match := pattern.search(text))
    ]


def texts_of_outputs(cell) -> Iterable[str]:
    for output in cell.get("outputs", []):
        yield from [output.text] if "text" in output else []
        yield from output.get("traceback", [])
        for kind, value in output.get("data", {}).items():
            if kind not in ("image/png", "image/jpeg"):
                yield value if isinstance(value, str) else repr(value)


def small_enough(notebook: Notebook) -> list[str]:
    """The notebook, its pictures and its cells are of a size that can be read and reviewed."""
    problems = []
    if (size := len(notebook.text.encode())) > MOST_NOTEBOOK_BYTES:
        problems.append(f"the notebook has {size} bytes, over {MOST_NOTEBOOK_BYTES}")
    for number, cell in notebook.code:
        lines = cell.source.count("\n") + 1
        if lines > MOST_CELL_LINES and not re.search(r"^class \w", cell.source, re.MULTILINE):
            problems.append(f"code cell {number} has {lines} lines, over {MOST_CELL_LINES}; split it")
        for output in cell.outputs:
            for kind in ("image/png", "image/jpeg"):
                size = len(base64.b64decode(output.get("data", {}).get(kind, "")))
                if size > MOST_PICTURE_BYTES:
                    problems.append(f"code cell {number} holds a picture of {size} bytes, over {MOST_PICTURE_BYTES}")
    return problems


def pictures_have_words(notebook: Notebook) -> list[str]:
    """Each picture has alt text, in an output where nbconvert and myst-nb look for it, and in prose."""
    problems = []
    for number, cell in notebook.code:
        pictures = [(o, kind) for o in cell.outputs for kind in o.get("data", {}) if kind in IMAGE_TYPES]
        for output, kind in pictures:
            alt = output.metadata.get(kind, {}).get("alt", "")
            if len(alt) < LEAST_ALT:
                problems.append(f"code cell {number} shows a picture without alt text; use show(fig, alt)")
            elif alt not in cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""):
                problems.append(f"code cell {number} lacks the alt text in its metadata; store the notebook again")
            if "text/plain" not in output.data:
                problems.append(f"code cell {number} shows a picture without its numbers; use show(fig, alt)")
    for cell in notebook.prose:
        problems += images_without_alt(cell.source)
    return problems


def images_without_alt(markdown: str) -> list[str]:
    markdown = FENCED.sub("", markdown)
    plain = [target for mark, alt, target in LINK.findall(markdown) if mark and not alt.strip()]
    plain += [m[2] for m in HTML_LINK.finditer(markdown) if m[1].lower() == "img" and not HTML_IMAGE_ALT.search(m[0])]
    return [f"the image {target} has no alt text" for target in plain]


def links_resolve(notebook: Notebook) -> list[str]:
    """Relative links lead to a file of the course, their anchors to a heading in it."""
    text = "\n\n".join(cell.source for cell in notebook.prose)
    return broken_links(text, notebook.path, notebook.root)


def broken_links(markdown: str, file: Path, root: Path) -> list[str]:
    markdown = FENCED.sub("", markdown)
    targets = [target for _, _, target in LINK.findall(markdown)]
    targets += [target for _, target in HTML_LINK.findall(markdown)]
    problems = []
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            if not target.startswith(("https://", "mailto:")):
                problems.append(f"the link {target} is neither https nor relative")
            continue
        name, _, anchor = target.partition("#")
        aim = (file.parent / unquote(name)).resolve() if name else file
        if not aim.exists():
            problems.append(f"the link {target} leads nowhere")
        elif not aim.is_relative_to(root.resolve()):
            problems.append(f"the link {target} leads out of the course")
        elif anchor and unquote(anchor) not in anchors(aim):
            problems.append(f"the link {target} names a heading that is not there")
    return problems


def anchors(file: Path) -> set[str]:
    """The anchors of a notebook's or Markdown file's headings, as JupyterLab and as GitHub form them."""
    if file.suffix == ".ipynb":
        markdown = "\n\n".join(cell.source for cell in read_notebook(file).cells if cell.cell_type == "markdown")
    else:
        markdown = file.read_text(encoding="utf-8")
    found = set(re.findall(r"\bid\s*=\s*[\"']([^\"']+)", markdown))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", markdown, re.MULTILINE):
        plain = re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", LINK.sub(r"\2", heading))
        found |= {plain.replace(" ", "-"), re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")}
    return found


def imports_are_declared(notebook: Notebook) -> list[str]:
    """Every import is of the standard library, of the course or of a package in environment.yml."""
    problems = []
    for number, cell in notebook.code:
        tree = ast.parse(TransformerManager().transform_cell(cell.source))
        problems += [f"code cell {number}: {problem}" for problem in undeclared_imports(tree)]
    return problems


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
        if not pinned_packages() & {normalized(package) for package in distributions().get(name, ())}
    ]


@cache
def local_modules() -> set[str]:
    return {
        "llama4lab",
        "tests",
        *(file.stem for file in (*ROOT.glob("*.py"), *ROOT.glob("assets/recipes/*.py"))),
    }


@cache
def distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


@cache
def pinned_packages() -> frozenset[str]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    return frozenset(normalized(line.partition("==")[0]) for line in pip if not line.startswith("-"))


def normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def outputs_are_compared(notebook: Notebook) -> list[str]:
    """95 % of the cells with outputs are compared, none is skipped, each exception has its reason."""
    problems = []
    with_outputs = [cell for _, cell in notebook.code if cell.outputs]
    ignored = [cell for cell in with_outputs if IGNORED_TAG in tags(cell)]
    for number, cell in notebook.code:
        for tag in FORBIDDEN_TAGS:
            if tag in tags(cell):
                problems.append(f"code cell {number} is tagged {tag}, which the course does not allow")
        if mark := FORBIDDEN_COMMENT.search(cell.source):
            problems.append(f"code cell {number} holds the comment {mark[1]}; use the tag {IGNORED_TAG} and a reason")
        if IGNORED_TAG in tags(cell) and not REASON.fullmatch(cell.source.partition("\n")[0].rstrip()):
            problems.append(f"code cell {number} is not compared, and does not start with '# not compared: <reason>'")
    if with_outputs and len(ignored) > (1 - LEAST_COMPARED) * len(with_outputs):
        share = f"{len(with_outputs) - len(ignored)} of {len(with_outputs)}"
        problems.append(f"only {share} cells with outputs are compared, under {LEAST_COMPARED:.0%}")
    return problems


def title_is_complete(notebook: Notebook) -> list[str]:
    """The first cell says what a reader needs to decide: question, aims, prerequisites, minutes, budget."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell is not a title cell that starts with '# '"]
    wanted = {
        "the question that it answers": r"\?",
        "'You will be able to'": r"You will be able to",
        "'Prerequisites'": r"\bPrerequisites?\b",
        "the minutes it takes to read": r"\b\d+ minutes\b",
        f"the budget, as in: {BUDGET_EXAMPLE}": BUDGET.pattern,
    }
    return [f"the title cell lacks {what}" for what, found in wanted.items() if not re.search(found, first.source)]


def recap_is_last(notebook: Notebook) -> list[str]:
    """The notebook ends in a recap of what was computed, measured and published; no exercise follows it."""
    places = [
        place
        for place, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown" and re.search(r"^#+ .*\brecap\b", cell.source, re.IGNORECASE | re.MULTILINE)
    ]
    if not places:
        return ["there is no section whose heading holds 'Recap'"]
    rest = notebook.cells[places[-1] :]
    problems = ["an exercise follows the recap"] if any("exercise" in tags(cell) for cell in rest) else []
    text = " ".join(cell.source for cell in rest if cell.cell_type == "markdown").lower()
    missing = [word for word in ("computed", "measured", "published") if word not in text]
    if missing:
        problems.append(f"the recap does not say what was {' and '.join(missing)}")
    return problems


def exercises_are_complete(notebook: Notebook) -> list[str]:
    """Each exercise is a stub with minutes, a grader, a hint and a folded, executed solution."""
    problems = []
    cells = notebook.cells
    stubs = [place for place, cell in enumerate(cells) if "exercise" in tags(cell)]
    least, most = EXERCISES.get(notebook.path.name[:2], (3, 5))
    if not least <= len(stubs) <= most:
        problems.append(f"there are {len(stubs)} exercises; {least} to {most} are wanted")
    previous = 0
    for number, (stub, end) in enumerate(zip(stubs, [*stubs, len(cells)][1:], strict=True), 1):
        after = cells[stub + 1 : end]
        solutions = [cell for cell in after if "solution" in tags(cell)]
        around = "\n".join(cell.source for cell in cells[previous:end] if cell.cell_type == "markdown")
        grades = [
            g
            for c in cells[stub:end]
            if c.cell_type == "code"
            for g in re.findall(r"\bgrade\(\s*[\"']([\d.]+)", c.source)
        ]
        if not grades:
            problems.append(f'exercise {number} is followed by no grade("NN.k", answer)')
        elif not all(name.startswith(notebook.path.name[:2] + ".") for name in grades):
            problems.append(f"exercise {number} is graded as {grades[0]}, which belongs to another notebook")
        if "<details>" not in around:
            problems.append(f"exercise {number} has no hint in <details>")
        if not re.search(r"\b\d+ min", around):
            problems.append(f"exercise {number} does not say how many minutes it takes")
        if not solutions:
            problems.append(f"exercise {number} is followed by no cell tagged solution")
        elif not solutions[0].metadata.get("jupyter", {}).get("source_hidden"):
            problems.append(f"the solution of exercise {number} is not folded (jupyter.source_hidden)")
        previous = stub + 1
    return problems


def nothing_is_fetched(notebook: Notebook) -> list[str]:
    """No cell installs or downloads, runs a shell line, or trusts remote code."""
    problems = []
    for number, cell in notebook.code:
        if shell := re.search(r"^\s*(?:!|%%?(?:pip|conda|mamba|sh|bash|system|sx)\b).*", cell.source, re.MULTILINE):
            problems.append(f"code cell {number} runs a shell line: {shell[0].strip()}")
        if re.search(r"[\"']pip[\"'],\s*[\"']install[\"']|\bpip3? install\b", code_without_comments(cell.source)):
            problems.append(f"code cell {number} installs a package; list it in environment.yml")
        for call in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
            if not isinstance(call, ast.Call):
                continue
            given = {word.arg: word.value for word in call.keywords}
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            local = getattr(given.get("local_files_only"), "value", False)
            if name in DOWNLOADS and not local:
                problems.append(f"code cell {number} downloads with {name}()")
            if getattr(given.get("trust_remote_code"), "value", None) is True:
                problems.append(f"code cell {number} trusts remote code")
    return problems


def code_without_comments(source: str) -> str:
    return re.sub(r"^\s*#.*$", "", source, flags=re.MULTILINE)


def stored_canonically(notebook: Notebook) -> list[str]:
    """The file has the one form that `python course.py store` writes."""
    if notebook.text == canonical_text(notebook.content):
        return []
    return ["the notebook is not in canonical form; run: python course.py store " + notebook.path.name[:2]]


RULES = (
    executed_in_order,
    no_errors_or_warnings,
    no_private_text,
    small_enough,
    pictures_have_words,
    links_resolve,
    imports_are_declared,
    outputs_are_compared,
    title_is_complete,
    recap_is_last,
    exercises_are_complete,
    nothing_is_fetched,
    stored_canonically,
)


# ---- tests -------------------------------------------------------------------------------------------------


def test_the_course_has_notebooks_with_numbers_of_their_own():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers and numbers[0] == "00"
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name) for path in NOTEBOOKS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, rule):
    problems = rule(open_notebook(path))
    assert not problems, f"{path.name}: " + "; ".join(problems)


def test_links_and_images_of_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not broken_links(text, ROOT / "README.md", ROOT)
    assert not images_without_alt(text)


def python_files() -> list[Path]:
    folders = ("notebooks/llama4lab", "tests", "assets/recipes")
    return sorted([*ROOT.glob("*.py"), *(file for folder in folders for file in (ROOT / folder).rglob("*.py"))])


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_of_python_files_are_declared(path):
    assert not undeclared_imports(ast.parse(path.read_text(encoding="utf-8")))


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
            found = private_text(file.read_text(encoding="utf-8"))
            # environment.yml names the index with CPU builds of torch: that is its place.
            if file.name == "environment.yml":
                found = [problem for problem in found if "registry" not in problem]
            problems += [f"{file.relative_to(ROOT)} holds {problem}" for problem in found]
    assert not problems
