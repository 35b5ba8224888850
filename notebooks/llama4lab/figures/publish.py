"""Publishing a figure: the picture at twice the pixels that it is shown with, its alt text, its numbers.

The picture itself is never compared when the course is checked: a new matplotlib moves up to 0.6 % of all pixels, a
wrong curve may move 0.001 %. So `show` publishes the numbers behind the picture, and those are compared. The same
text serves readers who do not see the picture.
"""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from llama4lab.figures.style import MAX_WIDTH, SHOWN_DPI, STORED_DPI
from llama4lab.figures.words import data, describe, is_colorbar

MIN_ALT = 20  # characters


def show(fig: Figure, alt: str, values: Mapping[str, Sequence | str] | None = None) -> None:
    """Publish a figure as PNG with its alt text and the numbers plotted in it, then close it.

    alt: what the figure shows, in a sentence of at least 20 characters, for readers who do not see it.
    values: what a free drawing shows, as numbers or words by name; without it, `describe` finds them in the figure.
    Raises ValueError when alt is missing or too short, an axes lacks a label, the figure is wider than
    6 inches, or, without values, holds something that `describe` cannot put into words.
    """
    alt = " ".join((alt or "").split())
    if len(alt) < MIN_ALT:
        raise ValueError(f"alt text of {len(alt)} characters is too short; say in a sentence what is seen.")
    if fig.get_figwidth() > MAX_WIDTH + 1e-6:
        raise ValueError(f"figure is {fig.get_figwidth():g} inches wide, over {MAX_WIDTH:g}; call use_style.")
    missing = missing_labels(fig)
    if missing:
        raise ValueError(f"{missing[0]}; name the quantity and its unit.")
    for ax in fig.axes:
        if ax.images:
            ax.grid(False)  # it would be drawn over the picture
    # Ticks and autoscale are settled by drawing, so the picture comes before the words.
    picture = png(fig)
    words = describe(fig) if values is None else "\n".join(line for name in values for line in data(name, values[name]))
    plt.close(fig)
    display(
        {"image/png": base64.b64encode(picture).decode("ascii"), "text/plain": f"{alt}\n{words}"},
        metadata={"image/png": {"alt": alt, "width": round(fig.get_figwidth() * SHOWN_DPI)}},
        raw=True,
    )


def png(fig: Figure, **about: str) -> bytes:
    """The figure as PNG with `STORED_DPI` dots an inch; `about` goes into its text chunks."""
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", dpi=STORED_DPI)
    return small_png(drawn.getvalue(), **about)


def small_png(picture: bytes, **about: str) -> bytes:
    """The same picture in its 256 most used colors, a third of the bytes; `about` goes into its text chunks."""
    chunks = PngInfo()
    for name, text in about.items():
        chunks.add_text(name, text)
    small = io.BytesIO()
    reduced = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(small, "png", optimize=True, pnginfo=chunks)
    return small.getvalue()


def missing_labels(fig: Figure) -> list[str]:
    """A phrase for each axis of numbers without a label; it may share that of a sibling or of the figure."""
    problems = []
    for number, ax in enumerate(fig.axes, 1):
        if not ax.axison:
            continue
        if is_colorbar(ax):
            if not (ax.get_xlabel() or ax.get_ylabel()):
                problems.append(f"axes {number} is a color bar without a label")
            continue
        for name, common in (("x", fig.get_supxlabel()), ("y", fig.get_supylabel())):
            axis: Axis = getattr(ax, f"{name}axis")
            siblings = getattr(ax, f"get_shared_{name}_axes")().get_siblings(ax)
            if isinstance(axis.get_major_formatter(), StrCategoryFormatter):
                continue  # the names of categories say what they are
            labeled = common or any(getattr(s, f"get_{name}label")() for s in siblings)
            if not labeled and axis.get_visible() and len(axis.get_ticklocs()):
                problems.append(f"axes {number} has no {name} label")
    return problems
