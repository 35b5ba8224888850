"""What a figure shows, in words: the numbers behind the picture, for checks and for readers who do not see it."""

import datetime
import zlib
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.spines import Spine
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter

LISTED_VALUES = 64  # up to this many values are published one by one
PARTS = 16  # longer float data are published as means of this many equal parts
DECORATION = "decoration"  # gid of an artist that repeats what a text beside it says; not described


def describe(fig: Figure) -> str:
    """The numbers plotted in a figure, as text: a line for each axes, then each thing drawn in it.

    Lines that hold data start with four spaces. Up to 64 values are listed. Longer integer data are given by
    count, extremes and a checksum (integers do not differ between machines). Longer float data are given by
    count, extremes, mean, and how far the mean of each of 16 equal parts is from it: one changed point of
    200 moves the mean of its part of 12 or 13 points. Checksums of floats would differ between machines at
    rounding edges. For the same reason floats have 4 significant digits: a step of the last digit stays
    within the 0.1 % that the comparison allows.
    Raises ValueError for a drawn object of a kind that is not known here.
    """
    lines = []
    heading = [text.get_text() for text in fig.texts]
    for number, ax in enumerate(fig.axes, 1):
        lines.append(f"axes {number}: {axes_words(ax)}" if ax.axison else f"axes {number}: {ax.get_title()}")
        if not is_colorbar(ax):
            for axis_name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
                formatter = axis.get_major_formatter()
                if ax.axison and isinstance(formatter, FixedFormatter | StrCategoryFormatter):
                    ticks = [label.get_text() for label in axis.get_ticklabels()]
                    lines.append(f"  {axis_name} ticks: {listed(ticks)}")
            lines += drawn(ax)
    if any(heading):
        lines.insert(0, " | ".join(filter(None, heading)))
    return "\n".join(line.rstrip() for line in lines)


def is_colorbar(ax: Axes) -> bool:
    return hasattr(ax, "_colorbar")


def axes_words(ax: Axes) -> str:
    titles = [ax.get_title(loc) for loc in ("left", "center", "right")]
    parts = [f'"{title}"' for title in titles if title]
    for name in ("x", "y"):
        label, scale = getattr(ax, f"get_{name}label")(), getattr(ax, f"get_{name}scale")()
        if label:
            parts.append(f'{name} "{label}"' + ("" if scale == "linear" else f" ({scale})"))
    return ", ".join(parts)


def drawn(ax: Axes) -> list[str]:
    """Lines of text for everything drawn in an axes."""
    lines = []
    groups = [group for group in ax.containers if isinstance(group, BarContainer)]
    in_groups = {id(patch) for group in groups for patch in group}
    for group in groups:
        lines += bars(group)
    words = [text.get_text() for text in ax.texts if text.get_text()]
    for artist in ax.get_children():
        if isinstance(artist, Spine | Axis | Text | Legend) or artist is ax.patch:
            continue
        if id(artist) in in_groups or artist.get_gid() == DECORATION:
            continue
        if isinstance(artist, Line2D):
            lines += [f"  line{name_of(artist)}"]
            lines += data("x", artist.get_xdata(orig=True)) + data("y", artist.get_ydata(orig=True))
        elif isinstance(artist, AxesImage):
            array = artist.get_array()
            size = " x ".join(map(str, array.shape))
            lines += [f"  image{name_of(artist)}: {size}", *data("values", array)]
        elif isinstance(artist, Collection):
            lines += collection(artist)
        elif isinstance(artist, Patch):
            corners = artist.get_patch_transform().transform(artist.get_path().vertices)
            lines += [f"  {type(artist).__name__.lower()}{name_of(artist)}"]
            lines += data("x", corners[:, 0]) + data("y", corners[:, 1])
        elif isinstance(artist, Axes):
            lines += [f"  inset: {axes_words(artist)}", *drawn(artist)]
        else:
            kind = type(artist).__name__
            raise ValueError(
                f"show() cannot put a {kind} into words; say what it shows: show(fig, alt, values={{...}})."
            )
    if words:
        lines.append("  text: " + " | ".join(" ".join(word.split()) for word in words))
    return lines


def bars(group: BarContainer) -> list[str]:
    """Lines of text for one group of bars: where they are, how long they are, where they start."""
    if group.orientation == "horizontal":
        places = [bar.get_y() + bar.get_height() / 2 for bar in group]
        lengths, starts = [bar.get_width() for bar in group], [bar.get_x() for bar in group]
    else:
        places = [bar.get_x() + bar.get_width() / 2 for bar in group]
        lengths, starts = [bar.get_height() for bar in group], [bar.get_y() for bar in group]
    lines = [f"  bars{name_of(group)}: {len(group)}", *data("at", places), *data("length", lengths)]
    return lines + data("from", starts) if np.any(np.asarray(starts)) else lines


