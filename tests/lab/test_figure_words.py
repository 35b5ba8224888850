"""The words of a figure: everything drawn is in them, and values that changed show in a comparison of two of them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from llama4lab.figures import words
from tests.checking.comparison import text_difference


def jagged(count: int = 200) -> np.ndarray:
    return (np.arange(count) * 37 % 101) / 101 + 0.2


def test_everything_drawn_is_described():
    fig = Figure()
    ax = fig.subplots()
    ax.bar(["chunked", "global"], [3, 4], bottom=[1, 0])
    ax.scatter([0.5, 1.5], [2, 3], c=[7, 9], label="seeds")
    ax.fill_between([0, 1], [0, 0], [1, 2])
    ax.hlines([0.25], 0, 1)
    ax.axvspan(0.5, 1)
    ax.annotate("chance", (0, 0.25))
    ax.set(xlabel="layers", ylabel="recall")
    fig.draw_without_rendering()
    text = words.describe(fig)
    for line in (
        "  x ticks: chunked, global",
        "    length 3, 4",
        "    from 1, 0",
        '  points "seeds"',
        "    x 0.5, 1.5",
        "    values 7.0, 9.0",
        "  FillBetweenPolyCollection",
        "  LineCollection",
        "  rectangle",
        "  text: chance",
    ):
        assert line in text.splitlines(), line


# ---- numbers that represent many values --------------------------------------------------------------------


def difference(before, after) -> list[str]:
    texts = ["\n".join(words.data("y", values)) for values in (before, after)]
    return text_difference(*texts, figure=True)


@pytest.mark.parametrize("count", [3, 12, 64, 65, 200])
def test_one_changed_point_shows_wherever_it_is(count):
    values = jagged(count)
    for place in range(count):
        changed = values.copy()
        changed[place] += 0.05
        assert difference(values, changed), f"point {place} of {count}"


@pytest.mark.parametrize("count", [3, 64, 200, 5000])
def test_noise_of_another_processor_does_not_show(count):
    values = jagged(count)
    for seed in range(20):
        noise = np.random.default_rng(seed).uniform(-1, 1, count) * 2e-5
        assert not difference(values, values * (1 + noise))


@pytest.mark.parametrize("edge", [0.1235, 0.12345, 0.99995, 1.0005, 9999.5])
def test_values_on_a_rounding_edge_do_not_show(edge):
    assert not difference([edge - 1e-9], [edge + 1e-9])


def test_noise_around_zero_does_not_show():
    assert not difference([1.0, 3e-8, -0.5], [1.0, -2e-8, -0.5])


def test_exact_data_are_compared_exactly():
    mask = np.tril(np.ones((96, 96), bool))
    changed = mask.copy()
    changed[3, 90] = True
    assert difference(mask, changed)
    assert not difference(mask, mask.copy())
    assert difference([1, 2, 3], [1, 2, 4])


def test_an_image_shows_a_changed_row_and_a_changed_column():
    image = np.random.default_rng(0).random((40, 50))
    for place in ((3, slice(None)), (slice(None), 7)):
        changed = image.copy()
        changed[place] += 0.01
        assert difference(image, changed)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "missing"), (-np.inf, "infinite")])
def test_what_is_not_a_number_is_counted_and_leaves_the_mean(value, kind):
    values = jagged()
    values[[3, 5]] = value
    (line,) = words.data("y", values)
    assert f"(2 {kind}), 0.2 to 1.19, mean" in line and "nan" not in line
    assert difference(jagged(), values)


def test_a_row_of_scores_with_walls_is_listed():
    assert words.data("y", [0.5, -np.inf, 1.0, -np.inf]) == ["    y 0.5, -inf, 1.0, -inf"]


def test_days_are_told_in_short_and_compared():
    days = np.datetime64("2024-01-01") + np.arange(300)
    assert words.data("x", days.tolist()) == ["    x 2024-01-01 to 2024-10-26 in 299 equal steps"]
    weekdays = days[np.is_busday(days)]
    assert words.data("x", weekdays)[0].startswith("    x 215 values, 2024-01-01 to 2024-10-25, checksum ")
    assert difference(weekdays, np.append(weekdays[:-1], days[-1]))


def test_the_text_stays_short():
    assert all(len("\n".join(words.data("y", jagged(count)))) < 700 for count in (64, 65, 200, 100_000))


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (np.int64(3), "3"), (3.0, "3.0"), (-0.0, "0.0"), (0.123456, "0.1235"), (1e-7, "1e-07")],
)
def test_numbers_are_told_as_integers_or_floats(value, text):
    assert words.number(value) == text
