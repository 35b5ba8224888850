"""The training loop: attention and loss that equal the library's, experts that are balanced, runs that resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoProcessor, Llama4ForCausalLM, Llama4ForConditionalGeneration
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

import recall_batches
import trainer
import training_attention
from balance import Balance, balance_loss
from growing import closed, deepen, open_layers
from initial_weights import initialize
from llama4lab.assets import ASSETS
from llama4lab.recall import VOCABULARY, follower_table
from llama4lab.recall_hops import HOPS_VOCABULARY
from proxies import ablation_config, scout_config, two_groups_config
from trainer import Schedule, TrainingError, train
from training_batch import Batch, weighted_nll


@pytest.mark.parametrize("length", [40, 128, 150])  # shorter than a chunk, whole chunks, a broken one
@pytest.mark.parametrize("kind", ["hybrid", "chunk-only", "rope"])
def test_training_attention_equals_the_librarys(kind, length):
    config = ablation_config(kind, len(VOCABULARY))
    model = Llama4ForCausalLM(config).eval()
    initialize(model, 0)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(VOCABULARY), (2, length)))
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        model.set_attn_implementation(training_attention.NAME)
        found = model(input_ids=ids, use_cache=False).logits
    assert_close(found, expected, atol=1e-5, rtol=0)


def test_training_attention_refuses_a_cache():
    model = Llama4ForCausalLM(ablation_config("hybrid", len(VOCABULARY))).eval()
    model.set_attn_implementation(training_attention.NAME)
    ids = torch.zeros(1, 4, dtype=torch.long)
    with torch.no_grad():
        cache = model(input_ids=ids).past_key_values
        with pytest.raises(ValueError, match="whole rows without mask and cache"):
            model(input_ids=ids[:, :1], past_key_values=cache)


def test_loss_of_hidden_states_is_the_loss_of_the_logits():
    random_numbers = np.random.default_rng(0)
    hidden = torch.from_numpy(random_numbers.normal(size=(3, 7, 8)).astype(np.float32)).requires_grad_()
    head = torch.from_numpy(random_numbers.normal(size=(50, 8)).astype(np.float32)).requires_grad_()
    batch = Batch(
        torch.from_numpy(random_numbers.integers(0, 50, (3, 7))),
        torch.from_numpy(random_numbers.choice([0.0, 0.3, 2.0], (3, 7)).astype(np.float32)),
    )
    losses = weighted_nll(hidden @ head.T, batch), trainer.nll_of_hidden_states(hidden, head, batch)
    assert_close(losses[1], losses[0], atol=1e-5, rtol=0)
    gradients = [torch.autograd.grad(loss, (hidden, head), retain_graph=True) for loss in losses]
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        assert_close(found, expected, atol=1e-5, rtol=0)


# ---- balance ----


def test_balance_loss_and_its_gradient_are_the_librarys():
    """Of one layer; the gradient, through the router's shares, is all that moves a router."""
    ours, library = (
        (1.5 * torch.randn(60, 6, generator=torch.Generator().manual_seed(0))).requires_grad_() for _ in "ab"
    )
    loss, expected = balance_loss([ours]), load_balancing_loss_func((library,), num_experts=6, top_k=1)
    assert_close(loss, expected)
    assert_close(torch.autograd.grad(loss, ours), torch.autograd.grad(expected, library))


def test_balance_loss_is_the_mean_of_the_layers_where_the_library_pools_them():
    balanced = torch.eye(4).repeat(8, 1) * 50
    collapsed = torch.zeros(32, 4)
    collapsed[:, 2] = 50.0
    assert [balance_loss([layer]).item() for layer in (balanced, collapsed)] == pytest.approx([1.0, 4.0])
    assert balance_loss([balanced, collapsed]).item() == pytest.approx(2.5)


def small_moe(seed: int = 0) -> Llama4ForCausalLM:
    config = ablation_config("hybrid", len(VOCABULARY))
    config.hidden_size = config.intermediate_size = 16
    config.head_dim = 8
    model = Llama4ForCausalLM(config)
    initialize(model, seed)
    return model


IDS = torch.from_numpy(np.random.default_rng(1).integers(0, len(VOCABULARY), (4, 64)))


def test_the_bias_changes_the_choice_and_not_the_scores():
    model = small_moe()
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
        watch = Balance(model, "bias", weight=0.01)
        assert torch.equal(model(input_ids=IDS).logits, expected)
        for bias in watch.biases:
            bias += 3.0  # of all experts alike
        assert torch.equal(model(input_ids=IDS).logits, expected)
        watch.biases[0][2] += 100.0  # now every token of the first layer takes expert 2
        assert not torch.allclose(model(input_ids=IDS).logits, expected)
        assert watch.busiest()[0] == 4.0 and watch.dead()[0] == 3
        watch.remove()
        assert torch.equal(model(input_ids=IDS).logits, expected)


