"""llama4lab.checkpoints: what loads, and one clear sentence for whatever does not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Llama4ForCausalLM, Llama4TextConfig

from llama4lab import checkpoints
from llama4lab.checkpoints import (
    CheckpointError,
    is_whole_safetensors,
    known_proxies,
    load_checkpoint,
    resolve_checkpoint,
)
from llama4lab.loopback_hub import serve_gated

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
# Put together here, so that no file of the course looks as if it held a token.
PLANTED_TOKEN = "hf_" + "Planted0" * 4


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A random text model of a few kilobytes in two shards, with the proxy's tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    config = Llama4TextConfig(
        vocab_size=2067,
        bos_token_id=2048,
        hidden_size=16,
        intermediate_size=16,
        intermediate_size_mlp=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_local_experts=2,
        attention_chunk_size=8,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    Llama4ForCausalLM(config).save_pretrained(folder, max_shard_size="80KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints.MODELS / "scout-proxy" / name, folder / name)
    return folder


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


def test_a_tokenizer_with_more_tokens_than_the_model(tiny_checkpoint, tmp_path):
    checkpoint = with_vocabulary(tiny_checkpoint, tmp_path / "small", 2060)
    assert "has 2,067 tokens, its model only 2,060: take tokenizer" in message(str(checkpoint))


def test_a_tokenizer_with_special_tokens_elsewhere(checkpoint):
    change_config(checkpoint, bos_token_id=7)
    assert "has <|begin_of_text|> at 2,048, its model expects it at 7: take tokenizer" in message(str(checkpoint))


def test_a_placeholder_for_pictures_elsewhere(tmp_path):
    folder = Path(shutil.copytree(checkpoints.MODELS / "scout-proxy", tmp_path / "moved"))
    change_config(folder, image_token_index=5)
    assert "has <|patch|> at 2,066, its model expects it at 5: take tokenizer" in message(str(folder))


def test_a_tokenizer_with_fewer_tokens_is_fine(tiny_checkpoint, tmp_path):
    checkpoint = with_vocabulary(tiny_checkpoint, tmp_path / "large", 2100)
    assert load_checkpoint(str(checkpoint))[1].config.vocab_size == 2100


# ---- what loads --------------------------------------------------------------------------------------------


def test_the_default_is_the_scout_proxy_in_float32(monkeypatch):
    monkeypatch.delenv("LLAMA4_CHECKPOINT", raising=False)
    processor, model = load_checkpoint()
    assert type(model).__name__ == "Llama4ForConditionalGeneration"
    assert type(processor).__name__ == "Llama4Processor"
    assert model.dtype == torch.float32 and not model.training


def test_the_variable_names_another_checkpoint(checkpoint, monkeypatch):
    monkeypatch.setenv("LLAMA4_CHECKPOINT", str(checkpoint))
    tokenizer, model = load_checkpoint()
    assert type(model).__name__ == "Llama4ForCausalLM"
    assert model.dtype == torch.bfloat16
    assert tokenizer("x").input_ids


def test_options_reach_the_model(checkpoint):
    _, model = load_checkpoint(str(checkpoint), dtype=torch.float32, attn_implementation="eager")
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "eager"


def test_the_proxy_takes_another_dtype():
    _, model = load_checkpoint("scout-proxy", dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16


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
    assert resolve_checkpoint(str(checkpoint)) == str(checkpoint)
    assert resolve_checkpoint("scout-proxy") == str(checkpoints.MODELS / "scout-proxy")
    assert resolve_checkpoint(SCOUT) == SCOUT


def test_scout_proxy_is_known():
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


@pytest.mark.parametrize("name", ["scout-proxi", "ablations/none", "./nowhere", "two words/model", "a/b/c"])
def test_unknown_name(name):
    text = message(name)
    assert repr(name) in text and "scout-proxy" in text and "Hugging Face id" in text


def test_folder_without_config(checkpoint):
    (checkpoint / "config.json").unlink()
    assert "holds no config.json" in message(str(checkpoint))


@pytest.mark.parametrize("content", ["{", "", "[1]", "\x00\x01"])
def test_corrupt_config(checkpoint, content):
    (checkpoint / "config.json").write_text(content)
    text = message(str(checkpoint))
    assert text.startswith("config.json of") and "JSON" in text and "again" in text


def test_corrupt_index(checkpoint):
    (checkpoint / "model.safetensors.index.json").write_text('{"weight_map": ')
    assert message(str(checkpoint)).startswith("model.safetensors.index.json of")


def test_index_without_weights(checkpoint):
    (checkpoint / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    assert "lists no weights" in message(str(checkpoint))


def test_missing_shard(checkpoint):
    shard = sorted(checkpoint.glob("model-*.safetensors"))[-1]
    shard.unlink()
    text = message(str(checkpoint))
    assert text.startswith(f"{shard.name} of") and "is missing" in text


def test_no_weights_at_all(checkpoint):
    for file in checkpoint.glob("model*"):
        file.unlink()
    assert "model.safetensors" in message(str(checkpoint))


def test_pickled_weights_are_not_read(checkpoint):
    for file in checkpoint.glob("model*"):
        file.unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    assert "model.safetensors" in message(str(checkpoint))


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_safetensors(checkpoint, kept):
    shard = sorted(checkpoint.glob("model-*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:kept])
    text = message(str(checkpoint))
    assert text.startswith(f"{shard.name} of") and "incomplete" in text


def test_whole_and_padded_safetensors(checkpoint):
    shard = sorted(checkpoint.glob("model-*.safetensors"))[0]
    assert is_whole_safetensors(shard)
    shard.write_bytes(shard.read_bytes() + b"\0")
    assert not is_whole_safetensors(shard)


def test_header_that_is_no_json(tmp_path):
    (tmp_path / "x.safetensors").write_bytes((4).to_bytes(8, "little") + b"abcd")
    assert not is_whole_safetensors(tmp_path / "x.safetensors")


def test_a_git_lfs_pointer_is_no_checkpoint(checkpoint):
    shard = sorted(checkpoint.glob("model-*.safetensors"))[0]
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    assert "incomplete" in message(str(checkpoint))


def test_damaged_proxy_is_restored_with_git(tmp_path, monkeypatch):
    assets = tmp_path / "assets"
    shutil.copytree(checkpoints.MODELS / "scout-proxy", assets / "models" / "scout-proxy")
    monkeypatch.setattr(checkpoints, "ASSETS", assets)
    monkeypatch.setattr(checkpoints, "MODELS", assets / "models")
    weights = assets / "models" / "scout-proxy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    assert "`git checkout -- assets/models/scout-proxy`" in message("scout-proxy")


def test_config_of_transformers_4_51(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config["attn_temperature_tuning"] = 4
    (checkpoint / "config.json").write_text(json.dumps(config))
    text = message(str(checkpoint))
    assert "could not be loaded" in text and "'attn_temperature_tuning' expected bool" in text


# ---- the command -------------------------------------------------------------------------------------------


def test_command_says_what_it_loaded(checkpoint, capsys):
    assert checkpoints.main([str(checkpoint)]) == 0
    assert capsys.readouterr().out.startswith("Llama4ForCausalLM, ")


def test_command_fails_in_one_line(checkpoint, capsys):
    (checkpoint / "config.json").unlink()
    assert checkpoints.main([str(checkpoint)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1


def run_command(name: str, home: Path, **variables: str) -> subprocess.CompletedProcess:
    """`python -m llama4lab.checkpoints NAME` as a program of its own: hub settings are read at its start."""
    foreign = ("HF_", "HUGGING_FACE_", "TRANSFORMERS_", "LLAMA4_")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    own = {"HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "llama4lab.checkpoints", name],
        cwd=NOTEBOOKS,
        env=environ | own | variables,
        capture_output=True,
        text=True,
    )


def assert_one_sentence(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert PLANTED_TOKEN not in done.stdout + done.stderr


def test_gated_without_a_token(tmp_path, tiny_checkpoint):
    with serve_gated(tiny_checkpoint, SCOUT, granted_token="other") as hub:
        done = run_command(SCOUT, tmp_path, HF_ENDPOINT=hub.endpoint)
        assert hub.requests_without_token and not hub.requests_with_token
    assert_one_sentence(done, SCOUT, "is gated", "accept its license", "HF_TOKEN")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_gated_with_a_token_that_is_not_granted(tmp_path, tiny_checkpoint):
    with serve_gated(tiny_checkpoint, SCOUT, granted_token="other") as hub:
        done = run_command(SCOUT, tmp_path, HF_ENDPOINT=hub.endpoint, HF_TOKEN=PLANTED_TOKEN)
        assert hub.requests_with_token  # the planted token was used, and is nowhere in the output
    assert_one_sentence(done, SCOUT, "your token has no access", "ask for access")


def test_granted_then_offline(tmp_path, tiny_checkpoint):
    with serve_gated(tiny_checkpoint, SCOUT, granted_token=PLANTED_TOKEN) as hub:
        done = run_command(SCOUT, tmp_path, HF_ENDPOINT=hub.endpoint, HF_TOKEN=PLANTED_TOKEN)
    assert done.returncode == 0 and done.stdout.startswith("Llama4ForCausalLM, ")
    assert PLANTED_TOKEN not in done.stdout + done.stderr
    # From the cache, although the hub is gone.
    done = run_command(SCOUT, tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 0 and done.stdout.startswith("Llama4ForCausalLM, ")


def test_id_while_offline(tmp_path):
    done = run_command(SCOUT, tmp_path, HF_HUB_OFFLINE="1", HF_TOKEN=PLANTED_TOKEN)
    assert_one_sentence(done, SCOUT, "not on this machine", "HF_HUB_OFFLINE")


def test_unknown_repository(tmp_path, tiny_checkpoint):
    with serve_gated(tiny_checkpoint, SCOUT, granted_token="other") as hub:
        done = run_command("meta-llama/none", tmp_path, HF_ENDPOINT=hub.endpoint, HF_TOKEN=PLANTED_TOKEN)
    assert_one_sentence(done, "'meta-llama/none'", "check the spelling")
