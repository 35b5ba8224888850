"""What notebook 01 writes from scratch is held to models that the library builds."""

import copy
import math
import re

import pytest
import torch
from transformers import Llama4Config

from llama4lab.checkpoints import load_checkpoint
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.parameters import build_on_meta, count_active, count_by_part, real_config
from llama4lab.store import read_notebook

PATTERNS = {"scout": (1, 1, 0), "maverick": (1, 1, 2)}


def odd_config(**changes) -> Llama4Config:
    """A small multimodal configuration in which no two sizes are the same."""
    text = {
        "vocab_size": 53,
        "hidden_size": 24,
        "intermediate_size": 20,
        "intermediate_size_mlp": 44,
        "num_hidden_layers": 6,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "head_dim": 6,
        "num_local_experts": 7,
        "interleave_moe_layer_step": 3,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 36,
        "projector_output_dim": 36,
        "vision_output_dim": 36,
    }
    return Llama4Config(text_config=text | changes, vision_config=vision)


CONFIGS = {
    "scout": lambda: real_config("scout"),
    "maverick": lambda: real_config("maverick"),
    "proxy": lambda: load_checkpoint("scout-proxy")[1].config,
    "odd": odd_config,
    "odd, all experts": lambda: odd_config(interleave_moe_layer_step=1, num_local_experts=2),
}


# ---- counting ----


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_equal_the_library(notebook, name):
    config = CONFIGS[name]()
    assert notebook["count_parts"](config) == count_by_part(build_on_meta(config))


def test_vision_parts_equal_the_modules(notebook):
    config = odd_config()
    model = build_on_meta(config)

    def size(module):
        return sum(parameter.numel() for parameter in module.parameters())

    adapter = size(model.vision_model.vision_adapter)
    assert notebook["count_vision_parts"](config.vision_config, config.text_config.hidden_size) == {
        "encoder": size(model.vision_model) - adapter,
        "adapter": adapter,
        "projector": size(model.multi_modal_projector),
    }


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_conventions(notebook, top_k):
    config = odd_config(num_experts_per_tok=top_k)
    model = build_on_meta(config)
    parts = count_by_part(model)
    assert list(notebook["active_by_convention"](parts, 7, top_k).values()) == [
        count_active(model),
        count_active(model, embeddings=False),
        count_active(model, embeddings=False, head=False),
        count_active(model, vision=True),
        count_active(model, vision=True, embeddings=False),
    ]


def test_letters_are_billions(notebook):
    parts = count_by_part(build_on_meta(real_config("maverick")))
    assert notebook["billions_as_letters"](parts, 128) == "RRRSSSDDDDDDAAAEHV" + "." * 384


# ---- what a token touches ----


def test_touched_is_what_the_router_chose(notebook):
    _, model = load_checkpoint("scout-proxy")
    layers, vocabulary = model.config.text_config.num_hidden_layers, model.config.text_config.vocab_size
    found = notebook["touched_by"](model, 77)
    assert found == {
        "experts": (layers, 16 * layers),
        "router rows": (layers, 16 * layers),
        "embedding rows": (1, vocabulary),
        "head rows": (vocabulary, vocabulary),
    }
    # By another way: the rows of the embedding and the experts are those of the token and of the routers' winners.
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[77]]), use_cache=False, output_router_logits=True).router_logits
    for block, row in zip(model.language_model.model.layers, logits, strict=True):
        touched = block.feed_forward.experts.down_proj.grad.flatten(1).any(dim=1)
        assert touched.nonzero().flatten().tolist() == [row.argmax().item()]
    assert model.language_model.model.embed_tokens.weight.grad.any(dim=1).nonzero().tolist() == [[77]]


# ---- bytes ----


def test_holders(notebook):
    machines = {"a": 100, "b": 50, "c": 200}
    assert notebook["holders"](90, machines) == ["a", "c"]
    assert notebook["holders"](90.1, machines) == ["c"]
    assert notebook["holders"](100, machines, free=0) == ["a", "c"]
    assert notebook["holders"](300, machines) == []


