"""Notebook 17: cuts that equal the library's, the plan's bytes, a server that ends, secrets that stay."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import openai
import psutil
import pytest
import torch
from torch.testing import assert_close

from llama4lab.checkpoints import MODELS
from llama4lab.client_probes import answers, ask, connect, verdict
from llama4lab.gguf_file import write_gguf
from llama4lab.launch import LaunchError, serve, serve_llama_cpp
from llama4lab.parameters import build_on_meta
from llama4lab.store import read_notebook
from tests.small_models import random_block, random_hidden

PROXY = MODELS / "scout-proxy"
NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "17_serve.ipynb"
PLANTED = "hf_plantedsecretplantedsecret"


# ---- cuts ----


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_cut_and_placed_experts_equal_the_library(notebook, devices):
    block, hidden = random_block(experts=16), random_hidden(2, 19, 24)
    with torch.no_grad():
        expected = block(hidden)[0]
        cut = sum(notebook["moe_on"](device, devices, block, hidden) for device in range(devices))
        placed = [notebook["moe_with_whole_experts"](device, devices, block, hidden) for device in range(devices)]
    assert_close(cut, expected, atol=1e-5, rtol=1e-5)
    assert_close(sum(part for part, _ in placed), expected, atol=1e-5, rtol=1e-5)
    assert sum(rows for _, rows in placed) == 38


@pytest.mark.parametrize(("experts", "devices"), [(16, 3), (5, 2), (2, 4)])
def test_every_expert_has_one_device(notebook, experts, devices):
    held = [expert for device in range(devices) for expert in notebook["experts_of"](device, devices, experts)]
    assert held == list(range(experts))


@pytest.mark.parametrize(
    ("style", "shape", "slices"),
    [
        ("colwise", (5, 7), [(3, 7), (2, 7)]),  # nn.Linear is [outputs, inputs]: its columns are the outputs
        ("rowwise", (5, 7), [(5, 4), (5, 3)]),
        ("colwise", (5,), [(3,), (2,)]),  # a bias goes with its outputs,
        ("rowwise", (5,), [(5,), (5,)]),  # and is added once where these are not cut
        ("packed_rowwise", (3, 5, 8), [(3, 5, 4), (3, 5, 4)]),  # experts: [experts, hidden, 2 * width]
        (None, (5, 7), [(5, 7), (5, 7)]),
    ],
)
def test_a_plan_cuts_rows_or_columns(notebook, style, shape, slices):
    name = "layer.bias" if len(shape) == 1 else "layer.weight"
    found = [notebook["bytes_on"](device, 2, name, torch.zeros(shape), {"layer": style}) for device in range(2)]
    assert found == [4 * math.prod(piece) for piece in slices]


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_planned_bytes_add_up(notebook, devices):
    model = build_on_meta(PROXY)
    each, whole = notebook["plan_bytes"](model, devices)
    assert sum(each) == sum(parameter.nbytes for parameter in model.parameters()) + (devices - 1) * whole
    assert notebook["style_of"]("language_model.model.layers.3.self_attn.q_proj.weight", model.tp_plan) == "colwise"
    assert notebook["style_of"]("language_model.model.norm.weight", model.tp_plan) is None


def test_cache_bytes(notebook):
    text = SimpleNamespace(no_rope_layers=[1, 1, 1, 0], num_hidden_layers=4, num_key_value_heads=8, head_dim=16)
    assert notebook["kv_bytes_per_token"](text, 1) == 2 * 4 * 8 * 16 * 2
    assert notebook["kv_bytes_per_token"](text, 8, 1, global_layers_only=True) == 2 * 1 * 1 * 16


# ---- the server ----


def test_a_served_proxy_answers_and_ends_even_when_the_block_fails(notebook, monkeypatch):
    for name in ("HF_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, PLANTED)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing answers there
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ZeroDivisionError), serve("scout-proxy", dtype="float32") as server:
        client = connect(server)
        answer = ask(client, server.model, "In which country is Lisbon?")
        assert answer.choices[0].message.content == "Portugal."
        listening = [c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]
        assert PLANTED not in " ".join(psutil.Process(server.pid).environ().values())
        assert client.api_key == "unused" and PLANTED not in answer.model_dump_json()
        text, reason = notebook["collect_solution"](ask(client, server.model, "Hello!", stream=True))
        assert (text, reason) == ("Hello! How can I help you?", "stop")
        1 / 0  # noqa: B018
    assert not psutil.pid_exists(server.pid)
    assert set(psutil.Process().children(recursive=True)) == before


def test_llama_cpp_wants_its_key_listens_on_loopback_and_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    before = set(psutil.Process().children(recursive=True))
    file = write_gguf(PROXY, tmp_path / "proxy.gguf")
    with pytest.raises(ZeroDivisionError), serve_llama_cpp(file, "proxy") as server:
        client = connect(server)
        assert answers(client, "proxy")[0] == "Portugal."
        with pytest.raises(openai.AuthenticationError):
            ask(client.with_options(api_key="unused"), "proxy", "Hello!")
        listening = [c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]
        assert PLANTED not in " ".join(psutil.Process(server.pid).environ().values())
        assert server.key not in " ".join(psutil.Process(server.pid).cmdline())
        1 / 0  # noqa: B018
    assert set(psutil.Process().children(recursive=True)) == before


def test_llama_cpp_without_its_file_is_one_sentence(tmp_path):
    with pytest.raises(LaunchError, match=r"There is no file none\.gguf: write it with write_gguf first\."):
        with serve_llama_cpp(tmp_path / "none.gguf", "proxy"):
            pass


# ---- traffic, and engines that are wrong ----


def test_vectors_travel_only_to_another_device(notebook):
    chosen = torch.tensor(
        [[0, 1, 2, 3], [2, 3, 0, 1]]
    )  # [layers, tokens]; two devices hold two experts and tokens each
    assert notebook["vectors_sent"](chosen, 2, experts=4) == (2 * 4 / 8, 2)


def test_another_temperature_shows_from_the_first_step_on(notebook):
    ids = torch.arange(1, 201)[None]
    model, untuned = notebook["with_settings"](), notebook["with_settings"](attn_temperature_tuning=False)
    gaps = notebook["largest_gap_by_place"](*(notebook["next_logprobs"](m, ids) for m in (model, untuned)), ids)
    step = model.config.text_config.floor_scale
    assert gaps[: step - 1].max() < 1e-5 and gaps[step - 1 :].max() > 1e-3


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("n=3 gives", "1 of 3", "something else, silently"),
        ("n=3 gives", "3 of 3", "as asked"),
        ("stop='can' leaves", "error 500", "an error"),
        ("a picture's color", "no answer", "an error"),
        ("another model's name", "error 404", "as asked"),
        ("another model's name", "answers all the same", "something else, silently"),
        ("a forced JSON answer", "'Oslo.'", "something else, silently"),
        ("a forced JSON answer", """'{"city" : "Lima"}'""", "as asked"),
        ("a tool call comes", "as text", "something else, silently"),
    ],
)
def test_an_error_is_honest_and_another_answer_is_not(name, answer, expected):
    assert verdict(name, answer) == expected


# ---- what is stored ----


def test_stored_outputs_tell_no_path_port_or_secret():
    outputs = json.dumps([cell.get("outputs", []) for cell in read_notebook(NOTEBOOK).cells])
    for pattern in (r"/tmp/", r"/work/", r"/home/", r"127\.0\.0\.1:\d", "hf_", "Bearer"):
        assert not re.search(pattern, outputs), pattern
