"""The course's SVG drawings with their letters inside, so that they look the same where DejaVu is not installed.

An SVG that is shown as a picture cannot load a font, but it can hold one: each drawing gets the glyphs that it uses.
"""

import base64
import io
import re
import shutil
from collections.abc import Iterable
from html import unescape
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

from llama4lab.figures.twins import FONTS

# Which file has the glyphs, and what tells that a drawing needs it.
FACES = (
    ("DejaVuSans.ttf", "DejaVu Sans", "normal", r"DejaVu Sans,"),
    ("DejaVuSans-Bold.ttf", "DejaVu Sans", "bold", r"font-weight[=:]\"?\s?bold"),
    ("DejaVuSansMono.ttf", "DejaVu Sans Mono", "normal", r"DejaVu Sans Mono"),
    ("DejaVuSansMono-Bold.ttf", "DejaVu Sans Mono", "bold", r"DejaVu Sans Mono(?s:.*)font-weight[=:]\"?\s?bold"),
)


def small_font(font: bytes, letters: str, flavor: str | None) -> bytes:
    """The font with the glyphs of these letters only."""
    options = subset.Options(
        flavor=flavor, hinting=False, layout_features=[], drop_tables=["FFTM", *subset.Options().drop_tables]
    )
    options.recalc_timestamp = False
    reduced = TTFont(io.BytesIO(font), recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=letters)
    subsetter.subset(reduced)
    written = io.BytesIO()
    reduced.flavor = flavor
    reduced.save(written)
    return written.getvalue()


def letters_of(svg: str) -> str:
    return "".join(sorted(set(unescape(re.sub(r"<[^>]*>", "", svg)))))


def copy_drawings(drawings: Iterable[Path], folder: Path) -> None:
    """Write each picture to `folder`: SVG with its letters, anything else as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for drawing in sorted(drawings):
        if drawing.suffix == ".svg":
            texts[drawing.name] = drawing.read_text(encoding="utf-8")
        else:
            shutil.copyfile(drawing, folder / drawing.name)
    all_letters = letters_of("".join(texts.values()))
    # The whole fonts are large, and are reduced once to the letters of all drawings.
    fonts = {file: small_font((FONTS / file).read_bytes(), all_letters, None) for file, *_ in FACES}
    for name, svg in texts.items():
        rules = ""
        for file, family, weight, sign in FACES:
            if re.search(sign, svg):
                letters = base64.b64encode(small_font(fonts[file], letters_of(svg), "woff")).decode("ascii")
                source = f"url(data:font/woff;base64,{letters})"
                rules += f'@font-face{{font-family:"{family}";font-weight:{weight};src:{source}}}'
        svg = re.sub(r"(<svg\b[^>]*>)", lambda match, rules=rules: f"{match[1]}<style>{rules}</style>", svg, count=1)
        (folder / name).write_text(svg, encoding="utf-8", newline="\n")
