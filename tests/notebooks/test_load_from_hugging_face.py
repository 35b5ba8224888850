"""What notebook 11 writes from scratch is held to the libraries, and each failure that it tells is made to happen."""

import copy
import json
import shutil

import huggingface_hub
import pytest
import torch
from accelerate import dispatch_model
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
)
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe
from transformers.quantizers import quantizer_bnb_4bit

from llama4lab import planner
from llama4lab.checkpoints import MODELS, load_checkpoint
from llama4lab.device_maps import accelerates_map, devices_of
from llama4lab.hub_programs import download_killed, run_program, run_two_ranks
from llama4lab.loopback_hub import serve_gated
from llama4lab.parameters import build_on_meta, part_of, real_config
from llama4lab.peak_memory import peak_tensor_bytes
from llama4lab.sharded_experts import Expert
from tests.small_models import random_block, random_hidden, random_ids, small_chat_model, small_model

PROXY = MODELS / "scout-proxy"
CHAT = [{"role": "user", "content": "Where does Ada live?"}]
load = AutoModelForImageTextToText.from_pretrained


@pytest.fixture(scope="module")
def proxy():
    """Its processor, its model in float32, and a prompt with a picture; nothing may change them."""
    processor, model = load_checkpoint("scout-proxy")
    content = [{"type": "image", "image": Image.new("RGB", (96, 48))}, {"type": "text", "text": "What color is it?"}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    return processor, model, prompt


@pytest.fixture
def copied(tmp_path):
    """A copy of the proxy's folder, weights as a link."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for file in PROXY.iterdir():
        (folder / file.name).symlink_to(file) if file.suffix == ".safetensors" else shutil.copy(file, folder)
    return folder


def change_config(folder, part=None, **entries):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (config[part] if part else config).update(entries)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


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


# ---- getting the files: sections 5.1 and 5.4 ----


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()


@pytest.mark.parametrize("token, status", [(False, 401), ("without-access", 403)])
def test_access_that_is_refused(online, monkeypatch, tmp_path, token, status):
    with serve_gated(PROXY, "owner/gated", granted_token="granted") as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(OSError, match="^You are trying to access a gated repo") as refused:
            AutoConfig.from_pretrained("owner/gated", token=token, cache_dir=tmp_path)
    assert refused.value.__cause__.response.status_code == status


def test_a_killed_download_begins_anew_and_leaves_an_orphan(tmp_path):
    folder, home = tmp_path / "files", tmp_path / "home"
    folder.mkdir()
    (folder / "large.bin").write_bytes(bytes(12_800_000))
    (folder / "note.txt").write_text("small", encoding="utf-8")
    with serve_gated(folder, "owner/gated", granted_token="granted") as hub:
        before, after, small = download_killed(hub, "owner/gated", home, "large.bin", small_files=1, after=11_500_000)
    assert (before, after, small) == ([(0, 11_500_000)], [(0, 12_800_000)], 0)
    assert len(list(home.rglob("*.incomplete"))) == 1


# ---- it does not load: sections 3, 6 and 9.4 ----


def test_the_text_class_misses_nothing_and_leaves_the_vision_part(proxy):
    text_only, report = AutoModelForCausalLM.from_pretrained(PROXY, dtype=torch.float32, output_loading_info=True)
    unused = {key.partition(".")[0] for key in report["unexpected_keys"]}
    assert not report["missing_keys"] and unused == {"vision_model", "multi_modal_projector"}
    ids = random_ids(1, 40, vocabulary=2000)
    with torch.no_grad():
        assert_close(text_only(ids).logits, proxy[1](ids).logits, atol=1e-4, rtol=1e-5)


def test_who_asks_for_no_dtype_gets_the_checkpoints():
    model = load(PROXY)
    assert model.dtype == torch.bfloat16 and model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("saved, accepted", [(4, False), (0, False), (True, True)])
def test_a_configuration_of_transformers_4_51(copied, saved, accepted):
    change_config(copied, "text_config", attn_temperature_tuning=saved)
    if accepted:
        assert AutoConfig.from_pretrained(copied).text_config.attn_temperature_tuning is True
    else:
        with pytest.raises(Exception, match="attn_temperature_tuning.* expected bool, got int") as refused:
            AutoConfig.from_pretrained(copied)
        assert type(refused.value).__name__ == "StrictDataclassFieldValidationError"


def test_an_architecture_that_the_library_does_not_know(copied):
    change_config(copied, model_type="llama44")
    with pytest.raises(ValueError, match="`llama44` but Transformers does not recognize this architecture"):
        AutoConfig.from_pretrained(copied)


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"attn_implementation": "flash_attention_2"}, ValueError, "does not support Flash Attention 2"),
        ({"experts_implementation": "grouped_mm"}, ValueError, "does not support setting experts implementation"),
        ({"load_in_4bit": True}, TypeError, "unexpected keyword argument 'load_in_4bit'"),
        ({"use_auth_token": "hf_"}, TypeError, "unexpected keyword argument 'use_auth_token'"),
    ],
)
def test_options_that_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        load(PROXY, **options)


@pytest.mark.parametrize("options", [{"experts_implementation": "batched_mm"}, {"torch_dtype": torch.bfloat16}])
def test_options_that_are_accepted(options):
    assert load(PROXY, **options).dtype == torch.bfloat16


def test_the_processor_always_resizes(proxy):
    processor, _, _ = proxy
    with pytest.raises(Exception, match="do_resize"):
        processor.image_processor(Image.new("RGB", (48, 48)), do_resize=False, return_tensors="pt")


# ---- quantizing ----


def test_four_bits_with_modules_off_the_gpu_are_refused(monkeypatch):
    monkeypatch.setattr(quantizer_bnb_4bit, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr("transformers.integrations.validate_bnb_backend_availability", lambda **_: True)
    quantizer = quantizer_bnb_4bit.Bnb4BitHfQuantizer(BitsAndBytesConfig(load_in_4bit=True))
    quantizer.validate_environment(device_map={"model": 0, "lm_head": 1})
    with pytest.raises(ValueError, match="^Some modules are dispatched on the CPU or the disk"):
        quantizer.validate_environment(device_map={"model": 0, "lm_head": "cpu"})


@pytest.mark.parametrize("method, words", [("fbgemm_fp8", "fbgemm fp8 .*requires a GPU"), ("hqq", "HQQ version")])
def test_a_format_that_this_machine_does_not_have(copied, method, words):
    change_config(copied, quantization_config={"quant_method": method})
    with pytest.raises(ImportError, match=words):
        load(copied)


def test_an_unknown_format_is_skipped(copied):
    change_config(copied, quantization_config={"quant_method": "no-such-method"})
    assert load(copied).dtype == torch.bfloat16


def test_linear_layers_without_router_and_head(notebook):
    attention, expert = 4 * 32 * (2 * 64 + 2 * 32), 3 * 32 * 24  # four layers of 4 and 2 heads of 16
    touched = notebook["linear_parameters"](small_model())
    assert touched == {"attention": attention, "shared experts": 2 * expert, "dense MLPs": 2 * 3 * 32 * 40}


# ---- the first call fails: section 7 ----


def test_a_picture_comes_in_bfloat16(proxy):
    _, model, prompt = proxy
    assert prompt["pixel_values"].dtype == torch.bfloat16 != model.dtype
    with torch.no_grad(), pytest.raises(RuntimeError, match="to have the same dtype, but got: c10::BFloat16"):
        model(**prompt)
    with torch.no_grad():
        model(**copy.copy(prompt).to(model.dtype))


def test_features_need_their_patch_tokens(proxy):
    processor, model, prompt = proxy
    pixels = prompt["pixel_values"].to(model.dtype)
    by_hand = processor.tokenizer("<|image|>What is it?", return_tensors="pt").input_ids
    for ids, tokens in ((by_hand, 0), (prompt["input_ids"][:, :20], 12)):
        with pytest.raises(ValueError, match=f"do not match, tokens: {tokens}, features: 48"):
            model(input_ids=ids, pixel_values=pixels)


def test_a_chat_template_returns_a_dictionary_that_generate_refuses_without_a_word(proxy):
    processor, model, _ = proxy
    options = {"add_generation_prompt": True, "return_tensors": "pt"}
    long = {"prefill_chunk_size": 2048 * 8, "max_new_tokens": 4, "cache_implementation": "hybrid"}  # of that page
    inputs = processor.tokenizer.apply_chat_template(CHAT, **options)
    assert list(inputs) == ["input_ids", "attention_mask"]
    with pytest.raises(AttributeError, match="^$"):
        model.generate(inputs, **long)
    assert model.generate(**inputs, **long).shape[1] > inputs["input_ids"].shape[1]
    assert isinstance(processor.tokenizer.apply_chat_template(CHAT, **options, return_dict=False), torch.Tensor)


@pytest.mark.parametrize("piece", [8, 1000])
def test_a_prompt_with_a_picture_cannot_be_read_in_pieces(proxy, piece):
    # What the table of failures says; when the library learns it, the table must change.
    _, model, prompt = proxy
    with pytest.raises(KeyError, match="pooler_output"):
        model.generate(**copy.copy(prompt).to(model.dtype), max_new_tokens=2, prefill_chunk_size=piece)


@pytest.mark.parametrize("piece", [1, 7, 8, 100])
def test_reading_a_text_in_pieces_changes_no_answer(piece):
    model, ids = small_chat_model([2]), random_ids(1, 45)
    greedy = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 8}
    assert torch.equal(model.generate(ids, **greedy, prefill_chunk_size=piece), model.generate(ids, **greedy))


# ---- it runs, and the answer is wrong: sections 8.2 to 9.3; 8.1 is in test_chat_and_generate.py ----


def test_a_base_checkpoint_chats_through_its_processor_only(copied):
    (copied / "chat_template.jinja").unlink()
    processor = AutoProcessor.from_pretrained(copied)
    assert processor.tokenizer.chat_template is None
    with pytest.raises(ValueError, match="tokenizer.chat_template is not set"):
        processor.tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert "<|header_start|>user<|header_end|>" in processor.apply_chat_template(CHAT, tokenize=False)


def test_rows_that_are_cut_off(proxy):
    tokenizer, whole = AutoTokenizer.from_pretrained(PROXY), proxy[1]
    tables = {}
    for rows in (2080, len(tokenizer)):
        tables[rows] = copy.deepcopy(whole)
        tables[rows].resize_token_embeddings(rows, mean_resizing=False)
    with pytest.raises(RuntimeError, match=r"size mismatch for language_model.lm_head.weight"):
        tables[2080].load_state_dict(tables[len(tokenizer)].state_dict())
    assert tokenizer.decode([len(tokenizer) + 5]) == ""
    tokenizer.add_tokens(["<|my_tag|>"])
    assert tokenizer.convert_tokens_to_ids("<|my_tag|>") == 2067
    with pytest.raises(IndexError, match="out of range"):
        whole(torch.tensor([[2067]]))


def test_a_kernel_that_reads_what_is_not_there(notebook, monkeypatch, tmp_path):
    places = {name: "cpu" for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")}
    model, ids = small_model(interleave_moe_layer_step=1, num_hidden_layers=1, no_rope_layers=[1]), random_ids(1, 20)
    with torch.no_grad():
        expected = model(ids).logits
        monkeypatch.setattr(Llama4TextMoe, "forward", notebook["faster_forward"])
        assert_close(model(ids).logits, expected, atol=1e-3, rtol=1e-3)
        offloaded = dispatch_model(model, places | {"model.layers.0": "disk"}, offload_dir=tmp_path)
        assert not torch.allclose(offloaded(ids).logits, expected, atol=0.1)  # and no error
    assert (torch.ones(2, 3) @ torch.ones(3, 2, device="meta")).device.type == "cpu"


BOTH = ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "setting, trained",
    [
        ({"target_modules": ["q_proj", "v_proj"]}, {"attention", "vision"}),
        ({"target_modules": "all-linear"}, {"routers", "shared experts", "attention", "vision"}),
        ({"target_modules": [], "target_parameters": BOTH}, {"routed experts"}),
        ({"target_modules": r"language_model\..*\.(q_proj|v_proj)"}, {"attention"}),
    ],
)
def test_what_a_lora_trains(proxy, setting, trained):
    adapted = get_peft_model(copy.deepcopy(proxy[1]), LoraConfig(r=2, **setting))
    parts = {part_of(name) for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert parts & {"routed experts", "routers", "shared experts", "attention", "vision"} == trained


def test_ranks_that_disagree(tmp_path):
    wrong, waited = "wrong, without an error", "waited for the other rank, then a timeout"
    assert run_two_ranks("llama4lab.sharded_experts", tmp_path / "ranks") == {
        "fused": ["right"] * 2,
        "by expert, all run": ["right"] * 2,
        "by expert, two each": [wrong] * 2,
        "by expert, two and three": [wrong, waited],
    }


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