# ---- Behemoth ----


@pytest.mark.parametrize("name", ["scout", "maverick"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_two_sizes_give_the_parts_back(notebook, name, top_k):
    config = copy.deepcopy(real_config(name).text_config)
    config.num_experts_per_tok = top_k
    model = build_on_meta(config)
    total, experts = sum(p.numel() for p in model.parameters()), config.num_local_experts
    routed, always = notebook["solve_two_sizes"](count_active(model), total, experts, top_k)
    assert routed == pytest.approx(count_by_part(model)["routed experts"])
    assert always == pytest.approx(total - count_by_part(model)["routed experts"])


@pytest.mark.parametrize("name", PATTERNS)
def test_bound_is_reached_when_all_is_mlp_and_kept_by_the_real_model(notebook, name):
    config = real_config(name).text_config
    parts = count_by_part(build_on_meta(config))
    mlps = {part: size for part, size in parts.items() if part in ("routed experts", "shared experts", "dense MLPs")}
    active = sum(mlps.values()) - mlps["routed experts"] * (config.num_local_experts - 1) // config.num_local_experts
    bound = notebook["largest_total"](active, config.num_local_experts, *PATTERNS[name])
    assert bound == pytest.approx(sum(mlps.values()))
    everything = active + sum(size for part, size in parts.items() if part not in mlps)
    assert sum(parts.values()) < notebook["largest_total"](everything, config.num_local_experts, *PATTERNS[name])


def scout_with(hidden: int, layers: int, width: int, top_k: int = 1):
    text = copy.deepcopy(real_config("scout").text_config)
    text.hidden_size, text.num_attention_heads, text.intermediate_size = hidden, hidden // 128, width
    text.num_hidden_layers, text.moe_layers = layers, list(range(layers))
    text.no_rope_layers, text.layer_types = [1, 1, 1, 0] * (layers // 4), text.layer_types[:4] * (layers // 4)
    text.num_experts_per_tok = top_k
    return build_on_meta(text)


@pytest.mark.parametrize("shape", [(5120, 48, 8192), (1024, 4, 512), (2048, 8, 3072), (29696, 28, 45056)])
def test_scout_like_equals_the_built_model(notebook, shape):
    model = scout_with(*shape)
    assert notebook["scout_like"](*shape) == (count_active(model), sum(p.numel() for p in model.parameters()))


def test_shapes_are_all_in_the_ranges(notebook):
    found = notebook["shapes_that_fit"]((287.5, 288.5), (1900, 2000))
    assert len(found) == len(set(found)) == 10
    for shape in found:
        active, total = notebook["scout_like"](*shape)
        assert 287.5e9 <= active < 288.5e9 and 1.9e12 <= total < 2e12
    assert notebook["shapes_that_fit"]((287.5, 288.5), (2600, 2700)) == []  # over the bound of 2448


@pytest.mark.parametrize("top_k", [1, 2])
def test_total_for_an_active_size_equals_a_model_of_that_size(notebook, top_k):
    model = scout_with(2048, 8, 3072, top_k)
    total = sum(parameter.numel() for parameter in model.parameters())
    found = notebook["total_for_active"](count_active(model) / 1e9, 2048, 8, 16, 8, 16, top_k, 1)
    # Norms and routers, left out there, are less than a thousandth.
    assert math.isclose(found, total / 1e9, rel_tol=1e-3)


# ---- Check yourself ----


def test_right_options_are_what_a_cell_computes():
    cells = {cell.id: cell for cell in read_notebook(NOTEBOOKS / "01_the_herd.ipynb").cells}
    right = re.findall(r"<summary>([^<]*)\.</summary>\s*Right", cells["n01-90"].source)
    (printed,) = cells["n01-91"].outputs
    assert [
        f"{number}: {option.lower()}" for number, option in enumerate(right, 1)
    ] == printed.text.lower().splitlines()
