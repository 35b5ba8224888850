"""The ledger of claims: its form, its bond with the notebooks, and what `check` accepts and refuses."""

import ast
import datetime
import json
import re
from pathlib import Path

import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from llama4lab.claims import EVIDENCE, LEDGER, ClaimError, agrees, check, read_ledger
from llama4lab.store import read_notebook

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = read_ledger()
CHECKED = sorted(name for name, entry in CLAIMS.items() if entry["evidence"] != "published")
PUBLISHED = sorted(CLAIMS.keys() - set(CHECKED))
FIELDS = {"id", "claim", "by", "verdict", "evidence", "value", "notebook", "source", "tolerance", "checked"}
ARTICLE_CLAIMS = 22
CLAIM_LINE = re.compile(r"^claim (\S+): (.*)$", re.MULTILINE)


def stored_lines(path: Path) -> list[tuple[int, str, str, str]]:
    """The lines that `check` printed in a notebook: (number of the cell, its source, claim, rest of the line)."""
    lines = []
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        printed = "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")
        lines += [(number, cell.source, *found) for found in CLAIM_LINE.findall(printed)]
    return lines


def calls_check(source: str) -> bool:
    tree = ast.parse(TransformerManager().transform_cell(source))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(getattr(call, "attr", getattr(call, "id", "")) == "check" for call in calls)


def claim_problems(name: str, entry: dict, path: Path) -> list[str]:
    """Why the notebook at `path` does not settle a claim; empty when an executed cell of it does."""
    if not path.exists():
        return [f"claim {name} names the notebook {entry['notebook']}, which does not exist"]
    lines = [found for found in stored_lines(path) if found[2] == name]
    if not lines:
        return [f"claim {name} is checked by no executed cell of {entry['notebook']}"]
    expected = f"{entry['value']} ({entry['evidence']})"
    problems = [
        f"cell {number} of {entry['notebook']} prints claim {name}, but does not call claims.check"
        for number, source, _, _ in lines
        if not calls_check(source)
    ]
    problems += [
        f"cell {number} of {entry['notebook']} was stored when the ledger said otherwise: {printed}, not {expected}"
        for number, _, _, printed in lines
        if printed != expected
    ]
    return problems


# ---- the ledger and the notebooks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKED)
def test_computed_and_measured_claims_are_checked_by_an_executed_cell(name):
    entry = CLAIMS[name]
    assert not claim_problems(name, entry, ROOT / "notebooks" / f"{entry['notebook']}.ipynb")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_claims_have_a_source_and_no_value(name):
    entry = CLAIMS[name]
    assert re.search(r"https://\S+\.\S+|arXiv[ :]\d{4}\.\d{4,5}", entry["source"])
    assert "value" not in entry


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_entries_are_well_formed(name):
    entry = CLAIMS[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name)
    assert entry.keys() <= FIELDS
    assert all(isinstance(entry[field], str) and entry[field].strip() for field in ("claim", "by", "verdict"))
    assert isinstance(entry["checked"], datetime.date)
    assert "tolerance" not in entry or 0 < entry["tolerance"] < 0.1


def test_ledger_is_sorted_and_whole():
    names = [entry["id"] for entry in yaml.safe_load(LEDGER.read_text(encoding="utf-8"))]
    assert names == sorted(names)
    assert {entry["evidence"] for entry in CLAIMS.values()} == set(EVIDENCE)
    numbers = [int(found[1]) for name in names if (found := re.match(r"article-(\d\d)-", name))]
    assert numbers == list(range(1, ARTICLE_CLAIMS + 1))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_print_only_claims_that_name_them(path):
    strangers = [name for *_, name, _ in stored_lines(path) if CLAIMS.get(name, {}).get("notebook") != path.stem]
    assert not strangers


def write_notebook(path: Path, source: str, printed: str) -> None:
    """A notebook of one cell that printed `printed`; empty for a cell that was not executed."""
    outputs = [{"output_type": "stream", "name": "stdout", "text": printed}] if printed else []
    cell = {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": source, "outputs": outputs}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "printed", "problem"),
    [
        ('claims.check("one-claim", 3)', "claim one-claim: 3 (computed)\n", None),
        ('claims.check("one-claim", 3)', "", "no executed cell"),
        ('claims.check("one-claim", 3)', "claim another-claim: 3 (computed)\n", "no executed cell"),
        ('claims.check("one-claim", 2)', "claim one-claim: 2 (computed)\n", "when the ledger said otherwise"),
        ('claims.check("one-claim", 3)', "claim one-claim: 3 (measured)\n", "when the ledger said otherwise"),
        ('print("claim one-claim: 3 (computed)")', "claim one-claim: 3 (computed)\n", "does not call claims.check"),
    ],
)
def test_a_claim_that_no_cell_settles_is_found(tmp_path, source, printed, problem):
    entry = {"value": 3, "evidence": "computed", "notebook": "one"}
    write_notebook(tmp_path / "one.ipynb", source, printed)
    found = claim_problems("one-claim", entry, tmp_path / "one.ipynb")
    assert not found if problem is None else problem in found[0]


