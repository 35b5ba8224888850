"""llama4lab.checkpoints: what loads, and one clear sentence for whatever does not."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Llama4ForCausalLM

from llama4lab import assets, checkpoints
from llama4lab.checkpoints import CheckpointError, known_proxies, load_checkpoint, resolve_checkpoint
from llama4lab.course_notebooks import NOTEBOOKS

SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))


def message(name: str) -> str:
    """The sentence with which loading `name` fails."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(name)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


# ---- a tokenizer of another model --------------------------------------------------------------------------


def change_config(checkpoint: Path, **values) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def with_vocabulary(checkpoint: Path, folder: Path, size: int) -> Path:
    """A copy of a checkpoint whose model has another number of embeddings."""
    model = Llama4ForCausalLM.from_pretrained(checkpoint)
    model.resize_token_embeddings(size)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, folder / name)
    return folder


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings(tiny_checkpoint, tmp_path):
    checkpoint = with_vocabulary(tiny_checkpoint, tmp_path / "small", 2060)
    assert "has 2,067 tokens, its model only 2,060: take tokenizer" in message(str(checkpoint))
    checkpoint = with_vocabulary(tiny_checkpoint, tmp_path / "large", 2100)
    assert load_checkpoint(str(checkpoint))[1].config.vocab_size == 2100


def test_special_tokens_elsewhere(checkpoint, tmp_path):
    change_config(checkpoint, bos_token_id=7)
    assert "has <|begin_of_text|> at 2,048, its model expects it at 7: take tokenizer" in message(str(checkpoint))
    pictures = Path(shutil.copytree(checkpoints.MODELS / "scout-proxy", tmp_path / "moved"))
    change_config(pictures, image_token_index=5)
    assert "has <|patch|> at 2,066, its model expects it at 5: take tokenizer" in message(str(pictures))


# ---- what loads --------------------------------------------------------------------------------------------


def test_the_default_is_the_scout_proxy_in_float32(monkeypatch):
    monkeypatch.delenv("LLAMA4_CHECKPOINT", raising=False)
    processor, model = load_checkpoint()
    assert type(model).__name__ == "Llama4ForConditionalGeneration"
    assert type(processor).__name__ == "Llama4Processor"
    assert model.dtype == torch.float32 and not model.training


def test_a_text_only_checkpoint_is_loaded_by_name_and_refused_in_the_variable(checkpoint, monkeypatch):
    tokenizer, model = load_checkpoint(str(checkpoint))
    assert type(model).__name__ == "Llama4ForCausalLM" and model.dtype == torch.bfloat16
    assert tokenizer("x").input_ids
    monkeypatch.setenv("LLAMA4_CHECKPOINT", str(checkpoint))
    with pytest.raises(
        CheckpointError, match="LLAMA4_CHECKPOINT names .*tiny.* reads text only.*: name such a one, or unset"
    ):
        load_checkpoint()


def test_the_variable_names_another_checkpoint(monkeypatch):
    monkeypatch.setenv("LLAMA4_CHECKPOINT", "maverick-proxy")
    assert load_checkpoint()[1].config.text_config.num_local_experts == 128


