"""Rules on what a stored notebook shows of its run: all of it, in order, small enough to read."""

import base64
import re

from llama4lab.store import IMAGE_TYPES, canonical_text
from tests.checking.comparison import written_to_stderr
from tests.checking.stored_notebooks import Notebook, tags

MOST_NOTEBOOK_BYTES = 1_500_000
MOST_PICTURE_BYTES = 200_000
MOST_CELL_LINES = 40
MOST_OUTPUT_COLUMNS = 100
LEAST_COMPARED = 0.95
LEAST_ALT = 20
LEAST_REASON = 10

IGNORED_TAG = "nbval-ignore-output"
FORBIDDEN_TAGS = ("nbval-skip", "nbval-raises-exception", "raises-exception", "skip-execution")
FORBIDDEN_COMMENT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT|not compared\b.*)\s*$", re.MULTILINE)
RAW_OBJECT = re.compile(r"^\s*(?:\{['\"]|\[['\"]|tensor\().*", re.MULTILINE)


def executed_in_order(notebook: Notebook) -> list[str]:
    """Code cells hold something and were executed once each, from the top."""
    problems = [f"code cell {n} is empty; delete it" for n, cell in notebook.code if not cell.source.strip()]
    for number, cell in notebook.code:
        count = cell.execution_count
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
        if IGNORED_TAG in tags(cell) and len(cell.metadata.get("course", {}).get("not_compared", "")) < LEAST_REASON:
            problems.append(
                f'code cell {number} is not compared, and its metadata have no {{"course": {{"not_compared": "REASON"}}}}'
            )
    if with_outputs and len(ignored) > (1 - LEAST_COMPARED) * len(with_outputs):
        share = f"{len(with_outputs) - len(ignored)} of {len(with_outputs)}"
        problems.append(f"only {share} cells with outputs are compared, under {LEAST_COMPARED:.0%}")
    return problems


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
    """Each picture of an output has its numbers, and alt text where nbconvert and myst-nb look for it."""
    problems = []
    for number, cell in notebook.code:
        for output in cell.outputs:
            for kind in set(output.get("data", {})) & set(IMAGE_TYPES):
                alt = output.metadata.get(kind, {}).get("alt", "")
                if len(alt) < LEAST_ALT:
                    problems.append(f"code cell {number} shows a picture without alt text; use show(fig, alt)")
                elif alt not in cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""):
                    problems.append(f"code cell {number} lacks the alt text in its metadata; store the notebook again")
                if "text/plain" not in output.data:
                    problems.append(f"code cell {number} shows a picture without its numbers; use show(fig, alt)")
    return problems


def stored_canonically(notebook: Notebook) -> list[str]:
    """The file has the one form that `python course.py store` writes."""
    if notebook.text == canonical_text(notebook.content):
        return []
    return [f"the notebook is not in canonical form; run: python course.py store {notebook.number}"]


def long_lines(notebook: Notebook) -> list[str]:
    """Printed lines that a page cuts or wraps."""
    return [
        f"code cell {number} prints a line of {len(line)} characters, over {MOST_OUTPUT_COLUMNS}: {line[:60]}"
        for number, cell in notebook.code
        for text in printed(cell)
        for line in text.splitlines()
        if len(line) > MOST_OUTPUT_COLUMNS
    ]


def raw_objects(notebook: Notebook) -> list[str]:
    """Printed dictionaries, lists of texts and tensors, where a sentence or a table would be read."""
    return [
        f"code cell {number} shows {match[0].strip()[:60]}; print a line or a table instead"
        for number, cell in notebook.code
        for text in printed(cell)
        for match in RAW_OBJECT.finditer(text)
    ]


def printed(cell) -> list[str]:
    """What a cell prints, or shows as text and nothing else."""
    shown = [output.get("text") or output.get("data", {}) for output in cell.outputs]
    return [
        text if isinstance(text, str) else text["text/plain"]
        for text in shown
        if isinstance(text, str) or list(text) == ["text/plain"]
    ]
