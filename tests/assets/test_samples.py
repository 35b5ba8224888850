"""What notebooks read of the corpus is what the recipe makes of it."""

import json
import random

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

import conversations
import corpus
import documentation
import samples
from llama4lab import drawn_pictures as pictures
from llama4lab.assets import ASSETS

RECORD = json.loads((samples.SAMPLES / "corpus.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoProcessor.from_pretrained(ASSETS / "models" / "scout-proxy").tokenizer


def test_corpus_is_rebuilt_byte_for_byte():
    rebuilt = samples.corpus_record()
    if documentation.sources() == RECORD["sources"]:
        assert rebuilt == RECORD
    else:  # another Python, or another build of it, carries another documentation; what does not come from it must be the same
        for split in ("train", "held_out"):
            for domain in ("arithmetic", "recall"):
                assert rebuilt[split][domain] == RECORD[split][domain]


def test_a_changed_corpus_is_noticed(monkeypatch):
    monkeypatch.setattr(conversations, "PEOPLE", conversations.PEOPLE[::-1])
    assert samples.corpus_record()["train"]["chat"] != RECORD["train"]["chat"]


def test_needles_end_in_their_question_and_hold_their_answer(tokenizer):
    needles = json.loads((samples.SAMPLES / "needles.json").read_text(encoding="utf-8"))
    assert {needle["kind"] for needle in needles} == set(samples.NEEDLE_KINDS)
    for needle in needles:
        assert needle["prompt"].endswith("?") and needle["answer"].strip(" .") in needle["prompt"]
        ids = tokenizer(needle["prompt"] + needle["answer"], add_special_tokens=False)["input_ids"]
        assert abs(len(ids) - needle["tokens"]) <= 6  # pieces may join at the seams


def test_a_needle_stands_at_its_depth(tokenizer):
    filler = tokenizer("word " * 3000, add_special_tokens=False)["input_ids"]
    for depth in (0.0, 0.5, 1.0):
        ids, _ = samples.needle_prompt(random.Random(1), tokenizer, filler, 400, depth, "one hop", 1)
        assert len(ids) == 400
        fact = np.flatnonzero(~np.isin(ids, filler))
        assert abs(fact[1] / 400 - depth) < 0.1  # the first one is <|begin_of_text|>


def test_pictures_are_what_the_recipe_draws():
    stored = json.loads((samples.SAMPLES / "pictures.json").read_text(encoding="utf-8"))
    assert {tuple(entry["grid"]) for entry in stored} == {(1, 1), *pictures.GRIDS}
    for number, entry in enumerate(stored):
        image, questions = pictures.picture_with_questions(random.Random(f"sample-{number}"), tuple(entry["grid"]))
        assert [(q["kind"], q["question"], q["answer"]) for q in entry["questions"]] == questions
        with Image.open(samples.SAMPLES / entry["file"]) as found:
            assert found.convert("RGB").tobytes() == image.tobytes()


def test_held_out_texts_stand_for_every_domain():
    held = json.loads((samples.SAMPLES / "held_out.json").read_text(encoding="utf-8"))
    assert set(held) == set(corpus.DOMAINS)
    assert all(len(sample["texts"]) == samples.ROWS and sample["unigram_nll"] > 1 for sample in held.values())
