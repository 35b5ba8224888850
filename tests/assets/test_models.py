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
HERD = [name for name in known_proxies() if name.endswith("-proxy")]
SAMPLES = json.loads((ASSETS / "samples" / "held_out.json").read_text(encoding="utf-8"))

# Keys of the released files that transformers 5 writes under another name or fills in by itself.
RENAMED = {"torch_dtype", "rope_theta", "rope_scaling", "vision_feature_layer"}


@pytest.fixture(scope="module")
def scout():
    return load_checkpoint("scout-proxy")


@pytest.fixture(scope="module", params=HERD)
def member(request):
    """Name, processor and model of each proxy that was trained on text and pictures."""
    return request.param, *load_checkpoint(request.param)


def measured(name):
    return json.loads((ASSETS / "measurements" / f"{name}.json").read_text(encoding="utf-8"))


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


def test_the_herd_is_there():
    assert {"scout-proxy", "maverick-proxy"} <= set(HERD)


@pytest.mark.parametrize("name", HERD)
@pytest.mark.parametrize("real", ["scout-instruct", "maverick-instruct"])
def test_every_key_of_the_real_configuration_is_there(real, name):
    released = json.loads((ASSETS / "configs" / f"{real}.json").read_text(encoding="utf-8"))
    ours = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    for part in ("text_config", "vision_config"):
        assert not set(released[part]) - set(ours[part]) - RENAMED
        assert "rope_parameters" in ours[part]
    assert not set(released) - set(ours) - RENAMED
    text, scale = ours["text_config"], 8192 // ours["text_config"]["attention_chunk_size"]
    assert text["floor_scale"] * scale == 8192
    if "original_max_position_embeddings" in text["rope_parameters"]:
        assert text["rope_parameters"]["original_max_position_embeddings"] * scale == 8192


@pytest.mark.parametrize("name", ["scout", "maverick"])
def test_the_proxy_has_the_switches_of_its_model(name):
    released = json.loads((ASSETS / "configs" / f"{name}-instruct.json").read_text(encoding="utf-8"))["text_config"]
    ours = json.loads((MODELS / f"{name}-proxy" / "config.json").read_text(encoding="utf-8"))["text_config"]
    for key in ("num_local_experts", "num_experts_per_tok", "interleave_moe_layer_step", "use_qk_norm", "attn_scale"):
        assert ours[key] == released[key], key
    depth = ours["num_hidden_layers"]
    assert ours["moe_layers"] == [layer for layer in released["moe_layers"] if layer < depth]
    assert ours["no_rope_layers"] == released["no_rope_layers"][:depth]
    kind = (released["rope_scaling"] or {}).get("rope_type", "default")
    assert ours["rope_parameters"]["rope_type"] == kind


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


def test_prefill_equals_decoding_token_by_token_across_chunk_walls(member):
    _, processor, model = member
    ids = processor.tokenizer(SAMPLES["prose"]["texts"][0], add_special_tokens=False, return_tensors="pt")["input_ids"][
        :, :300
    ]
    assert ids.shape[1] > 2 * model.config.text_config.attention_chunk_size
    cache, steps = DynamicCache(config=model.config.text_config), []
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        for position in range(ids.shape[1]):
            steps.append(model(input_ids=ids[:, position : position + 1], past_key_values=cache).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("domain", SAMPLES)
def test_beats_a_unigram_model_in_every_domain(member, domain):
    _, processor, model = member
    losses, tokens = 0.0, 0
    for text in SAMPLES[domain]["texts"][:8]:
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


def test_every_expert_works_in_every_layer(member):
    _, processor, model = member
    experts = model.config.text_config.num_local_experts
    texts = [text for sample in SAMPLES.values() for text in sample["texts"]]
    chosen = [
        record_routing(model, processor.tokenizer(t, add_special_tokens=False, return_tensors="pt")["input_ids"]).chosen
        for t in texts
    ]
    for layer in range(len(chosen[0])):
        load = expert_load(torch.cat([c[layer].flatten() for c in chosen]), experts)
        entropy = -(load * load.clamp_min(1e-9).log()).sum() / torch.tensor(float(experts)).log()
        assert load.min() > 0.1 / experts and entropy > 0.9


def test_routing_tells_more_than_chance_of_token_and_domain(member):
    for layer in measured(member[0])["routing"]:
        for about in ("token", "domain"):
            mean, deviation = layer[f"null_about_{about}"]
            assert layer[f"bits_about_{about}"] > mean + 5 * deviation


def test_the_card_repeats_the_measurements(member):
    name, figures = member[0], measured(member[0])
    card = (MODELS / name / "README.md").read_text(encoding="utf-8")
    for domain, nll in figures["nll"].items():
        assert f"| {domain} | {nll:.2f} | {figures['unigram_nll'][domain]:.2f} |" in card
    for kind, share in figures["pictures"].items():
        assert f"| picture: {kind} | {100 * share:.0f} % |" in card
