"""llama4lab.parameters: the released models to the digit, and the arithmetic around them."""

import pytest
import torch

from llama4lab.checkpoints import MODELS
from llama4lab.errors import CourseError
from llama4lab.parameters import (
    PARTS,
    build_on_meta,
    count_active,
    count_by_part,
    part_of,
    real_config,
    weight_bytes,
)

# Totals as published (assets/configs/README.md names the sources); parts by hand from the configurations.
COUNTS = {
    "scout": {
        "vision": 871_932_416,
        "routed experts": 96_636_764_160,
        "shared experts": 6_039_797_760,
        "routers": 3_932_160,
        "dense MLPs": 0,
        "attention": 3_019_898_880,
        "norms": 496_640,
        "embed_tokens": 1_034_485_760,
        "lm_head": 1_034_485_760,
    },
    "maverick": {
        "vision": 871_932_416,
        "routed experts": 386_547_056_640,
        "shared experts": 3_019_898_880,
        "routers": 15_728_640,
        "dense MLPs": 6_039_797_760,
        "attention": 3_019_898_880,
        "norms": 496_640,
        "embed_tokens": 1_034_485_760,
        "lm_head": 1_034_485_760,
    },
}
TOTALS = {"scout": 108_641_793_536, "maverick": 401_583_781_376}
ACTIVE = {"scout": 17_172_894_720, "maverick": 17_184_691_200}


@pytest.fixture(scope="module", params=sorted(COUNTS))
def released(request):
    return request.param, build_on_meta(real_config(request.param))


def test_parts_and_total(released):
    name, model = released
    counts = count_by_part(model)
    assert counts == COUNTS[name]
    assert sum(counts.values()) == TOTALS[name] == sum(p.numel() for p in model.parameters())


def test_nothing_is_stored(released):
    _, model = released
    assert all(p.is_meta and p.dtype == torch.bfloat16 for p in model.parameters())


def test_active(released):
    name, model = released
    assert count_active(model) == ACTIVE[name]
    assert count_active(model, embeddings=False) == ACTIVE[name] - 1_034_485_760
    assert count_active(model, embeddings=False, head=False) == ACTIVE[name] - 2 * 1_034_485_760
    assert count_active(model, vision=True) == ACTIVE[name] + 871_932_416


def test_text_only_class_has_everything_but_the_vision_part():
    model = build_on_meta(real_config("scout").text_config)
    assert type(model).__name__ == "Llama4ForCausalLM"
    assert count_by_part(model) == COUNTS["scout"] | {"vision": 0}


def test_a_checkpoint_folder():
    counts = count_by_part(build_on_meta(MODELS / "scout-proxy"))
    # 4 layers x 16 experts x 3 matrices of 128 x 192
    assert counts["routed experts"] == 4 * 16 * 3 * 128 * 192
    assert tuple(counts) == PARTS


def test_weight_bytes():
    counts = COUNTS["scout"]
    assert weight_bytes(counts, 2) == 2 * TOTALS["scout"]
    assert round(weight_bytes(counts, 2, {"routed experts": 0.5}) / 1e9, 1) == 72.3
    assert round(weight_bytes(counts, 2, {"routed experts": 1}) / 2**30, 1) == 112.4


def test_errors_name_what_is_known():
    with pytest.raises(CourseError, match="maverick, scout"):
        real_config("behemoth")
    with pytest.raises(CourseError, match="routed experts"):
        weight_bytes(COUNTS["scout"], 2, {"experts": 1})
    with pytest.raises(CourseError, match="no parameter of a Llama 4 model"):
        part_of("transformer.h.0.mlp.c_fc.weight")
