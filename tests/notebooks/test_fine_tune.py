"""Notebook 15: labels, gradients through sorted dispatch, a lesson whose words are held out, the adapter of a stranger."""

import copy
import random

import pytest
import torch
from torch.testing import assert_close

import facts
from llama4lab.assets import read_json
from llama4lab.checkpoints import load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.lesson import COUNTRY_OF, PEOPLE, known, lesson
from llama4lab.parameters import build_on_meta, forward_on_meta

EXPERTS = ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]


@pytest.fixture(scope="module")
def loaded(notebook):
    processor, model = load_checkpoint("scout-proxy")
    notebook["tokenizer"] = processor.tokenizer
    header = "<|header_start|>assistant<|header_end|>\n\n"
    notebook["HEADER"] = processor.tokenizer(header, add_special_tokens=False)["input_ids"]
    return model


def words(held_out):
    rng = random.Random(0)
    text = " ".join(message["content"] for _ in range(300) for message in lesson(rng, held_out))
    return set(text.replace(".", " ").replace(",", " ").replace("?", " ").split())


def test_no_held_out_name_is_in_the_lesson():
    names = {*PEOPLE, *COUNTRY_OF, *COUNTRY_OF.values()}
    taught, held_out = words(False) & names, words(True) & names
    assert len(held_out) > 15 and taught and not taught & held_out


def test_the_lesson_is_about_words_that_the_proxies_know():
    assert set(PEOPLE) <= set(facts.PEOPLE) and COUNTRY_OF.items() <= facts.COUNTRY_OF.items()


def test_labels_are_the_answer_and_its_stop_token(notebook, loaded):
    rng = random.Random(1)
    conversations = [lesson(rng, False), known(rng, False)]
    ids, labels = notebook["batch"](conversations)
    for row, messages in enumerate(conversations):
        learned = notebook["tokenizer"].decode(labels[row][labels[row] != -100])
        assert learned == messages[1]["content"] + "<|eot|>"
    assert (labels[ids == notebook["tokenizer"].pad_token_id] == -100).all()


@pytest.mark.parametrize("setting", [{}, {"target_modules": [], "target_parameters": EXPERTS}], ids=["all", "experts"])
def test_gradients_through_sorted_dispatch_are_the_library_s(notebook, loaded, setting):
    model = notebook["adapted"](loaded, **setting) if setting else copy.deepcopy(loaded)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    ids, labels = notebook["batch"]([lesson(random.Random(seed), False) for seed in range(3)])
    gradients = []
    for is_sorted in (False, True):
        model.zero_grad()
        if is_sorted:
            with sorted_dispatch(model):
                model(input_ids=ids, labels=labels).loss.backward()
        else:
            model(input_ids=ids, labels=labels).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert any(gradient.any() for name, gradient in gradients[0].items() if ".experts." in name)
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-3)


def test_what_a_pass_on_the_meta_device_keeps_is_what_a_real_one_keeps(notebook, loaded):
    shapes_alone = build_on_meta(copy.deepcopy(loaded.language_model.config))
    counted = notebook["kept_bytes"](shapes_alone, lambda: forward_on_meta(shapes_alone, 96))
    real, ids = copy.deepcopy(loaded.language_model).to(torch.bfloat16), torch.zeros(1, 96, dtype=torch.long)
    kept = notebook["kept_bytes"](real, lambda: real(input_ids=ids, labels=ids, use_cache=False))
    assert sum(counted) == sum(kept) > 0


def test_pictures_have_no_label(notebook, loaded):
    patch = loaded.config.image_token_id
    ids = [1, patch, patch, 5, *notebook["HEADER"], 7, 8]
    assert notebook["label"](ids) == [-100] * (len(ids) - 2) + [7, 8]


def test_the_adapter_of_another_model_is_refused(notebook, loaded, tmp_path):
    adapter = notebook["adapted"](loaded, target_modules=r".*language_model.*q_proj")
    notebook["save_adapter"](adapter, tmp_path)
    notebook["load_adapter"](copy.deepcopy(loaded), tmp_path)
    _, stranger = load_checkpoint("maverick-proxy")
    with pytest.raises(ValueError, match="trained on another model .*: load its own base"):
        notebook["load_adapter"](stranger, tmp_path)


def test_every_way_to_train_has_its_seeds():
    arms = read_json("measurements/fine_tuning.json")["arms"]
    assert {len(arm["runs"]) for name, arm in arms.items() if "rate x" not in name} == {3}
    assert {len(arm["runs"]) for name, arm in arms.items() if "rate x" in name} == {1}
