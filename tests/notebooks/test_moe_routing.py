"""What notebook 02 writes from scratch is held to the library on random blocks."""

from functools import partial

import numpy as np
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


def test_variants_are_the_library_or_differ_from_it(notebook):
    block, hidden = random_block(), random_hidden(2, 19, 24)
    with torch.no_grad():
        expected = block(hidden)[0]
        for same in ({}, {"detached": True}):
            assert_close(notebook["moe_variant"](block, hidden, **same)[0], expected, atol=1e-5, rtol=1e-5)
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


def test_token_size_is_at_least_one(notebook):
    assert notebook["token_size"](torch.tensor([[0.5, -0.1], [3.0, -40.0]])).tolist() == [[1.0], [40.0]]


def test_zero_expert_leaves_the_block_as_it_is(notebook):
    block, tokens = random_block(), random_hidden(19, 24)
    with torch.no_grad():
        expected, logits = block(tokens)
        expert = logits[0].argmax().item()
        changed = (notebook["zero_expert"](block, expert)(tokens)[0] != expected).any(dim=1)
        assert torch.equal(changed, logits.argmax(dim=1) == expert)
        assert torch.equal(block(tokens)[0], expected)


# ---- the three questions that reveal a wrong router ----


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ({}, (True, True, True)),
        ({"gate": "softmax"}, (True, False, True)),
        ({"scale": "output"}, (True, True, False)),
        ({"top_k": 2}, (False, True, True)),
    ],
)
def test_each_wrong_router_fails_one_question(notebook, variant, expected, seed):
    block, tokens = random_block(seed, experts=5), random_hidden(19, 24, seed=seed + 10)
    assert notebook["answers"](partial(notebook["moe_variant"], **variant), block, tokens) == expected
    if not variant:
        assert notebook["answers"](notebook["library_forward"], block, tokens) == expected


def test_questions_leave_the_block_as_it_is_and_shift_all_logits_of_a_token_alike(notebook):
    block, tokens, logits = random_block(), random_hidden(19, 24), []

    def forward(changed, rows):
        logits.append(changed.router(rows)[1])
        return changed(rows)

    weights = [weight.clone() for weight in block.parameters()]
    notebook["change_by_shift"](forward, block, tokens)
    shift = logits[1] - logits[0]  # [tokens, experts]
    assert shift.abs().min() > 1e-4
    assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-5, rtol=0)
    assert_close(notebook["experts_heard"](forward, block, tokens), torch.ones(19, dtype=torch.long))
    assert (notebook["turn_by_doubling"](forward, block, tokens) > 0).all()
    assert all(map(torch.equal, weights, block.parameters()))


# ---- gradients ----


def test_gradient_rows(notebook):
    block, tokens = notebook["small_block"](), random_hidden(3, 8)
    is_chosen = torch.zeros(4, dtype=torch.bool)
    is_chosen[block.router(tokens)[1].argmax(dim=1)] = True
    assert not is_chosen.all()

    def norms(**variant):
        forward = (lambda x: notebook["moe_variant"](block, x, **variant)) if variant else block
        return notebook["router_gradient"](block, forward, tokens)

    assert torch.equal(norms() != 0, is_chosen)
    assert (norms(gate="softmax") > 1e-4).all()
    assert not norms(detached=True).any()
    assert_close(notebook["router_gradient"](block, lambda x: notebook["moe_variant"](block, x), tokens), norms())


@pytest.mark.parametrize("variant", [{}, {"gate": "softmax"}])
def test_loss_by_lead_is_the_loss_of_a_block_with_that_lead(notebook, variant):
    block, token = notebook["small_block"](), random_hidden(1, 8)
    logits = block.router(token)[1][0].detach()
    winner, row = logits.argmax().item(), logits.argmin().item()
    leads = [-3.0, -0.5, 0.5, 2.0]
    found = notebook["loss_by_lead"](block, token, row, leads, **variant)
    for lead, loss in zip(leads, found, strict=True):
        moved = logits.clone()
        moved[row] = logits[winner] + lead
        expert = moved.argmax().item()
        score = moved.softmax(dim=0)[expert] if variant else moved[expert].sigmoid()
        gate, up = (score * token @ block.experts.gate_up_proj[expert]).chunk(2, dim=1)
        routed = (torch.nn.functional.silu(gate) * up) @ block.experts.down_proj[expert]
        assert loss == pytest.approx((block.shared_expert(token) + routed).pow(2).sum().item(), rel=1e-4)


