"""The recipes: the same corpus and tokenizer again, training that resumes, faults in one sentence."""

import itertools
import json
import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, Llama4ForCausalLM

import corpus
import language_batches as lb
import pictures
import recall_batches
import trainer
from llama4lab.assets import ASSETS
from llama4lab.recall import VOCABULARY, follower_table
from proxies import ablation_config
from trainer import Schedule, TrainingError, balance_loss, initialize, train

ROOT = Path(__file__).resolve().parents[1]
SCOUT = ASSETS / "models" / "scout-proxy"


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(SCOUT)


def test_no_document_is_in_both_splits():
    train_text, held_text = corpus.prose_and_code(held_out=False), corpus.prose_and_code(held_out=True)
    for domain in ("prose", "code"):
        assert len(held_text[domain]) > 20
    assert not set(train_text["code"]) & set(held_text["code"])


def test_held_out_sums_are_never_trained_on():
    def sums(held_out):
        documents = itertools.islice(corpus.arithmetic(random.Random(5), held_out), 300)
        lines = [line for document in documents for line in document.splitlines() if "*" not in line]
        assert all(eval(line.split(" = ")[0]) == int(line.split(" = ")[1]) for line in lines)
        return set(lines)

    held, trained = sums(True), sums(False)
    assert len(held) > 300 and not held & trained


@pytest.mark.parametrize("kind", ["languages", "chat", "recall"])
def test_generated_documents_depend_on_the_seed_alone(kind):
    make = {
        "languages": corpus.languages,
        "chat": lambda rng: corpus.chat(rng, False),
        "recall": lambda rng: corpus.recall(rng, ["It rains."]),
    }[kind]
    first, again, other = (list(itertools.islice(make(random.Random(seed)), 20)) for seed in (1, 1, 2))
    assert first == again != other


def test_tokenizer_is_rebuilt_byte_for_byte():
    recorded = json.loads((ASSETS / "measurements" / "scout-proxy.json").read_text(encoding="utf-8"))["provenance"]
    built = lb.build_tokenizer().backend_tokenizer.to_str()
    stored = AutoProcessor.from_pretrained(SCOUT).tokenizer.backend_tokenizer.to_str()
    # Another Python carries another documentation, hence other merges; the form must still be the same.
    if platform.python_version() == recorded["python"]:
        assert built == stored
    else:
        assert json.loads(built)["added_tokens"] == json.loads(stored)["added_tokens"]


def test_tokenizer_round_trips_all_twelve_languages(processor):
    tokenizer = processor.tokenizer
    for document in itertools.islice(corpus.languages(random.Random(1)), 60):
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == document
    assert tokenizer("a")["input_ids"][0] == tokenizer.convert_tokens_to_ids("<|begin_of_text|>")


def test_chat_template_writes_llama_4_format(processor):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "tool", "content": {"answer": 3}},
    ]
    text = processor.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
        "<|header_start|>user<|header_end|>\n\n<|image|>What is it?<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\nA cat.<|eot|>"
        '<|header_start|>ipython<|header_end|>\n\n{"answer": 3}<|eot|>'
        "<|header_start|>assistant<|header_end|>\n\n"
    )
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}], tokenize=False
    )
    assert text.endswith(
        "<|header_start|>assistant<|header_end|>\n\n<|python_start|><|python_end|>"
        '{"name": "weather", "parameters": {"city": "Oslo"}}<|eot|>'
    )


def test_chat_rows_learn_the_answers_and_their_stop_token(processor):
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Oslo."}]
    ids, weights = lb.encode_chat(messages, processor.tokenizer)
    assert processor.tokenizer.decode(ids[weights == lb.ANSWER_WEIGHT]) == "Oslo.<|eot|>"


def test_picture_rows_are_what_the_processor_makes(processor):
    batch = lb.picture_batch(processor, step=0, seed=0, batch=3, share=1.0)
    image, messages, _ = lb.picture_messages(random.Random("pictures-0-0"))
    text = processor.apply_chat_template(messages, tokenize=False)
    made = processor(text=text, images=[image], add_special_tokens=False, return_tensors="pt")
    length = made["input_ids"].shape[1]
    assert torch.equal(batch.input_ids[0, :length], made["input_ids"][0])
    assert (batch.input_ids[0, length:] == processor.tokenizer.pad_token_id).all()
    assert torch.equal(batch.pixel_values[0], made["pixel_values"][0].float())


