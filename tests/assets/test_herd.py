"""The herd's steps: what a lean forward computes is what the library computes, on rows that the processor would make."""

import random

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import AutoProcessor, Llama4ForConditionalGeneration

import herd
import herd_data
import lean_forward
import picture_batches
from balance import Balance
from growing import open_layers
from llama4lab.assets import ASSETS
from tests.assets.small_sources import write_sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder, AutoProcessor.from_pretrained(ASSETS / "models" / "scout-proxy").tokenizer)
    return herd_data.load_sources(folder)


@pytest.fixture(scope="module")
def block(sources):
    """Two steps of the second phase."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(herd_data, "STEPS_OF_BLOCK", 2)
        arrays = herd_data.draw_block(sources[0], herd_data.proxies.build_processor(sources[1]), 1, 0)
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def weighted(model, tokens, weights, **pictures):
    tokens = tokens.long()
    logits = model(input_ids=tokens, use_cache=False, **pictures).logits[:, :-1].flatten(0, 1)
    losses = cross_entropy(logits, tokens[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].float().flatten()).sum() / weights[:, 1:].float().sum()


@pytest.mark.parametrize("name", herd.HERD)
def test_a_lean_step_has_the_librarys_losses_and_gradients(sources, block, name, monkeypatch):
    monkeypatch.setattr(lean_forward, "ROOM", 1000)  # else experts of an untrained model overflow
    learner = herd.Learner(name, sources[1], "cpu")
    if learner.recipe.grows:
        open_layers(learner.model, learner.config)
    buffers = learner.make_buffers(1)
    for part, buffer in buffers.items():
        buffer.copy_(block[part][0][: len(buffer)])
    losses, loads, balance = learner.loss(buffers, lean_forward.positions(learner.text.model, 512))
    library = Llama4ForConditionalGeneration(learner.config)
    library.load_state_dict(learner.model.state_dict())
    watch = Balance(library, "loss", 1.0)
    tokens, weights = buffers["tokens"], buffers["weights"]
    text = len(tokens) - len(buffers.get("feature", ()))
    expected = [weighted(library, tokens[:text], weights[:text])]
    if learner.recipe.pictures:
        tiles = buffers["tiles"][: (buffers["feature"].max() + 1) // 16].float() / 127.5 - 1
        expected.append(weighted(library, tokens[text:], weights[text:], pixel_values=tiles))
    assert_close(losses, expected, atol=1e-5, rtol=0)
    assert len(loads) == len(balance) == len(watch.routers)
    sum(losses).backward()
    sum(expected).backward()
    for (part, ours), theirs in zip(learner.model.named_parameters(), library.parameters(), strict=True):
        if "embed_tokens" not in part and theirs.grad is not None:  # the library keeps padding's embedding as it is
            assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3, msg=lambda text, part=part: f"{part}: {text}")


def test_an_expert_that_is_full_leaves_its_other_tokens_to_the_shared_one(sources, monkeypatch):
    monkeypatch.setattr(lean_forward, "ROOM", 1)
    moe = herd.Learner("scout-proxy", sources[1], "cpu").text.model.layers[0].feed_forward
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 128)).astype(np.float32)).expand(32, -1)
    with torch.no_grad():
        output, load, _ = lean_forward.mix(moe, x)
        shared = lean_forward.dense(moe.shared_expert, x)
    assert load.max() == 1  # 32 equal tokens, room for two of them
    is_shared = torch.isclose(output, shared, atol=1e-6).all(dim=1)
    assert is_shared.tolist() == [False] * 2 + [True] * 30


def test_a_block_is_the_same_whoever_draws_it(sources, block, monkeypatch):
    monkeypatch.setattr(herd_data, "STEPS_OF_BLOCK", 2)
    again = herd_data.draw_block(sources[0], herd_data.proxies.build_processor(sources[1]), 1, 0)
    assert all(np.array_equal(again[name], value.numpy()) for name, value in block.items())
    other = herd_data.draw_block(sources[0], herd_data.proxies.build_processor(sources[1]), 1, 1)
    assert not np.array_equal(other["tokens"], again["tokens"])


def test_conversations_about_pictures_begin_at_a_slot(sources):
    processor = herd_data.proxies.build_processor(sources[1])
    rows = picture_batches.picture_rows(processor, random.Random(0), 4, 512, 40, picture_batches.LAYOUTS)
    begins = np.argwhere(rows.tokens == processor.tokenizer.bos_token_id)
    assert len(begins) > 4 and (begins[:, 1] % picture_batches.SLOT == 0).all()


def test_the_learning_rate_follows_the_clock():
    assert [round(herd.factor(share), 3) for share in (0, 0.1, 0.55, 1, 2)] == [1, 1, 0.505, 0.01, 0.01]
    assert [herd.phase_at(share) for share in (0, 0.3, 0.8, 1)] == [0, 1, 2, 2]
