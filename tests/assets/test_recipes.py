"""The recipes: the same corpus and tokenizer again, training that resumes, faults in one sentence."""

import itertools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, Llama4ForCausalLM, Llama4ForConditionalGeneration

import corpus
import language_batches as lb
import pictures
import recall_batches
import train as train_recipes
import trainer
import training_attention
from balance import Balance, balance_loss
from llama4lab.assets import ASSETS
from llama4lab.parameters import count_active
from llama4lab.recall import VOCABULARY, follower_table
from proxies import ablation_config
from trainer import Schedule, TrainingError, initialize, train

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.parametrize("kind", ["one hop", "two hops", "other words"])
def test_what_is_told_holds_what_is_asked(kind):
    for seed in range(30):
        told = corpus.tell(random.Random(seed), kind, 3)
        for _, answer, needs in told.questions:
            needed = " ".join(told.statements[at] for at in needs)
            assert answer in needed


def test_two_hops_need_both_statements_and_other_words_share_none():
    words = re.compile(r"\w+")
    for seed in range(30):
        told = corpus.tell(random.Random(seed), "two hops", 3)
        question, color, needs = told.questions[0]
        first, second = (told.statements[at] for at in needs)
        assert question.split()[-2] in first and question.split()[-2] not in second
        assert color in second and color not in first
        told = corpus.tell(random.Random(seed), "other words", 3)
        for question, person, needs in told.questions[::2]:
            fact = told.statements[needs[0]]
            assert fact.startswith(person)
            assert not set(words.findall(question.lower())) & set(words.findall(fact.lower()))


def test_an_unknown_kind_of_question_is_one_sentence():
    with pytest.raises(ValueError, match="no kind of question 'three hops'; use"):
        corpus.tell(random.Random(0), "three hops", 2)


def test_recall_documents_ask_only_what_was_told():
    for pieces in itertools.islice(corpus.recall(random.Random(3), ["It rains."]), 60):
        told = ""
        for text, is_answer in pieces:
            if is_answer:
                answer = text.strip(" .\n")
                assert answer in told
            else:
                told += text


def test_conversations_come_in_every_kind_and_end_with_the_assistant():
    found = {c.kind: c for c in itertools.islice(corpus.chat(random.Random(4), False), 600)}
    assert set(found) == {
        "one hop",
        "two hops",
        "other words",
        "sums",
        "words in 12 languages",
        "countries",
        "repeat",
        "name",
        "tool",
        "greeting",
    }
    assert all(c.messages[-1]["role"] == "assistant" for c in found.values())
    roles = [message["role"] for message in found["tool"].messages]
    assert roles == ["user", "assistant", "tool", "assistant"] and found["tool"].tools == [corpus.LOOK_UP]


def test_tokenizer_is_rebuilt_byte_for_byte():
    recorded = json.loads((ASSETS / "samples" / "corpus.json").read_text(encoding="utf-8"))["python"]
    built = lb.build_tokenizer().backend_tokenizer.to_str()
    stored = AutoProcessor.from_pretrained(SCOUT).tokenizer.backend_tokenizer.to_str()
    # Another Python carries another documentation, hence other merges; the form must still be the same.
    if corpus.python_build() == recorded:
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
    ids, weights = lb.encode_chat(corpus.Conversation("one hop", messages), processor.tokenizer)
    assert processor.tokenizer.decode(ids[weights == lb.ANSWER_WEIGHT]) == "Oslo.<|eot|>"


def test_picture_rows_are_what_the_processor_makes(processor):
    batch = lb.picture_batch(processor, step=0, seed=0, batch=3, share=1.0)
    image, conversation, _ = lb.picture_conversation(random.Random("pictures-0-0"))
    text = processor.apply_chat_template(conversation.messages, tokenize=False)
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


