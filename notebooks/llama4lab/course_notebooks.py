"""Which notebooks are the course's: those named NN_name.ipynb. A reader's own beside them are left alone."""

import re
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1]
COURSE_NAME = re.compile(r"\d\d_[a-z0-9_]+\.ipynb")


def course_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks of the course in a folder, in order."""
    return sorted(path for path in folder.glob("*.ipynb") if COURSE_NAME.fullmatch(path.name))


def is_readers_own(path: Path) -> bool:
    """Whether a notebook in the course's folder is none of the course, such as Untitled.ipynb or a copy."""
    is_course = path.parent == NOTEBOOKS and COURSE_NAME.fullmatch(path.name)
    return path.is_relative_to(NOTEBOOKS) and ".ipynb_checkpoints" not in path.parts and not is_course
