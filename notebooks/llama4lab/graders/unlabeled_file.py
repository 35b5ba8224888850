"""Grader of the exercise of 01 in which a file of weights without a label is identified by names and shapes alone."""

import copy
import math
import re
from functools import partial

from llama4lab.grading import Case, Exercise
from llama4lab.parameters import build_on_meta, real_config


def identify(shapes, vision_parts=("vision_model.", "multi_modal_projector."), experts_of=".feed_forward.experts."):
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    fused = [shape for name, shape in shapes.items() if name.endswith("experts.gate_up_proj")]
    experts, hidden, _ = fused[0]
    routed = sum(count for name, count in size.items() if experts_of in name)
    vision = sum(count for name, count in size.items() if name.startswith(vision_parts))
    language = [name for name in shapes if not name.startswith("vision_model.")]
    return {
        "hidden": hidden,
        "layers": sum(name.endswith("self_attn.q_proj.weight") for name in language),
        "moe_layers": len(fused),
        "experts": experts,
        "total": sum(size.values()),
        "active": sum(size.values()) - vision - routed * (experts - 1) // experts,
    }


def small_shapes(model, layers, experts, step, **changes):
    """Names and shapes of a released model with few layers, built on the meta device.

    A model of text alone has other names: "model.layers.0." where the whole one has "language_model.model.layers.0.".
    """
    config = copy.deepcopy(real_config(model))
    text = config.text_config
    text.num_hidden_layers, text.num_local_experts, text.moe_layers = (
        layers,
        experts,
        list(range(step - 1, layers, step)),
    )
    text.no_rope_layers, text.layer_types = text.no_rope_layers[:layers], text.layer_types[:layers]
    text.vocab_size, text.pad_token_id = 300, 0
    for name, value in changes.items():
        setattr(text, name, value)
    config.vision_config.num_hidden_layers = layers + 3
    return {name: tuple(tensor.shape) for name, tensor in build_on_meta(config).named_parameters()}


def text_only(shapes):
    return {
        name.removeprefix("language_model."): shape
        for name, shape in shapes.items()
        if name.startswith("language_model.")
    }


def with_entry(**wrong):
    """Everything right but some entries, each computed from the shapes and the right answer."""
    return lambda shapes: (right := identify(shapes)) | {name: change(shapes, right) for name, change in wrong.items()}


def numbered_layers(shapes, part=""):
    return {int(found[1]) for name in shapes if part in name and (found := re.search(r"layers\.(\d+)\.", name))}


LIKE_SCOUT, LIKE_MAVERICK = small_shapes("scout", 4, 6, 1), small_shapes("maverick", 6, 10, 2, hidden_size=2560)

EXERCISE = Exercise(
    right=identify,
    cases=[
        Case((LIKE_SCOUT,), "This one has experts in every layer and a vision part."),
        Case((LIKE_MAVERICK,), "This one has experts in every second layer, so layer 0 has none."),
        Case((text_only(LIKE_SCOUT),), "This one is a text model: its names begin with model. and lm_head."),
        Case((text_only(LIKE_MAVERICK),), "This one is a text model with experts in every second layer."),
    ],
    mistakes={
        "You count the layers of the vision encoder; its names begin with vision_model.": with_entry(
            layers=lambda shapes, right: len(numbered_layers(shapes))
        ),
        "Layers count from 0: the highest number in a name is one less than how many there are.": with_entry(
            layers=lambda shapes, right: right["layers"] - 1
        ),
        "Not every layer has routed experts: count the tensors that end in experts.gate_up_proj.": with_entry(
            moe_layers=lambda shapes, right: right["layers"]
        ),
        "Each layer with experts has two tensors of them; you counted both.": with_entry(
            moe_layers=lambda shapes, right: 2 * right["moe_layers"]
        ),
        "`experts` is the number in one layer, the first size of gate_up_proj.": with_entry(
            experts=lambda shapes, right: right["experts"] * right["moe_layers"]
        ),
        "`hidden` is the middle size of gate_up_proj; the last is twice the experts' width.": with_entry(
            hidden=lambda shapes, right: next(shape[2] for name, shape in shapes.items() if "gate_up_proj" in name)
        ),
        "The vision part does not count as active.": partial(identify, vision_parts=()),
        "The projector belongs to the vision part: it is not active for text.": partial(
            identify, vision_parts=("vision_model.",)
        ),
        "The vision part counts in the total: the file holds it.": with_entry(
            total=lambda shapes, right: sum(
                math.prod(shape) for name, shape in shapes.items() if not name.startswith(("vision", "multi"))
            )
        ),
        "All parameters but vision are active in your answer; of the routed experts a token uses one in `experts`.": (
            partial(identify, experts_of="no such tensor")
        ),
        "The shared expert is used by every token; only the routed experts are divided.": partial(
            identify, experts_of="expert"
        ),
        "You divide the whole total by the number of experts; only the routed experts are divided.": with_entry(
            active=lambda shapes, right: right["total"] // right["experts"]
        ),
        "You leave the routed experts out of the active size; a token uses one in each layer that has them.": with_entry(
            active=lambda shapes, right: (
                right["active"]
                - sum(math.prod(shape) for name, shape in shapes.items() if ".experts." in name) // right["experts"]
            )
        ),
    },
    otherwise="Print the names, and sort the tensors: vision, routed experts, everything else.",
)
