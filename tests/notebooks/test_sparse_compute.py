"""What notebook 06 writes from scratch is held to the library, and its counts to independent formulas."""

import inspect
import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import olmoe_loads
import sparse_compute
from llama4lab import timing
from llama4lab.parameters import real_config
from tests.small_models import random_block, random_hidden

WAYS = ("moe_sorted", "moe_lean", "moe_grouped")
COUNTED_WAYS = ("moe_sorted", "moe_lean")  # torch counts no operations of grouped_mm


# ---- dispatch ----


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(1, 24), (2, 19, 24)])
@pytest.mark.parametrize(("experts", "top_k"), [(3, 1), (3, 3), (16, 2), (64, 4)])
def test_sorted_blocks_equal_the_library(notebook, way, shape, experts, top_k):
    block, hidden = random_block(experts=experts, top_k=top_k), random_hidden(*shape)
    before = hidden.clone()
    with torch.no_grad():
        output, logits = notebook[way](block, hidden)
        expected, expected_logits = block(hidden)
    assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(hidden, before)  # moe_lean works in place, but not on what it was given


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("favorite", [0, 15])
def test_all_tokens_on_the_first_or_on_the_last_expert(notebook, way, favorite):
    block, hidden = random_block(experts=16), random_hidden(2, 19, 24)
    with torch.no_grad():
        block.router.weight.zero_()
        hidden[..., 0] = hidden[..., 0].abs() + 1
        block.router.weight[favorite, 0] = 1.0
        expected, logits = block(hidden)
        assert (logits.argmax(dim=1) == favorite).all()
        output = notebook[way](block, hidden)
    assert_close(output[0], expected, atol=1e-5, rtol=1e-5)


def test_the_shared_expert_in_slices(notebook):
    block, tokens = random_block(experts=3), random_hidden(7, 24)
    with torch.no_grad():
        assert_close(notebook["shared_in_slices"](block, tokens, rows=3), block.shared_expert(tokens))


# ---- cost ----


def test_flops_are_those_of_the_formula(notebook):
    block, hidden = notebook["make_block"](16, hidden=32, width=48), notebook["random_hidden"](2, 5, hidden=32)
    one_expert, router = 6 * 32 * 48, 2 * 32 * 16
    assert notebook["count_flops"](partial(block, hidden)) == 10 * (17 * one_expert + router)
    for way in COUNTED_WAYS:
        assert notebook["count_flops"](partial(notebook[way], block, hidden)) == 10 * (2 * one_expert + router)


def test_the_square_product_counts_its_own_operations(notebook):
    product, flops = timing.square_product(8)
    assert notebook["count_flops"](product) == flops
    assert torch.equal(product(), torch.full((8, 8), 8.0))


def test_fastest_calls_alternates_and_keeps_the_fastest(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0, 30.0, 35.0])
    monkeypatch.setattr(timing.time, "thread_time", lambda: next(ticks))
    calls = []
    found = timing.fastest_calls({"a": partial(calls.append, "a"), "b": partial(calls.append, "b")}, rounds=2)
    assert found == {"a": 2.0, "b": 1.0}
    assert calls == ["a", "b", "a", "b"]


# ---- bytes ----


def test_weights_of_a_step(notebook):
    text = real_config("scout").text_config
    always, one_expert, experts = notebook["weights_in_a_step"]("scout")
    assert one_expert == 48 * 3 * text.hidden_size * text.intermediate_size
    assert (always + one_expert, experts) == (16_138_408_960, 16)
    always, one_expert, experts = notebook["weights_in_a_step"]("maverick")
    assert one_expert == 24 * 3 * text.hidden_size * text.intermediate_size
    assert (always + one_expert, experts) == (16_150_205_440, 128)
    assert notebook["step_gigabytes"](3e9, 1e9, 4, 1) == pytest.approx(8.0)
    assert notebook["step_gigabytes"](3e9, 1e9, 4, 10_000) == pytest.approx(14.0)


def test_intensity_meets_balance_where_the_exercise_says(notebook):
    tokens = notebook["tokens_to_fill_solution"](16, 989e12, 3.35e12, 2)
    assert notebook["intensity"](tokens / 16, 2) == pytest.approx(notebook["balance"](989e12, 3.35e12))


# ---- touched experts ----


@pytest.mark.parametrize(("experts", "tokens", "top_k"), [(4, 3, 1), (3, 4, 1), (4, 2, 2)])
def test_expected_touched_counts_all_cases(notebook, experts, tokens, top_k):
    choices = list(itertools.combinations(range(experts), top_k))
    batches = list(itertools.product(choices, repeat=tokens))
    mean = np.mean([len(set().union(*batch)) for batch in batches])
    assert notebook["expected_touched"](experts, tokens, top_k) == pytest.approx(mean)
    if top_k == 1:
        assert notebook["dice_touched"](experts, tokens) == pytest.approx(mean, abs=0.05)


