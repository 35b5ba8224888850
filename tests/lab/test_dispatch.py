"""Sorted dispatch is held to the library's Llama4TextMoe: output, gradients, and what happens at the edges."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

from llama4lab.dispatch import run_sorted_experts, sorted_dispatch, sorted_moe_forward
from tests.small_models import random_block, random_hidden, small_model


def output_scaled_forward(moe: Llama4TextMoe, hidden_states: torch.Tensor) -> torch.Tensor:
    """The usual mistake: the score multiplies what comes OUT of the expert."""
    tokens = hidden_states.reshape(-1, moe.hidden_dim)
    scores, _ = moe.router(tokens)
    chosen_scores, chosen = scores.topk(1, dim=1)
    routed = run_sorted_experts(tokens, chosen[:, 0], moe.experts.gate_up_proj, moe.experts.down_proj)
    return moe.shared_expert(tokens) + chosen_scores * routed


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("shape", [(1, 24), (37, 24), (1, 1, 24), (2, 19, 24)])
def test_output_and_logits_equal_the_library(shape, top_k):
    block, hidden = random_block(top_k=top_k), random_hidden(*shape)
    with torch.no_grad():
        expected, expected_logits = block(hidden)
        output, logits = sorted_moe_forward(block, hidden)
    assert_close(output, expected, atol=1e-5, rtol=0)
    assert_close(logits, expected_logits, atol=1e-5, rtol=0)
    assert output.shape == expected.shape


@pytest.mark.parametrize("top_k", [1, 2])
def test_gradients_equal_the_library(top_k):
    block, hidden = random_block(top_k=top_k), random_hidden(2, 19, 24)
    target = random_hidden(38, 24, seed=2)
    gradients = []
    for forward in (block, lambda states: sorted_moe_forward(block, states)):
        block.zero_grad()
        states = hidden.clone().requires_grad_()
        (forward(states)[0] - target).pow(2).mean().backward()
        gradients.append([states.grad] + [weight.grad.clone() for weight in block.parameters()])
    for expected, found in zip(*gradients, strict=True):
        assert expected.abs().max() > 1e-4
        assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_experts_without_tokens():
    block, hidden = random_block(experts=16), random_hidden(3, 24)
    with torch.no_grad():
        chosen = block.router(hidden)[1].argmax(dim=1)
        assert len(chosen.unique()) < 16
        assert_close(sorted_moe_forward(block, hidden)[0], block(hidden)[0], atol=1e-5, rtol=0)
        # All tokens to one expert leaves every other block empty.
        block.router.weight[5] = 100 * hidden.mean(dim=0)
        assert_close(sorted_moe_forward(block, hidden)[0], block(hidden)[0], atol=1e-5, rtol=0)


def test_rows_come_back_in_their_order():
    # Expert e multiplies by e + 1 (through gate 1, up e + 1, down 1), so each row tells who took it.
    gate_up = torch.stack([torch.tensor([[1.0, e + 1.0]]) for e in range(4)])
    chosen = torch.tensor([3, 0, 2, 0, 3])
    rows = torch.ones(5, 1)
    found = run_sorted_experts(rows, chosen, gate_up, torch.ones(4, 1, 1))
    expected = torch.nn.functional.silu(torch.ones(1)) * (chosen[:, None] + 1)
    assert_close(found, expected.float())


def test_bfloat16():
    block, hidden = random_block().bfloat16(), random_hidden(2, 19, 24).bfloat16()
    with torch.no_grad():
        expected, found = block(hidden)[0], sorted_moe_forward(block, hidden)[0]
    assert found.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: one part in 128 of the largest value, and the order of additions may differ.
    assert_close(found, expected, atol=expected.abs().max().item() / 64, rtol=0)


def test_scaling_the_output_is_told_apart():
    block, hidden = random_block(), random_hidden(2, 19, 24)
    with torch.no_grad():
        gap = (output_scaled_forward(block, hidden) - block(hidden)[0]).abs().max()
    assert gap > 0.1


def test_whole_model_within_the_block_and_the_library_after_it():
    model = small_model()
    ids = torch.from_numpy(np.random.default_rng(1).integers(3, 50, (2, 21)))
    blocks = [module for module in model.modules() if isinstance(module, Llama4TextMoe)]
    with torch.no_grad():
        expected = model(ids).logits
        with sorted_dispatch(model) as within:
            assert within is model
            assert all("forward" in vars(block) for block in blocks)
            found = model(ids).logits
        assert not any("forward" in vars(block) for block in blocks)
        assert_close(found, expected, atol=1e-4, rtol=0)
        assert torch.equal(model(ids).logits, expected)


def test_forward_is_restored_after_an_exception():
    model = small_model()
    with pytest.raises(RuntimeError, match="planned"), sorted_dispatch(model):
        raise RuntimeError("planned")
    assert not any("forward" in vars(module) for module in model.modules())


def test_model_without_experts_is_refused():
    with pytest.raises(ValueError, match="no Llama4TextMoe"), sorted_dispatch(small_model(moe_layers=[])):
        pass
