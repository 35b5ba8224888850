"""Where the links and pictures of notebooks and cards lead in the book, whose pages are all in one folder."""

import re
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import unquote

from llama4lab.variables import ROOT

MOST_BYTES = 1_000_000  # of a file that the book takes along because a page links to it
PAGES = {"assets/claims.yml": "claims.md", "notebooks/llama4.py": "llama4.md"}

CODE = re.compile(r"^(```+|~~~).*?^\1[^\S\n]*$|(`+)(?!`).*?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*<?([^)\s>]+)>?\s*\)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)|<img\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(\w+)\s*=\s*\"([^\"]*)\"")


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """The Markdown with `change` applied to what is neither a block of code nor code in a line."""
    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [change(markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(markdown[end:])])


def picture_tag(source: str, alt: str, width: str | int | None, height: int | None = None) -> str:
    """A picture that opens alone when it is clicked, so that a reader on a phone can enlarge it."""
    size = "".join(f' {name}="{value}"' for name, value in (("width", width), ("height", height)) if value)
    return f'<a class="picture" href="{source}"><img src="{source}" alt="{escape(alt)}"{size}></a>'


def _slug(anchor: str) -> str:
    """A heading's anchor as GitHub and the book write it, from JupyterLab's form ("5.1-Access-is-refused")."""
    return re.sub(r"[^\w -]", "", unquote(anchor).lower()).replace(" ", "-")


class Links:
    """Rewrites the links of Markdown that was written for the checkout, and gathers what they need in the book.

    pages: cards and other Markdown files that are linked: name of the page by path. figures: the drawings shown.
    """

    def __init__(self, source: Path):
        self.source = source
        self.pages: dict[Path, str] = {}
        self.figures: set[Path] = set()

    def rewrite(self, markdown: str, folder: Path) -> str:
        """The Markdown of a file in `folder` with links and pictures as they are in the book."""
        # A link may have code in its text, so that links are found before code is left out.
        kept = {place for code in CODE.finditer(markdown) for place in range(*code.span())}

        def link(match: re.Match) -> str:
            return match[0] if match.start() in kept else self._link(match[1], match[2], folder)

        return outside_code(_LINK.sub(link, markdown), lambda text: self._pictures(text, folder))

    def page_of(self, card: Path) -> str:
        """The name of the page that shows a Markdown file: "scout-proxy.md" for its README."""
        name = card.parent.name if card.name == "README.md" else card.stem
        return self.pages.setdefault(card, f"{name}.md")

    def download(self, file: Path) -> str:
        """A link that saves a file of the course; the file is taken along."""
        copy = self.source / "extra" / "files" / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        return f'<a href="files/{file.name}" download>{file.name}</a>'

    def _link(self, text: str, target: str, folder: Path) -> str:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            return f"[{text}]({target})"
        name, _, anchor = target.partition("#")
        if not name:
            return f"[{text}](#{_slug(anchor)})"
        aim = (folder / unquote(name)).resolve()
        inside = aim.relative_to(ROOT).as_posix() if aim.is_relative_to(ROOT) else ""
        if aim.suffix == ".ipynb":
            slug = _slug(anchor)
            return f"[{text}]({aim.name}{'#' + slug if slug else ''})"
        if inside in PAGES:
            return f"[{text}]({PAGES[inside]})"
        if aim.suffix == ".md" and aim.exists():
            return f"[{text}]({self.page_of(aim)})"
        if not aim.is_file() or aim.stat().st_size > MOST_BYTES:
            return f"{text} (`{inside}` in the course's folder)"
        copy = self.source / "files" / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(aim, copy)
        return f"[{text}](files/{inside})"

    def _pictures(self, text: str, folder: Path) -> str:
        def picture(match: re.Match) -> str:
            attributes = dict(_ATTRIBUTE.findall(match[0])) if match[2] is None else {"alt": match[1], "src": match[2]}
            aim = (folder / unquote(attributes["src"])).resolve()
            drawing = aim.with_suffix(".svg") if aim.with_suffix(".svg").exists() else aim
            self.figures.add(drawing)
            return picture_tag(f"figures/{drawing.name}", attributes.get("alt", ""), attributes.get("width"))

        return _PICTURE.sub(picture, text)
