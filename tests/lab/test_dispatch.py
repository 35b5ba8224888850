"""Sorted dispatch against the library's Llama4TextMoe: output, gradients, and what is attached to its modules."""

import accelerate
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

from llama4lab import dispatch
from llama4lab.dispatch import run_sorted_experts, sorted_dispatch, sorted_moe_forward
from llama4lab.errors import CourseError
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


TWO_BLOCKS = dict(num_hidden_layers=2, interleave_moe_layer_step=1, no_rope_layers=[1, 1])
IDS = torch.from_numpy(np.random.default_rng(1).integers(3, 50, (2, 21)))


def offloaded_to_disk(model, folder):
    places = {"model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu", "model.norm": "cpu"}
    places |= {"model.rotary_emb": "cpu", "lm_head": "cpu"}
    return accelerate.dispatch_model(model, places, offload_dir=folder)


def with_adapters_on_the_experts(model, folder):
    names = ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]
    return get_peft_model(model, LoraConfig(target_modules=[], target_parameters=names, init_lora_weights=False))


def with_sharded_experts(model, folder):
    mesh = init_device_mesh("cpu", (1,))
    for layer in model.model.layers:
        fully_shard(layer.feed_forward.experts, mesh=mesh)
    return fully_shard(model, mesh=mesh)


@pytest.fixture
def process_group():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "attach", [lambda model, folder: model, offloaded_to_disk, with_adapters_on_the_experts, with_sharded_experts]
)
@torch.no_grad()
def test_whole_model_equals_the_library_with_whatever_is_attached(attach, tmp_path, process_group, monkeypatch):
    model = attach(small_model(**TWO_BLOCKS), tmp_path)
    expected = model(IDS).logits
    rows = []

    def counted(routed_in, *arguments):
        rows.append(len(routed_in))
        return run_sorted_experts(routed_in, *arguments)

    monkeypatch.setattr(dispatch, "run_sorted_experts", counted)
    with sorted_dispatch(model) as within:
        assert within is model
        assert_close(model(IDS).logits, expected, atol=1e-4, rtol=0)
    assert rows == [42, 42]  # each of the 42 tokens once in each of the two layers
    assert torch.equal(model(IDS).logits, expected) and len(rows) == 2


def test_what_was_there_is_restored_after_nesting_and_after_an_exception():
    model = small_model(**TWO_BLOCKS)
    block, other = (layer.feed_forward for layer in model.model.layers)
    other.forward = own_forward = lambda hidden: Llama4TextMoe.forward(other, hidden)
    with pytest.raises(RuntimeError, match="planned"), sorted_dispatch(model):
        outer = block.forward
        with sorted_dispatch(model):
            model(IDS)
        assert block.forward is outer
        raise RuntimeError("planned")
    assert "forward" not in vars(block) and other.forward is own_forward
    assert not any("forward" in vars(layer.feed_forward.experts) for layer in model.model.layers)


def test_blocks_that_it_does_not_know_are_refused():
    with pytest.raises(CourseError, match="no Llama4TextMoe"), sorted_dispatch(small_model(moe_layers=[])):
        pass
    block = random_block()
    block.experts = torch.nn.ModuleList(torch.nn.Linear(24, 24) for _ in range(6))
    with pytest.raises(CourseError, match="this block has ModuleList: run the model without"), sorted_dispatch(block):
        pass


def test_another_activation():
    block, hidden = random_block(), random_hidden(5, 24)
    block.experts.act_fn = torch.nn.GELU()
    with torch.no_grad():
        assert_close(sorted_moe_forward(block, hidden)[0], block(hidden)[0], atol=1e-5, rtol=0)
