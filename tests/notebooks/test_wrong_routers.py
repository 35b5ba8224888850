"""What notebook 03 builds wrongly on purpose, and the numbers that reveal it, on random blocks."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers.models.llama4.modeling_llama4 import Llama4Router

from llama4lab.black_boxes import ROUTERS, random_tokens, small_block
from llama4lab.routing import record_routing
from tests.small_models import random_block, random_hidden, random_ids, small_model

VARIANTS = {
    "Llama 4": {},
    "softmax over all": {"gate": "softmax over all"},
    "softmax after top-1": {"gate": "softmax after top-k"},
    "scaled output": {"scale": "output"},
    "top-2": {"top_k": 2},
    "detached": {"detached": True},
}


# ---- the blocks ----


def test_gates_by_hand(notebook):
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    exps = np.exp([2.0, 1.0, -1.0])
    scores = partial(notebook["gate_scores"], logits)
    assert scores()[0].tolist() == pytest.approx([1 / (1 + np.exp(-2)), 0, 0])
    assert scores("softmax over all")[0].tolist() == pytest.approx([exps[0] / exps.sum(), 0, 0])
    assert scores("softmax after top-k")[0].tolist() == [1, 0, 0]
    two = scores("softmax after top-k", 2)[0].tolist()
    assert two == pytest.approx([exps[0] / exps[:2].sum(), exps[1] / exps[:2].sum(), 0])


def test_variants_are_the_library_or_differ_from_it(notebook):
    block, hidden = random_block(), random_hidden(2, 19, 24)
    with torch.no_grad():
        expected = block(hidden)[0]
        for name, variant in VARIANTS.items():
            output = notebook["moe_variant"](block, hidden, **variant)[0]
            assert torch.allclose(output, expected, atol=1e-5, rtol=1e-5) == (name in ("Llama 4", "detached"))
        two = random_block(top_k=2)
        assert_close(notebook["moe_variant"](two, hidden, top_k=2)[0], two(hidden)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_black_boxes_compute_what_the_notebook_computes(notebook, name):
    block, tokens = random_block(), random_hidden(19, 24)
    box, ours = ROUTERS[name], partial(notebook["moe_variant"], **VARIANTS[name])
    for theirs, own in zip(box(block, tokens), ours(block, tokens), strict=True):
        assert_close(theirs, own, atol=1e-5, rtol=1e-5)
    gradient = partial(notebook["router_gradient"], block, tokens=tokens)
    assert_close(gradient(partial(box, block)), gradient(partial(ours, block)), atol=1e-3, rtol=1e-4)


def test_token_size_is_at_least_one(notebook):
    assert notebook["token_size"](torch.tensor([[0.5, -0.1], [3.0, -40.0]])).tolist() == [[1.0], [40.0]]


def test_the_largest_difference_is_found(notebook):
    block, tokens = random_block(), random_hidden(19, 24)
    assert notebook["largest_difference"](block, tokens) < 1e-5
    assert notebook["largest_difference"](block, tokens, scale="output") > 0.01


@pytest.mark.parametrize("name", ["softmax over all", "softmax after top-1", "scaled output", "top-2"])
def test_drawn_errors_are_those_of_a_block(notebook, name):
    sizes = {"hidden": 256, "width": 512, "experts": 8, "std": 0.1}
    measured = []
    for seed in range(6):
        block, tokens = small_block(seed, **sizes), random_tokens(256, 256, seed=50 + seed)
        with torch.no_grad():
            wrong = notebook["moe_variant"](block, tokens, **VARIANTS[name])[0]
            measured.append((wrong - block(tokens)[0]).pow(2).mean().item())
    drawn = notebook["scout_sized_errors"](50_000, **sizes)
    assert drawn[name] == pytest.approx(np.mean(measured), rel=0.15)


def test_the_error_of_a_scaled_output_falls_with_the_cube_of_the_weights(notebook):
    (absolute, relative), (tenth, relative_of_tenth) = map(notebook["error_of_scaled_output"], (0.05, 0.005))
    assert tenth == pytest.approx(absolute / 1000, rel=0.3)
    assert relative_of_tenth > relative


# ---- gradients ----


def test_gradient_rows(notebook):
    block, tokens = small_block(), random_hidden(3, 8)
    logits = block.router(tokens)[1]
    is_chosen = torch.zeros(4, dtype=torch.bool)
    is_chosen[logits.argmax(dim=1)] = True
    is_runner_up = torch.zeros(4, dtype=torch.bool)
    is_runner_up[logits.topk(2, dim=1).indices.flatten()] = True
    assert not is_chosen.all() and not is_runner_up.all() and not torch.equal(is_chosen, is_runner_up)

    rows = {
        name: notebook["router_gradient"](block, partial(notebook["moe_variant"], block, **variant), tokens)
        for name, variant in VARIANTS.items()
    }
    assert torch.equal(rows["Llama 4"] != 0, is_chosen) and torch.equal(rows["scaled output"] != 0, is_chosen)
    assert torch.equal(rows["top-2"] != 0, is_runner_up)
    assert (rows["softmax over all"] > 1e-4).all()
    assert not rows["softmax after top-1"].any() and not rows["detached"].any()
    assert_close(notebook["router_gradient"](block, block, tokens), rows["Llama 4"])


@pytest.mark.parametrize("variant", [{}, {"gate": "softmax over all"}])
def test_loss_by_lead_is_the_loss_of_a_block_with_that_lead(notebook, variant):
    block, token = small_block(), random_hidden(1, 8)
    logits = block.router(token)[1][0].detach()
    winner, row = logits.argmax().item(), logits.argmin().item()
    leads = [-3.0, -0.5, 0.5, 2.0]
    losses = notebook["loss_by_lead"](block, token, row, leads, **variant)
    for lead, loss in zip(leads, losses, strict=True):
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
    rows = partial(notebook["router_row_gradients"], model)
    assert_close(rows(ids), expected, atol=1e-5, rtol=1e-3)
    assert (rows(ids, gate="softmax over all") > 0).all()
    assert not rows(ids, gate="softmax after top-k").any() and not rows(ids, detached=True).any()
    few = ids[:1, :3]  # the last token predicts nothing: two tokens, at most two rows of a block
    taken = record_routing(model, few).chosen[:, 0, :-1]
    assert [row.nonzero().flatten().tolist() for row in rows(few)] == [sorted(set(row.tolist())) for row in taken]
    assert all(module.weight.grad is None for module in model.modules() if isinstance(module, Llama4Router))


@pytest.mark.parametrize("name", VARIANTS)
def test_only_routers_with_a_gradient_move_in_training(notebook, name):
    losses, moved = notebook["train"](VARIANTS[name], seed=5, steps=30)
    assert losses[-1] < losses[0] / 2
    assert (moved[-1] > 0.01) == (name not in ("softmax after top-1", "detached"))


def test_the_task_is_one_linear_map_for_each_cluster(notebook):
    inputs, targets = notebook["toy_task"](0, tokens=400, hidden=4, clusters=1)
    solved = torch.linalg.lstsq(inputs, targets).solution
    assert_close(inputs @ solved, targets)


# ---- the four questions ----


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Llama 4", (1, True, True, "the winners'")),
        ("softmax over all", (1, False, True, "all")),
        ("softmax after top-1", (1, False, False, "none")),
        ("scaled output", (1, True, False, "the winners'")),
        ("detached", (1, True, True, "none")),
    ],
)
def test_each_wrong_router_has_symptoms_of_its_own(notebook, name, expected, seed):
    block, tokens = random_block(seed, experts=30), random_hidden(19, 24, seed=seed + 10)
    assert notebook["symptoms"](partial(notebook["moe_variant"], **VARIANTS[name]), block, tokens) == expected
    if name == "Llama 4":
        assert notebook["symptoms"](notebook["library_forward"], block, tokens) == expected


def test_two_experts_are_heard_with_top_2(notebook):
    block, tokens = random_block(experts=5), random_hidden(19, 24)
    heard = notebook["experts_heard"](partial(notebook["moe_variant"], top_k=2), block, tokens)
    assert heard.shape == (5, 19)
    best_two = block.router(tokens)[1].topk(2, dim=1).indices.sort(dim=1).values
    assert [column.nonzero().flatten().tolist() for column in heard.T] == best_two.tolist()


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
    assert_close(notebook["experts_heard"](forward, block, tokens).sum(dim=0), torch.ones(19, dtype=torch.long))
    assert (notebook["turn_by_doubling"](forward, block, tokens) > 0).all()
    assert all(map(torch.equal, weights, block.parameters()))


def test_shuffled_experts_keep_their_rows(notebook):
    block, tokens, order = random_block(), random_hidden(19, 24), torch.tensor([3, 0, 5, 1, 4, 2])
    weights = [weight.clone() for weight in block.parameters()]
    with torch.no_grad():
        (output, logits), (after, new_logits) = block(tokens), notebook["shuffled"](block, order)(tokens)
    assert_close(after, output, atol=1e-5, rtol=1e-5)
    assert_close(new_logits, logits[:, order])
    assert all(map(torch.equal, weights, block.parameters()))


# ---- whole models ----


def test_recorded_inputs_enter_the_blocks(notebook):
    model, ids = small_model(), random_ids(2, 21)
    inputs = notebook["record_moe_inputs"](model, ids)
    routers = [module for module in model.modules() if isinstance(module, Llama4Router)]
    logits = torch.stack([router(tokens)[1] for router, tokens in zip(routers, inputs, strict=True)])
    assert_close(logits.view(2, 2, 21, 4).detach(), record_routing(model, ids).router_logits)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_swapped_blocks_and_loss(notebook):
    model, ids = small_model(), random_ids(2, 21)
    with torch.no_grad():
        expected = torch.stack([model(row[None], labels=row[None]).loss for row in ids])
    assert_close(notebook["next_token_nll"](model, ids), expected)
    with notebook["swapped_blocks"](model):
        assert_close(notebook["next_token_nll"](model, ids), expected, atol=1e-4, rtol=0)
    with notebook["swapped_blocks"](model, gate="softmax over all"):
        assert (notebook["next_token_nll"](model, ids) - expected).abs().max() > 0.01
    assert not any("forward" in vars(module) for module in model.modules())
