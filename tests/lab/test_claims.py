"""The ledger of claims: its form, its bond with the notebooks, and what `check` accepts and refuses."""

import ast
import datetime
import json
import re
from pathlib import Path

import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from llama4lab.checkpoints import known_proxies
from llama4lab.claims import EVIDENCE, LEDGER, ClaimError, agrees, check, read_ledger
from llama4lab.scoreboard import OUTCOMES
from llama4lab.store import read_notebook

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = read_ledger()
CHECKED = sorted(name for name, entry in CLAIMS.items() if entry["evidence"] != "published")
PUBLISHED = sorted(CLAIMS.keys() - set(CHECKED))
FIELDS = {
    "id",
    "claim",
    "by",
    "verdict",
    "outcome",
    "evidence",
    "value",
    "model",
    "notebook",
    "source",
    "tolerance",
    "checked",
}
ARTICLE_CLAIMS = 22


def checked_claims(path: Path) -> set[str]:
    """Regular expressions of the claims that the executed cells of a notebook check; `.+` for what an f-string fills."""
    patterns = set()
    for cell in read_notebook(path).cells:
        if cell.cell_type == "code" and cell.execution_count and "claims.check" in cell.source:
            for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "claims.check":
                    parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
                    patterns.add(
                        "".join(
                            re.escape(getattr(part, "value", "")) if isinstance(part, ast.Constant) else ".+"
                            for part in parts
                        )
                    )
    return patterns


def is_checked(claim: str, path: Path) -> bool:
    return any(re.fullmatch(pattern, claim) for pattern in checked_claims(path))


# ---- the ledger and the notebooks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKED)
def test_computed_and_measured_claims_are_checked_by_an_executed_cell(name):
    assert is_checked(name, ROOT / "notebooks" / f"{CLAIMS[name]['notebook']}.ipynb")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_check_only_claims_that_name_them(path):
    own = [name for name in CHECKED if CLAIMS[name]["notebook"] == path.stem]
    assert not [pattern for pattern in checked_claims(path) if not any(re.fullmatch(pattern, name) for name in own)]


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
    assert entry.get("model", "scout-proxy") in known_proxies()


def test_ledger_is_sorted_and_whole():
    names = [entry["id"] for entry in yaml.safe_load(LEDGER.read_text(encoding="utf-8"))]
    assert names == sorted(names)
    assert {entry["evidence"] for entry in CLAIMS.values()} == set(EVIDENCE)
    numbers = [int(found[1]) for name in names if (found := re.match(r"article-(\d\d)-", name))]
    assert numbers == list(range(1, ARTICLE_CLAIMS + 1))


def test_claims_of_the_article_and_no_others_have_an_outcome():
    judged = {name: entry["outcome"] for name, entry in CLAIMS.items() if "outcome" in entry}
    assert judged.keys() == {name for name in CLAIMS if name.startswith("article-")}
    assert set(judged.values()) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("source", "execution_count", "checked"),
    [
        ('claims.check("one-claim", 3)', 1, True),
        ('for name in names:\n    claims.check(f"{name}-claim", 3)', 1, True),
        ('claims.check("one-claim", 3)', None, False),
        ('claims.check("another-claim", 3)', 1, False),
        ('print("one-claim")  # no claims.check', 1, False),
    ],
)
def test_a_claim_that_no_executed_cell_checks_is_noticed(tmp_path, source, execution_count, checked):
    cell = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": execution_count,
        "source": source,
        "outputs": [],
    }
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    (tmp_path / "one.ipynb").write_text(json.dumps(content), encoding="utf-8")
    assert is_checked("one-claim", tmp_path / "one.ipynb") is checked


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
        ([COMPUTED, MEASURED, COMPUTED], "Claim 'a-b' occurs twice in claims.yml; rename one."),
    ],
)
def test_a_faulty_ledger_is_refused(tmp_path, entries, sentence):
    with pytest.raises(ClaimError, match=re.escape(sentence)):
        read_ledger(write_ledger(tmp_path, *entries))


@pytest.mark.parametrize("content", ["- id: [", "claims: none", "- only words", ""])
def test_a_damaged_ledger_is_named(tmp_path, content):
    path = tmp_path / "claims.yml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ClaimError, match=r"assets/claims\.yml .*: restore it"):
        read_ledger(path)


def test_a_value_that_is_false_or_zero_is_a_value(tmp_path):
    path = write_ledger(tmp_path, COMPUTED | {"value": 0}, MEASURED | {"value": False})
    assert [entry["value"] for entry in read_ledger(path).values()] == [0, False]


# ---- check -------------------------------------------------------------------------------------------------


def test_check_is_silent_about_a_value_that_agrees(tmp_path, capsys):
    path = write_ledger(tmp_path, COMPUTED, MEASURED)
    check("a-b", 17, path)
    check("c-d", [0.50001, 2], path)
    assert capsys.readouterr() == ("", "")


def test_a_claim_about_one_model_is_compared_on_that_model_alone(tmp_path, capsys, monkeypatch):
    path = write_ledger(tmp_path, MEASURED | {"model": "scout-proxy"})
    monkeypatch.delenv("LLAMA4_CHECKPOINT", raising=False)
    with pytest.raises(ClaimError, match="found 7"):
        check("c-d", 7, path)
    monkeypatch.setenv("LLAMA4_CHECKPOINT", "maverick-proxy")
    check("c-d", 7, path)
    assert capsys.readouterr().out == "c-d on maverick-proxy: found 7, scout-proxy: [0.5, 2].\n"
    with pytest.raises(ClaimError, match="found 7"):
        check("c-d", 7, write_ledger(tmp_path, MEASURED))


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