def test_readme_and_map_name_the_notebooks_that_follow_the_variable():
    notebooks = {path.name[:2]: path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("[0-9]*.ipynb")}
    followers = sorted(
        number for number, text in notebooks.items() if re.search(r"(load|resolve)_checkpoint\(\)", text)
    )
    named = f"{', '.join(followers[:-1])} and {followers[-1]}"
    assert f"notebooks {named} load" in (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
    assert f"00 (from section 3 on), {named.removeprefix('00, ')} ask Scout itself" in notebooks["00"]


def test_options_reach_the_model(checkpoint):
    _, model = load_checkpoint(str(checkpoint), dtype=torch.float32, attn_implementation="eager")
    assert model.dtype == torch.float32 and model.config._attn_implementation == "eager"
    assert load_checkpoint("scout-proxy", dtype=torch.bfloat16)[1].dtype == torch.bfloat16


def test_only_safetensors_are_asked_for(checkpoint, monkeypatch):
    asked = {}

    def refuse(source, **options):
        asked.update(options)
        raise OSError("enough seen")

    monkeypatch.setattr(checkpoints.AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(CheckpointError, match="enough seen"):
        load_checkpoint(str(checkpoint), use_safetensors=False)
    assert asked["use_safetensors"] is True
    assert "trust_remote_code" not in asked


def test_an_argument_wins_over_the_variable(checkpoint, monkeypatch):
    monkeypatch.setenv("LLAMA4_CHECKPOINT", "no-such-proxy")
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert resolve_checkpoint(str(checkpoint)) == resolve_checkpoint("~/tiny") == str(checkpoint)
    assert resolve_checkpoint("scout-proxy") == str(checkpoints.MODELS / "scout-proxy")
    assert resolve_checkpoint(SCOUT) == SCOUT
    assert "scout-proxy" in known_proxies()


def test_verbosity_is_restored():
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_info()
    before = hub_logging.get_verbosity()
    try:
        with pytest.raises(ZeroDivisionError), checkpoints.quiet_transformers():
            assert logging.get_verbosity() == logging.ERROR
            raise ZeroDivisionError
        assert logging.get_verbosity() == logging.INFO
        assert hub_logging.get_verbosity() == before
    finally:
        logging.set_verbosity_warning()


# ---- damaged folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["scout-proxi", "ablations/none", "./nowhere", "~/nowhere", "two words/model", "a/b/c"]
)
def test_unknown_name(name):
    text = message(name)
    assert repr(name) in text and "scout-proxy" in text and "Hugging Face id" in text


SHARD = "model-00001-*.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("config.json", None, "holds no config.json"),
        ("config.json", lambda old: b"{", "config.json of .* cannot be read as JSON: copy or download"),
        ("config.json", lambda old: b"\0\1", "config.json of .* cannot be read as JSON"),
        ("config.json", lambda old: b"[1]", "config.json of .* holds no JSON object"),
        (
            "config.json",
            lambda old: old.replace(b"llama4_text", b"llama5"),
            "The configuration of .* could not be loaded",
        ),
        # as transformers 4.51 wrote it
        ("config.json", lambda old: old.replace(b'tuning": true', b'tuning": 4'), "tuning' expected bool"),
        ("tokenizer.json", lambda old: old[:-9], "tokenizer.json of .* cannot be read as JSON: copy or download"),
        ("tokenizer.json", lambda old: b"{}", "The tokenizer of .* could not be loaded .*; compare its files"),
        (checkpoints.INDEX, lambda old: b'{"weight_map": ', f"{checkpoints.INDEX} of .* cannot be read as JSON"),
        (checkpoints.INDEX, lambda old: b'{"weight_map": {}}', "lists no weights"),
        (checkpoints.INDEX, None, "model.safetensors of .* is missing"),
        (SHARD, None, "model-00001-.* of .* is missing"),
        (SHARD, lambda old: b"", "model-00001-.* of .* is damaged or incomplete"),
        (SHARD, lambda old: old[:100], "model-00001-.* of .* is damaged or incomplete"),
        (SHARD, lambda old: old[:-1], "model-00001-.* of .* is damaged or incomplete"),
        (SHARD, lambda old: old + b"\0", "model-00001-.* of .* is damaged or incomplete"),
        (SHARD, lambda old: (4).to_bytes(8, "little") + b"abcd", "model-00001-.* of .* is damaged or incomplete"),
        (SHARD, lambda old: POINTER, "model-00001-.* of .* is damaged or incomplete"),
    ],
)
def test_a_damaged_file_is_named(checkpoint, file, change, sentence):
    path = next(checkpoint.glob(file))
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    assert re.search(sentence, message(str(checkpoint)))


def test_pickled_weights_are_not_read(checkpoint):
    for file in checkpoint.glob("model*"):
        file.unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    text = message(str(checkpoint))
    assert "pytorch_model.bin, a format that may run code" in text and "save_pretrained" in text


@pytest.mark.parametrize(
    ("method", "package"), [("compressed-tensors", "pip install compressed-tensors"), ("torchao", "'torchao'")]
)
def test_a_quantized_checkpoint_whose_package_is_missing(checkpoint, method, package):
    change_config(checkpoint, quantization_config={"quant_method": method, "quant_type": "int8_weight_only"})
    assert re.search(f"needs something that this environment lacks .*{package}.*: install it", message(str(checkpoint)))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "processor_config.json"])
@pytest.mark.parametrize("has_git", [True, False])
def test_a_damaged_proxy_is_restored_with_git_or_from_a_download(tmp_path, monkeypatch, file, has_git):
    folder = tmp_path / "assets"
    shutil.copytree(checkpoints.MODELS / "scout-proxy", folder / "models" / "scout-proxy")
    assets.write_manifest(folder)
    for module in (assets, checkpoints):
        monkeypatch.setattr(module, "ASSETS", folder)
    monkeypatch.setattr(checkpoints, "MODELS", folder / "models")
    if has_git:
        (tmp_path / ".git").mkdir()
    damaged = folder / "models" / "scout-proxy" / file
    # JSON that is whole, and says nothing of what is needed
    damaged.write_bytes(b"{}" if file.endswith("json") else damaged.read_bytes()[:-2])
    text = message("scout-proxy")
    assert file in text and ("`git checkout -- assets/models/scout-proxy" in text) == has_git
    assert has_git or "download the course again and copy assets/models/scout-proxy" in text
