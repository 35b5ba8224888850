"""The words of the course: notebook 00's map of terms and a list beside it, linked where a notebook first uses them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from llama4lab.book.links import CODE
from llama4lab.store import read_notebook

WORDS = Path(__file__).with_name("words.yml")
MAP_HEADING = "| meaning | symbol | in this course | Hugging Face | Meta |"
# Names of the map that are words of prose as well, with nothing else that they could mean there.
AS_PROSE = {
    "router": "router",
    "chunk": "chunk",
    "kv_heads": "key-value heads",
    "qk_norm": "QK-norm",
    "vocab": "vocabulary",
}
# What is no place for a link: code, headings, tables' rules, other links, HTML, formulas, labels such as **Predict first.**
NO_PLACE = re.compile(
    rf"{CODE.pattern}|^#.*$|!?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)]*\)|<[^>]+>|\$[^$\n]+\$|\*\*[^*\n]+\*\*",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Term:
    """A word of the glossary. `names` are forms in `code`, `words` those in prose; `rest` is what the map says beside."""

    title: str
    means: str
    names: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    rest: str = ""
    notebook: str = ""  # number of the one that explains it

    @property
    def anchor(self) -> str:
        return "term-" + re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def terms_of_map(first: Path) -> list[Term]:
    """The rows of the map of terms in notebook 00; none where it has no such table."""
    text = "\n\n".join(cell.source for cell in read_notebook(first).cells if cell.cell_type == "markdown")
    rows = text.partition(MAP_HEADING)[2].partition("\n\n")[0].splitlines()[2:]
    terms = []
    for row in rows:
        meaning, symbol, here, hugging_face, meta = (cell.strip() for cell in row.strip("|").split("|"))
        names = re.findall(r"`([^`]+)`", here) or re.findall(r"`([^`]+)`", hugging_face)
        said = [f"Hugging Face: {hugging_face}", f"Meta: {meta}", *([f"symbol {symbol}"] if symbol else [])]
        words = [AS_PROSE[name] for name in names if name in AS_PROSE]
        terms.append(Term(", ".join(names), meaning, names, words, "; ".join(said) + "."))
    return terms


def terms_of_list() -> list[Term]:
    entries = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    return [
        Term(entry["word"], entry["means"], words=[entry["word"], *entry.get("also", [])], notebook=entry["in"])
        for entry in entries
    ]


def capital(form: str) -> str:
    """A pattern for a word that may begin a sentence."""
    first, rest = form[0], re.escape(form[1:])
    return f"[{first}{first.upper()}]{rest}"


class Glossary:
    """All terms, and the page and the links made of them."""

    def __init__(self, notebooks: list[Path]):
        self.notebooks = {path.name[:2]: path for path in notebooks}
        from_map = terms_of_map(notebooks[0])
        self.terms = sorted([*from_map, *terms_of_list()], key=lambda term: term.title.lower())

    def page(self) -> str:
        """The glossary as Markdown."""
        lines = [
            "# Glossary",
            "The words of the course and the names that code gives them: `transformers` 5.23 and Meta's reference code "
            "say the same thing differently. Where a notebook uses a word first, it links here.",
        ]
        for term in self.terms:
            title = ", ".join(f"`{name}`" for name in term.names) or term.title
            path = self.notebooks.get(term.notebook)
            more = f" Explained in [{term.notebook}]({path.name})." if path else ""
            rest = f" {term.rest}" if term.rest else ""
            lines.append(f"({term.anchor})=\n**{title}**: {term.means}.{rest}{more}")
        return "\n\n".join(lines) + "\n"

    def linker(self) -> Callable[[str], str]:
        """A function for the Markdown cells of one notebook, in order: it links each term where it first occurs."""
        pending = {}
        for term in self.terms:
            for form in [*(f"`{name}`" for name in term.names), *term.words]:
                pending[form] = term
        linked: set[str] = set()

        def link(markdown: str) -> str:
            blocked = [False] * (len(markdown) + 1)
            for match in NO_PLACE.finditer(markdown):
                # Code in a line may be a term itself.
                is_name = match[0].startswith("`") and match[0] in pending
                blocked[match.start() : match.end()] = [not is_name] * (match.end() - match.start())
            places = []
            for form, term in pending.items():
                pattern = re.escape(form) if form[0] == "`" else rf"\b{capital(form)}\b"
                for match in re.finditer(pattern, markdown):
                    if not any(blocked[match.start() : match.end()]):
                        places.append((match.start(), -len(form), match.end(), term))
                        break
            end_of_last, pieces = 0, []
            for start, _, end, term in sorted(places, key=lambda place: place[:2]):
                if term.anchor in linked or start < end_of_last:
                    continue
                linked.add(term.anchor)
                pieces += [markdown[end_of_last:start], f"[{markdown[start:end]}](glossary.md#{term.anchor})"]
                end_of_last = end
            return "".join([*pieces, markdown[end_of_last:]])

        return link
