"""Build the book and open it: `python course.py book [--serve] [--pdf] [--out FOLDER]`."""

import argparse
import contextlib
import functools
import os
import sys
import time
import webbrowser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llama4lab.book.build import PDF_NAME, build_book, find_browser
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.errors import CourseError
from llama4lab.variables import ROOT

WORK = ROOT / ".work"


def read_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="course.py book", description="Build the course as a web page and open it.")
    parser.add_argument("--serve", action="store_true", help="serve it on the loopback interface until Ctrl-C")
    parser.add_argument("--pdf", action="store_true", help=f"print it as {PDF_NAME}, too; needs Chromium or Chrome")
    parser.add_argument("--out", type=Path, default=WORK / "book", help="folder of the pages; .work/book by default")
    parser.add_argument("--from", dest="caller_folder", type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def has_screen() -> bool:
    """Whether a person sits at this terminal, with windows."""
    on_screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(on_screen) and sys.stdout.isatty()


def serve(folder: Path) -> None:
    """Serve the folder on the loopback interface until Ctrl-C."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"The book is at {address}; Ctrl-C ends it.", flush=True)
        if has_screen():
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def build(target: Path, with_pdf: bool) -> None:
    """Build the book, and say what was built. Raises CourseError."""
    started = time.monotonic()
    browser = find_browser() if with_pdf else None
    for warning in build_book(NOTEBOOKS, target, WORK / "book-in-progress", browser):
        print(warning, file=sys.stderr)
    pages, megabytes = len(list(target.glob("*.html"))), size_of(target) / 1e6
    print(f"{pages} pages, {megabytes:.0f} MB, in {time.monotonic() - started:.0f} s: {target / 'index.html'}")


def main(arguments: list[str]) -> int:
    """Build, then open or serve; return the exit code."""
    options = read_options(arguments)
    target = options.caller_folder / options.out
    try:
        build(target, options.pdf)
        if options.serve:
            serve(target)
        elif has_screen():
            webbrowser.open((target / "index.html").as_uri())
    except CourseError as problem:
        print(f"course.py: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("course.py: stopped; the book that was there is still there.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
