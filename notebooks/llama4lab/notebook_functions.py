"""What a notebook defines, taken out of it: its functions must work over its import cell alone."""

import ast
import warnings
from pathlib import Path

import torch
import transformers

from llama4lab.store import read_notebook

NOTEBOOKS = Path(__file__).resolve().parents[1]


def source_of(cell_source: str, node: ast.stmt) -> str:
    """The text of a statement, decorators included (`ast.get_source_segment` leaves them out)."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(cell_source.splitlines()[first - 1 : node.end_lineno])


def is_text(node: ast.stmt) -> bool:
    """Whether a statement gives a name to a text."""
    return isinstance(node, ast.Assign) and isinstance(getattr(node.value, "value", None), str)


def functions_of(
    subject: str,
    change: tuple[str, str] | None = None,
    without: tuple[str, ...] = ("exercise",),
    with_texts: bool = False,
) -> dict:
    """A fresh namespace with the import cell and the functions of the notebook on `subject`.

    Args:
        subject: a notebook's name without its number and ending.
        change: a text that must occur once in the functions, and what replaces it: a planted fault.
        without: cells with one of these tags are left out.
        with_texts: texts that cells assign to a name are kept too, for functions that read them.
    """
    (path,) = NOTEBOOKS.glob(f"[0-9][0-9]_{subject}.ipynb")
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    functions = [
        source_of(cell.source, node)
        for cell in cells[1:]
        if not set(without) & set(cell.metadata.get("tags", []))
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.FunctionDef) or (with_texts and is_text(node))
    ]
    source = "\n\n\n".join(functions)
    if change is not None:
        assert source.count(change[0]) == 1, f"{change[0]!r} occurs {source.count(change[0])} times"
        source = source.replace(*change)
    namespace: dict = {}
    # An import cell may set what holds for the whole process; other tests must not notice.
    verbosity, threads = transformers.logging.get_verbosity(), torch.get_num_threads()
    with warnings.catch_warnings():
        exec(compile(cells[0].source, "import cell", "exec"), namespace)
    transformers.logging.set_verbosity(verbosity)
    torch.set_num_threads(threads)
    exec(compile(source, "functions", "exec"), namespace)
    return namespace
