"""Draw the PNG twins of the course's SVG drawings, at twice their size:  python -m llama4lab.figures.twins

Notebooks and README show the twins, since GitHub's notebook viewer drops relative SVG. Each twin carries the checksum
of its drawing, so that a test can tell when the drawing has changed and the twin has not. The fonts are those that
Matplotlib brings, so that a twin is the same on every machine.
"""

import hashlib
from pathlib import Path

import matplotlib
import resvg_py
from PIL import Image

from llama4lab.assets import ASSETS
from llama4lab.figures.publish import small_png

SCALE = 2
CHECKSUM = "SVG-SHA-256"  # the text chunk of a twin that names its drawing
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def checksum(drawing: Path) -> str:
    return hashlib.sha256(drawing.read_bytes()).hexdigest()


def is_current(drawing: Path) -> bool:
    """Whether a drawing's twin exists and was made from the drawing as it is."""
    twin = drawing.with_suffix(".png")
    return twin.exists() and Image.open(twin).text.get(CHECKSUM) == checksum(drawing)


def draw_twin(drawing: Path) -> Path:
    """Write the twin of an SVG drawing next to it; return its path. Raises ValueError where the SVG is not valid."""
    drawn = resvg_py.svg_to_bytes(
        svg_path=str(drawing), zoom=SCALE, background="white", skip_system_fonts=True, font_dirs=[str(FONTS)]
    )
    twin = drawing.with_suffix(".png")
    twin.write_bytes(small_png(bytes(drawn), **{CHECKSUM: checksum(drawing)}))
    return twin


def main() -> None:
    for drawing in sorted((ASSETS / "figures").glob("*.svg")):
        if not is_current(drawing):
            print(f"{draw_twin(drawing).name}: drawn from {drawing.name}")


if __name__ == "__main__":
    main()
