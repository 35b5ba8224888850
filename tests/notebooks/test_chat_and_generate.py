"""What notebook 12 writes from scratch, taken out of it and held to the library, at edge cases and on bad input."""

import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoTokenizer, GenerationConfig, Llama4ForCausalLM
from transformers.generation.logits_process import TopPLogitsWarper

from llama4lab.checkpoints import MODELS, quiet_transformers
from llama4lab.notebook_functions import NOTEBOOKS, functions_of
from llama4lab.store import read_notebook
from tests.small_models import small_chat_model

TOKEN = "hf_" + "planted" * 5
TOOL = {
    "type": "function",
    "function": {"name": "suche", "description": "Größe 'x'", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def notebook() -> dict:
    return functions_of("chat_and_generate")


@pytest.fixture(scope="module")
def tokenizer():
    with quiet_transformers():
        return AutoTokenizer.from_pretrained(MODELS / "scout-proxy")


@pytest.fixture(scope="module")
def model() -> Llama4ForCausalLM:
    """Chunk and temperature step of 8 tokens."""
    return small_chat_model([7, 15, 23], floor_scale=8)


# ---- template ----------------------------------------------------------------------------------------------


def call(**arguments):
    return {"type": "function", "function": {"name": "suche", "arguments": arguments}}


CONVERSATIONS = [
    [{"role": "user", "content": ""}],
    [{"role": "system", "content": "Du bist Ada."}, {"role": "user", "content": "Zwei\n\nZeilen ü"}],
    [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call(wort="Tür", zahl=3), call(wort="b")]},
        {"role": "tool", "content": "417"},
        {"role": "assistant", "content": "417."},
        {"role": "ipython", "content": "x"},
    ],
]


def rendering_agrees(notebook, tokenizer) -> bool:
    return all(
        notebook["render"](messages, tools, prompt)
        == tokenizer.apply_chat_template(
            messages, tools=list(tools) or None, add_generation_prompt=prompt, tokenize=False
        )
        for messages in CONVERSATIONS
        for tools in ((), (TOOL,), (TOOL, TOOL))
        for prompt in (True, False)
    )


def test_rendering_equals_the_template(notebook, tokenizer):
    assert rendering_agrees(notebook, tokenizer)


@pytest.mark.parametrize(
    "change",
    [
        ('role = "ipython" if role == "tool" else role', "pass"),
        ('offer + "<|eot|>"', "offer"),
        ('["content"] + "\\n" if', '["content"] if'),
        ("<|python_start|>{content}<|python_end|>", "<|python_start|>{content}"),
        ('parts, messages = ["<|begin_of_text|>"], list(messages)', "parts, messages = [], list(messages)"),
    ],
)
def test_a_wrong_rendering_is_noticed(tokenizer, change):
    assert not rendering_agrees(functions_of("chat_and_generate", change), tokenizer)


@pytest.mark.parametrize(
    "messages, words",
    [
        ([], "is empty"),
        ([{"role": "narrator", "content": "x"}], "'narrator'"),
        ([{"role": "user", "content": "x"}, {"content": "x"}], "Message 1 has the role None"),
        ([{"role": "User", "content": "x"}], "'User'"),
    ],
)
def test_bad_conversations_are_refused_in_one_sentence(notebook, messages, words):
    for function in (notebook["check_conversation"], notebook["render"]):
        with pytest.raises(ValueError, match=words) as problem:
            function(messages)
        assert len(str(problem.value).splitlines()) == 1


# ---- sampling ----------------------------------------------------------------------------------------------


def top_p_agrees(notebook) -> bool:
    generator = torch.Generator().manual_seed(3)
    for p in (0.0, 0.05, 0.4, 0.9, 1.0):
        logits = 6 * torch.rand(4, 50, generator=generator)
        for row, wanted in zip(logits, TopPLogitsWarper(p)(None, logits), strict=True):
            if not torch.equal(notebook["apply_top_p"](row, p), wanted):
                return False
    return True


def test_top_p_equals_the_library(notebook):
    assert top_p_agrees(notebook)
    lone = torch.tensor([2.0, -torch.inf])
    assert torch.equal(notebook["apply_top_p"](lone, 0.9), lone)


@pytest.mark.parametrize(
    "change",
    [
        ("cumsum(dim=0) - probabilities", "cumsum(dim=0)"),
        ("kept[0] = True", "pass"),
        ("scatter(0, order, kept)", "logical_or(kept)"),
        ("descending=True", "descending=False"),
    ],
)
def test_a_wrong_top_p_is_noticed(change):
    assert not top_p_agrees(functions_of("chat_and_generate", change))


def test_sampling_repeats_with_its_seed(notebook):
    logits = torch.arange(6.0)
    draw = [
        [notebook["sample"](logits, 1.0, 1.0, notebook["np"].random.default_rng(s)) for s in range(9)] for _ in "ab"
    ]
    assert draw[0] == draw[1] and len(set(draw[0])) > 1
    assert {notebook["sample"](logits, 0.01, 1.0, notebook["np"].random.default_rng(s)) for s in range(9)} == {5}


# ---- the loop ----------------------------------------------------------------------------------------------


def loop_agrees(notebook, model) -> bool:
    generator = torch.Generator().manual_seed(1)
    for length in (1, 6, 8, 9, 15, 30):
        ids = torch.randint(1, 64, (1, length), generator=generator)
        expected = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40
        )
        if list(notebook["generate_by_hand"](model, ids, notebook["greedy"])) != expected[0, length:].tolist():
            return False
    return True


