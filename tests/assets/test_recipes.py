"""The recipes' commands: models of the stored form, faults in one sentence."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, Llama4ForConditionalGeneration

import train as train_recipes
from herd import HERD
from llama4lab.assets import ASSETS
from llama4lab.parameters import count_active
from tests.assets.small_sources import write_sources


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(ASSETS / "models" / "scout-proxy")


def command(program: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ASSETS / "recipes" / program), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("train.py", "There is no recipe for 'behemoth'; known are scout-proxy, .*"),
        ("evaluate.py", "There is no model 'behemoth'; give some of ablations/.*"),
    ],
)
def test_an_unknown_name_is_one_sentence(program, sentence):
    run = command(program, "behemoth")
    assert run.returncode == 1 and re.fullmatch(sentence, run.stderr.strip())


def test_an_ablation_is_made_end_to_end(tmp_path):
    options = ("--steps", "3", "--out", str(tmp_path / "m"), "--work", str(tmp_path / "w"))
    run = command("train.py", "ablations/chunk-only-1", *options)
    assert run.returncode == 0, run.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m" / "ablations" / "chunk-only-1")
    assert model.config.layer_types == ["chunked_attention"] * 4
    assert (tmp_path / "m" / "ablations" / "chunk-only-1" / "training_log.jsonl").stat().st_size > 50


@pytest.fixture
def work(tmp_path, processor):
    """A work folder in which the herd has run: the stored weights as its result, and a small corpus."""
    folder = tmp_path / "w"
    (folder / "herd").mkdir(parents=True)
    shutil.copy(ASSETS / "models" / "scout-proxy" / "model.safetensors", folder / "herd" / "scout-proxy.safetensors")
    (folder / "herd" / "scout-proxy.jsonl").write_text('{"step": 1}\n')
    write_sources(folder / "sources", processor.tokenizer)
    return folder


@pytest.mark.parametrize("name", ["scout-proxy", "ablations/small-moe"])
def test_a_language_model_is_made_end_to_end_at_reduced_size(tmp_path, work, name):
    options = ("--steps", "2", "--corpus-scale", "400", "--out", str(tmp_path / "m"), "--work", str(work))
    run = command("train.py", name, *options)
    assert run.returncode == 0, run.stderr
    made, stored = tmp_path / "m" / name, ASSETS / "models" / name
    steps = r"step-\d+\.safetensors"
    assert {path.name for path in stored.iterdir() if not re.fullmatch(steps, path.name)} - {
        path.name for path in made.iterdir()
    } == {"README.md"}
    assert json.loads((made / "config.json").read_text()) == json.loads((stored / "config.json").read_text())


def test_the_last_lesson_needs_what_the_herd_learned(tmp_path):
    run = command("train.py", "maverick-proxy", "--work", str(tmp_path))
    assert run.returncode == 1
    assert run.stderr.strip() == "maverick-proxy begins with what the herd learned: run herd.py maverick-proxy first."


def test_behemoth_is_several_times_scout(processor):
    def active(name):
        config = HERD[name].config(processor.tokenizer)
        with torch.device("meta"):
            return count_active(Llama4ForConditionalGeneration(config), embeddings=False)

    assert active("behemoth-proxy") > 2.5 * active("scout-proxy")
    # The dense twin stands beside scout-proxy because one token uses as much of both, but for the router.
    assert active("dense-twin") == pytest.approx(active("scout-proxy"), rel=0.01)


def test_maverick_is_made_with_the_stored_configuration(processor):
    made = HERD["maverick-proxy"].config(processor.tokenizer).text_config.to_dict()
    stored = json.loads((ASSETS / "models" / "maverick-proxy" / "config.json").read_text(encoding="utf-8"))
    for key in ("num_local_experts", "moe_layers", "use_qk_norm", "intermediate_size", "rope_parameters", "vocab_size"):
        assert made[key] == stored["text_config"][key], key


@pytest.mark.parametrize("kind", train_recipes.ABLATIONS)
def test_three_seeds_of_every_ablation_are_measured_and_those_that_are_to_be_stored_are(kind):
    recorded = json.loads((ASSETS / "measurements" / "recall.json").read_text(encoding="utf-8"))["models"]
    seeds = [name for name in recorded if name.rpartition("-")[0] == kind]
    assert len(seeds) >= 3
    for name in seeds:
        stored = train_recipes.is_stored(f"ablations/{name}")
        assert (ASSETS / "models" / "ablations" / name / "model.safetensors").is_file() == stored
        assert ("training" in recorded[name]) != stored  # a stored model has its log beside it


def test_the_control_of_the_grown_hybrid_is_measured_and_not_stored():
    recorded = json.loads((ASSETS / "measurements" / "recall.json").read_text(encoding="utf-8"))["models"]
    for seed in train_recipes.STORED_SEEDS:
        name = f"{train_recipes.ASKED_HYBRID}-{seed}"
        assert not train_recipes.is_stored(f"ablations/{name}")
        # The late hybrid's lesson after the early one's: 4000 steps more on the same rows.
        assert recorded[name]["training"]["steps"] == train_recipes.ABLATION_STEPS["grown-hybrid"]


def test_which_runs_are_stored():
    stored = ("scout-proxy", "maverick-proxy", "behemoth-proxy", "ablations/small-moe", "ablations/rope-1")
    assert all(map(train_recipes.is_stored, stored))
    measured = ("dense-twin", "ablations/balance-loss-0", "ablations/balance-none-2", "ablations/chunk-only-2")
    assert not any(map(train_recipes.is_stored, measured))
