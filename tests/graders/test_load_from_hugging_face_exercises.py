"""The graders of notebook 09: right answers pass, each plausible wrong one is told its mistake."""

import copy

import pytest
from peft import LoraConfig

from llama4lab.grading import verdict

EXPERTS = ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]
LANGUAGE_ONLY = r"language_model\..*\.(q_proj|v_proj)"


def not_written(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize(
    "exercise, stub", [("11.1", ...), ("11.2", not_written), ("11.3", not_written), ("11.4", ...), ("11.5", ...)]
)
def test_stubs_are_not_tried(exercise, stub):
    assert verdict(exercise, stub) == f"Exercise {exercise}: not tried yet."


# ---- 11.1: GB of Scout with routed experts in 4 bits -------------------------------------------------------


@pytest.mark.parametrize("answer", [72.3, 72, 72.328440832])
def test_gigabytes_right(answer):
    assert verdict("11.1", answer) == "Exercise 11.1: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (67.4, "GiB"),
        (72_328_440_832, "in bytes"),
        (54.3, "everything in 4 bits"),
        (217.3, "bfloat16 throughout"),
        (120.6, "one byte"),
        (63.3, "quantized the shared experts"),
        (48.3, "routed experts only"),
        (70.6, "left out the vision part"),
        (60.2, "left out the shared experts"),
        (25.3, "counted the active parameters"),
        (34.3, "counted the active parameters"),
        (500.0, "is not it"),
        ("72.3", "Give one number"),
        (True, "Give one number"),
    ],
)
def test_gigabytes_wrong(answer, mistake):
    text = verdict("11.1", answer)
    assert "not yet" in text and mistake in text


# ---- 11.2: GPUs that hold the weights ----------------------------------------------------------------------


def gpus_needed(weight_bytes, gpu_bytes, usable=0.8):
    return next((n for n in (1, 2, 4, 8) if weight_bytes <= n * gpu_bytes * usable), None)


def test_gpus_right():
    assert verdict("11.2", gpus_needed) == "Exercise 11.2: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (lambda w, g, usable=0.8: gpus_needed(w, g, 1), "forget `usable`"),
        (lambda w, g, usable=0.8: gpus_needed(w, g, 0.8), "use the argument"),
        (lambda w, g, usable=0.8: next((n for n in range(1, 9) if w <= n * g * usable), None), "with 3"),
        (
            lambda w, g, usable=0.8: next((n for n in (1, 2, 4, 8, 16) if w <= n * g * usable), None),
            "return None",
        ),
        (
            lambda w, g, usable=0.8: next((n for n in (1, 2, 4, 8) if w < n * g * usable), None),
            "exactly; that is enough",
        ),
        (lambda w, g, usable=0.8: int(w // (g * usable)), "Your function returned 1"),
        (lambda w, g, usable=0.8: None, "Your function returned None"),
        (lambda w, g, usable=0.8: next(n for n in (1, 2, 4, 8) if w <= n * g * usable), "StopIteration"),
        (4, "Give the function itself"),
    ],
)
def test_gpus_wrong(answer, mistake):
    text = verdict("11.2", answer)
    assert "not yet" in text and mistake in text


# ---- 11.3: a configuration of transformers 4.51 ------------------------------------------------------------


def repair(config):
    repaired = copy.deepcopy(config)
    repaired["text_config"]["attn_temperature_tuning"] = bool(config["text_config"]["attn_temperature_tuning"])
    return repaired


def changed(**text):
    def answer(config):
        repaired = repair(config)
        repaired["text_config"].update(text)
        return repaired

    return answer


def in_place(config):
    config["text_config"]["attn_temperature_tuning"] = bool(config["text_config"]["attn_temperature_tuning"])
    return config


def shallow(config):
    repaired = dict(config)
    repaired["text_config"]["attn_temperature_tuning"] = True
    return repaired