def test_a_claim_of_a_missing_notebook_is_found(tmp_path):
    entry = {"value": 3, "evidence": "computed", "notebook": "one"}
    assert "does not exist" in claim_problems("one-claim", entry, tmp_path / "one.ipynb")[0]


# ---- reading the ledger ------------------------------------------------------------------------------------

GOOD = {"id": "a-b", "claim": "It is so.", "by": "someone", "verdict": "true", "checked": "2026-11-23"}
COMPUTED = GOOD | {"evidence": "computed", "value": 17, "notebook": "00_start_here"}
MEASURED = GOOD | {"id": "c-d", "evidence": "measured", "value": [0.5, 2], "notebook": "00_start_here"}
READ = GOOD | {"id": "e-f", "evidence": "published", "source": "https://example.org/x"}


def write_ledger(folder: Path, *entries: dict) -> Path:
    path = folder / "claims.yml"
    path.write_text(yaml.safe_dump(list(entries)), encoding="utf-8")
    return path


def without(entry: dict, field: str) -> dict:
    return {name: value for name, value in entry.items() if name != field}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([without(COMPUTED, "verdict")], "Claim 'a-b' in claims.yml lacks verdict; add it."),
        ([without(COMPUTED, "value")], "Claim 'a-b' in claims.yml lacks value; add it."),
        ([without(MEASURED, "notebook")], "Claim 'c-d' in claims.yml lacks notebook; add it."),
        ([without(READ, "source")], "Claim 'e-f' in claims.yml lacks source; add it."),
        ([READ | {"source": ""}], "Claim 'e-f' in claims.yml lacks source; add it."),
        ([COMPUTED | {"evidence": "guessed"}], "has evidence 'guessed'; use one of computed, measured, published."),
        ([COMPUTED, MEASURED, COMPUTED], "Claim 'a-b' stands twice in claims.yml; rename one."),
    ],
)
def test_a_faulty_ledger_is_refused(tmp_path, entries, sentence):
    with pytest.raises(ClaimError, match=re.escape(sentence)):
        read_ledger(write_ledger(tmp_path, *entries))


def test_a_value_that_is_false_or_zero_is_a_value(tmp_path):
    path = write_ledger(tmp_path, COMPUTED | {"value": 0}, MEASURED | {"value": False})
    assert [entry["value"] for entry in read_ledger(path).values()] == [0, False]


# ---- check -------------------------------------------------------------------------------------------------


def test_check_prints_one_line_for_a_value_that_agrees(tmp_path, capsys):
    path = write_ledger(tmp_path, COMPUTED, MEASURED)
    check("a-b", 17, path)
    check("c-d", [0.50001, 2], path)
    assert capsys.readouterr().out == "claim a-b: 17 (computed)\nclaim c-d: [0.5, 2] (measured)\n"


@pytest.mark.parametrize(
    ("claim", "value", "sentence"),
    [
        ("a-b", 16, "Claim 'a-b': this cell found 16, the ledger says 17; one of them is wrong."),
        ("a-b", 17.0, "this cell found 17.0, the ledger says 17"),
        ("c-d", [0.51, 2], "this cell found [0.51, 2], the ledger says [0.5, 2]"),
        ("c-d", [0.5], "this cell found [0.5], the ledger says [0.5, 2]"),
        ("x-y", 17, "There is no claim 'x-y' in claims.yml; known are a-b, c-d, e-f."),
        ("e-f", 17, "Claim 'e-f' rests on a publication, so there is no value to check; cite its source."),
    ],
)
def test_check_refuses(tmp_path, capsys, claim, value, sentence):
    path = write_ledger(tmp_path, COMPUTED, MEASURED, READ)
    with pytest.raises(ClaimError, match=re.escape(sentence)):
        check(claim, value, path)
    assert capsys.readouterr().out == ""


def test_check_uses_the_tolerance_of_the_entry(tmp_path):
    path = write_ledger(tmp_path, COMPUTED | {"value": 100.0, "tolerance": 0.05}, MEASURED | {"value": 100.0})
    check("a-b", 104.0, path)
    check("c-d", 100.09, path)
    for claim, value in (("a-b", 106.0), ("c-d", 100.2)):
        with pytest.raises(ClaimError):
            check(claim, value, path)


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        (3, 3, True),
        (3, 4, False),
        (True, True, True),
        (1, True, False),
        (True, 1, False),
        (True, 1.0, False),
        (1, 1.0, True),
        (1.0005, 1.0, True),
        (1.002, 1.0, False),
        (float("nan"), 1.0, False),
        ("top-1", "top-1", True),
        ("top-2", "top-1", False),
        ((1.0, 2), [1.0, 2], True),
        ([1.0, 2, 3], [1.0, 2], False),
        (1.0, [1.0], False),
    ],
)
def test_agrees(value, expected, same):
    assert agrees(value, expected, 1e-3) is same
