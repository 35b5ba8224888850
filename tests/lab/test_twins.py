"""llama4lab.figures.twins: every SVG drawing has a PNG twin that was made from it."""

import pytest
from PIL import Image

from llama4lab.assets import ASSETS
from llama4lab.figures.twins import draw_twin, is_current

DRAWINGS = sorted((ASSETS / "figures").glob("*.svg"))


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.stem)
def test_twin_is_current(drawing):
    assert is_current(drawing), "run: python -m llama4lab.figures.twins"


def test_a_twin_has_twice_the_size_and_is_stale_once_its_drawing_changes(tmp_path):
    drawing = tmp_path / "box.svg"
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><text y="15" font-family="DejaVu Sans">{}</text></svg>'
    drawing.write_text(svg.format("a"))
    assert not is_current(drawing)
    twin = Image.open(draw_twin(drawing))
    assert twin.size == (80, 40) and is_current(drawing)
    assert len(twin.convert("L").getcolors()) > 2, "the letter was not drawn"
    drawing.write_text(svg.format("b"))
    assert not is_current(drawing)
