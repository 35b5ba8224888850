"""An explorer of size: change experts, layers and weight format of a model, see parameters, memory and machines."""

import copy
from collections.abc import Callable, Mapping

from transformers import PreTrainedConfig

from llama4lab.explore.page import Pairs, choice, fixed, publish_table_explorer

EXPERTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEPS = (("every layer", 1), ("every second layer", 2), ("every fourth layer", 4))


def with_experts(config: PreTrainedConfig, experts: int, top_k: int, step: int) -> PreTrainedConfig:
    """A copy of a multimodal Llama 4 configuration with other experts, in every `step`-th layer."""
    changed = copy.deepcopy(config)
    text = changed.text_config
    text.num_local_experts, text.num_experts_per_tok, text.interleave_moe_layer_step = experts, top_k, step
    text.moe_layers = list(range(step - 1, text.num_hidden_layers, step))
    return changed


def model_constants(count_parts: Callable[[PreTrainedConfig], Mapping[str, int]], config: PreTrainedConfig) -> dict:
    """How a model's parameters follow from its experts: those of a layer, of an expert, and all that stay the same.

    Args:
        count_parts: counts the parameters of a configuration, part by part; named as in llama4lab.parameters.
    """
    layers = config.text_config.num_hidden_layers
    everywhere, every_second = (count_parts(with_experts(config, 1, 1, step)) for step in (1, 2))
    per_expert = {part: everywhere[part] // layers for part in ("routed experts", "routers")}
    per_layer = {"shared experts": everywhere["shared experts"] // layers}
    dense = {"dense MLPs": every_second["dense MLPs"] // (layers - layers // 2)}
    rest = {part: count for part, count in everywhere.items() if part not in {**per_expert, **per_layer, **dense}}
    text = config.text_config
    own = {"experts": text.num_local_experts, "top_k": text.num_experts_per_tok, "step": text.interleave_moe_layer_step}
    return {"layers": layers, "expert": per_expert, "layer": per_layer, "dense": dense, "rest": rest, "own": own}


def counts_of(constants: Mapping, experts: int, step: int) -> dict[str, int]:
    """Parameters, part by part, of a model with so many experts in every `step`-th layer."""
    moe_layers = constants["layers"] // step
    counts = dict(constants["rest"])
    counts |= {part: moe_layers * experts * count for part, count in constants["expert"].items()}
    counts |= {part: moe_layers * count for part, count in constants["layer"].items()}
    counts |= {part: (constants["layers"] - moe_layers) * count for part, count in constants["dense"].items()}
    return counts


def size_pairs(settings: Mapping, model: str, experts: int, top_k: int, step: int, format: str) -> Pairs:
    """What the explorer shows of one state: parameters, those a token uses, bytes, and machines that hold them."""
    counts = counts_of(settings["models"][model], experts, step)
    picked = min(top_k, experts)  # a token cannot pick more experts than there are
    total, routed = sum(counts.values()), counts["routed experts"]
    active = total - counts["vision"] - routed // experts * (experts - picked)
    default, special = settings["formats"][format]
    size = sum(count * special.get(part, default) for part, count in counts.items())
    holders = f"machines with {100 * settings['free']:.0f} % to spare"
    usable = ((name, memory * 1e9 * (1 - settings["free"])) for name, memory in settings["machines"])
    return [
        ("parameters", f"{fixed(total / 1e9, 1)} billion"),
        ("used by a token of text", f"{fixed(active / 1e9, 1)} billion, {fixed(100 * active / total, 1)} %"),
        ("in routed experts", f"{fixed(100 * routed / total, 1)} %"),
        ("weights", f"{fixed(size / 1e9, 1)} GB"),
        (holders, ", ".join(name for name, memory in usable if size <= memory) or "none of these"),
    ]


def size_settings(
    count_parts: Callable[[PreTrainedConfig], Mapping[str, int]],
    configs: Mapping[str, PreTrainedConfig],
    formats: Mapping[str, tuple[float, Mapping[str, float]]],
    machines: Mapping[str, float],
    free: float = 0.1,
) -> dict:
    """The numbers from which the explorer computes, and its controls; arguments as for `explore_size`."""
    models = {name: model_constants(count_parts, config) for name, config in configs.items()}
    first = next(iter(models))
    own = models[first]["own"]
    return {
        "models": models,
        "formats": dict(formats),
        "machines": list(machines.items()),
        "free": free,
        "controls": [
            choice("model", "Start from", list(models), first),
            choice("experts", "Experts", EXPERTS, own["experts"]),
            choice("top_k", "A token picks", (1, 2, 4, 8), own["top_k"]),
            choice("step", "Experts in", STEPS, own["step"]),
            choice("format", "Weights", list(formats), next(iter(formats))),
        ],
    }


def explore_size(
    count_parts: Callable[[PreTrainedConfig], Mapping[str, int]],
    configs: Mapping[str, PreTrainedConfig],
    formats: Mapping[str, tuple[float, Mapping[str, float]]],
    machines: Mapping[str, float],
    free: float = 0.1,
) -> None:
    """Choices of model, experts, experts a token, MoE layers and weight format above what follows from them.

    Args:
        count_parts: counts the parameters of a configuration, part by part; named as in llama4lab.parameters.
        configs: configurations to start from, by name.
        formats: bytes a parameter, and those of parts that are stored otherwise, by name of the format.
        machines: gigabytes of memory by name of the machine.
        free: the share of each machine's memory that is kept for activations and cache.
    """
    settings = size_settings(count_parts, configs, formats, machines, free)
    format = next(iter(formats))
    states = {
        f"{name}, {format}": size_pairs(settings, name, **settings["models"][name]["own"], format=format)
        for name in configs
    }
    name = next(iter(configs))
    own = settings["models"][name]["own"]
    states[f"{name} with {4 * own['experts']} experts"] = size_pairs(
        settings, name, 4 * own["experts"], own["top_k"], own["step"], format
    )
    publish_table_explorer("size", settings, states)
