"""The words of each page's sections as a script, for what the search page shows of a hit.

Sphinx's search fetches each page that it found; a page that was opened from the file system may fetch nothing.
"""

import json
from html.parser import HTMLParser
from pathlib import Path

SCRIPT = "search-texts.js"
UNSEEN = ("script", "style")
APART = ("td", "th", "li", "p", "div", "summary", "br")  # words on both sides of such a tag are not one word
VOID = ("br", "hr", "img", "input", "meta", "link", "col", "wbr", "source")  # they have no end tag


class _Sections(HTMLParser):
    """Gathers the prose of an article by the section that it is in, without that of sections within; all its code."""

    def __init__(self):
        super().__init__()
        self.prose: dict[str, list[str]] = {}
        self.code: list[str] = []
        self._open: list[tuple[str, str | None, bool]] = []  # tag, id of its section, whether its text is seen

    def handle_starttag(self, tag, attributes):
        if tag in APART:
            self.handle_data(" ")
        if tag in VOID:
            return
        values = dict(attributes)
        _, section, seen = self._open[-1] if self._open else ("", None, True)
        if tag == "section":
            section = values.get("id", section)
        is_unseen = tag in UNSEEN or "headerlink" in (values.get("class") or "")
        self._open.append((tag, section, seen and not is_unseen))

    def handle_endtag(self, tag):
        if any(tag == other for other, *_ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data):
        _, section, seen = self._open[-1] if self._open else ("", None, False)
        if seen and any(tag == "pre" for tag, *_ in self._open):
            self.code.append(data)
        elif seen and section:
            self.prose.setdefault(section, []).append(data)


def sections_of(page: str) -> list[tuple[str, str]]:
    """The sections of a page of the book: the id of each and its prose, headings included.

    All code of the page comes last, as one without an id: a hit shows where a word comes first, and is read best in prose.
    """
    parser = _Sections()
    parser.feed(page)
    return [(name, " ".join("".join(texts).split())) for name, texts in [*parser.prose.items(), ("", parser.code)]]


def write_search_texts(folder: Path) -> None:
    texts = {file.name: sections_of(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.html"))}
    shown = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    (folder / SCRIPT).write_text(f"const SEARCH_TEXTS = {shown};\n", encoding="utf-8", newline="\n")
