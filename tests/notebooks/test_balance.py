"""What notebook 04 writes from scratch is held to the library or to formulas written in another way."""

import json
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from transformers.models.switch_transformers.modeling_switch_transformers import router_z_loss_func

from llama4lab.assets import ASSETS
from llama4lab.checkpoints import load_checkpoint
from llama4lab.routing import record_routing
from tests.small_models import random_ids, small_model


def random_logits(seed=0, tokens=60, experts=6, scale=1.5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (tokens, experts)))


# ---- noise floors ----


def test_noise_floors(notebook):
    counts = notebook["dice_counts"](256, 16)
    assert (counts.sum(axis=1) == 256).all()
    assert notebook["max_violation"](counts).mean() == pytest.approx(0.46, abs=0.01)
    assert notebook["max_violation"](np.array([10, 2, 3, 1])) == 1.5
    assert 100 * notebook["overflow_share"](counts, 1.0).mean() == pytest.approx(9.6, abs=0.2)


def test_overflow_is_what_finds_no_place(notebook):
    chosen = np.random.default_rng(0).integers(0, 4, (3, 50))
    kept = notebook["within_capacity"](torch.from_numpy(chosen), 4, 12)  # 1.0 times 50 / 4, rounded down
    counts = np.stack([np.bincount(row, minlength=4) for row in chosen])
    assert_close(1 - kept.double().mean(dim=1).numpy(), notebook["overflow_share"](counts, 1.0))


# ---- added losses ----


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_balance_loss_equals_the_library(notebook, seed):
    ours, library = (random_logits(seed).float().requires_grad_() for _ in range(2))
    loss, expected = notebook["balance_loss"](ours), load_balancing_loss_func((library,), num_experts=6, top_k=1)
    assert_close(loss, expected)
    assert_close(torch.autograd.grad(loss, ours), torch.autograd.grad(expected, library))


def test_balance_per_sequence(notebook):
    balance, logits = notebook["balance_loss"], random_logits(tokens=48)
    rows = torch.stack([balance(row) for row in logits.view(4, 12, 6)])
    assert_close(notebook["balance_per_sequence"](logits, 4), rows.mean())
    assert (notebook["balance_per_sequence"](logits, 4) - balance(logits)).abs() > 0.01


def test_z_loss_equals_the_library(notebook):
    logits = random_logits(tokens=48)
    assert_close(notebook["z_loss"](logits), router_z_loss_func(logits[None]))


# ---- the toy ----


@pytest.fixture(scope="module")
def toy(notebook) -> tuple[dict, torch.Tensor]:
    language = notebook["make_language"]()
    return language, notebook["draw_batch"](language, np.random.default_rng(5), 0.5)[0]


