"""Explorers that need no kernel: HTML with a little script, and a still for where scripts do not run (GitHub)."""

import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from IPython.display import display

from llama4lab.figures.tables import html_table, text_table

FOLDER = Path(__file__).parent
NO_SCRIPT = "Where this page runs scripts, controls take the place of this still."

Pairs = list[tuple[str, str]]  # what an explorer shows of one state: names of quantities and their values as text


def publish_explorer(name: str, settings: Mapping, still: str, text: str) -> None:
    """Show the explorer of `name`.js, which gets `settings`, among them its controls.

    Args:
        still: HTML of a few states, shown until the script takes its place.
        text: the same as text, for terminals.
    """
    # JSON inside a script must not end the script.
    shown = json.dumps(settings, indent=1).replace("</", "<\\/")
    page = f"""<div data-explorer="{name}">
{still}
</div>
<script>
(() => {{
const settings = {shown};
{script(name)}
for (const root of document.querySelectorAll('[data-explorer="{name}"]:not([data-live])')) {{
  startExplorer(root, settings, draw, typeof adjust === "function" ? adjust : undefined);
}}
}})();
</script>"""
    display({"text/html": page, "text/plain": text}, raw=True)


def script(name: str) -> str:
    """The script of an explorer: what all share, and its own arithmetic."""
    return "".join((FOLDER / file).read_text(encoding="utf-8") for file in ("page.js", f"{name}.js"))


def publish_table_explorer(name: str, settings: Mapping, states: Mapping[str, Pairs]) -> None:
    """Show the explorer of `name`.js, its still a table with a column for each of `states`, by title."""
    columns = list(states.values())
    rows = [["", *states]]
    rows += [[label, *(dict(pairs)[label] for pairs in columns)] for label, _ in columns[0]]
    right = [False] * len(rows[0])
    still = f"{html_table(rows, right)}\n<p>{NO_SCRIPT}</p>"
    publish_explorer(name, settings, still, text_table(rows, right))


def choice(name: str, label: str, options: Sequence, value) -> dict:
    """A control with a list of options: values, or pairs of a text and a value."""
    pairs = [option if isinstance(option, tuple) else (str(option), option) for option in options]
    return {"name": name, "label": label, "options": pairs, "value": value}


def slider(name: str, label: str, least: int, most: int, value: int) -> dict:
    """A control for a whole number."""
    return {"name": name, "label": label, "min": least, "max": most, "value": value}


def fixed(value: float, digits: int) -> str:
    """A number with commas and so many digits, halves rounded up as scripts round them."""
    return f"{Decimal(str(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):,}"