@pytest.mark.parametrize("length", [40, 128, 150])  # shorter than a chunk, whole chunks, a broken one
@pytest.mark.parametrize("kind", ["hybrid", "chunk-only", "rope"])
def test_training_attention_equals_the_librarys(kind, length):
    config = ablation_config(kind, len(VOCABULARY))
    model = Llama4ForCausalLM(config).eval()
    initialize(model, 0)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(VOCABULARY), (2, length)))
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        model.set_attn_implementation(training_attention.NAME)
        found = model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_training_attention_refuses_a_cache():
    model = Llama4ForCausalLM(ablation_config("hybrid", len(VOCABULARY))).eval()
    model.set_attn_implementation(training_attention.NAME)
    ids = torch.zeros(1, 4, dtype=torch.long)
    with torch.no_grad():
        cache = model(input_ids=ids).past_key_values
        with pytest.raises(ValueError, match="whole rows without mask and cache"):
            model(input_ids=ids[:, :1], past_key_values=cache)


def test_loss_of_hidden_states_is_the_loss_of_the_logits():
    random_numbers = np.random.default_rng(0)
    hidden = torch.from_numpy(random_numbers.normal(size=(3, 7, 8)).astype(np.float32)).requires_grad_()
    head = torch.from_numpy(random_numbers.normal(size=(50, 8)).astype(np.float32)).requires_grad_()
    batch = trainer.Batch(
        torch.from_numpy(random_numbers.integers(0, 50, (3, 7))),
        torch.from_numpy(random_numbers.choice([0.0, 0.3, 2.0], (3, 7)).astype(np.float32)),
    )
    losses = trainer.weighted_nll(hidden @ head.T, batch), trainer.nll_of_hidden_states(hidden, head, batch)
    torch.testing.assert_close(losses[1], losses[0], atol=1e-5, rtol=0)
    gradients = [torch.autograd.grad(loss, (hidden, head), retain_graph=True) for loss in losses]
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def small_moe():
    config = ablation_config("hybrid", len(VOCABULARY))
    config.hidden_size = config.intermediate_size = 16
    model = Llama4ForCausalLM(config)
    initialize(model, 0)
    return model, torch.from_numpy(np.random.default_rng(1).integers(0, len(VOCABULARY), (4, 64)))


def test_without_a_bias_balance_changes_nothing():
    model, ids = small_moe()
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        watch = Balance(model, "bias", weight=0.01)
        torch.testing.assert_close(model(input_ids=ids).logits, expected, atol=0, rtol=0)
        watch.biases[0][2] = 100.0  # now every token of the first layer takes expert 2
        assert not torch.allclose(model(input_ids=ids).logits, expected)
    assert watch.busiest()[0] == 4.0 and watch.dead()[0] == 3
    watch.remove()
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, expected, atol=0, rtol=0)


def test_the_bias_evens_the_load():
    model, ids = small_moe()
    watch = Balance(model, "bias", weight=0.0, bias_rate=0.02)
    with torch.no_grad():
        model(input_ids=ids)
        before = watch.busiest()
        for _ in range(150):
            model(input_ids=ids)
            watch.after_step()
    assert max(watch.busiest()) < 1.2 < max(before)
    assert isinstance(watch.loss(), float)  # it adds nothing to the loss


def test_an_unknown_balancing_method_is_one_sentence():
    with pytest.raises(ValueError, match="no balancing method 'luck'; use one of loss, bias, none"):
        Balance(small_moe()[0], "luck", weight=0.01)


def test_balance_loss_is_one_for_balance_and_the_number_of_experts_for_collapse():
    balanced = torch.eye(4).repeat(8, 1) * 50
    collapsed = torch.zeros(32, 4)
    collapsed[:, 2] = 50.0
    assert balance_loss((balanced,)).item() == pytest.approx(1.0)
    assert balance_loss((collapsed,)).item() == pytest.approx(4.0)
    assert balance_loss((balanced, collapsed)).item() == pytest.approx(2.5)  # layers are not pooled


