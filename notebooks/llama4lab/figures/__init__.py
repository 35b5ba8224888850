"""One family of figures, tables and drawings, each published with words and numbers beside the picture."""

from llama4lab.figures.publish import show
from llama4lab.figures.style import EXPERT_COLORS, PALETTE, expert_color, luminance, text_color, use_style
from llama4lab.figures.tables import table
from llama4lab.figures.tokens import color_token_paths, color_tokens

__all__ = [
    "EXPERT_COLORS",
    "PALETTE",
    "color_token_paths",
    "color_tokens",
    "expert_color",
    "luminance",
    "show",
    "table",
    "text_color",
    "use_style",
]
