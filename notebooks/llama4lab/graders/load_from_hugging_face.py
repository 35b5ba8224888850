"""Graders of notebook 09, "Load Llama 4 from Hugging Face"."""

import copy
import json
import math
import warnings
from collections import Counter

from peft import LoraConfig, get_peft_model
from transformers import Llama4Config

from llama4lab.checkpoints import load_checkpoint, quiet_transformers
from llama4lab.grading import grader
from llama4lab.parameters import CONFIGS, build_on_meta, count_active, count_by_part, real_config, weight_bytes
from llama4lab.planner import Plan, Workload, make_plan


@grader(1)
def mixed_precision_gigabytes(answer: object) -> str | None:
    """GB of Scout's weights with routed experts in 4 bits and the rest in bfloat16."""
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return f"Give one number in GB; this is a {type(answer).__name__}."
    scout = build_on_meta(real_config("scout"))
    counts = count_by_part(scout)
    size = weight_bytes(counts, 2, {"routed experts": 0.5})
    if math.isclose(answer, size / 1e9, rel_tol=0.005):
        return None
    active = count_active(scout)
    active_experts = counts["routed experts"] / scout.config.text_config.num_local_experts
    mistakes = {
        size: "That is in bytes; divide by 10⁹.",
        size / 2**30 * 1e9: "That is in GiB, of 2³⁰ bytes; a GB has 10⁹.",
        weight_bytes(counts, 0.5): "You put everything in 4 bits; only the routed experts are.",
        weight_bytes(counts, 2): "That is bfloat16 throughout; the routed experts take half a byte a parameter.",
        weight_bytes(
            counts, 2, {"routed experts": 1}
        ): "You gave an expert's parameter one byte; 4 bits are half of one.",
        weight_bytes(counts, 2, {"routed experts": 0.5, "shared experts": 0.5}): (
            "You quantized the shared experts too; they stay in bfloat16."
        ),
        counts["routed experts"] * 0.5: "You counted the routed experts only; the rest must be stored too.",
        weight_bytes(counts, 2, {"routed experts": 0.5, "vision": 0}): (
            "You left out the vision part; it is stored too, in bfloat16."
        ),
        weight_bytes(counts, 2, {"routed experts": 0.5, "shared experts": 0}): (
            "You left out the shared experts; they are stored too, in bfloat16."
        ),
        (active - active_experts) * 2 + active_experts * 0.5: (
            "You counted the active parameters; all experts must be stored, not only the one in use."
        ),
        active * 2: "You counted the active parameters; all experts must be stored, not only the one in use.",
    }
    for wrong, sentence in mistakes.items():
        if math.isclose(answer, wrong if wrong == size else wrong / 1e9, rel_tol=0.005):
            return sentence
    return f"{answer:g} GB is not it; add the routed experts times half a byte and everything else times two bytes."


@grader(2)
def gpus_needed(answer: object) -> str | None:
    """The smallest of 1, 2, 4, 8 GPUs that hold the weights, or None."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    # weights, memory of a GPU, usable share; small numbers are exact in floating point
    cases = (
        ((72.3e9, 80e9), 2, "72.3 GB need 2 GPUs of 80 GB of which 80 % may be used; did you forget `usable`?"),
        ((217.3e9, 80e9), 4, "217.3 GB need 4 GPUs of 80 GB."),
        ((150e9, 80e9), 4, "150 GB do not fit on 2 GPUs of 80 GB, and machines with 3 do not come; return 4."),
        ((54.3e9, 80e9), 1, "54.3 GB fit on 1 GPU of 80 GB."),
        ((803.2e9, 141e9), 8, "803.2 GB fit on 8 GPUs of 141 GB."),
        ((803.2e9, 80e9), None, "803.2 GB do not fit on 8 GPUs of 80 GB; return None."),
        ((100, 100, 0.5), 2, "100 bytes fill 2 GPUs of 100 bytes, half usable, exactly; that is enough."),
        ((72.3e9, 80e9, 0.95), 1, "With usable=0.95, 72.3 GB fit on 1 GPU of 80 GB; use the argument."),
    )
    for arguments, wanted, sentence in cases:
        found = answer(*arguments)
        if found != wanted or isinstance(found, bool):
            return f"{sentence} Your function returned {found!r}."
    return None


@grader(3)
def repair(answer: object) -> str | None:
    """A config.json of transformers 4.51 as transformers 5 takes it."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    released = json.loads((CONFIGS / "scout-instruct.json").read_text(encoding="utf-8"))
    for saved, wanted in ((4, True), (0, False), (True, True), (False, False)):
        given = copy.deepcopy(released)
        given["text_config"]["attn_temperature_tuning"] = saved
        before = copy.deepcopy(given)
        repaired = answer(given)
        if given != before or type(given["text_config"]["attn_temperature_tuning"]) is not type(saved):
            return "You changed the dictionary that you were given; work on a deep copy (copy.deepcopy)."
        if not isinstance(repaired, dict):
            return f"Return the repaired dictionary; yours returned a {type(repaired).__name__}."
        if "attn_temperature_tuning" in repaired:
            return "You set the key at the top level; it belongs into text_config."
        text = repaired.get("text_config", {})
        if "attn_temperature_tuning" not in text:
            return "You removed the key; then the default decides, and what the checkpoint said is lost."
        found = text["attn_temperature_tuning"]
        if not isinstance(found, bool):
            return f"{found!r} is no bool; transformers 5 would refuse it."
        if found is not wanted:
            return f"{saved!r} meant {wanted}, your function made it {found}."
        expected = copy.deepcopy(before)
        expected["text_config"]["attn_temperature_tuning"] = wanted
        if repaired != expected:
            return "You changed something else as well; only attn_temperature_tuning is wrong."
        with quiet_transformers():
            Llama4Config.from_dict(repaired)
    return None