def tiny_run(work, stop_after=None, seed=0, balance="loss"):
    config = ablation_config("hybrid", len(VOCABULARY))
    config.hidden_size = config.intermediate_size = 16
    config.head_dim = 8
    model = Llama4ForCausalLM(config)
    initialize(model, seed)
    table = follower_table()
    return train(
        model,
        lambda step: [recall_batches.recall_batch(step, seed, 4, 64, table)],
        Schedule(steps=6, warmup=2, balance=balance),
        work,
        save_every=3,
        stop_after=stop_after,
    )


@pytest.mark.parametrize("balance", ["loss", "bias"])
def test_an_interrupted_run_resumes_on_the_same_curve(tmp_path, capsys, balance):
    whole = tiny_run(tmp_path / "whole", balance=balance)
    tiny_run(tmp_path / "parts", stop_after=3, balance=balance)
    resumed = tiny_run(tmp_path / "parts", balance=balance)
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
    assert run.stderr.strip().startswith(
        "There is no recipe for 'behemoth'; known are scout-proxy, maverick-proxy, behemoth-proxy, dense-twin, ablations/"
    )
    assert len(run.stderr.strip().splitlines()) == 1


def test_an_ablation_is_made_end_to_end(tmp_path):
    run = command("ablations/chunk-only-1", "--steps", "3", "--out", str(tmp_path / "m"), "--work", str(tmp_path / "w"))
    assert run.returncode == 0, run.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m" / "ablations" / "chunk-only-1")
    assert model.config.layer_types == ["chunked_attention"] * 4
    assert (tmp_path / "m" / "ablations" / "chunk-only-1" / "training_log.jsonl").stat().st_size > 50


@pytest.mark.parametrize("name", ["scout-proxy", "ablations/small-moe"])
def test_a_language_model_is_made_end_to_end_at_reduced_size(tmp_path, name):
    options = ("--steps", "2", "--corpus-scale", "400", "--out", str(tmp_path / "m"), "--work", str(tmp_path / "w"))
    run = command(name, *options)
    assert run.returncode == 0, run.stderr
    made, stored = tmp_path / "m" / name, ASSETS / "models" / name
    steps = r"step-\d+\.safetensors"
    assert {path.name for path in stored.iterdir() if not re.fullmatch(steps, path.name)} - {
        path.name for path in made.iterdir()
    } == {"README.md"}
    assert json.loads((made / "config.json").read_text()) == json.loads((stored / "config.json").read_text())


def test_behemoth_is_several_times_scout(processor):
    def active(name):
        config = train_recipes.LANGUAGE_MODELS[name].config(processor.tokenizer)
        with torch.device("meta"):
            return count_active(Llama4ForConditionalGeneration(config), embeddings=False)

    assert active("behemoth-proxy") > 2.5 * active("scout-proxy")
    # The dense twin stands beside scout-proxy because one token uses as much of both, but for the router.
    assert active("dense-twin") == pytest.approx(active("scout-proxy"), rel=0.01)


def test_maverick_is_made_with_the_stored_configuration(processor):
    made = train_recipes.LANGUAGE_MODELS["maverick-proxy"].config(processor.tokenizer).text_config.to_dict()
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


def test_which_runs_are_stored():
    stored = ("scout-proxy", "maverick-proxy", "behemoth-proxy", "ablations/small-moe", "ablations/rope-1")
    assert all(map(train_recipes.is_stored, stored))
    measured = ("dense-twin", "ablations/balance-loss-0", "ablations/balance-none-2", "ablations/chunk-only-2")
    assert not any(map(train_recipes.is_stored, measured))


def test_evaluate_names_what_it_knows():
    run = subprocess.run(
        [sys.executable, str(ROOT / "assets" / "recipes" / "evaluate.py"), "behemoth"], capture_output=True, text=True
    )
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.strip().startswith("There is no model 'behemoth'; give some of ablations/chunk-only-0, ")
    assert run.stderr.strip().endswith("balance, dense-twin, longer-training.")
