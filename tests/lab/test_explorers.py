"""Explorers that are part of the page: their numbers in Python, and the same numbers from their scripts."""

import itertools
import json
import random
import re
import shutil
import subprocess

import pytest
import torch

from llama4lab.explore import context, mask, page, size
from llama4lab.notebook_functions import functions_of
from llama4lab.parameters import PRECISIONS, build_on_meta, count_active, count_by_part, real_config

CONFIGS = {"Scout": real_config("scout"), "Maverick": real_config("maverick")}
MACHINES = {"card": 80, "desk": 512, "node": 640, "big node": 1128}  # GB


def from_script(name: str, call: str, settings: dict, states: list[dict]) -> list:
    """What the JavaScript expression `call` of an explorer's script gives for each of `states`."""
    if shutil.which("node") is None:
        pytest.skip("node, which runs the explorers' scripts, is not on this machine")
    data = f"const settings = {json.dumps(settings)};\nconst states = {json.dumps(states)};\n"
    program = data + page.script(name) + f"console.log(JSON.stringify(states.map((state) => {call})));"
    ran = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(ran.stdout)


@pytest.fixture
def published(monkeypatch) -> list[dict]:
    """What explorers handed to the notebook."""
    shown = []
    monkeypatch.setattr(page, "display", lambda data, raw: shown.append(data))
    return shown


def states_of(settings: dict) -> list[dict]:
    """Every combination of a page's choices."""
    names = [control["name"] for control in settings["controls"]]
    values = [[value for _, value in control["options"]] for control in settings["controls"]]
    return [dict(zip(names, state, strict=True)) for state in itertools.product(*values)]


# ---- context -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context_settings():
    texts = {name: config.text_config for name, config in CONFIGS.items()}
    parameters = {"Scout": 108_641_793_536, "Maverick": 401_583_781_376}
    return context.context_settings(
        functions_of("cost_of_context")["kv_bytes"], texts, parameters, {"card": 80, "big": 141}
    )


def at_start(settings: dict, **changes) -> dict:
    return {control["name"]: control["value"] for control in settings["controls"]} | changes


def test_context_in_numbers(context_settings):
    assert context.context_pairs(context_settings, at_start(context_settings, chunks=1280, size=141)) == [
        ("tokens of context", "10,485,760"),
        ("weights", "217.3 GB"),
        ("KV cache, cached everywhere", "2,061.6 GB"),  # 1920 GiB
        ("KV cache, chunk-aware", "516.6 GB"),  # 516,603,887,616 bytes
        ("memory, 10 % kept free", "1,015.2 GB"),
        ("cached everywhere", "does not fit: 1,263.7 GB too much"),
        ("chunk-aware", "fits, 281.3 GB to spare"),
    ]
    users = at_start(context_settings, model="Maverick", chunks=256, batch=8, weight_bits=4, cache_bits=8)
    pairs = dict(context.context_pairs(context_settings, users))
    assert pairs["KV cache, chunk-aware"] == "417.1 GB"  # 8 times 48 and 0.56 GiB
    assert pairs["tokens of context"] == "2,097,152; declared for 1,048,576 at most"


def test_context_of_any_length_is_what_the_formula_gives(context_settings):
    kv_bytes = functions_of("cost_of_context")["kv_bytes"]
    for chunks, bits in ((1, 16), (7, 8), (1280, 4)):
        _, caches, _ = context.memory_of(context_settings, at_start(context_settings, chunks=chunks, cache_bits=bits))
        text, tokens = CONFIGS["Scout"].text_config, 8192 * chunks
        assert caches == [kv_bytes(text, tokens, bits / 8, chunk_aware=aware) for aware in (False, True)]


def test_context_script_computes_as_python_does(context_settings):
    chance = random.Random(0)
    states = [
        {
            control["name"]: chance.choice([value for _, value in control["options"]])
            if "options" in control
            else chance.randint(control["min"], control["max"])
            for control in context_settings["controls"]
        }
        for _ in range(500)
    ]
    here = [[list(pair) for pair in context.context_pairs(context_settings, state)] for state in states]
    assert from_script("context", "contextPairs(settings, state)", context_settings, states) == here


def test_context_script_draws_weights_and_cache_to_scale(context_settings):
    state = at_start(context_settings, chunks=1280, size=141)
    (drawn,) = from_script("context", "draw(settings, state)", context_settings, [state])
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="22"', drawn)]
    weights, caches, _ = context.memory_of(context_settings, state)
    assert widths[0] == widths[2] and widths[1] / widths[0] == pytest.approx(caches[0] / weights)
    assert sum(widths[:2]) == pytest.approx(396)  # what needs most fills the width


# ---- size --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def size_settings():
    return size.size_settings(lambda config: count_by_part(build_on_meta(config)), CONFIGS, PRECISIONS, MACHINES)


@pytest.mark.parametrize("name", CONFIGS)
def test_dials_at_a_models_own_values_give_its_own_layers(name):
    text, own = CONFIGS[name].text_config, size.with_experts(CONFIGS[name], 7, 1, 1).text_config
    assert own.moe_layers == list(range(48)) and own.num_local_experts == 7
    again = size.with_experts(CONFIGS[name], text.num_local_experts, 1, text.interleave_moe_layer_step).text_config
    assert again.moe_layers == text.moe_layers


