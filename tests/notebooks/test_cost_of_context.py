"""What notebook 10 writes from scratch, caches, pairs, cuts and attention, is held to the library."""

import json
import re

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache

import context_cost
from llama4lab import chunked_attention
from llama4lab.assets import ASSETS
from llama4lab.checkpoints import load_checkpoint
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.notebook_functions import functions_of
from llama4lab.parameters import build_on_meta, real_config


@pytest.fixture(scope="module")
def hybrid():
    return load_checkpoint("ablations/hybrid-0", attn_implementation="sdpa")[1].requires_grad_(False)


# ---- bytes ----


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 90])
@pytest.mark.parametrize("aware", [True, False])
def test_bytes_equal_the_librarys_cache(notebook, hybrid, tokens, aware):
    cache = DynamicCache(config=hybrid.config) if aware else DynamicCache()
    notebook["fill_cache"](hybrid, cache, torch.ones(3, tokens, dtype=torch.long), [tokens])
    expected = notebook["kv_bytes"](hybrid.config, tokens, bytes_per_number=4, batch=3, chunk_aware=aware)
    assert notebook["cached_bytes"](cache) == expected


def test_bytes_of_both_real_models(notebook):
    for name in ("scout", "maverick"):
        text = real_config(name).text_config
        assert notebook["kv_bytes"](text, 10_485_760, chunk_aware=False) == 1920 * 2**30
        assert notebook["kv_bytes"](text, 10_485_760) == 516_603_887_616
        assert notebook["kv_bytes"](text, 10_485_760, batch=2) == 2 * 516_603_887_616


# ---- pairs ----


@pytest.mark.parametrize(("tokens", "chunk"), [(1, 4), (4, 4), (10, 4), (17, 5), (33, 32)])
def test_pairs_are_those_of_the_librarys_mask(notebook, tokens, chunk):
    mask = notebook["mask_for"](notebook["make_layer"](chunk), "sdpa", 1, tokens)
    wanted = tokens * (tokens + 1) // 2 if mask is None else int(mask.sum())
    assert notebook["wanted_pairs_solution"](tokens, chunk) == wanted


# ---- attention ----


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 24, 37])
def test_attention_equals_the_library(notebook, tokens):
    layer = notebook["make_layer"](8)
    states = notebook["random_states"](tokens, batch=2)
    expected = notebook["attention_call"](layer, "sdpa", *states)
    assert_close(notebook["attend_in_chunks"](*states, 8), expected, atol=1e-5, rtol=1e-5)
    ours = notebook["attention_call"](layer, chunked_attention.NAME, *states)
    assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("tokens", "queries"), [(9, 1), (16, 1), (17, 1), (30, 5), (30, 20)])
def test_later_queries_over_kept_keys(notebook, tokens, queries):
    query, key, value = notebook["random_states"](tokens)
    whole = notebook["attend_in_chunks"](query, key, value, 8)
    first_key = max(0, tokens - queries - 7)
    kept = key[:, :, first_key:], value[:, :, first_key:]
    found = notebook["attend_in_chunks"](query[:, :, -queries:], *kept, 8, tokens - queries, first_key)
    assert_close(found, whole[:, -queries:], atol=1e-5, rtol=1e-5)


# ---- work ----


def test_formula_equals_the_counter_on_another_model(notebook, hybrid):
    every_token, head = notebook["matrix_parameters"](hybrid)
    ids = torch.ones(2, 50, dtype=torch.long)
    matrices, attention = notebook["prefill_flops"](hybrid.config, every_token, head, 100, 2 * 4 * 50**2)
    # two rows, so two heads for two last tokens
    assert notebook["count_flops"](hybrid, ids, notebook["SDPBackend"].MATH) == matrices + 2 * head + attention
    assert notebook["count_flops"](hybrid, ids) == matrices + 2 * head


def test_longest_context_is_the_largest_that_fits(notebook):
    text = real_config("scout").text_config
    types, chunk = text.layer_types, text.attention_chunk_size
    for free in (5 * 10**8, 10**9, 2 * 10**9, 10**11):
        tokens = notebook["longest_context_solution"](free, types, chunk, 4096)
        assert notebook["kv_bytes"](text, tokens) <= free < notebook["kv_bytes"](text, tokens + 1)


# ---- what is said without a cell: the drawing of the bill, and the context that notebook 17 computes ----


def test_the_bill_is_what_the_functions_give(notebook):
    text = real_config("scout").text_config
    every_token, head = notebook["matrix_parameters"](build_on_meta(real_config("scout")))
    drawn = (ASSETS / "figures" / "bill_of_ten_million.svg").read_text(encoding="utf-8")
    for aware, words in ((True, "with walls"), (False, "without")):
        cache = notebook["kv_bytes"](text, 10_485_760, chunk_aware=aware)
        pairs = notebook["wanted_in_model"](text, 10_485_760, aware)
        work = sum(notebook["prefill_flops"](text, every_token, head, 10_485_760, pairs))
        minutes = work / (8 * 989e12) / 60
        milliseconds = 1000 * (2 * (every_token + head) + cache) / (8 * 3.35e12)
        bill = (f"{cache / 2**30:.0f} GiB", f"{minutes:.0f} minutes", f"{milliseconds:.0f} ms")
        assert all(f">{amount} {words}<" in drawn for amount in bill), bill


def test_the_engines_context_is_that_of_notebook_17():
    serve, scout = functions_of("serve"), build_on_meta(real_config("scout"))
    each = serve["plan_bytes"](scout, 8)[0][0]
    a_token = serve["kv_bytes_per_token"](scout.config.text_config, 8, global_layers_only=True)
    (path,) = NOTEBOOKS.glob("*_cost_of_context.ipynb")
    (said,) = re.findall(r'"engine, without\\": ([\d_]+)', path.read_text(encoding="utf-8"))
    assert serve["longest_context_solution"](141e9, each, a_token) == int(said)


# ---- the recording ----


def test_recording_is_whole():
    recorded = json.loads(context_cost.OUTPUT.read_text(encoding="utf-8"))
    assert {"layer", "prefill", "decode", "process_at_16k", "provenance"} <= recorded.keys()
    assert recorded["chunk_of_the_layer"] == context_cost.CHUNK
    at_16k = recorded["layer"]["16384"]
    assert at_16k["masked_s"] >= 20 * at_16k["chunked_s"] and at_16k["masked_mib"] >= 20 * at_16k["chunked_mib"]


def test_recipe_measures_small_sizes(notebook):
    point = context_cost.measure_layer(notebook, 256, {"masked": 1, "chunked": 2})
    assert point.keys() == {"masked_s", "masked_mib", "chunked_s", "chunked_mib"}
    assert min(point.values()) > 0
