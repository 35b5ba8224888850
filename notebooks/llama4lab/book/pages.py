"""Pages of the book that are no notebook: the first one, the ledger, llama4.py and the models' cards."""

import ast
import re
from html import escape
from pathlib import Path

from llama4lab.assets import ASSETS
from llama4lab.book.links import Links, picture_tag
from llama4lab.claims import read_ledger
from llama4lab.scoreboard import article_claims, score
from llama4lab.store import read_notebook
from llama4lab.variables import ROOT

PARTS = {
    "Part 1: mixture of experts": range(1, 7),
    "Part 2: long context": range(7, 11),
    "Part 3: Llama 4 with Hugging Face": range(11, 18),
    "Part 4: put to the test": range(18, 20),
}
LEDGER_HEADINGS = ("claim", "who says it", "outcome", "verdict", "evidence", "decided by", "checked")
MODEL_FILE = ROOT / "notebooks" / "llama4.py"
# Which notebooks explain the pieces of llama4.py, beside 08, which puts them together.
EXPLAINED = {
    "read_config": ["01"],
    "Weights": ["11"],
    "frequencies": ["07", "09"],
    "rotate": ["07"],
    "Shelf": ["07", "10"],
    "attend_between_walls": ["07"],
    "attention": ["07", "09"],
    "mlp": ["02"],
    "experts": ["02", "03", "06"],
    "look": ["13"],
    "Llama4": ["11"],
    "cut_into_tiles": ["13"],
    "chat_prompt": ["12"],
    "choose": ["12"],
    "generate": ["12"],
    "main": [],
}


def question_of(path: Path) -> str:
    """The question that a notebook's title asks."""
    title = read_notebook(path).cells[0].source.partition("\n")[0]
    return title.partition("·")[2].strip() or title.lstrip("# ")


def toctree(caption: str, entries: list[str]) -> str:
    return "\n".join(["```{toctree}", f":caption: {caption}", ":maxdepth: 1", ":hidden:", "", *entries, "```"])


def index_page(notebooks: list[Path], links: Links, pdf: str | None) -> str:
    """The first page: the journey, the score, and the questions with their notebooks."""
    title = read_notebook(notebooks[0]).cells[0].source
    alt = re.search(r"journey\.png\"[^>]*alt=\"([^\"]*)\"", title)
    links.figures.add(ASSETS / "figures" / "journey.svg")
    lines = [
        "# Inside Llama 4",
        picture_tag("figures/journey.svg", alt[1] if alt else "The journey of one sentence through Llama 4.", 860),
        "A course that takes a Python programmer inside Llama 4: what mixture-of-experts routing is, how long context "
        "windows behave, and how to load, shrink, teach and serve Llama 4 with Hugging Face. Everything runs on a "
        "laptop, because the notebooks use *proxies*: small models of the real `transformers` classes, trained for "
        "the course. You can read all of it here, with what the cells printed and drew; to run it, call "
        "`python course.py lab` in the course's folder.",
        f"An article announced Llama 4, and the course checks it. {score(article_claims())} "
        "[The ledger](claims.md) lists every claim.",
        *(
            [f'<p class="on-screen">To print or to take along: <a href="{pdf}">the whole course as a PDF</a>.</p>']
            * bool(pdf)
        ),
        "| | question |\n|---|---|",
    ]
    trees, rows = [toctree("The course", [notebooks[0].stem])], [notebooks[0]]
    for part, numbers in PARTS.items():
        members = [path for path in notebooks if int(path.name[:2]) in numbers]
        if members:
            trees.append(toctree(part, [path.stem for path in members]))
            rows += [part, *members]
    for row in rows:
        if isinstance(row, str):
            lines[-1] += f"\n| **{row.partition(':')[0]}** | **{row.partition(': ')[2].capitalize()}** |"
        else:
            lines[-1] += f"\n| [{row.stem.replace('_', ' ')}]({row.name}) | {question_of(row)} |"
    trees.append(toctree("Reference", ["claims", "llama4", "models", "glossary", "references"]))
    return "\n\n".join([*lines, *trees]) + "\n"


