"""What the graders of 01 compute by formula is what the models have that the library builds."""

import copy

import pytest

from llama4lab.checkpoints import load_checkpoint
from llama4lab.graders.the_herd import BEHEMOTH, sizes_of
from llama4lab.graders.unlabeled_file import identify
from llama4lab.parameters import build_on_meta, count_active, real_config

SCOUT = {"hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "intermediate_size": 8192}


@pytest.mark.parametrize(
    "answer", [SCOUT, SCOUT | {"num_hidden_layers": 8}, BEHEMOTH], ids=["Scout", "short", "Behemoth"]
)
def test_sizes_of_an_answer_are_those_of_the_built_model(answer):
    text = copy.deepcopy(real_config("scout").text_config)
    for key, value in answer.items():
        setattr(text, key, value)
    layers = answer["num_hidden_layers"]
    text.moe_layers, text.no_rope_layers = list(range(layers)), [1, 1, 1, 0] * (layers // 4)
    text.layer_types = text.layer_types[:4] * (layers // 4)
    model = build_on_meta(text)
    built = (count_active(model), sum(parameter.numel() for parameter in model.parameters()))
    assert [round(size * 1e9) for size in sizes_of(answer)] == list(built)


@pytest.mark.parametrize("name", ["scout-proxy", "maverick-proxy"])
def test_a_file_without_a_label_is_identified(name):
    _, model = load_checkpoint(name)
    text = model.config.text_config
    assert identify({key: tuple(parameter.shape) for key, parameter in model.named_parameters()}) == {
        "hidden": text.hidden_size,
        "layers": text.num_hidden_layers,
        "moe_layers": len(text.moe_layers),
        "experts": text.num_local_experts,
        "total": sum(parameter.numel() for parameter in model.parameters()),
        "active": count_active(model),
    }
