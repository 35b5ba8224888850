"""llama4lab.figures.tables: what is published, and that a table is compared like text."""

import pytest
from nbformat.v4 import new_output

from llama4lab.figures import tables
from tests.checking.comparison import output_difference

ROWS = [("model", "experts", "share"), ("Scout", 16, 0.1581), ("<Maverick>", 1128, 0.0428)]


@pytest.fixture
def publish(monkeypatch):
    """Calls table() and returns what it handed to the notebook, as an output."""
    shown = []
    monkeypatch.setattr(tables, "display", lambda data, raw: shown.append(new_output("display_data", data=data)))

    def call(*arguments, **options):
        tables.table(*arguments, **options)
        return shown[-1]

    return call


def test_a_table_is_html_with_bold_cells_and_text(publish):
    data = publish(ROWS, bold={(1, 2)}, digits=3).data
    left, right = 'align="left" style="text-align:left"', 'align="right"'
    assert data["text/html"].splitlines() == [
        "<table>",
        "<thead>",
        f"<tr><th {left}>model</th><th {right}>experts</th><th {right}>share</th></tr>",
        "</thead>",
        "<tbody>",
        f"<tr><td {left}>Scout</td><td {right}>16</td><td {right}><b>0.158</b></td></tr>",
        f"<tr><td {left}>&lt;Maverick&gt;</td><td {right}>1,128</td><td {right}>0.043</td></tr>",
        "</tbody>",
        "</table>",
    ]
    assert data["text/plain"].splitlines() == [
        "model       experts  share",
        "Scout            16  0.158",
        "<Maverick>    1,128  0.043",
    ]


@pytest.mark.parametrize(
    ("cell", "agrees"),
    [(0.15812, True), (0.16, False), ("0.16", False), (16, False)],
    ids=["0.01 %", "1 %", "word", "int"],
)
def test_floats_in_a_table_agree_within_a_thousandth_and_all_else_exactly(publish, cell, agrees):
    now = [ROWS[0], ("Scout", 16, cell), ROWS[2]]
    stored, again = publish(ROWS, digits=5), publish(now, digits=5)
    assert (not output_difference([stored], [again])) == agrees


def test_a_lost_bold_mark_is_a_difference(publish):
    assert output_difference([publish(ROWS, bold={(1, 2)})], [publish(ROWS)])


@pytest.mark.parametrize(
    ("rows", "bold", "problem"),
    [([("a", "b"), (1,)], (), "one length, got rows of .1, 2. cells"), (ROWS, {(3, 0)}, r"not there: \[\(3, 0\)\]")],
)
def test_what_is_no_table_is_refused(publish, rows, bold, problem):
    with pytest.raises(ValueError, match=problem):
        publish(rows, bold=bold)
