"""Small notebooks that break no rule, and what plants faults in them."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.checking.stored_notebooks import tags

TITLE = """# 42 · Does the checking see what is wrong?

You will be able to trust it. Prerequisites: none. 5 minutes.

**Runs in** at most 40 s and 1 GiB on two CPU cores."""

SOURCES = ('print("loss 0.1239999 after 100 steps")', '["walks", "talks"];', '"quiet";', "In[1][:5]")

PLOT = """import matplotlib.pyplot as plt
from llama4lab.figures import show, use_style
use_style()
fig, ax = plt.subplots()
ax.plot([(place * 37 % 101) / 101 + 0.2 for place in range(200)])
ax.set(xlabel="step", ylabel="loss (nats per token)")
show(fig, "A jagged loss over two hundred steps.")"""

PROSE = """## 1. One curve

After 100 steps the loss is 0.12, 12.4 % of one nat. (In April 2025, `x = 77`, transformers 5.23.0, int4 on one H100.)

**Predict first.** Where does it end? Others reached 0.57 (*published*, [their paper](https://example.org))."""

CLOSING = ("## Recap\n\nNothing was computed, measured or published.", "## Where to go next\n\n[43](43_light.ipynb)")


def exercise(number: int) -> list:
    """Heading, stub and hint of one exercise, without a need for llama4lab's graders."""
    heading = f"### Exercise 42.{number} · difficulty ●○○ · 2 minutes\n\nAdd two numbers."
    stub = f'def add(a, b):\n    raise NotImplementedError\n\n\ngrade("42.{number}", add)'
    return [
        new_markdown_cell(heading),
        new_code_cell(stub, metadata={"tags": ["exercise"]}),
        new_markdown_cell("<details><summary>Hint</summary>\n\nThink of `+`.\n\n</details>"),
    ]


def solution(number: int):
    return new_code_cell(f'grade("42.{number}", int.__add__)', metadata={"tags": ["solution"]})


def light_notebook() -> nbformat.NotebookNode:
    """A notebook that computes almost nothing, so that its kernel starts and ends at once."""
    return new_notebook(cells=[new_markdown_cell(TITLE), *map(new_code_cell, SOURCES)])


def full_notebook() -> nbformat.NotebookNode:
    """A notebook that breaks no rule, with a figure and exercises."""
    full = light_notebook()
    full.cells += [new_markdown_cell(PROSE), new_code_cell(PLOT), new_code_cell("def grade(number, answer):\n    ...")]
    full.cells += [cell for number in (1, 2, 3) for cell in exercise(number)]
    full.cells += [new_markdown_cell("## Solutions, as run"), *map(solution, (1, 2, 3))]
    full.cells += map(new_markdown_cell, CLOSING)
    return full


# ---- faults: each takes what to change, and returns a function that changes a notebook ----


def code(notebook, number: int):
    """The code cell with this number, from 1."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"][number - 1]


def source(number, text):
    return lambda notebook: code(notebook, number).update(source=text)


def field(number, **fields):
    return lambda notebook: code(notebook, number).update(fields)


def printed(number, text, name="stdout"):
    return field(number, outputs=[new_output("stream", name=name, text=text)])


def marked(*names, **course):
    metadata = {"tags": list(names), "course": course}
    return lambda notebook: [code(notebook, n).update(metadata=nbformat.from_dict(metadata)) for n in (1, 2)]


def prose(text):
    return lambda notebook: notebook.cells.insert(1, new_markdown_cell(text))


def replaced(old, new, kind="markdown"):
    def fault(notebook):
        chosen = [cell for cell in notebook.cells if cell.cell_type == kind and old in cell.source]
        assert chosen, f"no {kind} cell holds {old!r}"
        for cell in chosen:
            cell.source = cell.source.replace(old, new)

    return fault


def without(tag):
    def fault(notebook):
        notebook.cells = [cell for cell in notebook.cells if tag not in tags(cell)]

    return fault


def moved_solution(notebook):
    notebook.cells.insert(2, notebook.cells.pop(next(n for n, c in enumerate(notebook.cells) if "solution" in tags(c))))


def find(notebook, text: str, tag: str):
    return next(cell for cell in notebook.cells if tag in tags(cell) and text in cell.source)