@pytest.mark.parametrize("shared", [True, False])
def test_block_equals_the_library(notebook, toy, shared):
    language, tokens = toy
    weights = notebook["new_weights"](language, 3, shared=True)
    if not shared:
        weights["shared_down"].data.zero_()
    weights["router"].data *= 30  # so that scores differ
    with torch.no_grad():
        expected, expected_logits = notebook["library_block"](weights)(tokens.float())
        ours = weights if shared else {name: w for name, w in weights.items() if not name.startswith("shared")}
        output, logits, chosen = notebook["moe_block"](tokens, ours)
    assert_close(logits.float(), expected_logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(chosen, expected_logits.argmax(dim=1))
    assert_close(output.float(), expected, atol=1e-5, rtol=1e-5)


def test_what_is_chosen_does_not_change_the_score(notebook, toy):
    language, tokens = toy
    weights = notebook["new_weights"](language, 0)

    fives = torch.full((len(tokens),), 5)
    output, logits, chosen = notebook["moe_block"](tokens, weights, choose=lambda logits: fives)
    assert torch.equal(chosen, fives)
    assert_close(logits, tokens @ weights["router"].T)
    only_5 = {name: weight[[5]] if weight.ndim == 3 or name == "router" else weight for name, weight in weights.items()}
    assert_close(output, notebook["moe_block"](tokens, only_5)[0])


def test_batches(notebook):
    language = notebook["make_language"](words=20, topics=3, hidden=12)
    tokens, next_words, topic = notebook["draw_batch"](language, np.random.default_rng(0), 1.0, length=5)
    assert topic.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert notebook["common_part"](tokens) == pytest.approx(1.0)
    assert notebook["common_part"](torch.tensor([[1.0, 3.0], [-1.0, 3.0]])) == pytest.approx(0.9)
    assert_close(tokens.pow(2).mean(dim=1), torch.ones(15, dtype=torch.float64))
    assert all(next_word in language["followers"][t] for next_word, t in zip(next_words, topic, strict=True))
    assert (notebook["new_weights"](language, 0)["router"] @ language["common"]).abs().max() < 1e-9


def few_steps(functions: dict, **options) -> dict:
    return functions["train"](functions["make_language"](), 0, steps=25, **options)


def test_training_collapses_unless_it_is_balanced(notebook):
    run = few_steps(notebook)
    assert run["load"].shape == (25, 8) and run["chosen"].shape == (25, 256)
    assert_close(run["load"].sum(axis=1), np.ones(25, dtype=run["load"].dtype))
    busiest = notebook["busiest"]
    assert busiest(run)[-5:].mean() > 7
    balanced = few_steps(notebook, added_loss=lambda logits: 0.1 * notebook["balance_loss"](logits))
    assert busiest(balanced)[-5:].mean() < 3
    assert busiest(few_steps(notebook, bias_rate=0.2))[-5:].mean() < 3
    assert busiest(few_steps(notebook, frozen_router=True))[-5:].mean() < 2.5
    assert np.array_equal(few_steps(notebook)["loss"], run["loss"])


class ForgetsOnce(torch.optim.Adam):
    """Adam whose running mean of the router's gradients is set to zero once, after the second step."""

    steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        if self.steps == 2:
            self.state[self.param_groups[0]["params"][0]]["exp_avg"].zero_()


@pytest.mark.parametrize("optimizer, sinks", [(torch.optim.Adam, True), (ForgetsOnce, False)])
def test_rows_without_a_token_sink_by_momentum(notebook, monkeypatch, optimizer, sinks):
    monkeypatch.setattr(torch.optim, "Adam", optimizer)
    run = notebook["train"](notebook["make_language"](), 1, steps=40)
    starved = run["load"][2:].sum(axis=0) == 0
    assert starved.sum() >= 4
    sunk = (run["lean"][3] - run["lean"][-1])[starved]
    assert (sunk > 1).all() if sinks else (abs(sunk) < 0.05).all()


def test_the_opening_drawing_shows_a_run(notebook):
    run = notebook["train"](notebook["make_language"](), 1, steps=150)
    drawing = ElementTree.parse(ASSETS / "figures" / "collapse.svg").getroot()
    dots = Counter(
        (int((x - 20) // 181), int((x - 20) % 181 - 8) // 20) for x, fill in circles(drawing) if fill == "#0072b2"
    )
    for frame, step in enumerate((0, 1, 2, 20)):
        tokens = 256 * run["load"][step]
        assert [dots[frame, expert] for expert in range(8)] == pytest.approx(tokens / 8, abs=0.51)


def circles(drawing):
    return [(float(c.get("cx")), c.get("fill")) for c in drawing.iter("{http://www.w3.org/2000/svg}circle")]


# ---- information ----


def test_shared_bits(notebook):
    topic = np.repeat(np.arange(8), 100)
    bits = notebook["shared_bits"]
    assert bits((topic + 3) % 8, topic) == pytest.approx(3.0)
    assert bits(np.zeros_like(topic), topic) == pytest.approx(0.0)
    assert bits(topic // 2, topic) == pytest.approx(2.0)
    run = {"chosen": np.broadcast_to(topic, (30, 800))}
    assert notebook["topic_bits"](run, topic) == pytest.approx(3.0)


# ---- capacity ----


@pytest.mark.parametrize("capacity", [0, 1, 5, 64])
def test_within_capacity(notebook, capacity):
    chosen = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 64)))
    kept = notebook["within_capacity"](chosen, 3, capacity)
    for row, row_kept in zip(chosen.tolist(), kept.tolist(), strict=True):
        places = [capacity] * 3
        for expert, is_kept in zip(row, row_kept, strict=True):
            assert is_kept == (places[expert] > 0)
            places[expert] -= 1


def test_loss_with_capacity(notebook):
    model = small_model()
    ids = random_ids(2, 21)
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss.item()
    nll = notebook["nll_with_capacity"]
    assert nll(model, ids, 21) == pytest.approx(expected, abs=1e-6)
    assert abs(nll(model, ids, 0) - expected) > 1e-3
    assert nll(model, ids, 0) != nll(model, ids, 2)
    assert not any(module._forward_hooks for module in model.modules())


# ---- models ----


def test_router_inputs(notebook):
    model = small_model()
    ids = random_ids(2, 21)
    routing = record_routing(model, ids)
    routers = [module for name, module in model.named_modules() if name.endswith("router")]
    inputs = notebook["router_inputs"](model, ids)
    logits = torch.stack([router(states)[1] for router, states in zip(routers, inputs, strict=True)]).detach()
    assert_close(logits.view_as(routing.router_logits), routing.router_logits)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_small_moe_is_the_model_that_the_runs_trained():
    recorded = json.loads((ASSETS / "measurements" / "balance.json").read_text(encoding="utf-8"))
    _, model = load_checkpoint("ablations/small-moe")
    assert (recorded["experts"], recorded["layers"]) == (8, 4)
    assert (model.config.num_local_experts, model.config.num_hidden_layers) == (8, 4)
    assert set(recorded["runs"]) == {f"{method}-{seed}" for method in ("none", "loss", "bias") for seed in range(3)}
