"""What notebook 08 does to llama4.py and to the library: exchanges that leave no trace, and what it refuses."""

import pytest
import torch
from torch.testing import assert_close

import llama4
from llama4lab.checkpoints import MODELS, load_checkpoint
from llama4lab.errors import CourseError


@pytest.fixture(scope="module")
def ours():
    return llama4.Llama4.from_pretrained(MODELS / "scout-proxy")


@pytest.fixture(scope="module")
def ids():
    return torch.randint(2000, (1, 150), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_exchanged_pieces_are_put_back(notebook, ours, ids):
    expected, rotate = ours(ids), llama4.rotate
    exchanged = notebook["run_with"](ours, ids, {"rotate": notebook["rotate_halves"]}, {"use_qk_norm": False})
    assert (exchanged - expected).abs().max() > 0.1
    assert llama4.rotate is rotate
    assert_close(ours(ids), expected, atol=0, rtol=0)


@torch.no_grad()
def test_rooms_as_a_mask_are_the_folded_ones(notebook, ours, ids):
    rooms = {"attend_between_walls": notebook["attend_where"](notebook["same_room"](0))}
    assert_close(notebook["run_with"](ours, ids, rooms, {}), ours(ids), atol=1e-4, rtol=0)


@torch.no_grad()
def test_temperature_of_the_library_is_back_on(notebook, ids):
    _, library = load_checkpoint("scout-proxy")
    expected = library(input_ids=ids).logits
    notebook["padded_library"](library, ids, torch.tensor([0]), tuned=False)
    assert_close(library(input_ids=ids).logits, expected, atol=0, rtol=0)


@torch.no_grad()
def test_cutting_no_key_changes_nothing(notebook, ours, ids):
    assert_close(notebook["logits_without"](ours, ids, 3, []), ours(ids)[0, -1], atol=1e-4, rtol=0)
    assert (notebook["logits_without"](ours, ids, 3, range(100, 140)) - ours(ids)[0, -1]).abs().max() > 1e-2


def test_keys_of_a_chunked_layer_are_not_to_be_cut(notebook, ours, ids):
    with pytest.raises(CourseError, match="choose a global layer"):
        notebook["logits_without"](ours, ids, 0, [1])


@pytest.mark.parametrize("rows", [[], [[3], []]])
def test_empty_prompts_are_refused(notebook, rows):
    with pytest.raises(CourseError, match="at least one token"):
        notebook["pad_left"](rows, 0)


def test_a_fact_that_does_not_fit_is_refused(notebook):
    tokenizer = load_checkpoint("scout-proxy")[0].tokenizer
    with pytest.raises(CourseError, match="does not fit at 190"):
        notebook["hide_facts"](tokenizer, [5] * 200, ["The cup is red."], [190], "What color is the cup?", 200)