@pytest.mark.parametrize("method", ["loss", "bias"])
def test_each_method_evens_the_load(method):
    model = small_moe()
    watch = Balance(model, method, weight=1.0, bias_rate=0.02)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loads = []
    for _ in range(150):
        model(input_ids=IDS)
        loads.append(max(watch.busiest()))
        if method == "loss":
            optimizer.zero_grad()
            watch.loss().backward()
            optimizer.step()
        watch.after_step()
    assert loads[-1] < 1.25 < loads[0]


def test_loads_are_counted_in_even_shares():
    watch = Balance(small_moe(), "none", weight=0.0)
    watch.loads = [torch.tensor([0.5, 0.3, 0.18, 0.02])]
    assert (watch.busiest(), watch.dead()) == ([2.0], [1])


def test_an_unknown_balancing_method_is_one_sentence():
    with pytest.raises(ValueError, match="no balancing method 'luck'; use one of loss, bias, none"):
        Balance(small_moe(), "luck", weight=0.01)


# ---- the loop ----


def test_the_learning_rate_warms_up_holds_and_falls_to_its_floor():
    schedule = Schedule(steps=100, warmup=10, hold=0.5, floor=0.05)
    factors = [schedule.factor(step) for step in (0, 9, 10, 50, 75, 100)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.525, 0.05])


def tiny_run(work, stop_after=None, **schedule):
    table = follower_table()
    return train(
        small_moe(),
        lambda step: [recall_batches.recall_batch(step, 0, 4, 64, table)],
        Schedule(steps=6, warmup=2, **schedule),
        work,
        save_every=3,
        stop_after=stop_after,
    )


def test_the_loop_learns_from_the_balance_loss_and_moves_the_bias(tmp_path, monkeypatch):
    without, with_loss = (
        tiny_run(tmp_path / str(weight), balance_weight=weight).model.layers[0].feed_forward.router.weight
        for weight in (0.0, 1.0)
    )
    assert (without - with_loss).abs().max() > 1e-3
    steps = []
    monkeypatch.setattr(trainer.Balance, "after_step", lambda self: steps.append(self.method))
    tiny_run(tmp_path / "bias", balance="bias")
    assert steps == ["bias"] * 6


@pytest.mark.parametrize("balance", ["loss", "bias"])
def test_an_interrupted_run_resumes_on_the_same_curve(tmp_path, capsys, balance):
    whole = tiny_run(tmp_path / "whole", balance=balance)
    tiny_run(tmp_path / "parts", stop_after=3, balance=balance)
    resumed = tiny_run(tmp_path / "parts", balance=balance)
    for (name, expected), found in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert_close(found, expected, atol=0, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
    last = [json.loads((tmp_path / run / "log.jsonl").read_text().splitlines()[-1]) for run in ("whole", "parts")]
    assert last[0]["loss"] == last[1]["loss"]


def test_a_corrupt_checkpoint_is_one_sentence(tmp_path):
    tiny_run(tmp_path, stop_after=3)
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="cannot be read .* delete that folder"):
        tiny_run(tmp_path)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    tiny_run(tmp_path, stop_after=3)

    def full(self, folder):
        Path(folder).mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.Accelerator, "save_state", full)
    with pytest.raises(TrainingError, match="free some disk"):
        tiny_run(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "checkpoint.new").exists()
    assert json.loads((tmp_path / "checkpoint" / "progress.json").read_text())["step"] == 3
    tiny_run(tmp_path)


@pytest.mark.parametrize(
    ("device", "sentence"),
    [("tpu", "must be cpu or cuda")] + [("cuda", "no CUDA device")] * (not torch.cuda.is_available()),
)
def test_a_wrong_device_is_one_sentence(tmp_path, device, sentence):
    with pytest.raises(TrainingError, match=sentence):
        train(torch.nn.Linear(1, 1), lambda step: [], Schedule(steps=1), tmp_path, device=device)


def test_a_model_that_grows_ends_as_the_one_that_its_configuration_describes():
    tokenizer = AutoProcessor.from_pretrained(ASSETS / "models" / "scout-proxy").tokenizer
    config = scout_config(tokenizer)
    model = Llama4ForConditionalGeneration(closed(config)).eval()
    assert [layer.self_attn.use_rope for layer in model.language_model.model.layers] == [True] * 4
    open_layers(model, config)
    opened = Llama4ForConditionalGeneration(config).eval()
    opened.load_state_dict(model.state_dict())
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 2000, (1, 300)))
    with torch.no_grad():
        logits = [one(input_ids=ids, use_cache=False).logits for one in (model, opened)]
    torch.testing.assert_close(logits[0], logits[1], atol=0, rtol=0)
    assert model.config.to_dict() == opened.config.to_dict()


def test_a_deepened_model_begins_as_the_shallower_one():
    shallow = Llama4ForCausalLM(ablation_config("hybrid", len(VOCABULARY))).eval()
    deep = Llama4ForCausalLM(two_groups_config(len(HOPS_VOCABULARY))).eval()
    for model in (shallow, deep):
        initialize(model, 0)
    deepen(deep, shallow.state_dict())
    with torch.no_grad():
        expected, found = (model(input_ids=IDS).logits for model in (shallow, deep))
    assert_close(found[..., : len(VOCABULARY)], expected, atol=1e-5, rtol=0)