def test_the_loop_equals_generate_across_chunk_walls(notebook, model):
    assert loop_agrees(notebook, model)


@pytest.mark.parametrize(
    "change",
    [
        ("output.logits[0, -1]", "output.logits[0, 0]"),
        ("cache = output.past_key_values", "cache = None"),
        ("if token in stops:", "if token in stops[:0]:"),
        ("logits.argmax()", "logits.argmin()"),
    ],
)
def test_a_wrong_loop_is_noticed(model, change):
    assert not loop_agrees(functions_of("chat_and_generate", change), model)


def test_a_copied_prefix_is_equal_and_a_used_one_is_longer(notebook, model):
    ids = torch.randint(1, 64, (1, 30), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        prefix = model(input_ids=ids[:, :20], use_cache=True).past_key_values
    loop, copy = notebook["generate_by_hand"], notebook["copy"]
    expected = list(loop(model, ids, notebook["greedy"], stops=[]))
    assert list(loop(model, ids[:, 20:], notebook["greedy"], stops=[], cache=copy.deepcopy(prefix))) == expected
    assert prefix.get_seq_length() == 20
    assert list(loop(model, ids[:, 20:], notebook["greedy"], stops=[], cache=prefix)) == expected
    assert prefix.get_seq_length() == 30 + 39


def test_common_prefix(notebook):
    assert notebook["common_prefix"]([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert notebook["common_prefix"]([[1], [2]]) == 0


def test_a_tokenizer_of_another_model_is_refused(notebook, tokenizer, model):
    with pytest.raises(ValueError, match="2067 entries and the model 64; load both from one checkpoint"):
        notebook["check_match"](tokenizer, model)

    class OtherStops:
        config = type("Config", (), {"get_text_config": lambda self: type("Text", (), {"vocab_size": 2067})})()
        generation_config = GenerationConfig(eos_token_id=[2056])

    with pytest.raises(ValueError, match="stop tokens are not the tokenizer's"):
        notebook["check_match"](tokenizer, OtherStops)


# ---- streaming ---------------------------------------------------------------------------------------------

TEXTS = ("Hello, Ada.", "วันจันทร์ 🙂 ü", "a  b\n\nc", "")


def streaming_holds(notebook, tokenizer) -> bool:
    for text in TEXTS:
        pieces = list(notebook["stream_text"](tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"]))
        if "".join(pieces) != text or any("\ufffd" in piece for piece in pieces):
            return False
    return True


def test_streamed_pieces_make_the_text_and_none_is_broken(notebook, tokenizer):
    assert streaming_holds(notebook, tokenizer)
    cut = tokenizer("🙂", add_special_tokens=False)["input_ids"][:-1]
    assert "\ufffd" in "".join(notebook["stream_text"](tokenizer, cut))


@pytest.mark.parametrize("change", [("shown = text\n", "pass\n"), ('text.endswith("\\ufffd")', "False")])
def test_wrong_streaming_is_noticed(tokenizer, change):
    assert not streaming_holds(functions_of("chat_and_generate", change), tokenizer)


# ---- batches -----------------------------------------------------------------------------------------------


def test_padding_a_batch(notebook):
    ids, mask = notebook["pad_batch"]([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]] and mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    notebook["check_left_padded"](mask)
    ids, mask = notebook["pad_batch"]([[5, 6, 7], [8]], 0, "right")
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    with pytest.raises(ValueError, match="pad on the left"):
        notebook["check_left_padded"](mask)


@pytest.mark.parametrize("tuning", [False, True])
def test_only_temperature_notices_masked_left_padding(notebook, model, tuning):
    for layer in model.model.layers:
        layer.self_attn.attn_temperature_tuning = tuning
    rows = [torch.randint(1, 64, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (5, 12, 21)]
    ids, mask = notebook["pad_batch"](rows, 0)
    with torch.no_grad():
        batch = model(input_ids=ids, attention_mask=mask).logits[:, -1]
        alone = torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])
    for layer in model.model.layers:
        layer.self_attn.attn_temperature_tuning = True
    if tuning:
        assert (batch - alone).abs().amax(dim=1)[0] > 1e-3
    else:
        assert_close(batch, alone, atol=1e-4, rtol=1e-4)


# ---- tools and tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ('<|python_start|><|python_end|>{"name": "f", "parameters": {"a": 1}}<|eot|>', ("f", {"a": 1})),
        ('<|python_start|>hm<|python_end|>{"name": "f", "parameters": {}}<|eom|>', ("f", {})),
        ("417.<|eot|>", None),
        ("Hello", None),
        ('<|python_start|><|python_end|>{"name": "f"<|eot|>', None),
        ('<|python_start|><|python_end|>{"name": "f"}<|eot|>', None),
        ("<|python_start|><|python_end|>[1]<|eot|>", None),
    ],
)
def test_reading_a_call(notebook, text, expected):
    assert notebook["read_call"](text) == expected


def test_a_token_in_the_environment_reaches_no_output():
    (path,) = NOTEBOOKS.glob("12_*.ipynb")
    cells = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "code"]
    last = next(place for place, source in enumerate(cells) if "def check_match" in source)
    program = "\n\n".join(source for source in cells[: last + 1])
    run = subprocess.run(
        [sys.executable, "-c", program + "\nprint(processor, model.config)"],
        cwd=NOTEBOOKS,
        env=os.environ | {"HF_TOKEN": TOKEN, "HUGGING_FACE_HUB_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "load both from one checkpoint" in run.stdout
    assert "planted" not in run.stdout + run.stderr
