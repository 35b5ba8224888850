"""Graders of notebook 11: bytes by precision, prefill in pieces, an old configuration, LoRA, ranges of bytes."""

import copy
import json
import warnings

from peft import LoraConfig, get_peft_model

from llama4lab.checkpoints import load_checkpoint
from llama4lab.graders.bytes_of_an_expert import RANGES
from llama4lab.grading import Exercise, Sign
from llama4lab.parameters import CONFIGS, build_on_meta, count_active, count_by_part, real_config, weight_bytes
from llama4lab.plain_answers import plain
from llama4lab.planner import Workload, make_plan

EXERCISES = {}

SCOUT = build_on_meta(real_config("scout"))

# ---- 1: GB of Scout's weights with routed experts in 4 bits and the rest in 8 ----

COUNTS = count_by_part(SCOUT)
ROUTED = COUNTS["routed experts"]
ACTIVE, ACTIVE_ROUTED = count_active(SCOUT), ROUTED / SCOUT.config.text_config.num_local_experts


def gigabytes(bytes_of_rest=1.0, **bytes_of_part):
    parts = {"routed experts": 0.5} | {part.replace("_", " "): size for part, size in bytes_of_part.items()}
    return weight_bytes(COUNTS, bytes_of_rest, parts) / 1e9


EXERCISES[1] = Exercise(
    right=gigabytes(),
    tolerance=5e-3,
    mistakes={
        "That is in bytes; divide by 10⁹.": gigabytes() * 1e9,
        "That is in GiB, of 2³⁰ bytes; a GB has 10⁹.": gigabytes() * 1e9 / 2**30,
        "That is everything in 4 bits, or the right sum without the shared experts; only the routed experts are in 4 bits.": [
            gigabytes(0.5),
            gigabytes(shared_experts=0),
        ],
        "You put everything in 8 bits; the routed experts take half a byte a parameter.": gigabytes(routed_experts=1),
        "You left the rest in bfloat16; in 8 bits a parameter takes one byte.": gigabytes(2),
        "You exchanged the two: the routed experts are in 4 bits, the rest in 8.": gigabytes(0.5, routed_experts=1),
        "That is bfloat16 throughout; 4 bits are half a byte, 8 bits one.": gigabytes(2, routed_experts=2),
        "That is in bits; a byte has eight.": gigabytes() * 8,
        "You put the shared experts in 4 bits too; they belong to the rest.": gigabytes(shared_experts=0.5),
        "You counted the routed experts only; the rest must be stored too.": ROUTED * 0.5 / 1e9,
        "You left out the vision part; it is stored too.": gigabytes(vision=0),
        "You counted the active parameters; all experts must be stored, not only the one in use.": [
            (ACTIVE - ACTIVE_ROUTED / 2) / 1e9,
            ACTIVE / 1e9,
        ],
    },
    otherwise="Add the routed experts times half a byte and everything else times one byte.",
)

# ---- 2: the largest power of two as prefill_chunk_size with which 8 x 16,384 tokens of Scout fit on 2 x 80 GB ----


def planned(piece):
    work = Workload(16_384, batch=8, piece=piece)
    return make_plan(SCOUT, "experts 4 bits, rest bfloat16", work, [80e9] * 2)


def leaves_gpus(result, right, arguments):
    offloaded = planned(result).offloaded
    return offloaded > 0 and f"Of the weights {offloaded / 1e9:.1f} GB leave the GPUs; see .offloaded."


EXERCISES[2] = Exercise(
    right=2048,
    mistakes={
        "This is no power of two.": Sign(lambda result, right, _: result < 1 or result & (result - 1), [3000, 0, -2]),
        "A piece is no longer than a conversation, 16,384 tokens.": Sign(
            lambda result, right, _: result > 16_384, 32_768
        ),
        "With pieces of this size it does not run: each of the 8 conversations brings a piece.": Sign(
            lambda result, right, _: not planned(result).runs, 16_384
        ),
        "With pieces of this size it runs, but not on the GPUs alone.": Sign(leaves_gpus, 4096),
        "Pieces of this size fit, and larger ones do too.": Sign(
            lambda result, right, _: not planned(2 * result).offloaded, [1024, 1]
        ),
    },
)

# ---- 3: a config.json of transformers 4.51 as transformers 5 takes it ----

RELEASED = json.loads((CONFIGS / "scout-instruct.json").read_text(encoding="utf-8"))
KEY = "attn_temperature_tuning"


def with_text(config, **entries):
    return config | {"text_config": config["text_config"] | entries}


def repair(config):
    return with_text(config, attn_temperature_tuning=bool(config["text_config"][KEY]))


def without_key(config):
    return config | {"text_config": {key: value for key, value in config["text_config"].items() if key != KEY}}


