"""Tables: HTML with the decisive cells in bold, and the same as columns of text."""

import re
from collections.abc import Collection, Sequence
from html import escape

from IPython.display import display

NUMERIC = re.compile(r"[-+]?[.\d]|$")  # how the cells of a column of numbers start; some may be empty


def table(rows: Sequence[Sequence], bold: Collection[tuple[int, int]] = (), digits: int = 2) -> None:
    """Publish rows of cells as an HTML table and as text; both are compared when the course is checked.

    rows: the first one is the heading. Whole numbers get commas, other numbers `digits` digits; anything else, such
        as "0.73 of 1" or "15.8 %", is shown as it is. A column of numbers is aligned at its right.
    bold: the decisive cells, as (row, column) in rows.
    Raises ValueError when rows differ in length, or bold names a cell that is not there.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"a table's rows have one length, got rows of {sorted(lengths)} cells.")
    places = {(row, column) for row in range(len(rows)) for column in range(len(rows[0]))}
    if not set(bold) <= places:
        raise ValueError(f"bold names cells that are not there: {sorted(set(bold) - places)}; row 0 is the heading.")
    cells = [[cell_text(cell, digits) for cell in row] for row in rows]
    right = [all(NUMERIC.match(row[column]) for row in cells[1:]) for column in range(len(cells[0]))]
    display({"text/html": html_table(cells, right, bold), "text/plain": text_table(cells, right)}, raw=True)


def cell_text(cell, digits: int) -> str:
    """What a cell shows. NumPy's and torch's numbers are numbers too."""
    number = cell.item() if hasattr(cell, "item") else cell
    if isinstance(number, bool):
        return "yes" if number else "no"
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:,.{digits}f}" if isinstance(number, float) else str(number)


def html_table(cells: list[list[str]], right: list[bool], bold: Collection[tuple[int, int]] = ()) -> str:
    # JupyterLab aligns cells at their right where no style speaks, other pages at their left: hence both ways.
    sides = ['align="right"' if is_right else 'align="left" style="text-align:left"' for is_right in right]
    lines = []
    for place, row in enumerate(cells):
        kind = "td" if place else "th"
        shown = [
            f"<b>{escape(cell)}</b>" if (place, column) in bold else escape(cell) for column, cell in enumerate(row)
        ]
        lines.append(
            "<tr>"
            + "".join(f"<{kind} {side}>{cell}</{kind}>" for side, cell in zip(sides, shown, strict=True))
            + "</tr>"
        )
    return "\n".join(["<table>", "<thead>", lines[0], "</thead>", "<tbody>", *lines[1:], "</tbody>", "</table>"])


def text_table(cells: list[list[str]], right: list[bool]) -> str:
    """The cells as lines of text, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
