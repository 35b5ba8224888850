"""What notebook 02 writes from scratch is held to the library on random blocks."""

import pytest
import torch
from torch.testing import assert_close
from transformers.models.llama4.modeling_llama4 import Llama4Router, Llama4TextMoe

from llama4lab.routing import record_routing
from tests.small_models import random_block, random_hidden, random_ids, small_model


def from_scratch(functions: dict, block: Llama4TextMoe, hidden: torch.Tensor, **options):
    with torch.no_grad():
        return functions["moe_from_scratch"](hidden, *functions["weights_of"](block), **options)


# ---- the block ----


@pytest.mark.parametrize("top_k", [1, 2])
def test_route_equals_the_router(notebook, top_k):
    block, tokens = random_block(top_k=top_k), random_hidden(38, 24)
    with torch.no_grad():
        expected, logits = block.router(tokens)
    scores, chosen = notebook["route"](logits, top_k)
    assert_close(scores, expected)
    assert chosen.shape == (38, top_k)
    assert ((scores > 0).sum(dim=1) == top_k).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("experts", [3, 16])
def test_from_scratch_block_equals_the_library(notebook, seed, top_k, experts):
    block, hidden = random_block(seed, experts=experts, top_k=top_k), random_hidden(2, 19, 24, seed=seed + 10)
    output, logits = from_scratch(notebook, block, hidden, top_k=top_k)
    with torch.no_grad():
        expected, expected_logits = block(hidden)
    assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)


def test_sorted_dispatch_with_experts_that_stay_empty(notebook):
    block, tokens = random_block(experts=16), random_hidden(5, 24)
    with torch.no_grad():
        expected, logits = block(tokens)
        winning, chosen = logits.max(dim=1)
        routed = notebook["dispatch_sorted"](
            tokens, chosen, winning.sigmoid(), block.experts.gate_up_proj, block.experts.down_proj
        )
        assert_close(routed + block.shared_expert(tokens), expected, atol=1e-5, rtol=1e-5)


def test_recorded_inputs_enter_the_blocks(notebook):
    model, ids = small_model(), random_ids(2, 21)
    inputs = notebook["record_moe_inputs"](model, ids)
    routers = [module for module in model.modules() if isinstance(module, Llama4Router)]
    logits = torch.stack([router(hidden.flatten(0, 1))[1] for router, hidden in zip(routers, inputs, strict=True)])
    assert_close(logits.view(2, 2, 21, 4).detach(), record_routing(model, ids).router_logits)
    assert not any(module._forward_pre_hooks for module in model.modules())


# ---- the score before and after the expert, and the block with a part of it silenced ----


def test_both_ways_scale_the_chosen_expert(notebook):
    block, tokens = random_block(), random_hidden(19, 24)
    with torch.no_grad():
        on_input, on_output, scores = notebook["both_ways"](block, tokens)
        output, logits = block(tokens)
        assert_close(block.shared_expert(tokens) + on_input, output, atol=1e-5, rtol=1e-5)
        winning, chosen = logits.max(dim=1)
        assert_close(scores, winning.sigmoid())
        gates, ups = block.experts.gate_up_proj[chosen].chunk(2, dim=2)
        unscaled = notebook["swiglu"](tokens.unsqueeze(1), gates, ups, block.experts.down_proj[chosen])[:, 0]
        assert_close(on_output, scores.unsqueeze(1) * unscaled)


@pytest.mark.parametrize("silenced", [(), ("experts",), ("shared_expert",), ("experts", "shared_expert")])
def test_loss_without_modules_is_that_of_a_model_in_which_they_return_zeros(notebook, silenced):
    model, ids = small_model(), random_ids(2, 21)
    block = next(module for module in model.modules() if isinstance(module, Llama4TextMoe))
    loss = notebook["loss_without"](model, ids, [getattr(block, part) for part in silenced])
    assert not any(module._forward_hooks for module in model.modules())
    if "experts" in silenced:
        block.experts.down_proj.data.zero_()
    if "shared_expert" in silenced:
        block.shared_expert.down_proj.weight.data.zero_()
    with torch.no_grad():
        assert loss == pytest.approx(model(ids, labels=ids).loss.item(), rel=1e-5)
