"""How many parameters a Llama 4 model has, part by part, without a byte of weights.

Models are built on PyTorch's meta device: every tensor has its shape and no storage.
"""

from pathlib import Path

import torch
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
)

from llama4lab.assets import ASSETS, read_json
from llama4lab.checkpoints import quiet_transformers
from llama4lab.errors import CourseError

CONFIGS = ASSETS / "configs"

# The first pattern that a parameter's name holds decides; names as in transformers 5.
_PATTERNS = {
    "vision": ("vision_model.", "multi_modal_projector."),
    "routed experts": (".feed_forward.experts.",),
    "shared experts": (".feed_forward.shared_expert.",),
    "routers": (".feed_forward.router.",),
    "dense MLPs": (".feed_forward.",),
    "attention": (".self_attn.",),
    "norms": ("norm.weight",),
    "embed_tokens": ("embed_tokens.",),
    "lm_head": ("lm_head.",),
}
PARTS = tuple(_PATTERNS)

# Ways to store weights: bytes a parameter, and those of parts that are stored otherwise. Scales are not counted.
PRECISIONS = {
    "bfloat16": (2, {}),
    "8 bits": (1, {}),
    "experts 8 bits, rest bfloat16": (2, {"routed experts": 1}),
    "experts 4 bits, rest bfloat16": (2, {"routed experts": 0.5}),
    "4 bits": (0.5, {}),
}


def real_config(name: str) -> PreTrainedConfig:
    """The configuration of a released model, "scout" or "maverick" (Instruct), from `assets/configs`.

    Raises:
        CourseError: no such configuration, or its file is damaged.
    """
    path = CONFIGS / f"{name}-instruct.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem.removesuffix("-instruct") for file in CONFIGS.glob("*-instruct.json")))
        raise CourseError(f"There is no configuration {name!r}; give one of {known}.")
    read_json(path.relative_to(ASSETS).as_posix())
    with quiet_transformers():
        return AutoConfig.from_pretrained(path)


def build_on_meta(config: PreTrainedConfig | str | Path) -> torch.nn.Module:
    """The model that a configuration (or a checkpoint's folder) describes, on the meta device, in bfloat16.

    A multimodal configuration gives Llama4ForConditionalGeneration, a text one Llama4ForCausalLM.
    """
    with quiet_transformers():
        if isinstance(config, str | Path):
            config = AutoConfig.from_pretrained(config)
        auto_class = AutoModelForImageTextToText if config.model_type == "llama4" else AutoModelForCausalLM
        with torch.device("meta"):
            return auto_class.from_config(config, dtype=torch.bfloat16)


def _fused_attention(module, query, key, value, mask, **options):
    # A fused kernel keeps its inputs and its output for the way back, not the scores. Of torch's operators of this kind
    # it is the one for CPUs that has shapes for the meta device on every build.
    output, _ = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, True)
    return output.transpose(1, 2), None


AttentionInterface.register("fused_on_meta", _fused_attention)


def forward_on_meta(model: torch.nn.Module, tokens: int) -> torch.Tensor:
    """The loss of one row of tokens, no longer than a chunk, in a text model on the meta device; attention is fused."""
    model.config._attn_implementation = "fused_on_meta"
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    # Masks would be made from values, which this device has not; within one chunk causal attention needs none.
    masks = {"full_attention": None, "chunked_attention": None}
    positions = torch.arange(tokens, device="meta")[None]
    return model(input_ids=ids, labels=ids, attention_mask=masks, position_ids=positions, use_cache=False).loss


def part_of(parameter_name: str) -> str:
    """The part, one of PARTS, to which a parameter belongs.

    Raises:
        CourseError: no part holds a parameter of this name.
    """
    for part, patterns in _PATTERNS.items():
        if any(pattern in parameter_name for pattern in patterns):
            return part
    raise CourseError(f"{parameter_name!r} is no parameter of a Llama 4 model; count a Llama 4 model.")


def count_by_part(model: torch.nn.Module, at: str = "") -> dict[str, int]:
    """Number of parameters in each of PARTS; their sum is the model's total.

    Args:
        model: a Llama 4 model, or the module that stands in one under the name `at`.
    """
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters(prefix=at):
        counts[part_of(name)] += parameter.numel()
    return counts


def count_active(model: torch.nn.Module, *, embeddings: bool = True, head: bool = True, vision: bool = False) -> int:
    """Number of parameters that one token uses.

    Of each layer's routed experts count as many as a token is sent to, `num_experts_per_tok`. The defaults
    are the convention under which Scout and Maverick have the published 17 billion: embeddings and head count,
    although an embedding is a lookup of one row, and the vision part does not.
    """
    counts = count_by_part(model)
    text = model.config.get_text_config()
    counts["routed experts"] = counts["routed experts"] * text.num_experts_per_tok // text.num_local_experts
    left_out = {"embed_tokens": not embeddings, "lm_head": not head, "vision": not vision}
    return sum(count for part, count in counts.items() if not left_out.get(part))


def weight_bytes(counts: dict[str, int], default: float, special: dict[str, float] | None = None) -> float:
    """Bytes of the weights of `counts` (part to number of parameters), quantization scales not counted.

    Args:
        counts: as `count_by_part` returns it.
        default: bytes a parameter: 4 for float32, 2 for bfloat16, 1 for 8 bits, 0.5 for 4 bits.
        special: bytes a parameter for parts that are stored otherwise, such as {"routed experts": 0.5}.

    Raises:
        CourseError: there is no such part.
    """
    special = special or {}
    unknown = sorted(special.keys() - counts.keys())
    if unknown:
        raise CourseError(f"There is no part {unknown[0]!r}; parts are {', '.join(counts)}.")
    return sum(count * special.get(part, default) for part, count in counts.items())