EXERCISES[3] = Exercise(
    right=repair,
    cases=[(with_text(RELEASED, attn_temperature_tuning=saved),) for saved in (4, 0, True, False)],
    mistakes={
        "You set the key at the top level; it belongs into text_config.": Sign(
            lambda result, right, _: KEY in result, lambda config: copy.deepcopy(config) | {KEY: True}
        ),
        "You removed the key; then the default decides, and what the checkpoint said is lost.": Sign(
            lambda result, right, _: KEY not in result.get("text_config", {}), without_key
        ),
        "The value is no bool; transformers 5 would refuse it.": Sign(
            lambda result, right, _: not isinstance(result["text_config"][KEY], bool),
            [copy.deepcopy, lambda config: with_text(config, attn_temperature_tuning=1)],
        ),
        "4 meant True, your function made it False.": Sign(
            lambda result, right, _: right["text_config"][KEY] and not result["text_config"][KEY],
            lambda config: with_text(config, attn_temperature_tuning=False),
        ),
        "0 meant False, your function made it True.": Sign(
            lambda result, right, _: result["text_config"][KEY] and not right["text_config"][KEY],
            lambda config: with_text(config, attn_temperature_tuning=True),
        ),
        f"You changed something else as well; only {KEY} is wrong.": Sign(
            lambda result, right, _: result != right, lambda config: with_text(repair(config), floor_scale=4)
        ),
    },
)

# ---- 4: arguments of LoraConfig that reach the experts and the language model's q_proj and v_proj, only ----


def what_it_trains(arguments):
    """Names of what gets an adapter, and of parameters that are trained themselves."""
    if not isinstance(arguments, dict):
        return arguments
    _, model = load_checkpoint("scout-proxy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(model, LoraConfig(**{"r": 2} | plain(arguments)))
    trained = [name.removeprefix("base_model.model.") for name, part in model.named_parameters() if part.requires_grad]
    # Of two adapters on one experts module the first is in base_layer.
    adapters = {name.partition(".lora_")[0] for name in trained if ".lora_" in name}
    return {"adapters": adapters, "itself": {name for name in trained if ".lora_" not in name}}


def trains(key, part):
    """Whether a name with this part is among those that only the wrong arguments train."""
    return lambda result, right, _: any(part in name for name in set(result[key]) - right[key])


def lacks(part):
    return lambda result, right, _: not {name for name in right["adapters"] if part in name} <= set(result["adapters"])


EXPERTS = ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]
LORA = {"target_modules": r"language_model\..*\.(q_proj|v_proj)", "target_parameters": EXPERTS}

EXERCISES[4] = Exercise(
    right=LORA,
    run=what_it_trains,
    returns="a dictionary with the keyword arguments of LoraConfig",
    mistakes={
        "No expert is trained: experts are parameters, not modules; name them in target_parameters.": Sign(
            lambda result, right, _: not any(".experts" in name for name in result["adapters"]),
            [{"target_modules": ["q_proj", "v_proj"]}, {"target_modules": "all-linear"}],
        ),
        "Only one of the experts' two matrices is trained; target gate_up_proj and down_proj.": Sign(
            lacks(".experts"), [LORA | {"target_parameters": EXPERTS[:1]}, LORA | {"target_parameters": EXPERTS[1:]}]
        ),
        "The vision part is trained too; let target_modules match names under language_model only.": Sign(
            trains("adapters", "vision_model"), LORA | {"target_modules": ["q_proj", "v_proj"]}
        ),
        "The shared expert is trained too; name only q_proj and v_proj in target_modules.": Sign(
            trains("adapters", "shared_expert"),
            LORA | {"target_modules": r"language_model\..*\.(q_proj|v_proj|up_proj)"},
        ),
        "The router is trained too; name only q_proj and v_proj in target_modules.": Sign(
            trains("adapters", "router"), LORA | {"target_modules": r"language_model\..*\.(q_proj|v_proj|router)"}
        ),
        "q_proj of the language model is not trained in every layer; add it to target_modules.": Sign(
            lacks("q_proj"), [LORA | {"target_modules": []}, LORA | {"target_modules": r"language_model\..*\.v_proj"}]
        ),
        "v_proj of the language model is not trained in every layer; add it to target_modules.": Sign(
            lacks("v_proj"), LORA | {"target_modules": r"language_model\..*\.q_proj"}
        ),
        "Another module is trained too; only q_proj, v_proj and the experts were asked for.": Sign(
            trains("adapters", ""), LORA | {"target_modules": r"language_model\..*\.(q|k|v)_proj"}
        ),
        "`bias` trains biases themselves, here those of the vision part; leave it out.": Sign(
            trains("itself", "bias"), LORA | {"bias": "all"}
        ),
        "`trainable_token_indices` trains rows of the embedding; leave it out.": Sign(
            trains("itself", "trainable_tokens"),
            [LORA | {"trainable_token_indices": [1, 2]}, LORA | {"trainable_token_indices": {"embed_tokens": [1]}}],
        ),
        "`modules_to_save` trains whole modules, not adapters; leave it out.": Sign(
            trains("itself", "modules_to_save"),
            [LORA | {"modules_to_save": ["lm_head"]}, LORA | {"modules_to_save": ["router"]}],
        ),
    },
)

# ---- 5: the ranges of bytes of some columns of one expert in a safetensors file ----

EXERCISES[5] = RANGES
