"""The look of every figure of the course: its size, its fonts, its colors."""

import matplotlib
from matplotlib.colors import to_hex, to_rgb

MAX_WIDTH = 6.0  # inches
SHOWN_DPI = 100  # dots an inch at which a figure is shown: 600 pixels fit a notebook's column
STORED_DPI = 200  # dots an inch that the picture holds, for screens with two dots a pixel

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
    "figure.labelsize": 9,
    "figure.titlesize": 10,
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
