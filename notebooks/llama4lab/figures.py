"""One family of figures, each published with alt text and with the plotted numbers as text.

The picture itself is never compared when the course is checked: a new matplotlib moves up to 0.6 % of all
pixels, a wrong curve may move 0.001 %. So `show` publishes the numbers behind the picture, and those are
compared. The same text serves readers who do not see the picture.
"""

import base64
import io
import zlib
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from matplotlib.spines import Spine
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter

MAX_WIDTH = 6.0  # inches; at 100 dots an inch this fits a notebook's column
MIN_ALT = 20  # characters
LISTED_VALUES = 64  # up to this many values are published one by one
PARTS = 16  # longer float data are published as means of this many equal parts
DECORATION = "decoration"  # gid of an artist that repeats what a text beside it says; not described

# Okabe and Ito (2008), "Color Universal Design": told apart with every common color vision.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

# Chosen by maximin distance in CIELAB (at least 20.8) under normal vision and simulated protanopia and
# deuteranopia (Machado et al. 2009); in order, the first ones differ most. 16 grays cannot be told apart,
# so always write the expert's number beside its color.
EXPERT_COLORS = (
    ("#2d3ca5", "#f0c34b", "#96f0ff", "#87000f", "#69b478", "#2d7878", "#2d87f0", "#00c3ff")
    + ("#00ffc3", "#781e3c", "#c3780f", "#8778b4", "#c3e187", "#2d3c78", "#00c3b4", "#c35a3c")
)  # fmt: skip

