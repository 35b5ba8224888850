"""The pieces of notebook 07 are held to the library: RoPE, QK-norm, walls, reach, order, the cache."""

from functools import cache

import pytest
import torch
from torch.testing import assert_close
from transformers import Llama4ForCausalLM
from transformers.models.llama4.modeling_llama4 import Llama4TextRotaryEmbedding, apply_rotary_emb

from llama4lab.checkpoints import quiet_transformers
from llama4lab.parameters import real_config
from tests.small_models import CHUNK, random_ids, small_model


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@cache
def model() -> Llama4ForCausalLM:
    return small_model()


# ---- the pieces ----


@pytest.mark.parametrize("name", ["scout", "maverick"])
@pytest.mark.parametrize("base", [False, True])
def test_frequencies_of_the_released_models(notebook, name, base):
    config = real_config(name).text_config
    if base:  # what copies of the base models' configurations say: a blend
        config.rope_parameters = config.rope_parameters | {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    with quiet_transformers():
        expected = Llama4TextRotaryEmbedding(config).inv_freq
    assert_close(notebook["rope_frequencies"](config), expected, atol=0, rtol=1e-5)


def test_rotation_equals_the_library_and_depends_on_the_distance(notebook):
    rotary = Llama4TextRotaryEmbedding(model().config)
    query, key = torch.rand(2, 2, 21, 3, 16, generator=torch.Generator().manual_seed(3)) - 0.5
    positions = torch.stack([torch.arange(21), torch.arange(100, 121)])
    expected = apply_rotary_emb(query, key, rotary(query, positions))
    for x, turned in zip((query, key), expected, strict=True):
        assert_close(notebook["rotate"](x, positions, rotary.inv_freq), turned, atol=1e-6, rtol=1e-5)
    moved = [notebook["rotate"](x, positions + 37, rotary.inv_freq) for x in (query, key)]
    products = [torch.einsum("bqhd,bkhd->bhqk", *pair) for pair in (expected, moved)]
    assert_close(products[0], products[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 21])
@pytest.mark.parametrize("padding", [0, 5, 8])
def test_mask_equals_the_library(notebook, length, padding):
    ids, real = random_ids(2, length + padding), torch.ones(2, length + padding, dtype=torch.long)
    real[1, :padding] = 0
    positions = torch.where(real == 1, real.cumsum(dim=1) - 1, -1)
    ours = notebook["visible"](positions, positions, CHUNK)
    theirs = notebook["library_chunked_mask"](model().config, ids, real)
    assert torch.equal(ours[positions >= 0], theirs[positions >= 0])


def test_logits_are_bounded_and_the_bound_is_reached(notebook):
    query, key = notebook["unit_rms"](torch.rand(2, 400, 64, generator=torch.Generator().manual_seed(5)) - 0.5, 1e-5)
    assert (query @ key.T).abs().max() / 8 <= notebook["bound"](64) == 8
    assert query[0] @ query[0] / 8 == pytest.approx(8, rel=1e-3)


def test_reach_is_what_first_layer_says(notebook):
    line = torch.arange(20)[None]
    walls, whole = notebook["visible"](line, line, 4)[0], notebook["visible"](line, line)[0]
    types = ["chunked_attention", "chunked_attention", "full_attention", "chunked_attention"]
    after = notebook["reach"]([whole if kind == "full_attention" else walls for kind in types])
    for query in range(20):
        for key in range(20):
            layers = after[:, query, key].nonzero().flatten().tolist()
            assert notebook["first_layer_solution"](query, key, types, 4) == (layers[0] if layers else None)


def test_a_change_touches_what_the_masks_allow(notebook):
    touched = notebook["touched_by_change"](model(), random_ids(1, 21), changed=10)
    assert touched.sum(dim=1).tolist() == [6, 6, 6, 11]
    assert not touched[:, :10].any() and not touched[:3, 16:].any()


# ---- logits, order, cache ----


def test_largest_logits_are_those_of_the_librarys_attention(notebook):
    """Weights of eager attention are a softmax of the logits, so that differences of logits can be read off them."""
    ids = random_ids(1, 21)
    with_norm, without = (notebook["largest_logits"](small_model(use_qk_norm=norm), ids) for norm in (True, False))
    assert len(with_norm) == 4 and max(with_norm[:3]) <= notebook["bound"](16)
    assert with_norm[0] != pytest.approx(without[0], rel=0.01)
    for layer, x in enumerate(notebook["attention_inputs"](model(), ids)):
        query, key = notebook["queries_and_keys"](model(), layer, x)
        first, second = (torch.einsum("hd,khd->hk", query[0, -1], key[0, -2:]) / 4).T
        weights = model()(input_ids=ids, output_attentions=True).attentions[layer][0, :, -1, -2:]
        assert_close(second - first, (weights[:, 1] / weights[:, 0]).log(), atol=1e-4, rtol=1e-4)


def test_one_layer_without_positions_sees_a_set_and_a_stack_does_not(notebook):
    ids, order = random_ids(1, 21), notebook["shuffled_but_last"](21)
    assert order[-1] == 20 and sorted(order.tolist()) == list(range(21))
    first, again = (notebook["last_output"](model(), 3, ids, places) for places in (torch.arange(21), order))
    assert notebook["moved"](first, again) == "below 1e-4"
    first, again = (notebook["last_output"](model(), 2, ids, places) for places in (torch.arange(21), order))
    assert notebook["moved"](first, again) != "below 1e-4"
    stack = small_model(layer_types=["full_attention"] * 4, no_rope_layers=[0] * 4)
    states = [stack(input_ids=row, output_hidden_states=True).hidden_states[1:] for row in (ids, ids[:, order])]
    moves = [notebook["moved"](a[0, -1], b[0, -1]) for a, b in zip(*states, strict=True)]
    assert moves[0] == "below 1e-4" and "below 1e-4" not in moves[1:]


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 20])
def test_what_must_be_kept_is_what_the_exercise_counts(notebook, length):
    shelves = [notebook["must_keep"](length, size) for size in (CHUNK, CHUNK, CHUNK, None)]
    total = notebook["keys_in_cache_solution"](length, model().config.layer_types, CHUNK)
    assert sum(map(len, shelves)) == total
    assert shelves[0].tolist() == list(range(length // CHUNK * CHUNK, length))


@pytest.mark.parametrize("layer", [0, 3])
def test_the_layers_of_a_model_are_told_apart_by_changing_tokens(notebook, layer):
    ids, questions = random_ids(1, 3 * CHUNK - 2), []

    def sees(query, key):
        questions.append(key)
        return bool(notebook["touched_by_change"](model(), ids, key)[layer, query])

    expected = ("walls", CHUNK) if layer == 0 else ("global", ids.shape[1])
    assert notebook["what_kind_solution"](sees, ids.shape[1]) == expected
    assert len(questions) < ids.shape[1]
