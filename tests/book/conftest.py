"""The book, built once for all tests, and a browser where there is one."""

import functools
import threading
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from llama4lab.book.build import build_book, find_browser
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.errors import CourseError

# Without these, Chromium asks its maker's servers for news while it starts.
BROWSER_OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of the book, in one whose name has a space, and the warnings of its building."""
    folder = tmp_path_factory.mktemp("a server")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the theme and of MyST, about Sphinx 11
        said = build_book(NOTEBOOKS, folder / "sub" / "book", folder / "work")
    return folder / "sub" / "book", said


@pytest.fixture(scope="session")
def book(built) -> Path:
    return built[0]


@pytest.fixture(scope="session")
def browser():
    try:
        executable = find_browser()
    except CourseError as problem:
        pytest.skip(f"no browser: {problem}")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=BROWSER_OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def address(book):
    """Where the book is on a server, in a folder of it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=book.parents[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/sub/book/"
        server.shutdown()
