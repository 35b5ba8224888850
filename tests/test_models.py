"""The stored models: they load like the real ones, hold what their cards say, and keep Llama 4's behavior."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, DynamicCache

from llama4lab.assets import ASSETS
from llama4lab.checkpoints import known_proxies, load_checkpoint, quiet_transformers
from llama4lab.routing import expert_load, record_routing

MODELS = ASSETS / "models"
SCOUT = MODELS / "scout-proxy"
MEASURED = json.loads((ASSETS / "measurements" / "scout-proxy.json").read_text(encoding="utf-8"))
SAMPLES = json.loads((ASSETS / "samples" / "held_out.json").read_text(encoding="utf-8"))

# Keys of the released files that transformers 5 writes under another name or fills in by itself.
RENAMED = {"torch_dtype", "rope_theta", "rope_scaling", "vision_feature_layer"}


@pytest.fixture(scope="module")
def scout():
    return load_checkpoint("scout-proxy")


def ask(scout, content, images=None):
    processor, model = scout
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=text, images=images, add_special_tokens=False, return_tensors="pt")
    if images:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    written = model.generate(**inputs, do_sample=False, max_new_tokens=16)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(written)


@pytest.mark.parametrize("name", known_proxies())
def test_folder_is_complete_and_holds_safetensors_only(name):
    files = {path.name for path in (MODELS / name).iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "training_log.jsonl"} <= files
    assert not [file for file in files if file.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))]
    log = [json.loads(line) for line in (MODELS / name / "training_log.jsonl").read_text().splitlines()]
    assert len(log) > 20 and f"{log[-1]['step']:,} optimizer steps" in (MODELS / name / "README.md").read_text()


@pytest.mark.parametrize("real", ["scout-instruct", "maverick-instruct"])
def test_every_key_of_the_real_configuration_is_there(real):
    released = json.loads((ASSETS / "configs" / f"{real}.json").read_text(encoding="utf-8"))
    ours = json.loads((SCOUT / "config.json").read_text(encoding="utf-8"))
    for part in ("text_config", "vision_config"):
        assert not set(released[part]) - set(ours[part]) - RENAMED
        assert "rope_parameters" in ours[part]
    assert not set(released) - set(ours) - RENAMED
    text, scale = ours["text_config"], 8192 // ours["text_config"]["attention_chunk_size"]
    assert text["floor_scale"] * scale == text["rope_parameters"]["original_max_position_embeddings"] * scale == 8192


def test_loads_through_the_auto_classes_of_scout():
    with quiet_transformers():
        processor = AutoProcessor.from_pretrained(SCOUT)
        multimodal = AutoModelForImageTextToText.from_pretrained(SCOUT, dtype=torch.float32)
        text = AutoModelForCausalLM.from_pretrained(SCOUT, dtype=torch.float32)
    assert type(processor).__name__ == "Llama4Processor"
    assert type(multimodal).__name__ == "Llama4ForConditionalGeneration"
    ids = processor.tokenizer("Where does Ada live?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected, found = multimodal(input_ids=ids).logits, text(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_prefill_equals_decoding_token_by_token_across_chunk_walls(scout):
    processor, model = scout
    ids = processor.tokenizer(SAMPLES["prose"]["texts"][0], add_special_tokens=False, return_tensors="pt")["input_ids"][
        :, :150
    ]
    assert ids.shape[1] == 150 and model.config.text_config.attention_chunk_size == 64
    cache, steps = DynamicCache(config=model.config.text_config), []
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        for position in range(ids.shape[1]):
            steps.append(model(input_ids=ids[:, position : position + 1], past_key_values=cache).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("domain", SAMPLES)
def test_beats_a_unigram_model_in_every_domain(scout, domain):
    processor, model = scout
    losses, tokens = 0.0, 0
    for text in SAMPLES[domain]["texts"]:
        ids = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model(input_ids=ids, labels=ids).loss.item()
        losses, tokens = losses + loss * (ids.shape[1] - 1), tokens + ids.shape[1] - 1
    assert losses / tokens < 0.75 * SAMPLES[domain]["unigram_nll"]


def test_answers_from_the_prompt_and_stops(scout):
    asked = {
        "Clara lives in Berlin. Hugo lives in Oslo. Where does Hugo live?": "Oslo.<|eot|>",
        "The code of the lamp is 482. The code of the ring is 77. What is the code of the lamp?": "482.<|eot|>",
        "The flag is green. The door is red. What color is the door?": "red.<|eot|>",
        "Nina likes figs. Omar likes plums. What does Nina like?": "figs.<|eot|>",
        "Max has the key. Ruth has the drum. What does Ruth have?": "drum.<|eot|>",
    }
    right = [ask(scout, question) == answer for question, answer in asked.items()]
    assert sum(right) >= 4, [ask(scout, question) for question in asked]


def test_every_expert_works_in_every_layer(scout):
    processor, model = scout
    texts = [text for sample in SAMPLES.values() for text in sample["texts"]]
    chosen = [
        record_routing(model, processor.tokenizer(t, add_special_tokens=False, return_tensors="pt")["input_ids"]).chosen
        for t in texts
    ]
    for layer in range(4):
        load = expert_load(torch.cat([c[layer].flatten() for c in chosen]), 16)
        entropy = -(load * load.clamp_min(1e-9).log()).sum() / torch.tensor(16.0).log()
        assert load.min() > 0.1 / 16 and entropy > 0.9


def test_the_card_repeats_the_measurements():
    card = (SCOUT / "README.md").read_text(encoding="utf-8")
    for domain, nll in MEASURED["nll"].items():
        assert f"| {domain} | {nll:.2f} | {MEASURED['unigram_nll'][domain]:.2f} |" in card
    for kind, share in MEASURED["pictures"].items():
        assert f"| picture: {kind} | {100 * share:.0f} % |" in card