def test_picture_answers_are_true():
    rng = random.Random(2)
    for _ in range(40):
        image, questions = pictures.picture_with_questions(rng)
        assert image.size == (pictures.SIDE, pictures.SIDE)
        counted = sum(kind == "color" for kind, _, _ in questions)
        assert questions[0][2] == f"{pictures.COUNTS[counted]}."
        for kind, question, answer in questions:
            if kind == "color":
                corner = next(i for i, name in enumerate(pictures.CORNERS) if question.endswith(f"the {name}?"))
                box = (corner % 2 * 24, corner // 2 * 24, corner % 2 * 24 + 24, corner // 2 * 24 + 24)
                seen = {pixel for _, pixel in image.crop(box).getcolors(10_000)}
                assert pictures.COLORS[answer.rstrip(".")] in seen


def test_balance_loss_is_one_for_balance_and_the_number_of_experts_for_collapse():
    balanced = torch.eye(4).repeat(8, 1) * 50
    collapsed = torch.zeros(32, 4)
    collapsed[:, 2] = 50.0
    assert balance_loss((balanced,)).item() == pytest.approx(1.0)
    assert balance_loss((collapsed,)).item() == pytest.approx(4.0)
    assert balance_loss((balanced, collapsed)).item() == pytest.approx(2.5)  # layers are not pooled


def tiny_run(work, stop_after=None, seed=0):
    config = ablation_config("hybrid", len(VOCABULARY))
    config.hidden_size = config.intermediate_size = 16
    config.head_dim = 8
    model = Llama4ForCausalLM(config)
    initialize(model, seed)
    table = follower_table()
    return train(
        model,
        lambda step: [recall_batches.recall_batch(step, seed, 4, 64, table)],
        Schedule(steps=6, warmup=2),
        work,
        save_every=3,
        stop_after=stop_after,
    )


def test_an_interrupted_run_resumes_on_the_same_curve(tmp_path, capsys):
    whole = tiny_run(tmp_path / "whole")
    tiny_run(tmp_path / "parts", stop_after=3)
    resumed = tiny_run(tmp_path / "parts")
    for (name, expected), found in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
    last = [json.loads((tmp_path / run / "log.jsonl").read_text().splitlines()[-1]) for run in ("whole", "parts")]
    assert last[0]["loss"] == last[1]["loss"]


def test_a_corrupt_checkpoint_is_one_sentence(tmp_path):
    tiny_run(tmp_path, stop_after=3)
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="cannot be read .* delete that folder"):
        tiny_run(tmp_path)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    tiny_run(tmp_path, stop_after=3)

    def full(self, folder):
        Path(folder).mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.Accelerator, "save_state", full)
    with pytest.raises(TrainingError, match="free some disk"):
        tiny_run(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "checkpoint.new").exists()
    assert json.loads((tmp_path / "checkpoint" / "progress.json").read_text())["step"] == 3
    tiny_run(tmp_path)


@pytest.mark.parametrize(
    ("device", "sentence"),
    [("tpu", "must be cpu or cuda")] + [("cuda", "no CUDA device")] * (not torch.cuda.is_available()),
)
def test_a_wrong_device_is_one_sentence(tmp_path, device, sentence):
    with pytest.raises(TrainingError, match=sentence):
        train(torch.nn.Linear(1, 1), lambda step: [], Schedule(steps=1), tmp_path, device=device)


def command(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "assets" / "recipes" / "train.py"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_unknown_recipe_is_one_sentence():
    run = command("behemoth")
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.strip() == (
        "There is no recipe for 'behemoth'; known are scout-proxy, ablations/chunk-only-SEED, ablations/hybrid-SEED, "
        "ablations/rope-SEED, ablations/nope-SEED."
    )


def test_an_ablation_is_made_end_to_end(tmp_path):
    run = command("ablations/chunk-only-1", "--steps", "3", "--out", str(tmp_path / "m"), "--work", str(tmp_path / "w"))
    assert run.returncode == 0, run.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m" / "ablations" / "chunk-only-1")
    assert model.config.layer_types == ["chunked_attention"] * 4
    assert (tmp_path / "m" / "ablations" / "chunk-only-1" / "training_log.jsonl").stat().st_size > 50


def test_scout_proxy_is_made_end_to_end_at_reduced_size(tmp_path):
    options = ("--steps", "2", "--corpus-scale", "400", "--out", str(tmp_path / "m"), "--work", str(tmp_path / "w"))
    run = command("scout-proxy", *options)
    assert run.returncode == 0, run.stderr
    made, stored = tmp_path / "m" / "scout-proxy", SCOUT
    assert {path.name for path in stored.iterdir()} - {path.name for path in made.iterdir()} == {"README.md"}
    assert json.loads((made / "config.json").read_text()) == json.loads((stored / "config.json").read_text())
