"""Explorers of routing, which need a kernel: their pictures follow the reader's choices and write no HTML of texts."""

import numpy as np
import torch

from llama4lab.explore import explore_experts, explore_routing, in_context, routing_html
from llama4lab.routing import record_routing
from tests.small_models import small_model

# ---- a sentence and its experts ----


class LetterTokenizer:
    """One token a letter, enough to stand in for a tokenizer."""

    def __call__(self, text, return_tensors):
        class Encoded:
            input_ids = torch.tensor([[1] + [3 + ord(letter) % 40 for letter in text]])

        return Encoded

    def decode(self, ids):
        return "<b>" if ids == [1] else chr(60 + ids[0])


def test_explorer_follows_text_and_layer():
    model = small_model()
    field, layer, picture = explore_routing(LetterTokenizer(), model, "hello").children
    assert [name for name, _ in layer.options] == ["layer 1", "layer 3"]
    assert "Tokens: 6." in picture.value and "&lt;b&gt;" in picture.value and "<b>" not in picture.value
    field.value = "hello world"
    assert "Tokens: 12." in picture.value
    first = picture.value
    layer.value = 1
    chosen = record_routing(model, LetterTokenizer()("hello world", return_tensors="pt").input_ids).chosen[:, 0]
    assert not torch.equal(chosen[0], chosen[1])
    assert picture.value != first
    assert [int(part.split("<")[0]) for part in picture.value.split('font-size:75%">')[1:]] == chosen[1].tolist()


def test_explorer_with_no_text_and_with_too_much():
    model = small_model()
    field, _, picture = explore_routing(LetterTokenizer(), model, "").children
    assert "Tokens: 1." in picture.value
    field.value = "x" * 300
    assert "Tokens: 256." in picture.value and "Only the first 256 tokens" in picture.value


def test_explorer_writes_no_html_of_the_reader():
    assert "<script>" not in routing_html(["<script>"], [0], 4)


# ---- an expert and its tokens ----


class NumberTokenizer:
    """Each id is its own text."""

    def decode(self, ids):
        return "".join(f" {n}" for n in ids)


def test_places_in_context():
    ids = torch.arange(20).view(2, 10)
    taken = torch.zeros(2, 10, dtype=torch.bool)
    taken[0, 0] = taken[0, 5] = taken[1, 9] = True
    lines = in_context(NumberTokenizer(), ids, taken, around=2)
    assert lines == ["[ 0] 1 2", " 3 4[ 5] 6 7", " 17 18[ 19]"]
    assert in_context(NumberTokenizer(), ids, taken, count=2, around=0) == ["[ 0]", "[ 19]"]
    assert in_context(NumberTokenizer(), ids, torch.zeros_like(taken)) == []


def test_the_explorer_follows_layer_and_expert():
    texts = {"<one>": torch.arange(10).view(2, 5), "two": torch.arange(10, 20).view(2, 5)}
    chosen = np.stack([np.arange(20) // 10, np.arange(20) % 2])
    layer, expert, picture = explore_experts(NumberTokenizer(), texts, [1, 3], chosen, 2).children
    assert "&lt;one&gt; 2.00, two 0.00" in picture.value and "<one>" not in picture.value
    expert.value = 1
    assert "&lt;one&gt; 0.00, two 2.00" in picture.value
    layer.value = 1
    assert "&lt;one&gt; 1.00, two 1.00" in picture.value
    expert.value = 7
    assert expert.value == 1
