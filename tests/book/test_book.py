"""The book as files: pages, links, folds, and what is said where it cannot be built."""

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from llama4lab.assets import ASSETS
from llama4lab.book import __main__ as command
from llama4lab.book import build, pages
from llama4lab.book.glossary import Glossary
from llama4lab.book.links import Links
from llama4lab.book.notebook_pages import fold_answers
from llama4lab.book.references import ADDRESS, references_page, sources_of
from llama4lab.book.search_texts import sections_of
from llama4lab.claims import read_ledger
from llama4lab.course_notebooks import NOTEBOOKS, course_notebooks
from llama4lab.errors import CourseError
from llama4lab.store import canonical_text

MOST_BYTES = 40_000_000
LOADED = {"script": "src", "img": "src", "link": "href"}  # what a browser fetches by itself


class Page(HTMLParser):
    """The ids of a page, what it links to, what it loads, and its pictures without words."""

    def __init__(self, file: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.wordless = set(), [], [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag in LOADED and values.get(LOADED[tag]):
            self.loads.append(values[LOADED[tag]])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "img" and len(values.get("alt") or "") < 20:
            self.wordless.append(values.get("src"))


@pytest.fixture(scope="module")
def read_pages(book) -> dict[str, Page]:
    return {file.name: Page(file) for file in book.glob("*.html")}


def test_the_book_is_built_without_a_warning_and_small_enough(built):
    folder, warnings = built
    assert not warnings
    assert command.size_of(folder) <= MOST_BYTES


def test_every_notebook_has_a_page_with_its_question(book):
    for path in course_notebooks():
        assert f"<h1>{path.name[:2]} · " in (book / f"{path.stem}.html").read_text(encoding="utf-8")


def test_links_within_the_book_lead_to_a_place_that_is_there(read_pages, book):
    problems = []
    for name, page in read_pages.items():
        for target in page.links:
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = unquote(target).partition("#")
            if not (book / (file or name)).exists():
                problems.append(f"{name}: {target}")
            elif anchor and (file or name) in read_pages and anchor not in read_pages[file or name].ids:
                problems.append(f"{name}: {target} names no place")
    assert not problems


def test_pages_load_nothing_from_elsewhere_and_their_pictures_have_words(read_pages, book):
    loads = [(name, target) for name, page in read_pages.items() for target in page.loads]
    assert not [load for load in loads if re.match(r"[a-z]+:|//|/", load[1])]
    assert not [load for load in loads if not (book / re.sub(r"[?#].*", "", unquote(load[1]))).exists()]
    assert not [(name, page.wordless) for name, page in read_pages.items() if page.wordless]
    sheets = "".join(file.read_text(encoding="utf-8") for file in book.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheets)


def test_drawings_are_svg_with_their_letters_inside(book):
    drawings = list((book / "figures").glob("*.svg"))
    assert len(drawings) > 40
    assert all("@font-face" in drawing.read_text(encoding="utf-8") for drawing in drawings)


def test_pictures_are_sharp(book):
    """Drawings are SVG where the course has one, and plots hold two dots for each pixel of the page."""
    blurred = []
    for page in book.glob("*.html"):
        for source, width in re.findall(r'<img src="([^"]+)"[^>]* width="(\d+)"', page.read_text(encoding="utf-8")):
            file = book / source
            if file.suffix == ".svg":
                continue
            if "figures" in source:
                is_blurred = (ASSETS / "figures" / f"{file.stem}.svg").exists()
            else:
                with Image.open(file) as picture:
                    is_blurred = picture.width < 2 * int(width)
            blurred += [f"{page.name}: {source}"] * is_blurred
    assert not blurred


def test_each_piece_of_llama4_py_is_on_its_page_with_the_notebooks_that_explain_it(book):
    names = {
        node.name
        for node in ast.parse(pages.MODEL_FILE.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert names == set(pages.EXPLAINED)
    page = (book / "llama4.html").read_text(encoding="utf-8")
    assert all(f'<span class="pre">{name}</span>' in page for name in names)


def test_each_source_is_listed_with_what_uses_it():
    page = references_page(course_notebooks())
    line = next(line for line in page.splitlines() if "(https://arxiv.org/abs/2101.03961)" in line)
    assert "Switch Transformer" in line and "[02](02_moe_routing.ipynb)" in line
    papers = [source for source in sources_of(course_notebooks()) if source.kind == "Papers"]
    assert not [source.address for source in papers if "*" not in source.name], "papers.yml has no authors and title"
    ledgers = {address for entry in read_ledger().values() for address in ADDRESS.findall(entry.get("source", ""))}
    assert ledgers and all(f"]({address})" in page for address in ledgers)


def test_the_words_of_sections_are_those_that_one_reads_and_code_comes_last():
    page = """<nav>Menu</nav><section id="a"><h1>One<a class="headerlink">#</a></h1><p>said<br>here</p><pre>code</pre>
<section id="b"><script>no</script><table><tr><td>1</td><td>2</td></tr></table></section><p>end</p></section>"""
    assert sections_of(page) == [("a", "One said here end"), ("b", "1 2"), ("", "code")]


def test_the_first_page_links_to_the_printed_book_where_there_is_one(tmp_path):
    printed, unprinted = (pages.index_page(course_notebooks(), Links(tmp_path), pdf) for pdf in (build.PDF_NAME, None))
    assert f'href="{build.PDF_NAME}"' in printed and build.PDF_NAME not in unprinted


# ---- notebooks ----


def folded(*sources: str) -> list:
    """Cells after fold_answers: those that begin with > are code with an output, the others Markdown."""
    printed = [new_output("stream", name="stdout", text="4\n")]
    cells = [
        new_code_cell(source[1:], outputs=printed) if source.startswith(">") else new_markdown_cell(source)
        for source in sources
    ]
    fold_answers(cells)
    return cells


def test_what_answers_a_prediction_is_folded():
    before, predicted, output, words = folded("Before.", "**Predict first.** 2 + 2?", ">2 + 2", "Four.\n\nAnd so on.")
    assert before.source == "Before."
    assert predicted.source == '<div class="predict">\n\n**Predict first.** 2 + 2?\n\n</div>'
    assert output.metadata.tags == ["hide-output", "answer-1"]
    summary = '<details class="answer" data-answer="1"><summary>The answer, in words</summary>'
    assert words.source == f"{summary}\n\nFour.\n\n</details>\n\nAnd so on."


def test_a_drawing_before_the_answer_is_folded_with_it_and_a_heading_is_not():
    picture = folded("**Predict first.** 2 + 2?", ">2 + 2", "<img src='x'>\n\nFour.\n\nMore.")[-1]
    assert picture.source.index("<img") < picture.source.index("Four.") < picture.source.index("</details>")
    heading = folded("**Predict first.** 2 + 2?", ">2 + 2", "## 2. Next")[-1]
    assert heading.source == "## 2. Next"


def test_solutions_are_folded_and_each_names_its_exercise(book):
    title = re.compile(
        r'tag_solution[^>]*>\s*<details class="admonition hide.*?<p class="collapsed[^>]*>(.*?)</p>', re.DOTALL
    )
    for path in course_notebooks():
        page = (book / f"{path.stem}.html").read_text(encoding="utf-8")
        titles = title.findall(page)
        assert len(set(titles)) == len(titles) == len(re.findall(r"tag_solution\b(?!-)", page)) > 0
        solved = rf"Solution of (exercise {path.name[:2]}\.\d+|“Check yourself”) and its output"
        assert all(re.fullmatch(solved, title) for title in titles), titles


def test_an_explorer_that_needs_a_kernel_says_so(book):
    notes = {path.stem: (book / f"{path.stem}.html").read_text().count("needs-kernel") for path in course_notebooks()}
    assert notes["02_moe_routing"] == 1 and notes["07_positions_and_walls"] == 0


def test_words_are_linked_where_they_first_occur_and_not_in_code_headings_and_links():
    link = Glossary(course_notebooks()).linker()
    assert link("# The router\n\n`router_logits` and a [router](x.md).") == (
        "# The router\n\n`router_logits` and a [router](x.md)."
    )
    assert link("A router and a `top_k`.") == (
        "A [router](glossary.md#term-router) and a [`top_k`](glossary.md#term-top-k)."
    )
    assert link("The router again.") == "The router again."


# ---- what is said ----


def say(capsys, monkeypatch, arguments: list[str], work: Path, notebooks: Path = NOTEBOOKS) -> str:
    monkeypatch.setattr(command, "WORK", work)
    monkeypatch.setattr(command, "NOTEBOOKS", notebooks)
    assert command.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("course.py: ") and len(said.splitlines()) == 1
    return said


def test_no_notebook(capsys, monkeypatch, tmp_path):
    assert "no notebook of the course" in say(capsys, monkeypatch, [], tmp_path / "work", tmp_path)
    assert not (tmp_path / "work" / "book" / "index.html").exists()


def test_a_notebook_without_outputs(capsys, monkeypatch, tmp_path):
    notebook = new_notebook(cells=[new_markdown_cell("# 02 · Why?"), new_code_cell("1 + 1")])
    (tmp_path / "02_why.ipynb").write_text(canonical_text(notebook))
    said = say(capsys, monkeypatch, [], tmp_path / "work", tmp_path)
    assert "02_why.ipynb is stored without its outputs" in said and "python course.py store 02" in said


def test_a_folder_that_is_no_book_is_left_alone(capsys, monkeypatch, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    said = say(capsys, monkeypatch, ["--out", str(tmp_path / "mine")], tmp_path / "work")
    assert "no book of this course" in said and (tmp_path / "mine" / "letter.txt").read_text() == "mine"


def test_a_target_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in say(
        capsys, monkeypatch, ["--out", str(tmp_path / "file" / "book")], tmp_path / "work"
    )


def test_a_pdf_without_a_browser(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert "no Chromium or Chrome" in say(capsys, monkeypatch, ["--pdf"], tmp_path / "work")
    with pytest.raises(CourseError):
        build.find_browser()


def test_a_folder_is_relative_to_the_caller(tmp_path):
    options = command.read_options([f"--from={tmp_path}", "--out", "here"])
    assert options.caller_folder / options.out == tmp_path / "here"
