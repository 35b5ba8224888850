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
from llama4lab.notebook_functions import functions_of
from llama4lab.routing import record_routing
from tests.small_models import random_block, random_hidden, small_model

build_namespace = partial(functions_of, "moe_routing", without=("exercise", "solution"), with_texts=True)


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


# ---- the three questions that betray a wrong router ----


def ask(functions: dict, forward, seed=0) -> tuple[int, float, float]:
    """(most experts heard, median change by shift, median turn in degrees) of a random block under `forward`."""
    block, tokens = random_block(seed, experts=5), random_hidden(19, 24, seed=seed + 10)
    heard = functions["experts_heard"](forward, block, tokens)
    shift = functions["change_by_shift"](forward, block, tokens)
    turn = functions["turn_by_doubling"](forward, block, tokens)
    assert heard.shape == shift.shape == turn.shape == (19,)
    return heard.max().item(), shift.median().item(), turn.median().item()


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
def test_each_wrong_router_is_betrayed_by_one_question(notebook, variant, expected, seed):
    heard, shift, turn = ask(notebook, partial(notebook["moe_variant"], **variant), seed)
    assert (heard == 1, shift > 1e-2, turn > 1) == expected
    assert heard <= 2
    assert expected[1] or shift < 1e-5
    assert expected[2] or turn < 1e-3
    block, tokens = random_block(seed, experts=5), random_hidden(19, 24, seed=seed + 10)
    assert notebook["answers"](partial(notebook["moe_variant"], **variant), block, tokens) == expected


def test_the_library_answers_as_the_right_variant(notebook):
    assert ask(notebook, notebook["library_forward"]) == pytest.approx(ask(notebook, notebook["moe_variant"]), rel=1e-4)
    block = random_block()
    weights = [weight.clone() for weight in block.parameters()]
    for question in ("experts_heard", "change_by_shift", "turn_by_doubling"):
        notebook[question](notebook["library_forward"], block, random_hidden(5, 24))
    assert all(map(torch.equal, weights, block.parameters()))


def test_the_shift_moves_every_logit_of_a_token_alike(notebook):
    moved = []

    def spy(block, tokens):
        moved.append(block.router(tokens)[1])
        return block(tokens)

    notebook["change_by_shift"](spy, random_block(), random_hidden(19, 24))
    before, after = moved
    differences = after - before
    assert differences.abs().min() > 1e-4
    assert_close(differences, differences[:, :1].expand_as(differences), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "variant"),
    [
        (("block.router.weight.data + vector", "block.router.weight.data * 1.5"), {"gate": "softmax"}),
        (("2 * block.router.weight.data", "block.router.weight.data.flip(0)"), {"scale": "output"}),
        (("changed.experts.down_proj.data[expert] = 0.0", "changed.router.weight.data[expert] = 0.0"), {}),
    ],
)
def test_a_wrong_question_betrays_nobody(notebook, change, variant):
    wrong = build_namespace(change)
    forward = partial(wrong["moe_variant"], **variant)
    right = ask(notebook, partial(notebook["moe_variant"], **variant))
    assert ask(wrong, forward) != pytest.approx(right, rel=1e-3, abs=1e-3)


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
    assert (found[0] == pytest.approx(found[1], abs=1e-5)) == (not variant)
    assert abs(found[1] - found[2]) > 1e-3


def test_router_row_gradients_are_those_of_the_library(notebook):
    model, ids = small_model(), random_ids()
    model(ids, labels=ids).loss.backward()
    expected = torch.stack([module.weight.grad.norm(dim=1) for module in model.modules() if is_router(module)])
    rows = notebook["router_row_gradients"](model, ids)
    assert_close(rows, expected, atol=1e-5, rtol=1e-3)
    assert (notebook["router_row_gradients"](model, ids, gate="softmax") > 0).all()
    assert not notebook["router_row_gradients"](model, ids, detached=True).any()
    few = ids[:1, :3]  # the last token predicts nothing: two tokens, at most two rows of a block
    taken = record_routing(model, few).chosen[:, 0, :-1]
    rows = notebook["router_row_gradients"](model, few)
    assert [row.nonzero().flatten().tolist() for row in rows] == [sorted(set(row.tolist())) for row in taken]
    assert all(module.weight.grad is None for module in model.modules() if is_router(module))


# ---- whole models ----


def is_router(module: torch.nn.Module) -> bool:
    return isinstance(module, Llama4Router)


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
    # Two texts, each with an expert of its own: neighbors always agree, and so do any two tokens of a text.
    loyal = torch.tensor([[[0] * 5, [1] * 5]])
    assert notebook["neighbor_share"](loyal).tolist() == notebook["share_of_any_two"](loyal, 2).tolist() == [1.0]
    turns = torch.arange(40).view(1, 2, 20) % 2
    assert notebook["neighbor_share"](turns).tolist() == [0.0]
    assert notebook["share_of_any_two"](turns, 2).tolist() == pytest.approx([9 / 19])


@pytest.mark.parametrize(
    "change",
    [
        ("(chosen[..., 1:] == chosen[..., :-1])", "(chosen == chosen.roll(1, dims=2))"),
        ("(counts * (counts - 1))", "(counts * counts)"),
        ("counts = one_hot(chosen, experts).sum(dim=2)", "counts = one_hot(chosen, experts).sum(dim=1)"),
    ],
)
def test_a_wrong_share_is_noticed(notebook, change):
    chosen = torch.from_numpy(np.random.default_rng(4).integers(0, 3, (2, 4, 9)))
    wrong = build_namespace(change)

    def both(functions):
        return torch.stack([functions["neighbor_share"](chosen), functions["share_of_any_two"](chosen, 3)])

    assert (both(wrong) - both(notebook)).abs().max() > 1e-3


def test_held_out_texts_have_one_length(notebook):
    held_out = notebook["held_out_ids"](AutoTokenizer.from_pretrained(MODELS / "scout-proxy"))
    assert {"prose", "code", "languages", "arithmetic", "recall", "chat"} == set(held_out)
    assert all(ids.shape == (8, 240) for ids in held_out.values())


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
