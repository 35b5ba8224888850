"""What a notebook defines, taken out of it: its functions must work over its import cell alone."""

import ast
import symtable
import warnings

import torch
import transformers

from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.store import read_notebook


def source_of(cell_source: str, node: ast.stmt) -> str:
    """The text of a statement, decorators included (`ast.get_source_segment` leaves them out)."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(cell_source.splitlines()[first - 1 : node.end_lineno])


def is_text(node: ast.stmt) -> bool:
    """Whether a statement gives a name to a text."""
    named = isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)
    return named and isinstance(getattr(node.value, "value", None), str)


def functions_of(subject: str) -> dict:
    """A fresh namespace with the import cell, the functions and the named texts of the notebook on `subject`.

    Exercises are left out, so that none of their stubs hides a function of the notebook.

    Args:
        subject: a notebook's name without its number and ending.
    """
    (path,) = NOTEBOOKS.glob(f"[0-9][0-9]_{subject}.ipynb")
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    functions = [
        source_of(cell.source, node)
        for cell in cells[1:]
        if "exercise" not in cell.metadata.get("tags", [])
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.FunctionDef) or is_text(node)
    ]
    namespace = imported(cells[0].source)
    exec(compile("\n\n\n".join(functions), "functions", "exec"), namespace)
    return namespace


def imported(import_cell: str) -> dict:
    """The namespace of an import cell, without what such a cell sets for the whole process."""
    namespace: dict = {}
    verbosity, threads = transformers.logging.get_verbosity(), torch.get_num_threads()
    # Leaving this block sets gradients as they were, whatever the cell sets.
    with warnings.catch_warnings(), torch.set_grad_enabled(torch.is_grad_enabled()):
        exec(compile(import_cell, "import cell", "exec"), namespace)
    transformers.logging.set_verbosity(verbosity)
    torch.set_num_threads(threads)
    return namespace


def names_in(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The names of a cell that a statement changes, and those that it uses, within its functions too."""
    table = symtable.symtable(ast.unparse(statement), "statement", "exec")
    symbols = table.get_symbols()
    changed = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in symbols if symbol.is_referenced()}
    inner = table.get_children()
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        used |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
    if isinstance(statement, ast.For | ast.While):
        used -= changed  # set in the loop before they are used
    for part in ast.walk(statement):
        if isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name):
            used.add(part.target.id)
        if isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store):
            while isinstance(
                part, ast.Subscript | ast.Attribute
            ):  # an entry or an attribute: what it belongs to changes
                part = part.value
            changed |= {part.id} if isinstance(part, ast.Name) else set()
    return changed, used


def graded_answers(subject: str, tag: str) -> dict[str, object]:
    """What the cells with a tag give to `grade`, by exercise; of the notebook only what these answers need is run.

    Args:
        subject: a notebook's name without its number and ending.
        tag: "exercise" for the stubs, "solution" for the right answers.
    """
    (path,) = NOTEBOOKS.glob(f"[0-9][0-9]_{subject}.ipynb")
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    needed: set[str] = set()
    program: list[ast.stmt] = []
    for cell in reversed(cells[1:]):
        tags = cell.metadata.get("tags", [])
        for statement in reversed(ast.parse(cell.source).body):
            changed, used = names_in(statement)
            graded = tag in tags and ast.unparse(statement).startswith("grade(")
            if graded or (changed & needed and (tag in tags or "exercise" not in tags)):
                if isinstance(statement, ast.Assign | ast.FunctionDef) and not changed & used:
                    needed -= changed
                needed |= used
                program.insert(0, statement)
    answers: dict[str, object] = {}
    namespace = imported(cells[0].source) | {"grade": answers.__setitem__}
    exec(compile(ast.Module(program, type_ignores=[]), path.name, "exec"), namespace)
    return answers
