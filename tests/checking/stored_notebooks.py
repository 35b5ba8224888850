"""A stored notebook as the static rules read it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat

from llama4lab.course_notebooks import course_notebooks
from llama4lab.store import read_notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = course_notebooks()

FENCED = re.compile(r"^(```+|~~~).*?^\1[^\S\n]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Notebook:
    """A stored notebook: its file, the folder of its course, its bytes as text, its content."""

    path: Path
    root: Path
    text: str
    content: nbformat.NotebookNode

    @property
    def cells(self) -> list[nbformat.NotebookNode]:
        return self.content.cells

    @property
    def number(self) -> str:
        return self.path.name[:2]

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


def texts_of_outputs(cell) -> Iterable[str]:
    """Every text that a cell's outputs hold, pictures left out."""
    for output in cell.get("outputs", []):
        yield from [output.text] if "text" in output else []
        yield from output.get("traceback", [])
        for kind, value in output.get("data", {}).items():
            if kind not in ("image/png", "image/jpeg"):
                yield value if isinstance(value, str) else repr(value)
