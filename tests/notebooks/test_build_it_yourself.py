"""Twelve functions: the small cases that stubs show, equality with llama4.py, and a reader's parts among borrowed ones."""

import ast
import re
import sys
import types

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import llama4
from llama4lab.borrowed_parts import put_together, wrong_models
from llama4lab.checkpoints import MODELS
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.grading import exercise_of
from llama4lab.notebook_functions import graded_answers

SOURCE = (NOTEBOOKS / "19_build_it_yourself.ipynb").read_text(encoding="utf-8")
CASES = sorted(set(re.findall(r'"    # ((\w+)\(.*\)(?:\[\d\])?) -> (.+?)\\n"', SOURCE)))


@pytest.fixture(scope="module")
def solutions():
    return graded_answers("build_it_yourself", "solution")


@pytest.fixture(scope="module")
def scout():
    return llama4.Llama4.from_pretrained(MODELS / "scout-proxy")


@pytest.fixture
def main(monkeypatch):
    """A kernel's namespace with what the solutions import."""
    module = types.ModuleType("__main__")
    module.torch, module.F = torch, torch.nn.functional
    monkeypatch.setitem(sys.modules, "__main__", module)
    return vars(module)


def untried(*arguments):
    raise NotImplementedError


def with_tensors(call):
    """The call as code, with a tensor for each list among its arguments."""
    tree = ast.parse(call, mode="eval")
    for node in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        node.args = [
            ast.Call(ast.Name("tensor", ast.Load()), [a], []) if isinstance(a, ast.List) else a for a in node.args
        ]
    return compile(ast.fix_missing_locations(tree), "small case", "eval")


@pytest.mark.parametrize(("call", "name", "result"), CASES, ids=[name for _, name, _ in CASES])
def test_the_small_case_of_a_stub(solutions, call, name, result):
    by_name = {function.__name__.removesuffix("_solution"): function for function in solutions.values()}
    found = eval(with_tensors(call), {"tensor": torch.tensor} | by_name)
    expected = ast.literal_eval(result)
    for got, right in zip(*((found, expected) if isinstance(found, tuple) else ([found], [expected])), strict=True):
        assert_close(got.double(), torch.tensor(right).double(), atol=1e-4, rtol=0)


def test_most_stubs_show_a_small_case():
    assert len(CASES) >= 5


@torch.inference_mode()
def test_text_and_picture_as_in_llama4(solutions, scout):
    forward, config = solutions["19.11"], scout.config
    ids = torch.randint(0, 2048, (2 * config.attention_chunk_size + 9,), generator=torch.Generator().manual_seed(0))
    assert_close(forward(ids, scout.weights, config), scout(ids[None])[0], atol=1e-4, rtol=0)
    tiles = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    pieces = llama4.look(tiles, scout.weights, config.vision)
    ids[30 : 30 + len(pieces)] = config.image_token_index
    found = forward(ids[:99], scout.weights, config, pieces)
    assert_close(found, scout(ids[None, :99], tiles)[0], atol=1e-4, rtol=0)


def test_frequencies_and_rotation_as_in_llama4(solutions, scout):
    assert torch.equal(solutions["19.2"](scout.config), llama4.frequencies(scout.config))
    x, angle = torch.randn(2, 5, 8), torch.randn(5, 4)
    assert torch.equal(solutions["19.3"](x, angle), llama4.rotate(x, (1j * angle).exp()))


def test_parts_of_a_reader_work_among_borrowed_ones(main, scout):
    calls = []

    def unit_rms(x, eps):
        calls.append(len(x))
        x = np.asarray(x)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    parts, is_own = put_together("19", [unit_rms, lambda config: config.rope_theta, *[untried] * 10])
    assert is_own == [True] + [False] * 11
    calls.clear()
    with torch.inference_mode():
        logits = parts[10](torch.arange(9), scout.weights, scout.config)
        assert_close(logits, scout(torch.arange(9)[None])[0], atol=1e-4, rtol=0)
    assert len(calls) == 2 * 4 + 2 * 3 + 1  # two a layer, queries and keys where it rotates, one before the head


def test_each_wrong_model_has_one_mistake_and_leaves_none(main, scout):
    ids = torch.arange(9)
    mistakes = sum(len(exercise_of(f"19.{place}").mistakes) for place in range(1, 12))
    models = list(wrong_models("19", parts=11, model=11))
    assert len(models) == mistakes
    with torch.inference_mode():
        right = scout(ids[None])[0]
        for place, _, wrong in wrong_models("19", parts=1, model=1):
            assert place == 1 and wrong is main["unit_rms_solution"]
        put_together("19", [untried] * 12)
        assert_close(main["forward_solution"](ids, scout.weights, scout.config), right, atol=1e-4, rtol=0)