def test_router_row_gradients_are_those_of_the_library(notebook):
    model, ids = small_model(), random_ids(2, 21)
    model(ids, labels=ids).loss.backward()
    expected = torch.stack(
        [module.weight.grad.norm(dim=1) for module in model.modules() if isinstance(module, Llama4Router)]
    )
    rows = notebook["router_row_gradients"](model, ids)
    assert_close(rows, expected, atol=1e-5, rtol=1e-3)
    assert (notebook["router_row_gradients"](model, ids, gate="softmax") > 0).all()
    assert not notebook["router_row_gradients"](model, ids, detached=True).any()
    few = ids[:1, :3]  # the last token predicts nothing: two tokens, at most two rows of a block
    taken = record_routing(model, few).chosen[:, 0, :-1]
    rows = notebook["router_row_gradients"](model, few)
    assert [row.nonzero().flatten().tolist() for row in rows] == [sorted(set(row.tolist())) for row in taken]
    assert all(module.weight.grad is None for module in model.modules() if isinstance(module, Llama4Router))


# ---- whole models ----


def test_recorded_inputs_enter_the_blocks(notebook):
    model, ids = small_model(), random_ids(2, 21)
    inputs = notebook["record_moe_inputs"](model, ids)
    routers = [module for module in model.modules() if isinstance(module, Llama4Router)]
    logits = torch.stack([router(hidden.flatten(0, 1))[1] for router, hidden in zip(routers, inputs, strict=True)])
    assert_close(logits.view(2, 2, 21, 4).detach(), record_routing(model, ids).router_logits)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_swapped_blocks_and_loss(notebook):
    model, ids = small_model(), random_ids(2, 21)
    with torch.no_grad():
        expected = torch.stack([model(row[None], labels=row[None]).loss for row in ids])
    assert_close(notebook["next_token_nll"](model, ids), expected)
    with notebook["swapped_blocks"](model):
        assert_close(notebook["next_token_nll"](model, ids), expected, atol=1e-4, rtol=0)
    with notebook["swapped_blocks"](model, gate="softmax"):
        assert (notebook["next_token_nll"](model, ids) - expected).abs().max() > 0.01
    assert not any("forward" in vars(module) for module in model.modules())


# ---- counting ----


def test_same_expert_share(notebook):
    chosen, ids = torch.tensor([0, 0, 1, 1]), torch.tensor([7, 7, 8, 8])
    assert notebook["same_expert_share"](chosen, ids) == pytest.approx((2 / 2, 2 / 6))


def by_hand(chosen: torch.Tensor, pairs) -> list[float]:
    """The share of equal experts among `pairs` of places, for each layer of chosen `[layers, texts, seq]`."""
    shares = []
    for layer in chosen.tolist():
        same = [text[a] == text[b] for text in layer for a, b in pairs]
        shares.append(sum(same) / len(same))
    return shares


def test_neighbors_and_any_two_tokens(notebook):
    chosen = torch.from_numpy(np.random.default_rng(4).integers(0, 3, (2, 4, 9)))
    neighbors = [(a, a + 1) for a in range(8)]
    assert notebook["neighbor_share"](chosen).tolist() == pytest.approx(by_hand(chosen, neighbors))
    every_pair = [(a, b) for a in range(9) for b in range(a)]
    assert notebook["share_of_any_two"](chosen, 3).tolist() == pytest.approx(by_hand(chosen, every_pair))
    assert notebook["share_of_any_two"](chosen, 16).tolist() == pytest.approx(by_hand(chosen, every_pair))


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