def claims_page(notebooks: list[Path]) -> str:
    """The ledger as a table that the reader can sort."""
    stems = {path.stem for path in notebooks}
    rows = []
    for entry in read_ledger().values():
        notebook = entry.get("notebook", "")
        where = [f'<a href="{notebook}.html">{notebook[:2]}</a>' if notebook in stems else escape(notebook)]
        sources = [source.strip() for source in entry.get("source", "").split(";") if source.strip()]
        where += [source_link(source, place) for place, source in enumerate(sources, 1)]
        said = (entry["claim"], entry["by"], entry.get("outcome", ""), entry["verdict"], entry["evidence"])
        cells = [*map(escape, said), " ".join(filter(None, where)), escape(str(entry["checked"]))]
        # On a phone each row is a card, whose cells bear their heading.
        named = zip(LEDGER_HEADINGS, cells, strict=True)
        rows.append("<tr>" + "".join(f'<td data-heading="{name}">{cell}</td>' for name, cell in named) + "</tr>")
    heads = "".join(f'<th scope="col">{name}</th>' for name in LEDGER_HEADINGS)
    table = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>\n' + "\n".join(rows) + "\n</tbody></table>"
    return f"""# The ledger of claims

What is said about Llama 4, who says it, and what the course found: *computed* from the real configuration, *measured* on
a model, or *published* with a source. A cell that settles a claim checks it whenever it runs.

**The article's score.** {score(article_claims())}

Press a heading to sort by it, and type to see only the rows with a word.

<div class="wide" tabindex="0" role="group" aria-label="The ledger of claims">
{table}
</div>
"""


def source_link(source: str, place: int) -> str:
    if not source.startswith("https://"):
        return escape(source)
    host = source.split("/")[2].removeprefix("www.")
    return f'<a href="{escape(source)}">{escape(host)} ({place})</a>'


def llama4_page(notebooks: list[Path], links: Links) -> str:
    """llama4.py piece by piece, each with the notebooks that explain it."""
    source = MODEL_FILE.read_text(encoding="utf-8")
    lines, known = source.splitlines(), {path.name[:2]: path.name for path in notebooks}
    pieces = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    page = [
        "# llama4.py",
        "A whole Llama 4, text and pictures, in one file that equals `transformers`. "
        + (f"[08]({known['08']}) puts it together and tests it; " if "08" in known else "")
        + f"each piece below names the notebooks that explain it. To keep the file: {links.download(MODEL_FILE)}.",
        "## What it needs",
        code_block(lines[: pieces[0].lineno - 1]),
    ]
    ends = [first_line(piece) for piece in pieces[1:]] + [len(lines) + 1]
    for piece, end in zip(pieces, ends, strict=True):
        numbers = [number for number in EXPLAINED.get(piece.name, []) if number in known]
        said = ", ".join(f"[{number}]({known[number]})" for number in numbers)
        page += [f"## `{piece.name}`", *([f"Explained in {said}."] if said else [])]
        page.append(code_block(lines[first_line(piece) - 1 : end - 1]))
    return "\n\n".join(page) + "\n"


def first_line(node: ast.FunctionDef | ast.ClassDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def code_block(lines: list[str]) -> str:
    return "```python\n" + "\n".join(lines).strip("\n") + "\n```"


def models_page(cards: dict[str, Path]) -> str:
    """The list of the models' cards; `cards` are the pages by name."""
    rows = ["| model | what it is |", "|---|---|"]
    for page, card in cards.items():
        paragraphs = card.read_text(encoding="utf-8").split("\n\n")
        summary = next((text for text in paragraphs if not text.startswith("#")), "").replace("\n", " ")
        rows.append(f"| [{page.removesuffix('.md')}]({page}) | {summary.partition('. ')[0].rstrip('.')}. |")
    return "\n\n".join(
        [
            "# The models",
            "Each card says what a model keeps of Llama 4 and what it shrinks, what it can and cannot do beside chance "
            "and simple baselines, and the command that made it.",
            "\n".join(rows),
            "\n".join(["```{toctree}", ":hidden:", "", *(page.removesuffix(".md") for page in cards), "```"]),
        ]
    )