def collection(artist: Collection) -> list[str]:
    """Lines of text for scattered points, meshes, bands and groups of lines."""
    values = artist.get_array()
    kind = "points" if isinstance(artist, PathCollection) else type(artist).__name__
    lines = [f"  {kind}{name_of(artist)}"]
    if isinstance(artist, PathCollection):
        offsets = np.asarray(artist.get_offsets())
        lines += data("x", offsets[:, 0]) + data("y", offsets[:, 1])
    elif not isinstance(artist, QuadMesh):
        vertices = np.concatenate([path.vertices for path in artist.get_paths()] or [np.zeros((0, 2))])
        lines += data("x", vertices[:, 0]) + data("y", vertices[:, 1])
    if values is not None:
        lines += data("values", values)
    return lines


def name_of(artist: Artist | BarContainer) -> str:
    label = str(artist.get_label() or "")
    return "" if not label or label.startswith("_") else f' "{label}"'


def data(name: str, values) -> list[str]:
    """One line, indented by four spaces, that represents all values (see `describe`).

    values: numbers, dates or words, of any shape; masked ones count as missing.
    """
    if np.ma.is_masked(values):
        values = values.astype(float).filled(np.nan)
    array = np.asarray(values)
    flat = array.reshape(-1)
    if len(flat) and isinstance(flat[0], datetime.date):
        flat = flat.astype("datetime64[s]")
    if flat.dtype.kind not in "biufM":
        return [f"    {name} {listed([str(value) for value in flat])}"]
    write = date_words if flat.dtype.kind == "M" else number
    exact = flat.dtype.kind != "f"
    numbers = flat.astype("datetime64[s]").astype(np.int64) if flat.dtype.kind == "M" else flat
    numbers = numbers.astype(np.int64 if exact else np.float64)
    if len(flat) > 3 and np.isfinite(numbers).all():
        steps = np.diff(numbers)
        if steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-3, atol=0):
            return [f"    {name} {write(flat[0])} to {write(flat[-1])} in {len(steps)} equal steps"]
    if len(flat) <= LISTED_VALUES:
        return [f"    {name} " + ", ".join(map(write, flat))]
    finite = np.isfinite(numbers)
    start = f"    {name} {len(flat)} values"
    for kind, count in (("missing", np.isnan(numbers).sum()), ("infinite", np.isinf(numbers).sum())):
        start += f" ({count} {kind})" if count else ""
    if not finite.any():
        return [start]
    start += f", {write(flat[finite].min())} to {write(flat[finite].max())}"
    if exact:
        mean = "" if flat.dtype.kind == "M" else f", mean {number(numbers.mean())}"
        return [f"{start}{mean}, checksum {zlib.crc32(numbers.astype('<i8').tobytes()):08x}"]
    mean = numbers[finite].mean()
    start += f", mean {number(mean)}"
    if array.ndim == 2 and min(array.shape) > 1:
        table = numbers.reshape(array.shape)
        rows, columns = (np.array_split(table, min(PARTS // 2, table.shape[k]), axis=k) for k in (0, 1))
        return [f"{start}; rows {offsets_from(mean, rows)}; columns {offsets_from(mean, columns)}"]
    return [f"{start}; parts {offsets_from(mean, np.array_split(numbers, PARTS))}"]


def listed(words: Sequence[str]) -> str:
    """All words, or of more than 64 the first, the last, the count and a checksum."""
    if len(words) <= LISTED_VALUES:
        return ", ".join(words)
    checksum = zlib.crc32("\n".join(words).encode())
    return f"{words[0]} to {words[-1]}, {len(words)} values, checksum {checksum:08x}"


def offsets_from(mean: float, parts: list[np.ndarray]) -> str:
    """How far each part's mean is from the mean of all, signed."""
    kept = [part[np.isfinite(part)] for part in parts]
    return " ".join(number(part.mean() - mean) if len(part) else "missing" for part in kept)


def date_words(value: np.datetime64) -> str:
    return str(value.astype("datetime64[s]")).removesuffix("T00:00:00")


def number(value) -> str:
    """An integer as it is; a float with 4 significant digits, always recognizable as a float."""
    if isinstance(value, int | np.integer):
        return str(int(value))
    text = f"{float(value):.4g}"
    if text == "-0":
        text = "0"
    return text if not text.lstrip("-").isdigit() else f"{text}.0"