def at_top(config):
    return copy.deepcopy(config) | {"attn_temperature_tuning": True}


def removed(config):
    repaired = copy.deepcopy(config)
    del repaired["text_config"]["attn_temperature_tuning"]
    return repaired


def test_repair_right():
    assert verdict("11.3", repair) == "Exercise 11.3: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (in_place, "deep copy"),
        (shallow, "deep copy"),
        (at_top, "belongs into text_config"),
        (removed, "removed the key"),
        (copy.deepcopy, "no bool"),
        (changed(attn_temperature_tuning=1), "no bool"),
        (changed(attn_temperature_tuning=False), "4 meant True"),
        (changed(attn_temperature_tuning=True), "0 meant False"),
        (changed(floor_scale=4), "something else"),
        (lambda config: None, "Return the repaired dictionary"),
        ({"text_config": {}}, "Give the function itself"),
    ],
)
def test_repair_wrong(answer, mistake):
    text = verdict("11.3", answer)
    assert "not yet" in text and mistake in text


# ---- 11.4: LoRA that reaches the experts -------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"target_modules": LANGUAGE_ONLY, "target_parameters": EXPERTS},
        {"target_modules": LANGUAGE_ONLY, "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
        {
            "target_modules": ["q_proj", "v_proj"],
            "exclude_modules": r"vision_model\..*",
            "target_parameters": EXPERTS,
        },
        {"r": 4, "target_modules": LANGUAGE_ONLY, "target_parameters": EXPERTS},
    ],
)
def test_targets_right(answer):
    assert verdict("11.4", answer) == "Exercise 11.4: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        ({"target_modules": ["q_proj", "v_proj"]}, "No expert is trained"),
        ({"target_modules": "all-linear"}, "No expert is trained"),
        ({"target_modules": LANGUAGE_ONLY, "target_parameters": EXPERTS[:1]}, "one of the experts' two"),
        ({"target_modules": ["q_proj", "v_proj"], "target_parameters": EXPERTS}, "vision part is trained"),
        (
            {"target_modules": r"language_model\..*\.(q_proj|v_proj|up_proj)", "target_parameters": EXPERTS},
            "shared expert is trained",
        ),
        (
            {"target_modules": r"language_model\..*\.(q_proj|v_proj|router)", "target_parameters": EXPERTS},
            "router is trained",
        ),
        ({"target_modules": [], "target_parameters": EXPERTS}, "q_proj of the language model"),
        (
            {"target_modules": r"language_model\..*\.q_proj", "target_parameters": EXPERTS},
            "v_proj of the language model",
        ),
        (
            {"target_modules": r"language_model\..*\.(q|k|v)_proj", "target_parameters": EXPERTS},
            "k_proj is trained too",
        ),
        (
            {"target_modules": LANGUAGE_ONLY, "target_parameters": EXPERTS, "modules_to_save": ["lm_head"]},
            "head is trained too",
        ),
        ({"target_modules": ["experts"]}, "Your code raised ValueError"),
        (LoraConfig(target_modules=["q_proj"]), "not the LoraConfig"),
        (EXPERTS, "Give a dictionary"),
    ],
)
def test_targets_wrong(answer, mistake):
    text = verdict("11.4", answer)
    assert "not yet" in text and mistake in text


# ---- 11.5: the largest piece -------------------------------------------------------------------------------


def test_piece_right():
    assert verdict("11.5", 2048) == "Exercise 11.5: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (4096, "18.7 GB leave the GPUs"),
        (16_384, "does not run"),
        (1024, "larger ones do too"),
        (1, "larger ones do too"),
        (3000, "no power of two"),
        (0, "no power of two"),
        (-2, "no power of two"),
        (32_768, "no longer than a conversation"),
        (2048.0, "whole number"),
        (True, "whole number"),
    ],
)
def test_piece_wrong(answer, mistake):
    text = verdict("11.5", answer)
    assert "not yet" in text and mistake in text
