"""The functions that notebook 09 writes from scratch, taken out of it and held to the library."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import Llama4ForCausalLM, Llama4TextConfig

from llama4lab.notebook_functions import functions_of
from llama4lab.recall import VOCABULARY

CHUNK = 8


@pytest.fixture(scope="module")
def notebook() -> dict:
    return functions_of("long_context_behavior")


def random_model(pattern=(1, 1, 1, 0)) -> Llama4ForCausalLM:
    """A small model with weights of std 0.3, chunk 8 and a floor_scale of 5, read with eager attention."""
    config = Llama4TextConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        head_dim=16,
        intermediate_size=24,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        no_rope_layers=list(pattern),
        attention_chunk_size=CHUNK,
        floor_scale=5,
        attn_scale=0.4,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        attn_implementation="eager",
    )
    model = Llama4ForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.empty(parameter.shape, dtype=torch.float64).normal_(0, 0.3, generator=generator))
    return model


def library_weights(model: Llama4ForCausalLM, ids: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What enters `layer`'s attention, and the attention weights that the library makes of it."""
    entered = []
    hook = model.model.layers[layer].self_attn.register_forward_pre_hook(
        lambda _, args, kwargs: entered.append(kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        weights = model(input_ids=ids, output_attentions=True).attentions[layer]
    hook.remove()
    return entered[0], weights


def random_ids(length: int) -> torch.Tensor:
    return torch.randint(0, len(VOCABULARY), (2, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("length", [5, 8, 21])
def test_the_mask_is_the_librarys(notebook, length):
    _, weights = library_weights(random_model(), random_ids(length), layer=0)
    mask = notebook["chunked_mask"](length, CHUNK)
    assert torch.equal(weights[0, 0] > 0, mask)


def test_a_sliding_window_is_not_the_librarys_mask():
    sliding = functions_of(
        "long_context_behavior", ("return same_block &", "return (position[:, None] - position[None, :] < chunk) &")
    )
    _, weights = library_weights(random_model(), random_ids(21), layer=0)
    assert not torch.equal(weights[0, 0] > 0, sliding["chunked_mask"](21, CHUNK))


def test_nope_attention_is_the_librarys(notebook):
    model = random_model()
    entered, weights = library_weights(model, random_ids(21), layer=3)
    with torch.no_grad():
        assert_close(notebook["nope_attention"](model.model.layers[3], entered), weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        ("(position + 1) / floor_scale", "position / floor_scale"),
        ("math.log(1 + math.floor(", "math.log10(1 + math.floor("),
        ("future = torch.ones(seq, seq, dtype=torch.bool).triu(1)", "future = torch.zeros(seq, seq, dtype=torch.bool)"),
        ("(query * factors[:, None]) @", "query @"),
    ],
)
def test_a_wrong_nope_attention_is_noticed(change):
    model = random_model()
    entered, weights = library_weights(model, random_ids(21), layer=3)
    with torch.no_grad():
        wrong = functions_of("long_context_behavior", change)["nope_attention"](model.model.layers[3], entered)
    assert (wrong - weights).abs().max() > 1e-3


@pytest.mark.parametrize(("pattern", "crosses"), [((1, 1, 1, 1), False), ((1, 1, 1, 0), True), ((0, 1, 1, 1), True)])
def test_reach_of_a_change_tells_walls_from_open_layers(notebook, pattern, crosses):
    reach = notebook["reach_of_a_change"](random_model(pattern), changed=15, length=30)
    assert (reach[:15] == 0).all() and reach[15] > 0
    assert bool((reach[16:] > 0).any()) == crosses


def test_layer_pattern_reads_the_key_that_reads_backwards(notebook):
    assert notebook["layer_pattern"](random_model().config) == ["chunk+RoPE"] * 3 + ["all+NoPE"]


def test_effective_length_stops_at_the_first_miss(notebook):
    scores = {256: 0.9, 64: 1.0, 128: 0.7, 512: 0.9}
    assert notebook["effective_length"](scores, 0.85) == 64
    assert notebook["effective_length"](scores, 0.6) == 512
    assert notebook["effective_length"](scores, 1.1) == 0


def test_entropy_of_the_next_word(notebook):
    coin = np.random.default_rng(0).integers(0, 2, 20_000)
    assert notebook["entropy_of_next"](coin) == pytest.approx(math.log(2), abs=1e-3)
    assert notebook["entropy_of_next"](np.arange(1000) % 5) == pytest.approx(0)


class NextWord(torch.nn.Module):
    """Knows the next word of the row up to position `known`, and nothing after it."""

    def __init__(self, known: int):
        super().__init__()
        self.known = known

    def forward(self, input_ids, **_):
        logits = torch.zeros(*input_ids.shape, len(VOCABULARY))
        following = input_ids.roll(-1, dims=1)
        logits[:, : self.known] = 50.0 * torch.nn.functional.one_hot(following, len(VOCABULARY))[:, : self.known]
        return SimpleNamespace(logits=logits)


def test_nll_by_position_is_of_the_position_that_predicts(notebook):
    nll = notebook["nll_by_position"](NextWord(known=20), rows=2, length=64)
    assert nll.shape == (63,)
    assert nll[:20].max() < 1e-6
    assert_close(nll[20:], torch.full((43,), math.log(len(VOCABULARY))))


def test_both_definitions_take_their_base_from_lengths_of_training(notebook):
    shares = {"64": 0.5, "128": 0.6, "256": 0.55, "512": 0.9, "1024": 0.2}
    assert notebook["both_definitions"](shares, trained=128) == (0, 0)  # 0.5 misses 0.85 of 0.6
    assert notebook["both_definitions"](shares | {"64": 0.52}, trained=128) == (0, 512)
    assert notebook["both_definitions"](dict.fromkeys(shares, 0.856), trained=128) == (1024, 1024)


def test_ends_and_middle_are_means_of_their_places(notebook):
    shares = [1.0] * 3 + [0.0] * 3 + [0.5] * 4 + [0.0] * 3 + [0.25] * 3
    assert notebook["ends_and_middle"](shares) == [1.0, 0.5, 0.25]


def test_an_answer_ends_at_its_first_period(notebook):
    class Model:
        def generate(self, ids, **_):
            return torch.cat([ids, torch.tensor([[7, 8]])], dim=1)

    class Tokenizer:
        def __call__(self, text, **_):
            return {"input_ids": torch.tensor([[1, 2, 3]])}

        def decode(self, tokens):
            return {(7, 8): " Cairo. Lima."}[tuple(tokens.tolist())]

    assert notebook["greedy_answer"](Model(), Tokenizer(), "Where?") == "Cairo"
