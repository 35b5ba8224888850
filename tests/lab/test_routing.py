"""record_routing is held to the routers themselves, run by hand on what enters them."""

import pytest
import torch
from torch.testing import assert_close
from transformers.models.llama4.modeling_llama4 import Llama4Router

from llama4lab.errors import CourseError
from llama4lab.routing import expert_load, record_routing
from tests.small_models import random_ids, small_model


def run_routers_by_hand(model, ids) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and logits of every router, `[layers, batch, seq, experts]`, caught by hooks."""
    caught = []
    hooks = [
        module.register_forward_hook(lambda router, args, output: caught.append(output))
        for module in model.modules()
        if isinstance(module, Llama4Router)
    ]
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    scores, logits = (torch.stack(parts).view(len(hooks), *ids.shape, -1) for parts in zip(*caught, strict=True))
    return scores, logits


def test_recording_equals_the_routers():
    model, ids = small_model(), random_ids(2, 21)
    routing = record_routing(model, ids)
    scores, logits = run_routers_by_hand(model, ids)
    assert routing.layers == [1, 3]
    assert_close(routing.router_logits, logits)
    assert torch.equal(routing.chosen, scores.argmax(dim=-1))
    assert_close(routing.scores, scores.amax(dim=-1))


def test_attention_mask_is_passed_on():
    model, ids = small_model(), random_ids(2, 21)
    mask = torch.ones_like(ids)
    mask[1, :9] = 0
    masked, free = record_routing(model, ids, attention_mask=mask), record_routing(model, ids)
    assert_close(masked.router_logits[:, 0], free.router_logits[:, 0], atol=1e-4, rtol=0)
    assert (masked.router_logits[:, 1, 9:] - free.router_logits[:, 1, 9:]).abs().max() > 1e-2


def test_model_without_experts_is_refused():
    with pytest.raises(CourseError, match="no Llama 4 router"):
        record_routing(small_model(moe_layers=[]), random_ids(1, 3))


def test_expert_load():
    assert expert_load(torch.tensor([[0, 2], [2, 2]]), 4).tolist() == [0.25, 0.0, 0.75, 0.0]
