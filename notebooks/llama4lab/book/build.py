"""From the stored notebooks to a folder of HTML: the sources of the pages, Sphinx, and the PDF."""

import io
import shutil
import subprocess
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import docutils_namespace, patch_docutils

from llama4lab.assets import ASSETS
from llama4lab.book import pages
from llama4lab.book.drawings import copy_drawings
from llama4lab.book.glossary import Glossary
from llama4lab.book.links import Links
from llama4lab.book.notebook_pages import book_page
from llama4lab.book.references import references_page
from llama4lab.book.search_texts import write_search_texts
from llama4lab.book.settings import SETTINGS
from llama4lab.course_notebooks import course_notebooks
from llama4lab.errors import CourseError

PDF_NAME = "inside-llama-4.pdf"
MARK = ".inside-llama-4-book"  # in the folder of a book, so that no other folder is ever replaced
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


def write_sources(notebook_folder: Path, source: Path, pdf: str | None = None) -> None:
    """Write the pages as Markdown and notebooks into `source`. Raises CourseError where a notebook cannot be shown.

    pdf: name of the printed book, to which the first page links.
    """
    notebooks = course_notebooks(notebook_folder)
    if not notebooks:
        raise CourseError(
            f"There is no notebook of the course in {notebook_folder}: take the course from its repository again."
        )
    links, glossary = Links(source), Glossary(notebooks)
    texts = {"index": pages.index_page(notebooks, links, pdf), "claims": pages.claims_page(notebooks)}
    texts |= {"glossary": glossary.page(), "llama4": pages.llama4_page(notebooks, links)}
    texts["references"] = references_page(notebooks)
    for path in notebooks:
        nbformat.write(book_page(path, links, glossary), source / path.name)
    # The proxies first, the ablations after them.
    found = sorted((ASSETS / "models").rglob("README.md"), key=lambda card: (len(card.parts), card))
    cards = {links.page_of(card): card for card in found}
    texts["models"] = pages.models_page(cards)
    written: set[Path] = set()
    while missing := set(links.pages) - written:  # a page may link to another one
        for card in sorted(missing):
            text = links.rewrite(card.read_text(encoding="utf-8"), card.parent)
            is_listed = card in cards.values()
            texts[links.page_of(card).removesuffix(".md")] = text if is_listed else f"---\norphan: true\n---\n\n{text}"
        written |= missing
    for name, text in texts.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8", newline="\n")
    copy_drawings(links.figures, source / "extra" / "figures")


def run_sphinx(source: Path, target: Path, builder: str = "html") -> list[str]:
    """Build the pages of `source` into `target`; return the warnings. Raises CourseError where Sphinx gives up."""
    warnings = io.StringIO()
    settings = SETTINGS | {"html_extra_path": [str(source / "extra")]}
    try:
        with patch_docutils(), docutils_namespace():
            app = Sphinx(source, None, target, source.parent / "doctrees", builder, settings, None, warnings)
            app.build()
    except SphinxError as error:
        raise CourseError(f"Sphinx cannot build the book ({error}): report this with the notebook it names.") from error
    return [line for line in warnings.getvalue().splitlines() if "WARNING" in line or "ERROR" in line]


def find_browser() -> str:
    """A Chromium on this machine. Raises CourseError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise CourseError(
            "There is no Chromium or Chrome on PATH to print the book: install one, or leave --pdf out and print "
            "pages from your browser."
        )
    return found


def print_pdf(page: Path, target: Path, browser: str, work: Path) -> None:
    """Print a page with a browser. Raises CourseError where that leaves no file."""
    options = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--no-sandbox"]
    options += [f"--user-data-dir={work / 'browser'}", "--no-pdf-header-footer", "--virtual-time-budget=60000"]
    options.append("--generate-pdf-document-outline")
    command = [browser, *options, f"--print-to-pdf={target}", page.as_uri()]
    run = subprocess.run(command, capture_output=True, timeout=600)
    if run.returncode or not target.exists():
        raise CourseError(f"{browser} did not print the book (exit code {run.returncode}): try another Chromium.")


def check_target(target: Path) -> None:
    """Raises CourseError where `target` holds something that is no book, or cannot be written."""
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / MARK).exists())):
        raise CourseError(f"{target} holds something that is no book of this course: name another folder with --out.")
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / MARK).touch()
    except OSError as error:
        raise CourseError(
            f"{target} cannot be written ({error.strerror}): name a folder of your own with --out."
        ) from error


def build_book(notebook_folder: Path, target: Path, work: Path, browser: str | None = None) -> list[str]:
    """Build the book into `target`; return Sphinx's warnings. With a browser, its PDF too.

    A book that is there is replaced only when the new one is complete. Raises CourseError.
    """
    check_target(target)
    shutil.rmtree(work, ignore_errors=True)
    source, made = work / "source", work / "made"
    source.mkdir(parents=True)
    write_sources(notebook_folder, source, PDF_NAME if browser else None)
    warnings = run_sphinx(source, made)
    if browser:
        run_sphinx(source, work / "single", "singlehtml")
        print_pdf(work / "single" / "index.html", made / PDF_NAME, browser, work)
    write_search_texts(made)
    (made / MARK).touch()
    shutil.rmtree(target)
    shutil.move(made, target)
    shutil.rmtree(work)
    return warnings
