"""Notebook 14: its quantizer, what calibration refuses, files that llama.cpp reads, caches of experts."""

import itertools
import random

import pytest
import torch
from torch.testing import assert_close

from llama4lab.checkpoints import load_checkpoint
from llama4lab.notebook_functions import graded_answers
from llama4lab.parameters import build_on_meta, part_of, real_config
from tests.small_models import random_block, random_hidden


@pytest.mark.parametrize(("bits", "zero_point"), list(itertools.product((2, 3, 4, 8), (False, True))))
def test_a_rounded_group_has_no_more_levels_than_its_bits(notebook, bits, zero_point):
    weight = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)) + 0.3
    rounded = notebook["quantize"](weight, bits, 32, zero_point)
    assert max(len(group.unique()) for group in rounded.unflatten(-1, (-1, 32)).flatten(0, 1)) <= 2**bits
    spread = (weight.amax() - weight.amin()).clamp(min=2 * weight.abs().max()) / (2**bits - 2)
    assert (rounded - weight).abs().max() <= spread  # not even the largest weight is cut off


def test_a_group_that_is_all_zero_stays(notebook):
    for zero_point in (False, True):
        assert_close(notebook["quantize"](torch.zeros(2, 32), 4, 32, zero_point), torch.zeros(2, 32))


def test_a_group_that_does_not_divide_is_one_sentence(notebook):
    with pytest.raises(ValueError, match="Groups of 128 do not divide rows of 192 weights; take a divisor of 192."):
        notebook["quantize"](torch.zeros(2, 192), 4, 128)


def test_an_empty_calibration_set_is_one_sentence(notebook):
    with pytest.raises(ValueError, match="The calibration set is empty; give at least one row of token ids."):
        notebook["calibrate"](None, {})


def test_a_shrunk_model_comes_back_and_only_its_parts_change(notebook):
    model = load_checkpoint("scout-proxy")[1]
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad(), notebook["shrunk"](model, {"routed experts": (4, 32, True)}) as megabytes:
        changed = {part_of(name) for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"routed experts"}
    experts = sum(p.numel() for name, p in before.items() if ".experts." in name)
    rest = sum(p.numel() for p in before.values()) - experts
    assert megabytes == pytest.approx((experts * (4 + 20 / 32) + rest * 16) / 8e6)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_inputs_of_experts_give_the_library_s_output(notebook):
    block, hidden = random_block(experts=4), random_hidden(1, 19, 24)[0]
    with torch.no_grad():
        expected, logits = block(hidden[None])
        output = block.shared_expert(hidden)
        for expert, (_, inner) in enumerate(notebook["inputs_of_experts"](block, hidden)):
            output[logits.flatten(0, -2).argmax(dim=-1) == expert] += inner @ block.experts.down_proj[expert]
    assert_close(output, expected.view_as(output), atol=1e-5, rtol=1e-5)


def test_gptq_beats_rounding_on_the_inputs_that_it_was_given(notebook):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 64, generator=generator) @ torch.randn(64, 64, generator=generator)
    weight = torch.randn(1, 8, 64, generator=generator)
    rounded = notebook["quantize"](weight, 3, 32, True)
    calibrated = notebook["gptq"](weight, (inputs.T @ inputs)[None], 3, 32, True, 0.01)
    error = [((changed - weight)[0] @ inputs.T).norm() for changed in (rounded, calibrated)]
    assert error[1] < 0.8 * error[0]
    uncorrelated = notebook["gptq"](weight, torch.eye(64)[None], 3, 32, True, 0.01)
    assert_close(uncorrelated, rounded)  # where inputs do not go together there is nothing to pass on


def test_the_head_is_not_reached(notebook):
    reached = notebook["reached_by_modules"](build_on_meta(real_config("scout")))
    assert not any("lm_head" in name or ".experts." in name or "router" in name for name in reached)
    assert sum("self_attn" in name and "language_model" in name for name in reached) == 4 * 48


def test_no_rule_beats_the_one_that_knows_the_future(notebook):
    best = graded_answers("fit_it_in_memory", "solution")["14.4"]
    choices = random.Random(0).choices(range(5), k=12)

    def most(kept, place, size):
        """Hits of the best of all possible decisions."""
        if place == len(choices):
            return 0
        expert = choices[place]
        if expert in kept:
            return 1 + most(kept, place + 1, size)
        if len(kept) < size:
            return most(kept | {expert}, place + 1, size)
        return max(most(kept - {gone} | {expert}, place + 1, size) for gone in kept)

    for size in (1, 2, 3):
        assert best(choices, size) == most(frozenset(), 0, size) >= notebook["lru_hits"](choices, size)


def test_the_least_recently_used_expert_leaves(notebook):
    hits = notebook["lru_hits"]
    assert hits([0, 1, 0, 2, 0, 1], 2) == 2  # 2 takes the place of 1, not of 0
    assert hits([0, 0, 0], 1) == 2 and hits([0, 1, 2, 0, 1, 2], 2) == 0
