"""What counts as the same output: words and whole numbers exactly, floats within 0.1 %."""

import difflib
import math
import re

from llama4lab.store import WIDGET_VIEW

RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-6
# A figure's plotted values have one scale, the largest of the line: noise far below it is not visible.
FIGURE_TOLERANCE = 1e-4
PLOTTED_LINE = "    "  # llama4lab.figures indents lines of plotted values by four spaces

# A float has a decimal point with digits behind it, or an exponent. "2.13.0" holds none, nor does "108,641".
# Spaces before it belong to it: columns are padded to the width of the number.
FLOAT = re.compile(r" *(?<![\w.])([-+]?(?:\d*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+))(?!\.?\d)")
PICTURES = ("image/png", "image/jpeg")  # compared by the text beside them


def same_line(stored: str, now: str, scale: float = 0.0) -> bool:
    """Whether two lines agree: words and integers exactly, floats within 0.1 % (and 1e-6).

    scale: the share of the line's largest float by which floats may differ as well.
    """
    if stored == now:
        return True
    if FLOAT.sub("#", stored) != FLOAT.sub("#", now):
        return False
    pairs = [(float(a[1]), float(b[1])) for a, b in zip(FLOAT.finditer(stored), FLOAT.finditer(now), strict=True)]
    largest = max((abs(value) for pair in pairs for value in pair if math.isfinite(value)), default=0.0)
    allowed = max(ABSOLUTE_TOLERANCE, scale * largest)
    return all(math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=allowed) for a, b in pairs)


def text_difference(stored: str, now: str, figure: bool = False) -> list[str]:
    """The lines that differ, as a diff from stored to now; empty when the texts agree."""
    before, after = stored.splitlines(), now.splitlines()
    if len(before) == len(after):
        scales = [FIGURE_TOLERANCE if figure and line.startswith(PLOTTED_LINE) else 0.0 for line in before]
        # Lines within tolerance are no difference: show them alike.
        after = [a if same_line(a, b, scale) else b for a, b, scale in zip(before, after, scales, strict=True)]
    diff = difflib.unified_diff(before, after, "stored", "now", lineterm="", n=0)
    return [line for line in diff if not line.startswith("@@")]


def output_difference(stored: list, now: list) -> list[str]:
    """Why two lists of outputs of one cell differ, as lines; empty when they agree."""
    if written := written_to_stderr(stored):
        return [f"the stored output holds text written to stderr: {written}"]
    if written := written_to_stderr(now):
        return [f"the cell wrote to stderr: {written}"]
    # Widgets are live: their ids are random, and they are not stored. What an explorer shows without them is compared.
    stored, now = ([o for o in outputs if WIDGET_VIEW not in o.get("data", {})] for outputs in (stored, now))
    kinds_before, kinds_after = [kind_of(output) for output in stored], [kind_of(output) for output in now]
    if kinds_before != kinds_after:
        listed = [f"stored {len(stored)} outputs ({', '.join(kinds_before) or 'none'})"]
        listed += [f"now    {len(now)} outputs ({', '.join(kinds_after) or 'none'})"]
        return ["the number or the kinds of outputs differ", *listed]
    problems = []
    for before, after in zip(stored, now, strict=True):
        if before.output_type == "stream":
            problems += text_difference(before.text, after.text)
            continue
        figure = any(kind in before.data for kind in PICTURES)
        for kind in before.data:
            if kind in PICTURES:
                continue
            a, b = before.data[kind], after.data[kind]
            if isinstance(a, str) and isinstance(b, str):
                problems += text_difference(a, b, figure)
            elif a != b:
                problems += text_difference(repr(a), repr(b))
    return problems


def kind_of(output) -> str:
    if output.output_type == "stream":
        return output.name
    return f"{output.output_type} of {' + '.join(sorted(output.get('data', {})))}"


def written_to_stderr(outputs: list) -> str:
    """The last line written to stderr, or an empty string."""
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            return (output.text.strip().splitlines() or ["(an empty line)"])[-1].strip()
    return ""
