"""What counts as the same: of two outputs, and of a number in prose and one that was printed."""

import pytest
from nbformat.v4 import new_output

from tests.checking.comparison import output_difference, same_line, text_difference
from tests.checking.numbers_in_prose import explained


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("loss 0.1239999", "loss 0.1240001"),
        ("[ 9.9996 1.5]", "[10.0001 1.5]"),
        ("gap 1.2e-08", "gap -3e-09"),
        ("took 1.2345e+04 ms", "took 12345.1 ms"),
        ("p=0.5000.", "p=0.5001."),
    ],
)
def test_small_changes_of_floats_are_the_same(stored, now):
    assert same_line(stored, now)


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("loss 0.124", "loss 0.125"),
        ("108,641,793,536 parameters", "108,641,793,537 parameters"),
        ("1000.", "1001."),
        ("torch 2.13.0", "torch 2.13.1"),
        ("0.5 up", "0.5 down"),
        ("nan", "0.5"),
        ("0.5", "-0.5"),
        ("layer1.5", "layer1.6"),
    ],
)
def test_other_changes_are_not_the_same(stored, now):
    assert text_difference(stored, now) == ["--- stored", "+++ now", f"-{stored}", f"+{now}"]


def test_kinds_and_order_of_outputs_matter():
    text = new_output("stream", name="stdout", text="a\n")
    table, other = (new_output("display_data", data={"text/plain": "t", "text/html": html}) for html in ("t", "u"))
    plain = new_output("display_data", data={"text/plain": "t"})
    assert not output_difference([text, table], [text, table])
    for different in ([table, text], [text, plain], [text, other], [text]):
        assert output_difference([text, table], different)


@pytest.mark.parametrize(
    ("number", "unit", "printed", "same"),
    [
        ("217", " GB", 217_283_587_072, True),
        ("217", " GB", 217.3, True),
        ("217", " GB", 217.6, False),
        ("89", " %", 0.8895, True),
        ("89", "", 0.8895, False),
        ("17", " B", 17_172_894_720, True),
        ("17", "", 17_172_894_720, False),
        ("16,384", "", 16384, True),
        ("16,384", "", 16383, False),
        ("14,000", "", 13_925, True),
        ("1e-5", "", 1e-05, True),
        ("0.12", "", 0.1239999, True),
        ("0.13", "", 0.1239999, False),
    ],
)
def test_a_number_is_that_which_was_printed_as_the_text_rounds_it(number, unit, printed, same):
    assert explained(number, unit, [printed]) == same