@pytest.mark.parametrize(("experts", "top_k", "step"), [(16, 1, 1), (128, 1, 2), (2, 2, 1), (8, 1, 4)])
@pytest.mark.parametrize("name", CONFIGS)
def test_sizes_are_those_of_the_model_that_the_library_builds(size_settings, name, experts, top_k, step):
    model = build_on_meta(size.with_experts(CONFIGS[name], experts, top_k, step))
    assert size.counts_of(size_settings["models"][name], experts, step) == count_by_part(model)
    shown = dict(size.size_pairs(size_settings, name, experts, top_k, step, "bfloat16"))
    assert shown["used by a token of text"].startswith(f"{count_active(model) / 1e9:.1f} billion, ")


def test_size_in_numbers(size_settings):
    assert size.size_pairs(size_settings, "Maverick", 128, 1, 2, "experts 4 bits, rest bfloat16") == [
        ("parameters", "401.6 billion"),
        ("used by a token of text", "17.2 billion, 4.3 %"),
        ("in routed experts", "96.3 %"),
        ("weights", "223.3 GB"),  # 386.5 billion in half a byte, 15.0 billion in two
        ("machines with 10 % to spare", "desk, node, big node"),
    ]


def test_size_script_computes_as_python_does_and_takes_a_models_own_dials(size_settings):
    states = states_of(size_settings)
    here = [[list(pair) for pair in size.size_pairs(size_settings, **state)] for state in states]
    assert from_script("size", "sizePairs(settings, state)", size_settings, states) == here
    moved = '(adjust(settings, state, "model"), state)'
    (state,) = from_script("size", moved, size_settings, [{"model": "Maverick", "experts": 16, "top_k": 4, "step": 1}])
    assert state == {"model": "Maverick", "experts": 128, "top_k": 1, "step": 2}


# ---- mask --------------------------------------------------------------------------------------------------

COUNTS = {"chunks": [1, 2, 3, 1, 2, 3, 1], "sliding window": [1, 2, 3, 3, 3, 3, 3], "global": [1, 2, 3, 4, 5, 6, 7]}


@pytest.fixture(scope="module")
def visible():
    return functions_of("positions_and_walls")["visible"]


@pytest.mark.parametrize("kind", mask.KINDS)
def test_masks_of_each_kind(visible, kind):
    seen = mask.mask_of(kind, 7, 3, 0, visible)
    assert seen.sum(dim=1).tolist() == COUNTS[kind]
    assert not seen.triu(1).any()
    padded = mask.mask_of(kind, 9, 3, 2, visible)
    assert not padded[:, :2].any() and not padded[:2].any()
    assert torch.equal(padded[2:, 2:], seen)


def test_words(visible):
    seen = mask.mask_of("chunks", 10, 4, 1, visible)
    assert mask.seen_words(seen, 0, 1) == "Row 0 is padding: it is no token, and sees none."
    assert mask.seen_words(seen, 5, 1) == "Row 5, position 4, sees only itself."
    assert mask.seen_words(seen, 8, 1) == "Row 8, position 7, sees 4 tokens: positions 4 to 7."


def test_mask_script_sees_and_says_what_python_does(visible):
    states = [
        {"kind": kind, "length": length, "size": width, "padding": padding, "query": query}
        for kind, (length, width, padding) in itertools.product(mask.KINDS, ((1, 1, 0), (12, 5, 0), (12, 5, 3)))
        for query in range(length)
    ]
    here = []
    for state in states:
        seen = mask.mask_of(state["kind"], state["length"], state["size"], state["padding"], visible)
        keys = seen[state["query"]].nonzero().flatten().tolist()
        here.append([keys, mask.seen_words(seen, state["query"], state["padding"])])
    assert from_script("mask", "[seenKeys(state, state.query), seenWords(state)]", {}, states) == here


def test_mask_script_draws_each_pair_and_keeps_query_and_padding_within():
    state = {"kind": "chunks", "length": 10, "size": 4, "padding": 40, "query": 47}
    settings = {"cell": 9, "colors": ["#000000", "#ffffff"]}
    ((shorter, drawn),) = from_script(
        "mask", "[(adjust(settings, state), state), draw(settings, state)]", settings, [state]
    )
    assert shorter["query"] == shorter["padding"] == 9
    assert drawn.count("<rect") == 1 + 2  # one pair, background, frame
    assert 'y="80.5"' in drawn and "1 pairs" in drawn


# ---- the page ----------------------------------------------------------------------------------------------


def test_a_page_has_its_still_before_the_script_and_needs_no_network(size_settings, published):
    states = {"one state": size.size_pairs(size_settings, "Scout", 16, 1, 1, "bfloat16")}
    for _ in range(2):
        page.publish_table_explorer("size", size_settings, states)
    first, second = published
    assert first == second
    still, _, script = first["text/html"].partition("<script>")
    assert "108.6 billion" in still and "108.6 billion" in first["text/plain"] and "controls take the place" in still
    assert script.count("</script>") == 1 and script.endswith("</script>")
    assert "http" not in script and "import" not in script


def test_a_name_cannot_end_the_script(published):
    page.publish_explorer("mask", {"controls": [], "name": "</script>"}, "<p>still</p>", "still")
    assert published[0]["text/html"].count("</script>") == 1


@pytest.mark.parametrize(("value", "digits", "text"), [(0.125, 2, "0.13"), (1234.5, 0, "1,235"), (2.675, 2, "2.68")])
def test_python_rounds_as_scripts_do(value, digits, text):
    assert page.fixed(value, digits) == text
    assert from_script("mask", f"fixed({value}, {digits})", {}, [{}]) == [text]