STYLE = {
    "figure.figsize": (6.0, 3.2),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "image.cmap": "cividis",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    # Line styles change with the colors: lines stay apart in grayscale.
    "axes.prop_cycle": matplotlib.cycler(
        color=PALETTE, linestyle=("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 2)))
    ),
}


def use_style() -> None:
    """Give every figure made from now on the look of the course."""
    matplotlib.rcParams.update(STYLE)


def expert_color(expert: int, number_of_experts: int = 16) -> str:
    """The color of one expert, the same all through the course, as "#rrggbb".

    Beyond 16 experts the 16 colors return, each time paler: tell those apart by their number.
    Raises ValueError when there is no such expert.
    """
    if not 0 <= expert < number_of_experts:
        raise ValueError(f"there is no expert {expert} among {number_of_experts}; they count from 0.")
    turn, place = divmod(int(expert), len(EXPERT_COLORS))
    turns = -(-number_of_experts // len(EXPERT_COLORS))
    white = 0.7 * turn / max(turns - 1, 1)
    return to_hex([channel + (1 - channel) * white for channel in to_rgb(EXPERT_COLORS[place])])


def luminance(color) -> float:
    """Relative luminance of a color, 0 (black) to 1 (white); formula of WCAG 2."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def text_color(background) -> str:
    """The color of text, "black" or "white", whichever has the higher WCAG contrast (at least 4.5)."""
    light = luminance(background)
    return "black" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "white"


def printable(token: str, font: FontProperties) -> str:
    """The token with visible spaces and line ends, and a box for what the font cannot draw."""
    marked = token.replace(" ", "·").replace("\n", "↵").replace("\t", "→")
    glyphs = get_font(findfont(font)).get_charmap()
    return "".join(letter if ord(letter) in glyphs else "□" for letter in marked)


def _sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure without axes to draw on in points, from the top down, its title in the first 20 of them."""
    fig = plt.figure(figsize=(MAX_WIDTH, height / 72), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(-4, width + 4)
    ax.set_ylim(height, 0)
    if title:
        ax.text(0, 11, title, fontsize=10, va="center")
    return fig, ax


def color_tokens(tokens: Sequence[str], experts: Sequence[int], number_of_experts: int = 16, title: str = "") -> Figure:
    """A sentence as boxes, one a token, in the color of the expert that took it, with the expert's number.

    tokens and experts have one length; spaces show as a middle dot. Returns the figure, 6 inches wide and
    as high as the sentence needs. Raises ValueError when the lengths differ or nothing is given.
    """
    if len(tokens) != len(experts) or not len(tokens):
        raise ValueError(f"color_tokens needs one expert a token, got {len(tokens)} and {len(experts)}.")
    font = FontProperties(family="DejaVu Sans Mono", size=9)
    letter, gap, box_height, row_height, width = 9 * 0.602, 3.0, 25.0, 30.0, 72 * MAX_WIDTH - 8
    boxes = []
    x, row = 0.0, 0
    for token, expert in zip(tokens, experts, strict=True):
        shown = printable(token, font) or "∅"
        box_width = max(len(shown), 2) * letter + 7
        if x > 0 and x + box_width > width:
            x, row = 0.0, row + 1
        boxes.append((x, row, box_width, shown, int(expert)))
        x += box_width + gap
    heading = 20.0 if title else 0.0
    height = (row + 1) * row_height + heading + 6
    fig, ax = _sheet(width, height, title)
    for x, row, box_width, shown, expert in boxes:
        top = heading + 3 + row * row_height
        color = expert_color(expert, number_of_experts)
        ink = text_color(color)
        box = FancyBboxPatch((x, top), box_width, box_height, boxstyle="round,pad=0,rounding_size=3")
        box.set(facecolor=color, edgecolor="#444444", linewidth=0.5)
        box.set_gid(DECORATION)
        ax.add_patch(box)
        middle = x + box_width / 2
        ax.text(middle, top + 8.5, shown, fontproperties=font, color=ink, ha="center", va="center")
        ax.text(middle, top + 19.5, str(expert), fontsize=7, color=ink, ha="center", va="center")
    return fig


def color_token_paths(
    tokens: Sequence[str],
    experts: Sequence[Sequence[int]],
    layers: Sequence[int],
    number_of_experts: int = 16,
    title: str = "",
) -> Figure:
    """A sentence as columns, one a token: its text, and below it, layer by layer, the expert that took it.

    experts is `[layers, tokens]`; layers holds the numbers written at the left of each line of the sentence.
    Spaces show as a middle dot. Returns the figure, 6 inches wide and as high as the sentence needs. Raises
    ValueError when the sizes do not fit each other or nothing is given.
    """
    sizes = {len(row) for row in experts}
    if not len(tokens) or len(experts) != len(layers) or sizes != {len(tokens)}:
        raise ValueError(f"color_token_paths needs one expert a token and layer, got {len(experts)} rows of {sizes}.")
    font = FontProperties(family="DejaVu Sans Mono", size=9)
    letter, gap, text_height, cell_height, margin, width = 9 * 0.602, 3.0, 15.0, 12.5, 16.0, 72 * MAX_WIDTH - 8
    row_height = text_height + cell_height * len(layers) + 9
    columns = []
    x, row = margin, 0
    for place, token in enumerate(tokens):
        shown = printable(token, font) or "∅"
        column_width = max(len(shown), 2) * letter + 5
        if x > margin and x + column_width > width:
            x, row = margin, row + 1
        columns.append((x, row, column_width, shown, [int(taken[place]) for taken in experts]))
        x += column_width + gap
    heading = 20.0 if title else 0.0
    height = (row + 1) * row_height + heading + 2
    fig, ax = _sheet(width, height, title)
    for line in range(row + 1):
        for place, layer in enumerate(layers):
            y = heading + line * row_height + text_height + (place + 0.5) * cell_height
            ax.text(margin - 4, y, str(layer), fontsize=7, color="#555555", ha="right", va="center")
    for x, row, column_width, shown, path in columns:
        top = heading + row * row_height
        middle = x + column_width / 2
        ax.text(middle, top + text_height / 2, shown, fontproperties=font, ha="center", va="center")
        for place, expert in enumerate(path):
            color = expert_color(expert, number_of_experts)
            y = top + text_height + place * cell_height
            cell = Rectangle((x, y), column_width, cell_height, facecolor=color, edgecolor="white", linewidth=0.8)
            cell.set_gid(DECORATION)
            ax.add_patch(cell)
            ink = text_color(color)
            ax.text(middle, y + cell_height / 2, str(expert), fontsize=7, color=ink, ha="center", va="center")
    return fig


def show(fig: Figure, alt: str) -> None:
    """Publish a figure as PNG with its alt text and the numbers plotted in it, then close it.

    alt: what the figure shows, in a sentence of at least 20 characters, for readers who do not see it.
    Raises ValueError when alt is missing or too short, an axes lacks a label, the figure is wider than
    6 inches, or holds something that `describe` cannot put into words.
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
    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=100, metadata={"Software": None}, pil_kwargs={"optimize": True})
    text = f"{alt}\n{describe(fig)}"
    plt.close(fig)
    display(
        {"image/png": base64.b64encode(picture.getvalue()).decode("ascii"), "text/plain": text},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def missing_labels(fig: Figure) -> list[str]:
    """A phrase for each axis without a label; an axis may share the label of a sibling or of the figure."""
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
            labeled = common or any(getattr(s, f"get_{name}label")() for s in siblings)
            if not labeled and axis.get_visible() and len(axis.get_ticklocs()):
                problems.append(f"axes {number} has no {name} label")
    return problems


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
                    lines.append(f"  {axis_name} ticks: {', '.join(ticks)}")
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
            array = np.asarray(array.filled(np.nan) if np.ma.is_masked(array) else array)
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
            raise ValueError(f"show() cannot put a {kind} into words; use lines, bars, points or images.")
    if words:
        lines.append("  text: " + " | ".join(" ".join(word.split()) for word in words))
    return lines


def bars(group: BarContainer) -> list[str]:
    """Lines of text for one group of bars: where they stand, how long they are, where they start."""
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
        lines += data("values", np.asarray(values))
    return lines


def name_of(artist: Artist | BarContainer) -> str:
    label = str(artist.get_label() or "")
    return "" if not label or label.startswith("_") else f' "{label}"'


def data(name: str, values) -> list[str]:
    """One line, indented by four spaces, that stands for all values (see `describe`)."""
    array = np.asarray(values)
    flat = array.reshape(-1)
    if flat.dtype.kind not in "biuf":
        return [f"    {name} " + ", ".join(str(value) for value in flat)]
    exact = flat.dtype.kind in "biu"
    flat = flat.astype(np.int64 if exact else np.float64)
    steps = np.diff(flat)
    if len(flat) > 3 and steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-3, atol=0):
        return [f"    {name} {number(flat[0])} to {number(flat[-1])} in {len(steps)} equal steps"]
    if len(flat) <= LISTED_VALUES:
        return [f"    {name} " + ", ".join(map(number, flat))]
    finite = flat[np.isfinite(flat)]
    start = f"    {name} {len(flat)} values"
    if len(finite) < len(flat):
        start += f" ({len(flat) - len(finite)} missing)"
    if not len(finite):
        return [start]
    start += f", {number(finite.min())} to {number(finite.max())}"
    start += f", mean {number(finite.mean(dtype=np.float64))}"
    if exact:
        return [f"{start}, checksum {zlib.crc32(flat.astype('<i8').tobytes()):08x}"]
    if array.ndim == 2 and min(array.shape) > 1:
        rows, columns = (np.array_split(array, min(PARTS // 2, array.shape[k]), axis=k) for k in (0, 1))
        return [f"{start}; rows {offsets_of(rows, finite)}; columns {offsets_of(columns, finite)}"]
    return [f"{start}; parts {offsets_of(np.array_split(flat, PARTS), finite)}"]


def offsets_of(parts: list[np.ndarray], finite: np.ndarray) -> str:
    """How far each part's mean is from the mean of all, signed."""
    mean = finite.mean(dtype=np.float64)
    kept = [part[np.isfinite(part)] for part in parts]
    return " ".join(number(part.mean(dtype=np.float64) - mean) if len(part) else "missing" for part in kept)


def number(value) -> str:
    """An integer as it is; a float with 4 significant digits, always recognizable as a float."""
    if isinstance(value, int | np.integer):
        return str(int(value))
    text = f"{float(value):.4g}"
    if text == "-0":
        text = "0"
    return text if not text.lstrip("-").isdigit() else f"{text}.0"
