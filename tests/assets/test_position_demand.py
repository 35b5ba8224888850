"""The recipe of the training demands of notebook 09: its rows, its measure, one tiny run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import position_demand
from llama4lab.recall import QUESTION, VOCABULARY
from position_demand import FACTS, demand, draw_rows, measure, recall_by_place


def test_demands_are_distributions_that_favor_what_their_names_say():
    first, recent, both, uniform = (demand(kind) for kind in ("first", "recent", "both ends", "uniform"))
    assert [shares.sum() for shares in (first, recent, both, uniform)] == pytest.approx([1] * 4)
    assert first[0] > 10 * first[-1] > 0 and np.allclose(first[::-1], recent)
    assert both[0] == pytest.approx(both[-1]) and both[0] > 5 * both[FACTS // 2]
    assert np.ptp(uniform) == 0


def test_each_question_of_a_row_is_answered_by_a_fact_of_the_row():
    ids, answers = draw_rows(np.random.default_rng(0), 50, demand("uniform"), questions=4)
    assert ids.shape == answers.shape == (50, 1 + 2 * FACTS + 12)
    for row, is_answer in zip(ids, answers, strict=True):
        facts = dict(zip(row[1 : 1 + 2 * FACTS : 2], row[2 : 2 + 2 * FACTS : 2], strict=True))
        assert len(facts) == FACTS
        asked = row[1 + 2 * FACTS :].reshape(4, 3)
        assert (asked[:, 0] == QUESTION).all() and len(set(asked[:, 1])) == 4
        assert [facts[name] for name in asked[:, 1]] == asked[:, 2].tolist() == row[is_answer].tolist()


class Lookup(torch.nn.Module):
    """Answers by the fact whose name was asked, if it is told before `limit`; else nothing."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, input_ids, **_):
        logits = torch.zeros(len(input_ids), 1, len(VOCABULARY))
        for row, tokens in enumerate(input_ids.tolist()):
            place = tokens[1 : 1 + 2 * FACTS : 2].index(tokens[-1])
            if place < self.limit:
                logits[row, 0, tokens[2 + 2 * place]] = 1.0
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("limit", [0, 5, FACTS])
def test_recall_by_place_is_of_the_place_asked_for(limit):
    assert recall_by_place(Lookup(limit), rows=8) == [1.0] * limit + [0.0] * (FACTS - limit)


def test_a_run_records_recall_by_place(tmp_path, monkeypatch):
    monkeypatch.setattr(position_demand, "ROWS", 2)
    found = measure("recent", 0, tmp_path, steps=50, every=25)
    assert list(found) == ["25", "50"]
    assert all(len(shares) == FACTS and 0 <= min(shares) <= max(shares) <= 1 for shares in found.values())
