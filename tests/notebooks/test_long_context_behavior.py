"""What notebook 09 writes from scratch is held to the library."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import Llama4ForCausalLM

from llama4lab.recall import VOCABULARY
from tests.small_models import small_model


def random_model(pattern=(1, 1, 1, 0)) -> Llama4ForCausalLM:
    return small_model(vocab_size=len(VOCABULARY), no_rope_layers=list(pattern))


@pytest.mark.parametrize(("pattern", "crosses"), [((1, 1, 1, 1), False), ((1, 1, 1, 0), True), ((0, 1, 1, 1), True)])
def test_reach_of_a_change_tells_walls_from_open_layers(notebook, pattern, crosses):
    reach = notebook["reach_of_a_change"](random_model(pattern), changed=15, length=30)
    assert (reach[:15] == 0).all() and reach[15] > 0
    assert bool((reach[16:] > 0).any()) == crosses


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
    assert notebook["both_definitions"](shares, short=128) == (0, 0)  # 0.5 misses 0.85 of 0.6
    assert notebook["both_definitions"](shares | {"64": 0.52}, short=128) == (0, 512)
    assert notebook["both_definitions"](dict.fromkeys(shares, 0.856), short=128) == (1024, 1024)


def test_filler_is_thinned_to_the_words_before_each_fact(notebook):
    fact = re.compile(r"[A-Z]\w+ lives in \w+\.")
    prompt = "<|begin_of_text|>one two Ada lives in Oslo. three four five Ben lives in Rome. six\nWho comes from Italy?"
    assert notebook["thinned"](prompt, 0, fact) == ("Ada lives in Oslo. Ben lives in Rome.", "Who comes from Italy?")
    assert notebook["thinned"](prompt, 2, fact)[0] == "one two Ada lives in Oslo. four five Ben lives in Rome."
    assert notebook["thinned"](prompt, 9, fact)[0] == "one two Ada lives in Oslo. three four five Ben lives in Rome."
