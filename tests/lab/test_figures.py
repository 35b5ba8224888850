"""Figures: what is published beside the picture, what is refused, and colors that can be told apart."""

import base64
import io
import itertools
import re

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

from llama4lab import figures
from llama4lab.figures import publish

ALT = "A figure made to try the publishing of figures."


@pytest.fixture(autouse=True)
def course_style():
    with matplotlib.rc_context():
        figures.use_style()
        yield
    plt.close("all")


@pytest.fixture
def published(monkeypatch):
    """What show() handed to the notebook: a list of (data, metadata)."""
    shown = []
    monkeypatch.setattr(publish, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    return shown


def curve(values) -> matplotlib.figure.Figure:
    fig, ax = plt.subplots()
    ax.plot(values, label="run 1")
    ax.set(xlabel="step", ylabel="loss (nats per token)", title="Loss")
    return fig


# ---- what is published -------------------------------------------------------------------------------------


def test_show_publishes_picture_alt_and_numbers_and_closes(published):
    fig = curve([0.5, 0.25, 0.125])
    figures.show(fig, f"  {ALT}\n")
    (data, metadata), *more = published
    assert not more
    assert data["text/plain"].splitlines() == [
        ALT,
        'axes 1: "Loss", x "step", y "loss (nats per token)"',
        '  line "run 1"',
        "    x 0.0, 1.0, 2.0",
        "    y 0.5, 0.25, 0.125",
    ]
    assert metadata == {"image/png": {"alt": ALT, "width": 600}}
    assert not plt.fignum_exists(fig.number)


def test_the_picture_has_twice_the_pixels_it_is_shown_with_and_the_same_bytes_each_time(published):
    for _ in range(2):
        figures.show(curve(np.random.default_rng(0).random(200)), ALT)
    first, second = (base64.b64decode(data["image/png"]) for data, _ in published)
    assert first == second and len(first) < 150_000
    picture = Image.open(io.BytesIO(first))
    assert picture.width == 1200 and not picture.text
    white = picture.convert("RGB").getpixel((0, 0))
    assert white == (255, 255, 255)


@pytest.mark.parametrize("alt", ["", None, "too short", " " * 30])
def test_alt_text_is_demanded(published, alt):
    with pytest.raises(ValueError, match="alt text of .* say in a sentence"):
        figures.show(curve([1.0]), alt)
    assert not published


def test_wide_figures_are_refused(published):
    fig = curve([1.0])
    fig.set_figwidth(8)
    with pytest.raises(ValueError, match="8 inches wide"):
        figures.show(fig, ALT)
    assert not published


@pytest.mark.parametrize(("labels", "missing"), [({"xlabel": "a"}, "no y label"), ({"ylabel": "a"}, "no x label")])
def test_axis_labels_are_demanded(published, labels, missing):
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    ax.set(**labels)
    with pytest.raises(ValueError, match=f"axes 1 has {missing}"):
        figures.show(fig, ALT)
    assert not published


def test_labels_may_be_shared_and_color_bars_need_one():
    fig, (left, right) = plt.subplots(1, 2, sharey=True)
    left.set(xlabel="a", ylabel="b")
    right.set(xlabel="a")
    assert not publish.missing_labels(fig)
    image = right.imshow(np.eye(3))
    bar = fig.colorbar(image)
    assert publish.missing_labels(fig) == ["axes 3 is a color bar without a label"]
    bar.set_label("score")
    assert not publish.missing_labels(fig)


def test_names_of_categories_need_no_label():
    fig, ax = plt.subplots()
    ax.barh(["as stored", "in 4 bits"], [217, 54])
    ax.set_xlabel("GB")
    assert not publish.missing_labels(fig)


def test_what_cannot_be_described_is_refused_unless_its_words_are_given(published):
    fig, ax = plt.subplots()
    ax.set_axis_off()
    ax.table([["a"]])
    with pytest.raises(ValueError, match="cannot put a Table into words; say what it shows: show.fig, alt, values="):
        figures.show(fig, ALT)
    figures.show(fig, ALT, values={"angle in degrees": [0.0, 57.3], "hand": "turns by one radian"})
    (data, _), *more = published
    assert data["text/plain"].splitlines()[1:] == ["    angle in degrees 0.0, 57.3", "    hand turns by one radian"]
    assert not more


def test_names_of_days_on_an_axis_are_told_in_short(published):
    days = np.datetime64("2024-01-01") + np.arange(300)
    fig, ax = plt.subplots()
    ax.plot([str(day) for day in days], np.random.default_rng(0).random(300))
    ax.set(xlabel="day", ylabel="share")
    figures.show(fig, ALT)
    assert len(published[0][0]["text/plain"]) < 700


# ---- colors ------------------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", severity 1.0, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(color: str, vision: np.ndarray) -> np.ndarray:
    """CIELAB coordinates of a color as someone with this vision sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = RGB_TO_XYZ @ np.clip(vision @ linear, 0, 1) / RGB_TO_XYZ.sum(axis=1)
    fx, fy, fz = (np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def least_distance(colors, vision: np.ndarray) -> float:
    seen = [lab(color, vision) for color in colors]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_are_told_apart_with_every_vision(vision):
    experts = [figures.expert_color(expert) for expert in range(16)]
    assert least_distance(experts, VISIONS[vision]) > 20
    assert least_distance(figures.PALETTE, VISIONS[vision]) > 10


def test_an_expert_keeps_its_color_and_128_have_128():
    assert [figures.expert_color(e, 4) for e in range(4)] == [figures.expert_color(e, 16) for e in range(4)]
    assert [figures.expert_color(e, 128) for e in range(16)] == [figures.expert_color(e) for e in range(16)]
    assert len({figures.expert_color(expert, 128) for expert in range(128)}) == 128


@pytest.mark.parametrize("expert", [-1, 16])
def test_an_unknown_expert_is_told(expert):
    with pytest.raises(ValueError, match=f"no expert {expert} among 16"):
        figures.expert_color(expert)


def test_text_is_readable_on_every_expert():
    for expert in range(128):
        color = figures.expert_color(expert, 128)
        light, dark = sorted((figures.luminance(color), figures.luminance(figures.text_color(color))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, color


# ---- tokens ------------------------------------------------------------------------------------------------


def test_tokens_are_shown_with_their_experts(published):
    tokens = ["The", " cat", "\n", " दिन", "", "日"]
    figures.show(figures.color_tokens(tokens, [0, 3, 15, 1, 2, 4], title="Layer 1"), ALT)
    assert published[0][0]["text/plain"].splitlines()[2] == (
        "  text: Layer 1 | The | 0 | ·cat | 3 | ↵ | 15 | ·□□□ | 1 | ∅ | 2 | □ | 4"
    )


def test_long_sentences_wrap_inside_the_figure():
    fig = figures.color_tokens([f" token{number}" for number in range(60)], [number % 16 for number in range(60)])
    (ax,) = fig.axes
    low, high = ax.get_xlim()
    boxes = [patch.get_window_extent().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert len(boxes) == 60
    assert all(low <= box.xmin and box.xmax <= high for box in boxes)
    texts = [text for text in ax.texts if re.search("token", text.get_text())]
    renderer = fig.canvas.get_renderer()
    for text, patch in zip(texts, ax.patches, strict=True):
        assert text.get_window_extent(renderer).width < patch.get_window_extent(renderer).width
    bottom, top = sorted(ax.get_ylim())
    assert all(bottom <= box.ymin and box.ymax <= top for box in boxes)


@pytest.mark.parametrize(("tokens", "experts"), [(["a"], [0, 1]), ([], [])])
def test_tokens_and_experts_must_match(tokens, experts):
    with pytest.raises(ValueError, match="one expert a token"):
        figures.color_tokens(tokens, experts)


def test_an_expert_out_of_range_is_told():
    with pytest.raises(ValueError, match="no expert 16 among 16"):
        figures.color_tokens(["a"], [16])


def test_paths_are_shown_token_by_token_from_the_first_layer_down(published):
    tokens, experts = ["The", " cat", "\n"], [[0, 3, 15], [7, 3, 1]]
    figures.show(figures.color_token_paths(tokens, experts, [1, 3], title="Paths"), ALT)
    assert published[0][0]["text/plain"].splitlines()[2] == (
        "  text: Paths | 1 | 3 | The | 0 | 7 | ·cat | 3 | 3 | ↵ | 15 | 1"
    )


def test_cells_of_a_path_have_the_experts_colors_and_lie_below_each_other():
    fig = figures.color_token_paths(["a", " bc"], [[0, 3], [7, 15]], [0, 1])
    cells = fig.axes[0].patches
    assert [to_rgb(cell.get_facecolor()) for cell in cells] == [to_rgb(figures.expert_color(e)) for e in (0, 7, 3, 15)]
    assert cells[0].get_x() == cells[1].get_x() < cells[2].get_x() == cells[3].get_x()
    assert cells[0].get_y() == cells[2].get_y() < cells[1].get_y() == cells[3].get_y()


def test_long_paths_wrap_inside_the_figure():
    experts = [[(number + layer) % 16 for number in range(60)] for layer in range(4)]
    fig = figures.color_token_paths([f" token{number}" for number in range(60)], experts, range(4))
    (ax,) = fig.axes
    low, high = ax.get_xlim()
    bottom, top = sorted(ax.get_ylim())
    cells = [cell.get_window_extent().transformed(ax.transData.inverted()) for cell in ax.patches]
    assert len(cells) == 4 * 60
    assert all(low <= cell.xmin and cell.xmax <= high for cell in cells)
    assert all(bottom <= cell.ymin and cell.ymax <= top for cell in cells)
    renderer = fig.canvas.get_renderer()
    texts = [text for text in ax.texts if re.search("token", text.get_text())]
    for text, cell in zip(texts, ax.patches[::4], strict=True):
        assert text.get_window_extent(renderer).width < cell.get_window_extent(renderer).width


@pytest.mark.parametrize(
    ("tokens", "experts", "layers"), [(["a"], [[0, 1]], [0]), (["a"], [[0]], [0, 1]), ([], [[]], [0]), (["a"], [], [])]
)
def test_paths_must_fit_tokens_and_layers(tokens, experts, layers):
    with pytest.raises(ValueError, match="one expert a token and layer"):
        figures.color_token_paths(tokens, experts, layers)