def test_touched_by_batches_of_neighbors(notebook):
    chosen = torch.tensor([0, 0, 1, 2, 3, 3, 1])
    assert notebook["batch_touched"](chosen, 2) == pytest.approx((1 + 2 + 1) / 3)  # the odd one is left out
    assert notebook["batch_touched"](chosen, 7) == 4


# ---- stragglers ----


def test_straggler_and_drops(notebook):
    load = np.array([0.4, 0.1, 0.2, 0.3])
    assert notebook["device_loads"](load, np.array([0, 1, 1, 0])).tolist() == pytest.approx([1.4, 0.6])
    assert notebook["straggler"](load, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert notebook["straggler"](load, np.array([0, 1, 1, 0])) == pytest.approx(1.4)
    assert notebook["dropped"](load, 1.0) == pytest.approx(0.15 + 0.05)
    assert notebook["dropped"](load, 2.0) == 0
    assert notebook["load_of"]([1, 3]).tolist() == [0.25, 0.75]
    assert notebook["dice_straggler"](100_000) == pytest.approx(1, abs=0.01)


def test_copies_share_the_load_of_their_expert(notebook):
    load = np.array([0.6, 0.1, 0.3])
    assert notebook["copied_straggler"](load, np.array([[0, 1], [0, 2]])) == pytest.approx(1.2)  # 0.4 and 0.6
    assert notebook["copied_straggler"](load, np.array([[0, 1], [2, 2]])) == pytest.approx(1.4)  # 0.7 and 0.3


# ---- recipes ----


def test_the_recording_is_of_these_functions_and_sizes(notebook):
    recorded = json.loads(sparse_compute.OUTPUT.read_text(encoding="utf-8"))
    assert {name: block["experts"] for name, block in recorded["blocks"].items()} == sparse_compute.BLOCKS
    defaults = inspect.signature(notebook["make_block"]).parameters
    assert (recorded["hidden"], recorded["width"]) == (defaults["hidden"].default, defaults["width"].default)
    for block in recorded["blocks"].values():
        assert tuple(map(int, block["by_tokens"])) == sparse_compute.TOKENS
        for tokens, point in block["by_tokens"].items():
            experts = block["experts"]
            per_token = 6 * recorded["hidden"] * recorded["width"]
            router = 2 * recorded["hidden"] * experts
            assert point["library_flops"] == int(tokens) * ((experts + 1) * per_token + router)
            assert point["sorted_flops"] == int(tokens) * (2 * per_token + router)
            shares = notebook["peak_shares"](point, ("library", "plain", "lean", "grouped"))
            assert 0 < shares["library"] < min(shares["plain"], shares["lean"], shares["grouped"]) < 1
    assert tuple(map(int, recorded["slices"]["ms_by_rows"])) == sparse_compute.ROWS


def test_the_recipe_measures_a_small_block(notebook, capsys):
    small = {**notebook, "make_block": partial(notebook["make_block"], hidden=320, width=16)}
    points = sparse_compute.measure_block(small, 4, library_seconds=0.01, tokens=(1, 8))
    assert list(points) == ["1", "8"]
    assert points["1"]["experts_touched"] == 1 <= points["8"]["experts_touched"] <= 4
    assert points["8"]["library_flops"] > points["8"]["sorted_flops"] > 0
    assert min(points["8"][f"{way}_ms"] for way in ("library", "plain", "lean", "grouped", "square")) > 0
    slices = sparse_compute.measure_slices(small, 4, rows=(1, 8), rounds=1)
    assert slices["flops_of_one_row"] == 4 * 2 * 320 * 2 * 16
    assert min(slices["ms_by_rows"].values()) > 0


def test_a_pickle_that_names_a_function_is_refused():
    malicious = b"cos\nsystem\n(S'echo planted'\ntR."
    with pytest.raises(olmoe_loads.pickle.UnpicklingError, match="do not trust it"):
        olmoe_loads.read_counts(malicious)


def test_counts_are_read(tmp_path):
    counters = [olmoe_loads.pickle.dumps([__import__("collections").Counter({3: 5, 63: 2})])]
    (layer,) = olmoe_loads.read_counts(counters[0])
    assert (layer[3], layer[63], sum(layer), len(layer)) == (5, 2, 7, 64)
    with pytest.raises(SystemExit, match="give a clone of allenai/OLMoE"):
        olmoe_loads.file_of(tmp_path, "arxiv")
