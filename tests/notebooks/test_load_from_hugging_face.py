"""The functions that notebook 11 defines, taken out of it and held to the libraries on random small models."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Llama4ForCausalLM, Llama4TextConfig

from llama4lab import planner
from llama4lab.checkpoints import load_checkpoint
from llama4lab.notebook_functions import functions_of
from llama4lab.parameters import build_on_meta, real_config
from llama4lab.peak_memory import peak_tensor_bytes


@pytest.fixture(scope="module")
def notebook() -> dict:
    return functions_of("load_from_hugging_face", without=("exercise", "solution"))


def random_model(**changes) -> Llama4ForCausalLM:
    """Two chunked layers and a NoPE layer, weights of std 0.3, temperature steps of 8 tokens."""
    config = Llama4TextConfig(
        **{
            "vocab_size": 50,
            "hidden_size": 16,
            "intermediate_size": 12,
            "intermediate_size_mlp": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "num_local_experts": 4,
            "attention_chunk_size": 8,
            "floor_scale": 8,
            "no_rope_layers": [1, 1, 0],
            "use_qk_norm": False,
            "pad_token_id": 0,
        }
        | changes
    )
    torch.manual_seed(1)
    model = Llama4ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


# ---- safetensors by hand -----------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "scalar.like": torch.rand(1, generator=generator),
        "brain": torch.rand(3, 5, generator=generator).to(torch.bfloat16),
        "half": torch.rand(2, 3, 4, generator=generator).half(),
        "full": torch.rand(7, 2, generator=generator),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def tensors_agree(notebook: dict, path: Path) -> bool:
    expected = load_file(path)
    header, _ = notebook["read_header"](path)
    return header.keys() == expected.keys() and all(
        tensor.dtype == notebook["read_tensor"](path, name).dtype
        and torch.equal(notebook["read_tensor"](path, name), tensor)
        for name, tensor in expected.items()
    )


def test_read_tensor_equals_safetensors(notebook, weights):
    assert tensors_agree(notebook, weights)


@pytest.mark.parametrize(
    "change",
    [
        ("return header, 8 + length", "return header, length"),
        ("stream.seek(data_start + begin)", "stream.seek(data_start)"),
        ('"BF16": torch.bfloat16', '"BF16": torch.float16'),
        ('header.pop("__metadata__", None)', "pass"),
    ],
)
def test_a_wrong_reader_is_caught(weights, change):
    assert not tensors_agree(functions_of("load_from_hugging_face", change), weights)


# ---- plan --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus, gigabytes", [(1, 80), (2, 80), (4, 80), (2, 141), (8, 24)])
def test_plan_holds_every_byte_and_every_limit(notebook, gpus, gigabytes):
    model = build_on_meta(real_config("scout"))
    plan = notebook["plan_devices"](model, gpus, gigabytes)
    assert set(plan) == {*range(gpus), "cpu"}
    assert sum(plan.values()) == pytest.approx(217.283587072)
    assert all(plan[gpu] <= 0.9 * gigabytes for gpu in range(gpus))
    assert (plan["cpu"] == 0) == (gpus * gigabytes in (320, 282))


def test_plan_leaves_what_it_is_told(notebook):
    model = build_on_meta(real_config("scout"))
    assert notebook["plan_devices"](model, 4, 80, free=0.3)["cpu"] > 0


# ---- what a pass takes, and where accelerate puts things ---------------------------------------------------


def share_of_the_peak(notebook: dict, name: str) -> float:
    """What the notebook's formula makes of the measured peak of a pass of 200 tokens."""
    _, model = load_checkpoint(name)
    ids = torch.randint(0, 2000, (1, 200), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        peak = peak_tensor_bytes(lambda: model(ids, logits_to_keep=1, use_cache=False))
    return notebook["all_experts_bytes"](model.config.text_config, 200, bytes_per_number=4) / peak


def test_temporaries_of_both_kinds_of_experts(notebook):
    # Wide experts (scout-proxy) peak at the product, narrow ones (maverick-proxy) at the output.
    assert 0.9 < share_of_the_peak(notebook, "scout-proxy") < 1
    assert 0.9 < share_of_the_peak(notebook, "maverick-proxy") < 1


@pytest.mark.parametrize(
    "change, name",
    [
        (("hidden + 4 * width", "hidden + 3 * width"), "scout-proxy"),
        (("2 * hidden + 3 * width", "hidden + 3 * width"), "maverick-proxy"),
        (("return text.num_local_experts * tokens", "return tokens"), "scout-proxy"),
    ],
)
def test_a_wrong_formula_is_caught(change, name):
    assert not 0.9 < share_of_the_peak(functions_of("load_from_hugging_face", change), name) < 1


def test_devices_of_a_module(notebook):
    devices_of = notebook["devices_of"]
    assert devices_of("model.layers.1", {"": 0}) == {0}
    assert devices_of("model.layers.1", {"model.layers.1": 1, "model.layers.10": 2}) == {1}
    assert devices_of("model.layers.1", {"model": 3, "lm_head": 4}) == {3}
    assert devices_of("vision", {"vision.a": 0, "vision.b": "cpu", "visions": 1}) == {0, "cpu"}
    assert devices_of("other", {"model": 3}) == set()


def test_accelerate_disagrees_with_other_limits(notebook):
    model = build_on_meta(real_config("scout"))
    planned = planner.make_plan(model, "8 bits", planner.Workload(4096), [80e9, 80e9])
    limits = planned.max_memory()
    for change, agrees in ((0, True), (-3 * 10**9, False)):
        sizes, found = notebook["accelerates_map"](model, "8 bits", limits | {0: limits[0] + change})
        devices = {name: notebook["devices_of"](name, found) for name in planned.device_map}
        assert (devices == {name: {device} for name, device in planned.device_map.items()}) == agrees
        assert sizes["language_model.lm_head"] == 202_048 * 5120


@pytest.mark.parametrize("piece", [8, 1000])
def test_a_prompt_with_a_picture_cannot_be_read_in_pieces(piece):
    # What the table of failures says; when the library learns it, the table must change.
    processor, model = load_checkpoint("scout-proxy")
    content = [{"type": "image", "image": Image.new("RGB", (48, 48))}, {"type": "text", "text": "What color is it?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with pytest.raises(KeyError, match="pooler_output"):
        model.generate(**inputs.to(model.dtype), max_new_tokens=2, prefill_chunk_size=piece)


# ---- quantizing --------------------------------------------------------------------------------------------


def rounding_holds(notebook: dict) -> bool:
    weight = torch.rand(3, 10, 6, generator=torch.Generator().manual_seed(5)) - 0.5  # [experts, in, out]
    weight[1, :, 2] = 0
    weight[2, :, 3] *= 100
    integers, scale = notebook["quantize_experts"](weight)
    return (
        integers.dtype == torch.int8
        and scale.shape == (3, 1, 6)
        and bool(((integers * scale - weight).abs() <= scale / 2 + 1e-7).all())
        and bool((integers.abs().amax(dim=1)[scale[:, 0] > 1e-6] == 127).all())
    )


def test_quantizing_only_rounds(notebook):
    assert rounding_holds(notebook)


@pytest.mark.parametrize(
    "change", [("amax(dim=1, keepdim=True)", "amax(dim=2, keepdim=True)"), (".round()", ".floor()"), ("/ 127", "/ 64")]
)
def test_wrong_quantizing_is_caught(change):
    assert not rounding_holds(functions_of("load_from_hugging_face", change))


def test_linear_layers_without_router_and_head(notebook):
    model = random_model()
    touched = notebook["linear_parameters"](model)
    attention = 3 * (16 * 16 + 2 * 16 * 8 + 16 * 16)
    assert touched == {"attention": attention, "shared experts": 3 * 3 * 16 * 12}
    assert functions_of("load_from_hugging_face", ("type(module) is nn.Linear", "isinstance(module, nn.Linear)"))[
        "linear_parameters"
    ](model).keys() == {"attention", "shared experts", "routers"}


# ---- padding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length, padding", [(21, 13), (5, 30)])
def test_padding(notebook, length, padding):
    tokens = torch.randint(1, 50, (1, length), generator=torch.Generator().manual_seed(length))
    gap = notebook["padding_gap"]
    assert gap(random_model(), tokens, padding, "right") < 1e-5
    assert gap(random_model(), tokens, padding, "left") > 1e-3
    assert gap(random_model(attn_temperature_tuning=False), tokens, padding, "left") < 1e-5


# ---- helpers -----------------------------------------------------------------------------------------------


def test_attempt_prints_one_sentence(notebook, capsys):
    def fail():
        raise ValueError("Cannot do\n  this. See /some/long/path for more.")

    notebook["attempt"](fail)
    notebook["attempt"](lambda: None)
    assert capsys.readouterr().out == "ValueError: Cannot do this\nno error\n"


def test_the_readers_own_settings_stay_out(notebook, tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LLAMA4_CHECKPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "mine")
    shown = notebook["run_program"](
        ["-c", "import os; print(sorted(n for n, v in os.environ.items() if v == 'mine'), os.environ['HF_HOME'])"],
        str(tmp_path),
        HF_ENDPOINT="http://127.0.0.1:1",
    )
    assert shown.stdout == f"[] {tmp_path}\n" and shown.returncode == 0
