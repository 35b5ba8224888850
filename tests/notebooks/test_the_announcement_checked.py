"""Notebook 18: each of the article's claims has its verdict, evidence and link; its intervals, ratings and fusion hold."""

import re

import numpy as np
import pytest
import torch

from llama4lab.checkpoints import load_checkpoint
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.scoreboard import article_claims
from llama4lab.store import read_notebook

NUMBER = "18"
SECTIONS = {"2": "holds", "3": "in part", "4": "fails", "5": "opinion"}
CLAIM = re.compile(r"\*\*(?P<number>\d\d) · “(?P<claim>[^”]+)\.”\*\* (?P<verdict>.+)")


def judged_claims() -> dict[str, dict]:
    """Each claim that the notebook judges, by its number: its words, what is said of it, and its section's outcome."""
    (path,) = NOTEBOOKS.glob(f"{NUMBER}_*.ipynb")
    section, judged = "", {}
    for cell in read_notebook(path).cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            section = re.sub(r"^## (\d+)\..*", r"\1", line) if line.startswith("## ") else section
            if match := CLAIM.fullmatch(line):
                assert match["number"] not in judged
                judged[match["number"]] = match.groupdict() | {"outcome": SECTIONS.get(section)}
    return judged


JUDGED = judged_claims()
LEDGER = {entry["id"].split("-")[1]: entry for entry in article_claims()}


def test_all_claims_are_judged_and_no_others():
    assert JUDGED.keys() == LEDGER.keys()


@pytest.mark.parametrize("number", LEDGER)
def test_a_claim_has_its_words_verdict_evidence_and_link(number):
    judged, entry = JUDGED[number], LEDGER[number]
    assert judged["claim"] == entry["claim"].rstrip(".")
    assert judged["outcome"] == entry["outcome"]
    assert f"*{entry['evidence']}*" in judged["verdict"]
    links = re.findall(r"\]\(([^)\s]+)\)", judged["verdict"])
    if entry["evidence"] == "published" or entry["notebook"].startswith(NUMBER):
        assert set(links) & set(entry["source"].split("; "))
    else:
        assert any(link.startswith(f"{entry['notebook']}.ipynb") for link in links)


def test_half_width_is_what_drawing_questions_gives(notebook):
    rng = np.random.default_rng(0)
    draws = 100 * (rng.binomial(400, [0.6, 0.5], (20_000, 2)) / 400)  # two models, each on its own 400 questions
    beyond = np.abs(draws[:, 0] - draws[:, 1] - 10) > notebook["half_width"](60, 50, 400)
    assert beyond.mean() == pytest.approx(0.05, abs=0.01)


def test_a_paired_interval_ignores_questions_on_which_both_agree(notebook):
    first, second = np.array([True] * 50 + [False] * 50), np.array([True] * 47 + [False] * 53)
    difference, half = notebook["paired_difference"](first, second)
    assert difference == pytest.approx(-3)
    assert half == pytest.approx(1.96 * 100 * np.sqrt(0.03 * 0.97 / 100))
    assert notebook["paired_difference"](first, first) == (0, 0)


def test_ratings_are_those_that_made_the_votes(notebook):
    rng = np.random.default_rng(1)
    true = {"a": 1100.0, "b": 1000.0, "c": 900.0}
    votes = []
    for _ in range(20_000):
        first, second = (str(name) for name in rng.permutation(list(true))[:2])
        wins = rng.random() < 1 / (1 + 10 ** ((true[second] - true[first]) / 400))
        votes.append((first, second, 0.0) if wins else (second, first, 0.0))
    assert notebook["ratings"](votes) == pytest.approx(true, abs=12)


def test_the_lead_by_rating_is_zero_where_style_decides_a_sixth_of_the_votes(notebook):
    lead = notebook["rating_lead"]
    assert lead(0.7, 0.5, 1 / 6) == pytest.approx(0, abs=1e-9)
    assert lead(0.7, 0.5, 0.1) > 0 > lead(0.7, 0.5, 0.2)


def test_an_answer_counts_only_as_a_whole(notebook):
    processor, model = load_checkpoint("scout-proxy")
    prompt = "<|begin_of_text|>Hugo lives in Oslo. Where does Hugo live?"
    asked = [{"prompt": prompt, "answer": answer} for answer in (" Oslo.", " Oslo, Oslo.", " Rome.")]
    assert notebook["answered"](model, processor.tokenizer, asked).tolist() == [True, False, False]


def test_rounding_leaves_the_model_and_what_is_no_expert_as_it_is(notebook):
    _, model = load_checkpoint("scout-proxy")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    rounded = dict(notebook["with_rounded_experts"](model, 4).named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    changed = {name for name, weight in rounded.items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if ".experts." in name}
    for name in changed:
        assert all(len(column.unique()) <= 15 for column in rounded[name][0].T[:3])  # 7 steps each way, and 0
