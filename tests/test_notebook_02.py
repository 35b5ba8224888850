"""The functions that notebook 02 writes from scratch, taken out of it and held to the library on random blocks."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import AutoTokenizer
from transformers.models.llama4.modeling_llama4 import Llama4Router, Llama4TextMoe

from llama4lab.checkpoints import MODELS
from llama4lab.routing import record_routing
from tests.notebook_functions import functions_of
from tests.test_dispatch import random_block, random_hidden, small_model

build_namespace = partial(functions_of, "02", without=("exercise", "solution"), with_texts=True)


@pytest.fixture(scope="module")
def notebook() -> dict:
    return build_namespace()


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


@pytest.mark.parametrize(
    "change",
    [
        ("return masked.float().sigmoid()", "return masked.float().softmax(dim=1)"),
        ("winning, chosen = router_logits.topk(top_k, dim=1)", "winning, chosen = router_logits.topk(2, dim=1)"),
        ("output = swiglu(tokens, *shared_expert)", "output = torch.zeros_like(tokens)"),
        ("routed_in = scores[mine, expert].unsqueeze(1) * tokens[mine]", "routed_in = tokens[mine]"),
        ("return (silu(x @ gate_proj) * (x @ up_proj))", "return (silu(x @ up_proj) * (x @ gate_proj))"),
        ("output[mine] += swiglu(", "output[mine] = swiglu("),
        ("mine = (chosen == expert).any(dim=1)", "mine = (chosen != expert).any(dim=1)"),
    ],
    ids=lambda change: change[1],
)
def test_a_changed_block_is_told_apart(change):
    block, hidden = random_block(), random_hidden(2, 19, 24)
    output, _ = from_scratch(build_namespace(change), block, hidden)
    with torch.no_grad():
        assert (output - block(hidden)[0]).abs().max() > 0.01


def test_losers_at_zero_instead_of_minus_infinity_are_told_apart():
    # The block's loop visits chosen experts alone and would not notice; the scores do.
    changed = build_namespace(('torch.full_like(router_logits, float("-inf"))', "torch.zeros_like(router_logits)"))
    block, tokens = random_block(), random_hidden(38, 24)
    with torch.no_grad():
        expected, logits = block.router(tokens)
    assert (changed["route"](logits)[0] - expected).abs().max() == 0.5


def test_variants(notebook):
    block, hidden = random_block(), random_hidden(2, 19, 24)
    variants = {"gate": "softmax"}, {"scale": "output"}, {"top_k": 2}
    with torch.no_grad():
        expected = block(hidden)[0]
        for same in ({}, {"detached": True}):
            assert_close(notebook["moe_variant"](block, hidden, **same)[0], expected, atol=1e-5, rtol=1e-5)
        for variant in variants:
            assert (notebook["moe_variant"](block, hidden, **variant)[0] - expected).abs().max() > 0.05
        two = random_block(top_k=2)
        assert_close(notebook["moe_variant"](two, hidden, top_k=2)[0], two(hidden)[0], atol=1e-5, rtol=1e-5)


def test_sorted_dispatch_with_experts_that_stay_empty(notebook):
    block, tokens = random_block(experts=16), random_hidden(5, 24)
    with torch.no_grad():
        expected, logits = block(tokens)
        winning, chosen = logits.max(dim=1)
        routed = notebook["dispatch_sorted"](
            tokens, chosen, winning.sigmoid(), block.experts.gate_up_proj, block.experts.down_proj
        )
        assert_close(routed + block.shared_expert(tokens), expected, atol=1e-5, rtol=1e-5)


def test_token_size(notebook):
    output = torch.tensor([[0.5, -0.1], [3.0, -40.0]])
    assert notebook["token_size"](output).tolist() == [[1.0], [40.0]]


def test_zero_expert_leaves_the_block_as_it_is(notebook):
    block, tokens = random_block(), random_hidden(19, 24)
    with torch.no_grad():
        expected, logits = block(tokens)
        expert = logits[0].argmax().item()
        changed = (notebook["zero_expert"](block, expert)(tokens)[0] != expected).any(dim=1)
        assert torch.equal(changed, logits.argmax(dim=1) == expert)
        assert torch.equal(block(tokens)[0], expected)


# ---- gradients ----


def test_gradient_rows(notebook):
    block, tokens = notebook["small_block"](), random_hidden(3, 8)
    is_chosen = torch.zeros(4, dtype=torch.bool)
    is_chosen[block.router(tokens)[1].argmax(dim=1)] = True
    assert not is_chosen.all()

    def norms(**variant):
        forward = (lambda x: notebook["moe_variant"](block, x, **variant)) if variant else block
        return notebook["router_gradient"](block, forward, tokens)

    assert torch.equal(norms() > 1e-4, is_chosen)
    assert torch.equal(norms() != 0, is_chosen)
    assert (norms(gate="softmax") > 1e-4).all()
    assert not norms(detached=True).any()
    assert_close(notebook["router_gradient"](block, lambda x: notebook["moe_variant"](block, x), tokens), norms())


# ---- whole models ----


def random_ids(seq=21) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(3, 50, (2, seq)))


def test_recorded_inputs_enter_the_blocks(notebook):
    model, ids = small_model(), random_ids()
    inputs = notebook["record_moe_inputs"](model, ids)
    routers = [module for module in model.modules() if isinstance(module, Llama4Router)]
    logits = torch.stack([router(hidden.flatten(0, 1))[1] for router, hidden in zip(routers, inputs, strict=True)])
    assert_close(logits.view(2, 2, 21, 4).detach(), record_routing(model, ids).router_logits)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_swapped_blocks_and_loss(notebook):
    model, ids = small_model(), random_ids()
    nll = notebook["next_token_nll"]
    with torch.no_grad():
        logits = model(ids).logits
    expected = [cross_entropy(row[:-1], row_ids[1:]) for row, row_ids in zip(logits, ids, strict=True)]
    assert_close(nll(model, ids), torch.stack(expected))
    with notebook["swapped_blocks"](model):
        assert_close(nll(model, ids), torch.stack(expected), atol=1e-4, rtol=0)
    with notebook["swapped_blocks"](model, gate="softmax"):
        assert (nll(model, ids) - torch.stack(expected)).abs().max() > 0.01
    assert not any("forward" in vars(module) for module in model.modules())


# ---- counting ----


def test_same_expert_share(notebook):
    chosen, ids = torch.tensor([0, 1, 0, 1]), torch.tensor([7, 7, 7, 8])
    assert notebook["same_expert_share"](chosen, ids) == pytest.approx((1 / 3, 2 / 6))


def test_noise_floors(notebook):
    mean, high = notebook["dice_router_load"](256)
    # The floor of a uniform router over 16 experts and 256 tokens, computed elsewhere: MaxVio 0.46.
    assert 16 * mean - 1 == pytest.approx(0.46, abs=0.02)
    assert high > mean
    word_dice = notebook["word_dice_load"]
    assert word_dice([5] * 40) == 1.0
    assert word_dice(list(range(192))) == pytest.approx(notebook["dice_router_load"](192)[1], abs=0.01)
    assert word_dice([1, 2] * 96) >= 0.5


def test_top_tokens(notebook):
    chosen, ids = torch.tensor([0, 0, 1, 0, 0, 0]), torch.tensor([9, 4, 4, 4, 9, 2])
    assert notebook["top_tokens"](chosen, ids, 0, count=2) == [(4, 2), (9, 2)]
    assert notebook["top_tokens"](chosen, ids, 1) == [(4, 1)]


def test_flops_of_a_block(notebook):
    sizes = {"hidden_size": 10, "intermediate_size": 7}
    assert notebook["block_flops"](sizes, 5) == 2 * 3 * 10 * 7 * (5 + 1) + 2 * 10 * 5


def test_texts_are_long_enough(notebook):
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "scout-proxy")
    domains, ids = notebook["build_texts"](tokenizer)
    assert domains == ["prose", "code", "languages", "arithmetic", "chat"]
    assert ids.shape == (5, 192)
    assert (ids[:, 0] == tokenizer.bos_token_id).all()
    # One begin of text each: the chat template brings its own.
    assert (ids == tokenizer.bos_token_id).sum().item() == 5
