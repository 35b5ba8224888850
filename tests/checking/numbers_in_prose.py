"""The rule that no number in prose rests on the author's word alone.

A number is explained when a cell of its notebook prints it (rounded as the text rounds it), when it is in the code,
in a file of the course to which its paragraph links, or when its paragraph names a source.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from llama4lab.claims import read_ledger
from llama4lab.folds import FOLD_TAG
from llama4lab.store import read_notebook
from tests.checking.stored_notebooks import FENCED, Notebook, tags, texts_of_outputs

CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
TAG = re.compile(r"<[^>]+>")
A_PLACE = re.compile(r"\d+(?:\.\d+)?")  # what a link to a notebook or a section shows

# What a sentence uses a number for without stating anything about a model.
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
NO_STATEMENT = re.compile(
    r"^#{1,6} (?:\d\d · |\d+(?:\.\d+)?\.? |Exercise .*)"  # numbers of titles, sections and exercises
    r"|^\s*\d+\. "  # items of a list
    r"|^\*\*(?:Time|Runs in)\b.*|\b\d+ minutes?\b"
    rf"|\b(?:\d{{1,2}} )?(?:{MONTHS}),? \d{{4}}\b|\b\d{{1,2}} (?:{MONTHS})\b|\b(?:199|20[0-3])\d\b(?![.,]?\d)"
    r"|\b(?:[Ss]ections?|[Nn]otebooks?|[Ee]xercises?|[Tt]ables?|[Ff]igures?|[Aa]ppendix|[Cc]hapters?|[Pp]arts?|[Ll]ines?"
    r"|issues?|pull\s+requests?|PRs?)\s+\d[\d.]*(?:(?:, | and | to | or )\d[\d.]*)*"
    r"|#\d+|\b\d{4}\.\d{5}\b"  # issues, arXiv
    r"|\bv?\d+(?:\.\d+){2,}\b"  # versions
    r"|\b(?:Llama|Python|transformers|torch|PyTorch|torchvision|version|peft|vLLM|CUDA|Gemini|Mixtral|Qwen|GPT|UTF)"
    r"[ -]v?\d+(?:\.\d+)*B?\b"
    r"|(?<![\w.,])0\d(?:\.\d)?\b",  # notebooks and exercises
    re.MULTILINE,
)
UNIT = r"(?:%|[kKMGTP]i?B\b|[kKMGTP]?FLOPs?\b|thousand|million|billion|trillion|[kKMBT]\b)"
NUMBER = re.compile(
    r"(?<![\w.,/^·-])(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
    rf"(?!\w*[-_]?[A-Z]\w*\d)(?P<unit>(?:[ -]?{UNIT})?)(?![\w]|\.\d)"
    rf"(?=(?P<range>(?:,? (?:to|and|or) |–)[\d.,]+ ?(?P<last>{UNIT}))?)"
)
UNITS = {
    "%": (1, 100),
    "k": (1, 1e-3, 2**-10),
    "K": (1, 1e-3, 2**-10),
    "M": (1, 1e-6, 2**-20, 1e-3, 2**-10),
    "G": (1, 1e-9, 2**-30, 1e-6, 2**-20, 1e-3, 2**-10),
    "T": (1, 1e-12, 2**-40, 1e-9, 2**-30, 1e-6, 1e-3),
    "P": (1, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3),
}
UNITS |= {"thousand": UNITS["k"], "million": UNITS["M"], "billion": UNITS["G"], "trillion": UNITS["T"], "B": UNITS["G"]}

SOURCE = re.compile(
    r"https://|\bet al\.|\bmodel card\b|\b(?:issues?|pull\s+requests?) \d{2,}|\b[A-Z]\w+'s (?:own |reference )?"
    r"(?:announcement|README|paper|code|page|data sheet|license|documentation|prompt format)\b"
)
CLAIM = re.compile(r"\bclaims\.check\(\s*\"([\w-]+)\"")
AVAILABLE = re.compile(
    r"(?<![\d.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d[\d_]*)(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
)


def unexplained_numbers(notebook: Notebook) -> list[str]:
    """The numbers that nothing explains, each with its cell and the sentence around it."""
    own = numbers_of_notebook(notebook.cells)
    problems = []
    for place, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "markdown" or FOLD_TAG in tags(cell):
            continue
        for paragraph in paragraphs(cell.source):
            if SOURCE.search(paragraph):
                continue
            linked = [number for file in linked_files(paragraph, notebook.path) for number in numbers_of_file(file)]
            for number, unit, sentence in stated_numbers(paragraph):
                if not explained(number, unit, own) and not explained(number, unit, linked):
                    problems.append(f"cell {place} of all states {number}{unit}: {sentence}")
    return problems


def paragraphs(markdown: str) -> Iterator[str]:
    """Paragraphs; each item of a list and each row of a table is one of its own."""
    for block in re.split(r"\n\s*\n", FENCED.sub("", markdown)):
        yield from re.split(r"\n(?=\s*(?:[-*|]|\d+\.) ?)", block)


def stated_numbers(paragraph: str) -> Iterator[tuple[str, str, str]]:
    """The numbers that a paragraph states: number, unit and some words around it."""
    text = TAG.sub(
        " ",
        LINK.sub(lambda link: "" if A_PLACE.fullmatch(link[1]) else link[1], CODE_SPAN.sub(name_or_nothing, paragraph)),
    )
    text = NO_STATEMENT.sub("", text)
    for match in NUMBER.finditer(text):
        unit = match["unit"] or match["last"] or ""  # "94 to 95 %" gives two shares
        if re.fullmatch(r"\d", match["number"]) and unit.strip(" -") in ("", "%"):
            continue
        start, end = max(0, match.start() - 60), match.end() + 40
        yield match["number"], unit, "... " + " ".join(text[start:end].split()) + " ..."


def name_or_nothing(span: re.Match) -> str:
    """What is left of a code span: the name of a package, to which a version belongs."""
    return span[0].strip("`") if re.fullmatch(r"`[A-Za-z]+`", span[0]) else "`code`"


def explained(number: str, unit: str, available: Iterable[float]) -> bool:
    """Whether one of the available numbers, rounded as the text rounds it, is this one."""
    value = float(number.replace(",", ""))
    half = half_of_last_digit(number)
    scales = UNITS.get(unit.strip(" -"), UNITS.get(unit.strip(" -")[:1], (1,)))
    return any(abs(have * scale - value) <= half for have in available for scale in scales)


def half_of_last_digit(number: str) -> float:
    """Half of the last digit that a number gives: 0.05 for 21.6, 0.5 for 217, 500 for 14,000, 50 for 1000."""
    mantissa, _, exponent = number.replace(",", "").partition("e")
    whole, _, decimals = mantissa.partition(".")
    zeros = len(whole) - len(whole.rstrip("0")) if not decimals else 0
    power = -len(decimals) if decimals else max(0, min(zeros, len(whole) - 2))
    return 0.5001 * 10.0 ** (power + int(exponent or 0))


def numbers_of_notebook(cells: Iterable) -> frozenset[float]:
    """What a notebook prints, what is in its code, and the values of the ledger that its cells settle."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    settled = [str(read_ledger()[claim]["value"]) for cell in code for claim in CLAIM.findall(cell.source)]
    printed = [text for cell in code for text in (cell.source, *texts_of_outputs(cell))]
    return frozenset(number for text in (*printed, *settled) for number in numbers_of_text(text))


def numbers_of_text(text: str) -> Iterator[float]:
    for match in AVAILABLE.finditer(text):
        yield float(match[0].replace(",", "").replace("_", ""))


def linked_files(paragraph: str, notebook: Path) -> list[Path]:
    """The files of the course to which a paragraph links."""
    targets = [unquote(target.partition("#")[0]) for _, target in LINK.findall(paragraph) if ":" not in target]
    return [file for target in targets if target and (file := notebook.parent / target).is_file()]


@cache
def numbers_of_file(file: Path) -> frozenset[float]:
    if file.suffix == ".ipynb":
        return numbers_of_notebook(read_notebook(file).cells)
    if file.suffix in (".json", ".jsonl", ".yml", ".md", ".svg", ".csv", ".txt", ".log", ".py"):
        return frozenset(numbers_of_text(file.read_text(encoding="utf-8")))
    return frozenset()
