"""A stored notebook as a page of the book: what was written for a kernel gets the form that a reader needs."""

import base64
import copy
import io
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell
from PIL import Image

from llama4lab.book.glossary import Glossary
from llama4lab.book.links import Links, picture_tag
from llama4lab.errors import CourseError
from llama4lab.explore.page import FOLDER as EXPLORERS
from llama4lab.figures.style import SHOWN_DPI, STORED_DPI
from llama4lab.folds import GRADED, tagged
from llama4lab.store import NotStored, read_notebook

PREDICT = re.compile(r"^\*\*Predict first\.\*\*.*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
EXPLORER = re.compile(r"^explore_(\w+)\(", re.MULTILINE)
PROMPTS_OF_OUTPUT = {
    "code_prompt_show": "Your prediction first: then open the output",
    "code_prompt_hide": "Close the output",
}


def prompts_of_solution(cell: nbformat.NotebookNode) -> dict[str, str]:
    """What the fold of a solution says when it is closed and when it is open."""
    graded = GRADED.search(cell.source)
    solved = f"exercise {graded[1]}" if graded else "“Check yourself”"  # whose numbers such a cell computes
    return {
        "code_prompt_show": f"Solution of {solved} and its output",
        "code_prompt_hide": f"Close the solution of {solved}",
    }


def read_stored(path: Path) -> nbformat.NotebookNode:
    """The notebook. Raises CourseError where it is none, or was stored without its outputs."""
    try:
        notebook = read_notebook(path)
    except NotStored as problem:
        raise CourseError(f"{problem}.") from None
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(cell.outputs for cell in code) or any(cell.execution_count is None for cell in code):
        raise CourseError(
            f"{path.name} is stored without its outputs, and the book executes nothing: run "
            f"`python course.py store {path.name[:2]}` first."
        )
    return notebook


def book_page(path: Path, links: Links, glossary: Glossary) -> nbformat.NotebookNode:
    """The page of a notebook; its pictures are written beside it. Raises CourseError as `read_stored` does."""
    notebook = copy.deepcopy(read_stored(path))
    fold_answers(notebook.cells)
    words = glossary.linker()
    cells = []
    for place, cell in enumerate(notebook.cells):
        cell.metadata.pop("jupyter", None)
        if cell.cell_type == "markdown":
            cell.source = (
                words(links.rewrite(cell.source, path.parent)) if place else rewritten_title(cell, path, links)
            )
            cells.append(cell)
            continue
        cell.metadata.get("mystnb", {}).pop("image", None)  # each picture has its own words below
        if tagged(cell, "solution"):
            add_tag(cell, "hide-cell")
            cell.metadata["mystnb"] = prompts_of_solution(cell)
        for number, output in enumerate(cell.outputs):
            show_output(output, f"{path.stem}-{cell.id}-{number}", links)
        cells += [cell, *explorer_note(cell, path)]
    notebook.cells = cells
    notebook.metadata["mystnb"] = {"execution_mode": "off"}
    return notebook


def add_tag(cell: nbformat.NotebookNode, tag: str) -> None:
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), tag]


def rewritten_title(cell: nbformat.NotebookNode, path: Path, links: Links) -> str:
    """The title cell, and below it how to run the notebook."""
    return f"""{links.rewrite(cell.source, path.parent)}

<details class="run"><summary>Run this notebook</summary>

In the course's folder, with Python and nothing else installed:

```
python course.py lab                          # read and run the course; open {path.name}
python course.py test notebooks/{path.name}   # check it on your machine
```

The first call installs what the course needs; after that both work offline. To keep the notebook
as a file: {links.download(path)}.

</details>"""


def fold_answers(cells: list[nbformat.NotebookNode]) -> None:
    """Frame each prediction, and fold what answers it: outputs up to the next prose, and the words that come first there."""
    number = 0
    for place, cell in enumerate(cells):
        if cell.cell_type != "markdown" or not PREDICT.search(cell.source):
            continue
        number += 1
        cell.source = PREDICT.sub(lambda match: f'<div class="predict">\n\n{match[0]}\n\n</div>', cell.source)
        following = cells[place + 1 :]
        prose = next((n for n, other in enumerate(following) if other.cell_type == "markdown"), len(following))
        for code in following[:prose]:
            if code.outputs:
                add_tag(code, "hide-output")
                add_tag(code, f"answer-{number}")
                code.metadata["mystnb"] = PROMPTS_OF_OUTPUT
        if prose and prose < len(following):
            following[prose].source = folded_answer(following[prose].source, number)


def folded_answer(markdown: str, number: int) -> str:
    """The Markdown with its first words folded, and a drawing before them; nothing is folded where a heading comes first."""
    blocks = markdown.split("\n\n")
    end = next((n for n, block in enumerate(blocks) if not re.match(r"<img|!\[", block)), len(blocks))
    if end < len(blocks) and not re.match(r"#|<|\*\*Predict|```", blocks[end]):
        end += 1
    if not end:
        return markdown
    summary = f'<details class="answer" data-answer="{number}"><summary>The answer, in words</summary>'
    return "\n\n".join([summary, *blocks[:end], "</details>", *blocks[end:]])


def show_output(output: nbformat.NotebookNode, name: str, links: Links) -> None:
    """Give an output the form that the page shows, in place."""
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            # Sphinx would show it at twice its size, and with the words of all pictures of the cell.
            content = base64.b64decode(data[kind])
            file = links.source / "extra" / "plots" / f"{name}.{kind[-3:].replace('peg', 'jpg')}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            described = output.metadata.get(kind, {})
            width, height = Image.open(io.BytesIO(content)).size
            shown = described.get("width", round(width * SHOWN_DPI / STORED_DPI))
            tag = picture_tag(f"plots/{file.name}", described.get("alt", ""), shown, round(shown * height / width))
            output.data = nbformat.from_dict({"text/html": tag})
            return
    if "<table" in data.get("text/html", "") and "data-explorer" not in data["text/html"]:
        data["text/html"] = f'<div class="wide" tabindex="0" role="group" aria-label="Table">{data["text/html"]}</div>'


def explorer_note(cell: nbformat.NotebookNode, path: Path) -> list[nbformat.NotebookNode]:
    """For an explorer that needs a kernel, a cell that says how to run it."""
    called = EXPLORER.search(cell.source)
    if not called or (EXPLORERS / f"{called[1]}.js").exists():
        return []
    text = (
        '<div class="needs-kernel">\n\nThe controls of this explorer need a running kernel; the page shows some of its '
        f"states. To move them, call `python course.py lab` and run {path.name}.\n\n</div>"
    )
    return [new_markdown_cell(text, id=f"note-{cell.id}"[:64])]
