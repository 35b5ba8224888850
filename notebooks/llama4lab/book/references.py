"""The sources of the course on one page: what notebooks link to and what decides claims, and where each is used."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from llama4lab.claims import read_ledger
from llama4lab.store import read_notebook

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((https?://[^)\s]+)\)")
ADDRESS = re.compile(r"https?://[^\s;)]+")
KINDS = {
    "Papers": ("arxiv.org", "doi.org"),
    "Code, issues and documentation of programs": ("github.com", "docs.vllm.ai", "docs.sglang.io"),
    "Models and their cards": ("huggingface.co",),
    "Announcements, articles and the rest": (),
}
PAPERS = yaml.safe_load(Path(__file__).with_name("papers.yml").read_text(encoding="utf-8"))


@dataclass
class Source:
    """A page elsewhere: its names in the notebooks, the numbers of those, and how many claims it helps to decide."""

    address: str
    names: set[str] = field(default_factory=set)
    notebooks: set[str] = field(default_factory=set)
    claims: int = 0

    @property
    def place(self) -> str:
        """The address as one reads it."""
        split = urlsplit(self.address)
        return (split.netloc.removeprefix("www.") + split.path).rstrip("/")

    @property
    def name(self) -> str:
        """A paper's authors and title, or what the notebooks call it ("section 2.1" or "paper" says little alone)."""
        if paper := PAPERS.get(self.address.rsplit("/", 1)[1]):
            return paper
        telling = {name for name in self.names if re.search(r"[A-Z]", name)}
        said = {name for name in telling if not any(name != other and name in other for other in telling)}
        return ", ".join(sorted(said, key=str.lower)) or self.place

    @property
    def kind(self) -> str:
        host = urlsplit(self.address).netloc
        return next((kind for kind, hosts in KINDS.items() if host in hosts), [*KINDS][-1])


def sources_of(notebooks: Iterable[Path]) -> list[Source]:
    """The sources that notebooks and the ledger name, by their names."""
    found: dict[str, Source] = {}
    for path in notebooks:
        for cell in read_notebook(path).cells:
            if cell.cell_type == "markdown":
                for name, address in LINK.findall(cell.source):
                    source = found.setdefault(address, Source(address))
                    source.names.add(re.sub(r"[`*]", "", name))
                    source.notebooks.add(path.name[:2])
    for entry in read_ledger().values():
        for address in set(ADDRESS.findall(entry.get("source", ""))):
            found.setdefault(address, Source(address)).claims += 1
    return sorted(found.values(), key=lambda source: (source.name.lower(), source.address))


def references_page(notebooks: Iterable[Path]) -> str:
    """The page as Markdown."""
    pages = {path.name[:2]: path.name for path in notebooks}
    sources = sources_of(notebooks)
    parts = [
        "# References",
        f"The {len(sources)} sources to which notebooks link or that decide a claim of [the ledger](claims.md), each with "
        "the notebooks that use it.",
    ]
    for kind in KINDS:
        lines = []
        for source in (source for source in sources if source.kind == kind):
            used = [f"[{number}]({pages[number]})" for number in sorted(source.notebooks)]
            if source.claims:
                used.append(f"[{source.claims} claim{'s' * (source.claims > 1)}](claims.md)")
            place = "" if source.name == source.place else f" {source.place}"
            lines.append(f"- [{source.name}]({source.address}){place}: {', '.join(used)}")
        if lines:
            parts += [f"## {kind}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
