"""The recipe of notebook 16: what its runs read, and how the agreement of two routers is measured."""

import json

import torch

from distillation import OUTPUT, all_runs
from distillation_data import Lessons
from distillation_routing import agreement
from distillation_student import SHARES


def test_two_seeds_read_other_rows_and_one_row_keeps_its_targets():
    rows = torch.arange(12)[:, None]
    lessons = Lessons(rows, rows.clone(), rows.clone(), {}, rows)
    first, second = lessons.of_student(4, 0), lessons.of_student(4, 1)
    assert not set(first.rows.flatten().tolist()) & set(second.rows.flatten().tolist())
    assert (second.top_ids == second.rows).all()


def test_agreement_beyond_the_token():
    dice = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, (4000,), generator=dice)
    teacher = (tokens + torch.randint(2, (4000,), generator=dice)) % 4
    students = torch.stack([tokens, teacher])  # one follows the token alone, one the teacher
    found = agreement(students, teacher[None], tokens)
    (token_alone, copied) = (
        a - b for a, b in zip(found["bits_given_token"][0], found["null_given_token"][0], strict=True)
    )
    assert found["bits"][0][0] > 0.5  # the token tells both
    assert abs(token_alone) < 0.01
    assert 0.95 < copied < 1.0  # the coin that the teacher threw


def test_every_run_of_the_recipe_is_recorded():
    recorded = json.loads(OUTPUT.read_text(encoding="utf-8"))["runs"]
    named = [(run["kind"], run["arm"], run["size"], run["seed"], run["rate"]) for run in recorded]
    assert named == [(run.kind, run.arm, run.size, run.seed, run.rate) for run in all_runs()]
    assert [SHARES["soft to hard"](at) for at in (0, 0.25, 1)] == [1, 0.75, 0]
