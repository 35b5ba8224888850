"""What notebook 11 writes from scratch is held to the libraries on random small models."""

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import AutoModelForImageTextToText

from llama4lab import planner
from llama4lab.checkpoints import MODELS, load_checkpoint
from llama4lab.device_maps import accelerates_map, devices_of
from llama4lab.hub_programs import run_program
from llama4lab.parameters import build_on_meta, real_config
from llama4lab.peak_memory import peak_tensor_bytes
from llama4lab.sharded_experts import Expert
from tests.small_models import random_block, random_hidden, small_model

# ---- safetensors by hand ----


def test_read_tensor_equals_safetensors(notebook, tmp_path):
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "scalar.like": torch.rand(1, generator=generator),
        "brain": torch.rand(3, 5, generator=generator).to(torch.bfloat16),
        "half": torch.rand(2, 3, 4, generator=generator).half(),
        "full": torch.rand(7, 2, generator=generator),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    assert notebook["read_header"](path)[0].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_close(notebook["read_tensor"](path, name), tensor, atol=0, rtol=0)


# ---- plan ----


@pytest.mark.parametrize("gpus, gigabytes", [(1, 80), (2, 80), (4, 80), (2, 141), (8, 24)])
def test_plan_holds_every_byte_and_every_limit(notebook, gpus, gigabytes):
    model = build_on_meta(real_config("scout"))
    plan = notebook["plan_devices"](model, gpus, gigabytes)
    assert set(plan) == {*range(gpus), "cpu"}
    assert sum(plan.values()) == pytest.approx(217.283587072)
    assert all(plan[gpu] <= 0.9 * gigabytes for gpu in range(gpus))
    assert (plan["cpu"] == 0) == (gpus * gigabytes in (320, 282))


# ---- what a pass takes, and where accelerate puts things ----


# Wide experts (scout-proxy) peak at the product, narrow ones (maverick-proxy) at the output.
@pytest.mark.parametrize("name", ["scout-proxy", "maverick-proxy"])
def test_temporaries_are_nearly_all_of_the_peak_of_a_pass(notebook, name):
    _, model = load_checkpoint(name)
    ids = torch.randint(0, 2000, (1, 200), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        peak = peak_tensor_bytes(lambda: model(ids, logits_to_keep=1, use_cache=False))
    assert 0.9 < notebook["all_experts_bytes"](model.config.text_config, 200, bytes_per_number=4) / peak < 1


def test_devices_of_a_module():
    assert devices_of("model.layers.1", {"": 0}) == {0}
    assert devices_of("model.layers.1", {"model.layers.1": 1, "model.layers.10": 2}) == {1}
    assert devices_of("model.layers.1", {"model": 3, "lm_head": 4}) == {3}
    assert devices_of("vision", {"vision.a": 0, "vision.b": "cpu", "visions": 1}) == {0, "cpu"}
    assert devices_of("other", {"model": 3}) == set()


def test_accelerate_disagrees_with_other_limits():
    model = build_on_meta(real_config("scout"))
    planned = planner.make_plan(model, "8 bits", planner.Workload(4096), [80e9, 80e9])
    limits = planned.max_memory()
    for change, agrees in ((0, True), (-3 * 10**9, False)):
        sizes, found = accelerates_map(model, "8 bits", limits | {0: limits[0] + change})
        devices = {name: devices_of(name, found) for name in planned.device_map}
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


# ---- quantizing ----


def test_linear_layers_without_router_and_head(notebook):
    attention, expert = 4 * 32 * (2 * 64 + 2 * 32), 3 * 32 * 24  # four layers of 4 and 2 heads of 16
    touched = notebook["linear_parameters"](small_model())
    assert touched == {"attention": attention, "shared experts": 2 * expert, "dense MLPs": 2 * 3 * 32 * 40}


# ---- formats, kernels, ranks ----


@pytest.mark.parametrize(
    "method, wanted", [("bitsandbytes", "bitsandbytes"), ("compressed-tensors", "compressed-tensors")]
)
def test_a_quantized_checkpoint_names_its_package(notebook, tmp_path, method, wanted):
    note = {"quant_method": method} | ({"load_in_4bit": True} if method == "bitsandbytes" else {"config_groups": {}})
    with pytest.raises(ImportError, match=wanted):
        AutoModelForImageTextToText.from_pretrained(
            notebook["with_note"](MODELS / "scout-proxy", tmp_path / "noted", note)
        )


def test_the_faster_kernel_is_right_in_memory(notebook):
    block, hidden = random_block(), random_hidden(2, 19, 24)
    with torch.no_grad():
        assert_close(notebook["faster_forward"](block, hidden)[0], block(hidden)[0], atol=1e-4, rtol=1e-4)


def test_an_expert_by_itself_equals_the_librarys(notebook):
    experts, rows = random_block().experts, random_hidden(7, 24)
    chosen = torch.tensor([0, 3, 3, 5, 1, 0, 2])
    with torch.no_grad():
        expected = experts(torch.cat([rows] * 6)).view(6, 7, 24)[chosen, torch.arange(7)]
        assert_close(Expert(experts.gate_up_proj, experts.down_proj)(rows, chosen), expected, atol=1e-4, rtol=1e-4)


# ---- helpers ----


def test_attempt_prints_one_sentence(notebook, capsys):
    def fail(words):
        raise ValueError(words)

    notebook["attempt"](lambda: fail("Cannot do\n  this. See /some/long/path for more."), label="now: ")
    notebook["attempt"](lambda: fail(""))
    notebook["attempt"](lambda: None)
    assert capsys.readouterr().out == "now: ValueError: Cannot do this\nValueError: (no text)\nno error\n"


def test_the_readers_own_settings_stay_out(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LLAMA4_CHECKPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "mine")
    shown = run_program(
        ["-c", "import os; print(sorted(n for n, v in os.environ.items() if v == 'mine'), os.environ['HF_HOME'])"],
        str(tmp_path),
        HF_ENDPOINT="http://127.0.0.1:1",
    )
    assert shown.stdout == f"[] {tmp_path}\n" and shown.returncode == 0
