"""An explorer of size: change experts, layers and weight format of a model, see parameters, memory and machines."""

import copy
from collections.abc import Callable, Mapping

import ipywidgets as widgets
from transformers import PreTrainedConfig

EXPERTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEPS = ((1, "every layer"), (2, "every second layer"), (4, "every fourth layer"))


def with_experts(config: PreTrainedConfig, experts: int, top_k: int, step: int) -> PreTrainedConfig:
    """A copy of a multimodal Llama 4 configuration with other experts, in every `step`-th layer."""
    changed = copy.deepcopy(config)
    text = changed.text_config
    text.num_local_experts, text.num_experts_per_tok, text.interleave_moe_layer_step = experts, top_k, step
    text.moe_layers = list(range(step - 1, text.num_hidden_layers, step))
    return changed


def explore_size(
    count_parts: Callable[[PreTrainedConfig], Mapping[str, int]],
    configs: Mapping[str, PreTrainedConfig],
    formats: Mapping[str, tuple[float, Mapping[str, float]]],
    machines: Mapping[str, float],
    free: float = 0.1,
) -> widgets.VBox:
    """Choices of model, experts, experts a token, MoE layers and weight format above what follows from them.

    Args:
        count_parts: counts the parameters of a configuration, part by part; named as in llama4lab.parameters.
        configs: configurations to start from, by name.
        formats: bytes a parameter, and those of parts that are stored otherwise, by name of the format.
        machines: gigabytes of memory by name of the machine.
        free: the share of each machine's memory that is kept for activations and cache.
    """
    model = widgets.Dropdown(options=list(configs), description="Start from:")
    experts = widgets.SelectionSlider(options=EXPERTS, value=16, description="Experts:")
    top_k = widgets.Dropdown(options=(1, 2, 4, 8), value=1, description="A token picks:")
    step = widgets.Dropdown(options=[(words, number) for number, words in STEPS], description="Experts in:")
    weights = widgets.Dropdown(options=list(formats), description="Weights:")
    result = widgets.HTML()

    def draw() -> None:
        # A token cannot pick more experts than there are.
        picked = min(top_k.value, experts.value)
        counts = count_parts(with_experts(configs[model.value], experts.value, picked, step.value))
        total = sum(counts.values())
        idle = counts["routed experts"] * (experts.value - picked) // experts.value
        active = total - counts["vision"] - idle
        default, special = formats[weights.value]
        gigabytes = sum(count * special.get(part, default) for part, count in counts.items()) / 1e9
        holding = [name for name, memory in machines.items() if gigabytes <= (1 - free) * memory]
        rows = [
            ("parameters", f"{total / 1e9:,.1f} billion"),
            ("used by a token of text", f"{active / 1e9:,.1f} billion, {active / total:.1%}"),
            ("in routed experts", f"{counts['routed experts'] / total:.1%}"),
            ("weights", f"{gigabytes:,.1f} GB"),
            (f"held, with {free:.0%} kept free, by", ", ".join(holding) or "none of these machines"),
        ]
        cells = "".join(f"<tr><td>{name}</td><td style='padding-left:1em'>{value}</td></tr>" for name, value in rows)
        result.value = f"<table>{cells}</table>"

    def on_model(change: dict) -> None:
        text = configs[change["new"]].text_config
        experts.value, top_k.value = text.num_local_experts, text.num_experts_per_tok
        step.value = text.interleave_moe_layer_step

    model.observe(on_model, names="value")
    for choice in (model, experts, top_k, step, weights):
        choice.observe(lambda change: draw(), names="value")
    on_model({"new": model.value})
    draw()
    return widgets.VBox([model, experts, top_k, step, weights, result])