@grader(4)
def lora_targets(answer: object) -> str | None:
    """Arguments of LoraConfig that reach the experts and the language model's q_proj and v_proj, only."""
    if isinstance(answer, LoraConfig):
        return "Give the keyword arguments as a dictionary, not the LoraConfig."
    if not isinstance(answer, dict):
        return f"Give a dictionary of keyword arguments; this is a {type(answer).__name__}."
    _, model = load_checkpoint("scout-proxy")
    names = {name for name, _ in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(**{"r": 2} | answer))
    # peft hangs an adapter below the module; of two adapters on one experts module the first sits in base_layer.
    trained = Counter(
        name.removeprefix("base_model.model.").partition(".lora_")[0]
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad and name.removeprefix("base_model.model.") not in names
    )
    reached = {
        what: sum(what in name for name in trained)
        for what in ("vision_model", "multi_modal_projector", "shared_expert", "router", ".experts", "lm_head")
    }
    layers = model.config.text_config.num_hidden_layers
    if not reached[".experts"]:
        return "No expert is trained: experts are parameters, not modules; name them in target_parameters."
    if reached[".experts"] < 2 * layers:
        return "Only one of the experts' two matrices is trained; target gate_up_proj and down_proj."
    if reached["vision_model"] or reached["multi_modal_projector"]:
        return "The vision part is trained too; let target_modules match names under language_model only."
    for what, called in (("shared_expert", "shared expert"), ("router", "router"), ("lm_head", "head")):
        if reached[what]:
            return f"The {called} is trained too; name only q_proj and v_proj in target_modules."
    projections = Counter(name.rpartition(".")[2] for name in trained if ".self_attn." in name)
    for projection in ("q_proj", "v_proj"):
        if projections[projection] < layers:
            return f"{projection} of the language model is not trained in every layer; add it to target_modules."
    extra = sorted(projections.keys() - {"q_proj", "v_proj"})
    if extra:
        return f"{extra[0]} is trained too; only q_proj and v_proj were asked for."
    return None


@grader(5)
def largest_piece(answer: object) -> str | None:
    """The largest power of two as prefill_chunk_size with which 8 x 16,384 tokens of Scout fit on 2 x 80 GB."""
    if isinstance(answer, bool) or not isinstance(answer, int):
        return f"Give one whole number; this is a {type(answer).__name__}."
    if answer < 1 or answer & (answer - 1):
        return f"{answer} is no power of two."
    if answer > 16_384:
        return "A piece is no longer than a conversation, 16,384 tokens."
    scout = build_on_meta(real_config("scout"))

    def planned(piece: int, gpus: int) -> Plan:
        work = Workload(16_384, batch=8, piece=piece)
        return make_plan(scout, "experts 4 bits, rest bfloat16", work, [80e9] * gpus)

    found, larger = planned(answer, gpus=2), planned(2 * answer, gpus=2)
    if not found.runs:
        return f"With pieces of {answer:,} it does not run: each of the 8 conversations brings a piece."
    if found.offloaded:
        return f"With pieces of {answer:,} it runs, but {found.offloaded / 1e9:.1f} GB leave the GPUs; see .offloaded."
    return None if larger.offloaded else f"Pieces of {answer:,} fit, and larger ones do too."
