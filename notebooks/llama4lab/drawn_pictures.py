"""Pictures drawn by code, with questions about color, shape, count and position."""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIDE = 48  # pixels; one tile of the proxy
GRIDS = ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1))  # rows and columns of pictures of several tiles
SHAPES = ("circle", "square", "triangle", "cross")
COLORS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "yellow": (235, 205, 20),
    "purple": (145, 50, 170),
    "orange": (245, 130, 20),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
BACKGROUNDS = ((200, 200, 200), (150, 175, 190), (190, 170, 150))
COUNTS = ("no shapes", "one", "two", "three", "four")
CORNERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Drawn:
    """One shape of a picture; `corner` indexes CORNERS."""

    shape: str
    color: str
    corner: int


def draw(shapes: list[Drawn], rng: random.Random, grid: tuple[int, int] = (1, 1)) -> Image.Image:
    """An RGB picture of `grid` rows and columns of tiles, each shape in its corner, its size and place varied a little."""
    width, height = grid[1] * SIDE, grid[0] * SIDE
    scale = min(width, height) / SIDE
    image = Image.new("RGB", (width, height), rng.choice(BACKGROUNDS))
    pen = ImageDraw.Draw(image)
    for drawn in shapes:
        radius = round(scale * rng.randrange(7, 11))
        x = (drawn.corner % 2) * width // 2 + width // 4 + round(scale * rng.randrange(-2, 3))
        y = (drawn.corner // 2) * height // 2 + height // 4 + round(scale * rng.randrange(-2, 3))
        color = COLORS[drawn.color]
        if drawn.shape == "circle":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        elif drawn.shape == "square":
            pen.rectangle((x - radius + 1, y - radius + 1, x + radius - 1, y + radius - 1), fill=color)
        elif drawn.shape == "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=color)
        else:
            arm = max(2, radius // 3)
            pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill=color)
            pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill=color)
    return image


def picture_with_questions(
    rng: random.Random, grid: tuple[int, int] = (1, 1), which: str = "", alike: bool = False
) -> tuple[Image.Image, list[tuple[str, str, str]]]:
    """A picture and its questions: (kind, question, answer) with kind color, shape, count or position.

    Args:
        grid: rows and columns of tiles.
        which: "first" or "second" where a prompt has two pictures; the questions then say which one they mean.
        alike: two to four shapes of one color, or of two colors and one form, so that only both together tell.
    """
    corners = rng.sample(range(4), rng.randrange(2 if alike else 1, 5))
    names = [(shape, color) for shape in SHAPES for color in COLORS]
    if alike:
        shape, *colors = rng.choice(SHAPES), *rng.sample(list(COLORS), 2)
        names = (
            [name for name in names if name[1] in colors] if rng.random() < 0.7 else [n for n in names if n[0] == shape]
        )
    names = rng.sample(names, len(corners))
    shapes = [Drawn(shape, color, corner) for (shape, color), corner in zip(names, corners, strict=True)]
    image = draw(shapes, rng, grid)
    where = f" in the {which} picture" if which else ""
    questions = [("count", f"How many shapes are there{where}?", f"{COUNTS[len(shapes)]}.")]
    for drawn in shapes:
        place = CORNERS[drawn.corner]
        questions += [
            ("color", f"What color is the shape at the {place}{where}?", f"{drawn.color}."),
            ("shape", f"What shape is at the {place}{where}?", f"{drawn.shape}."),
            ("position", f"Where is the {drawn.color} {drawn.shape}{where}?", f"{place}."),
        ]
    return image, questions
