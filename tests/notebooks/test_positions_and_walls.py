"""The Llama 4 of notebook 07, piece by piece and as a whole, is held to the library."""

import copy
from functools import cache

import pytest
import torch
from torch.testing import assert_close
from transformers import Llama4ForCausalLM
from transformers.models.llama4.modeling_llama4 import Llama4TextRotaryEmbedding, apply_rotary_emb

from llama4lab.checkpoints import load_checkpoint, quiet_transformers
from llama4lab.claims import read_ledger
from llama4lab.errors import CourseError
from llama4lab.notebook_functions import NOTEBOOKS
from llama4lab.parameters import real_config
from llama4lab.store import read_notebook
from tests.small_models import CHUNK, random_ids, small_model

PADDINGS = (0, 3, 11)  # of the three rows of a batch
PROXIES = ("scout-proxy", "maverick-proxy", "ablations/hybrid-0", "ablations/rope-0", "ablations/nope-0")
PROXIES += ("ablations/chunk-only-0", "ablations/small-moe", "ablations/small-dense-total")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@cache
def model_and_weights() -> tuple[Llama4ForCausalLM, dict[str, torch.Tensor]]:
    model = small_model()
    return model, dict(model.state_dict())


# ---- the pieces ----


@pytest.mark.parametrize("name", ["scout", "maverick"])
@pytest.mark.parametrize("base", [False, True])
def test_frequencies_of_the_released_models(notebook, name, base):
    config = real_config(name).text_config
    if base:  # what copies of the base models' configurations say: a blend
        config.rope_parameters = config.rope_parameters | {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    with quiet_transformers():
        expected = Llama4TextRotaryEmbedding(config).inv_freq
    assert_close(notebook["rope_frequencies"](config), expected, atol=0, rtol=1e-5)


def test_rotation_equals_the_library_and_depends_on_the_distance(notebook):
    rotary = Llama4TextRotaryEmbedding(model_and_weights()[0].config)
    query, key = torch.rand(2, 2, 21, 3, 16, generator=torch.Generator().manual_seed(3)) - 0.5
    positions = torch.stack([torch.arange(21), torch.arange(100, 121)])
    expected = apply_rotary_emb(query, key, rotary(query, positions))
    for x, turned in zip((query, key), expected, strict=True):
        assert_close(notebook["rotate"](x, positions, rotary.inv_freq), turned, atol=1e-6, rtol=1e-5)
    moved = [notebook["rotate"](x, positions + 37, rotary.inv_freq) for x in (query, key)]
    products = [torch.einsum("bqhd,bkhd->bhqk", *pair) for pair in (expected, moved)]
    assert_close(products[0], products[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 21])
@pytest.mark.parametrize("padding", [0, 5, 8])
def test_mask_equals_the_library(notebook, length, padding):
    ids, real = random_ids(2, length + padding), torch.ones(2, length + padding, dtype=torch.long)
    real[1, :padding] = 0
    positions = torch.where(real == 1, real.cumsum(dim=1) - 1, -1)
    ours = notebook["visible"](positions, positions, CHUNK)
    theirs = notebook["library_chunked_mask"](model_and_weights()[0].config, ids, real)
    assert torch.equal(ours[positions >= 0], theirs[positions >= 0])


def test_logits_are_bounded_and_the_bound_is_reached(notebook):
    query, key = notebook["unit_rms"](torch.rand(2, 400, 64, generator=torch.Generator().manual_seed(5)) - 0.5, 1e-5)
    assert (query @ key.T).abs().max() / 8 <= notebook["bound"](64) == 8
    assert query[0] @ query[0] / 8 == pytest.approx(8, rel=1e-3)


def test_reach_is_what_first_layer_says(notebook):
    line = torch.arange(20)[None]
    walls, whole = notebook["visible"](line, line, 4)[0], notebook["visible"](line, line)[0]
    types = ["chunked_attention", "chunked_attention", "full_attention", "chunked_attention"]
    after = notebook["reach"]([whole if kind == "full_attention" else walls for kind in types])
    for query in range(20):
        for key in range(20):
            layers = after[:, query, key].nonzero().flatten().tolist()
            assert notebook["first_layer_solution"](query, key, types, 4) == (layers[0] if layers else None)


def test_a_change_touches_what_the_masks_allow(notebook):
    touched = notebook["touched_by_change"](model_and_weights()[0], random_ids(1, 21), changed=10)
    assert touched.sum(dim=1).tolist() == [6, 6, 6, 11]
    assert not touched[:, :10].any() and not touched[:3, 16:].any()


# ---- attention, and the whole model ----


@pytest.mark.parametrize("length", [1, 7, 8, 9, 21, 32])
@pytest.mark.parametrize("changes", [{}, {"num_experts_per_tok": 2}, {"use_qk_norm": False}], ids=str)
def test_the_model_equals_the_library_whole_and_token_by_token(notebook, length, changes):
    model = small_model(**changes)
    weights, ids = dict(model.state_dict()), random_ids(2, length)
    expected = model(input_ids=ids).logits
    for run in (notebook["llama4"], notebook["token_by_token"]):
        assert_close(run(weights, model.config, ids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("splits", [(5, 3, 13), (8, 8, 5), (1, 20), (9, 1, 1, 10)], ids=str)
def test_pieces_of_any_length_continue_the_cache(notebook, splits):
    model, weights = model_and_weights()
    ids, filled = random_ids(2, 21), {}
    pieces = [notebook["llama4"](weights, model.config, piece, filled) for piece in ids.split(splits, dim=1)]
    assert_close(torch.cat(pieces, dim=1), model(input_ids=ids).logits, atol=1e-4, rtol=0)
    assert filled[0][0].shape[1] == 21 % CHUNK and filled[3][0].shape[1] == 21
    assert filled[0][0].untyped_storage().nbytes() == filled[0][0].nbytes  # the prompt is not held on to


@pytest.mark.parametrize("name", PROXIES)
def test_every_kind_of_trained_proxy(notebook, name):
    _, model = load_checkpoint(name)
    model = getattr(model, "language_model", model)
    weights = dict(model.state_dict())
    ids = random_ids(2, 150, vocabulary=min(90, model.config.vocab_size))
    expected = model(input_ids=ids).logits
    # The logits of the ablations reach 30, and those without QK-norm have sharp attention: float32 rounds at 2e-6 of it.
    allowed = max(1e-4, 1e-5 * expected.abs().max().item())
    assert_close(notebook["llama4"](weights, model.config, ids), expected, atol=allowed, rtol=0)
    stepwise = notebook["token_by_token"](weights, model.config, ids[:, :70])
    assert_close(stepwise, expected[:, :70], atol=allowed, rtol=0)


# ---- padding, batches, bad input ----


def padded_batch(notebook: dict) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
    rows = [random_ids(27 - padding, seed=padding).tolist() for padding in PADDINGS]
    return rows, *notebook["pad_left"](rows, 0)


def test_a_padded_batch_is_read_and_decoded_across_walls_as_each_row_alone(notebook):
    model, weights = model_and_weights()
    rows, ids, real = padded_batch(notebook)
    filled, more = {}, random_ids(3, 2 * CHUNK, seed=9)
    steps = [notebook["llama4"](weights, model.config, ids, filled, real)]
    steps += [notebook["llama4"](weights, model.config, token, filled) for token in more.split(1, dim=1)]
    together = torch.cat(steps, dim=1)
    assert together.isfinite().all()
    for row, tokens in enumerate(rows):
        alone = model(input_ids=torch.tensor([tokens + more[row].tolist()])).logits[0]
        assert_close(together[row, PADDINGS[row] :], alone, atol=1e-4, rtol=0)
    assert filled[0][0].shape[1] < CHUNK


@pytest.mark.parametrize(
    ("ids", "real", "sentence"),
    [
        (torch.tensor([1, 2, 3]), None, "give [batch, seq]"),
        (torch.zeros(2, 0, dtype=torch.long), None, "at least one token"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 1, 1, 0]]), "on the left"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 0, 1, 1]]), "on the left"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[0, 0, 0, 0]]), "on the left"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 1, 1]]), "same rows"),
    ],
)
def test_bad_input_gets_one_sentence(notebook, ids, real, sentence):
    model, weights = model_and_weights()
    with pytest.raises(CourseError, match="^[A-Z][^\n]+$") as caught:
        notebook["llama4"](weights, model.config, ids, real=real)
    assert sentence in str(caught.value)


def test_a_cache_is_refused_where_it_does_not_fit(notebook):
    model, weights = model_and_weights()
    filled = {}
    notebook["llama4"](weights, model.config, random_ids(2, 5), filled)
    with pytest.raises(CourseError, match="start with a new cache"):
        notebook["llama4"](weights, model.config, random_ids(3, 1), filled)
    with pytest.raises(CourseError, match="before a row's first token"):
        notebook["llama4"](weights, model.config, random_ids(2, 2), filled, torch.tensor([[0, 1], [1, 1]]))


@pytest.mark.parametrize("rows", [[], [[1, 2], []]])
def test_an_empty_prompt_is_refused(notebook, rows):
    with pytest.raises(CourseError, match="at least one token"):
        notebook["pad_left"](rows, 0)


# ---- facts and walls ----


class Words:
    """A tokenizer of one token a word, as far as `hide_facts` needs one."""

    bos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> "Words":
        assert add_special_tokens is False
        self.input_ids = [100 + len(word) for word in text.split()]
        return self


def test_facts_are_placed_to_the_token(notebook):
    row = notebook["hide_facts"](Words(), list(range(1, 40)), ["aa b", "cccc"], [3, 8], "who is", 15)
    assert row == [0, 1, 2, 102, 101, 5, 6, 7, 104, 9, 10, 11, 12, 103, 102]


@pytest.mark.parametrize(
    ("length", "starts", "sentence"),
    [
        (15, [0, 8], "does not fit"),
        (15, [3, 13], "does not fit"),
        (15, [8, 9], "does not fit"),
        (60, [3, 8], "too few for 60"),
    ],
)
def test_a_fact_that_does_not_fit_gets_one_sentence(notebook, length, starts, sentence):
    with pytest.raises(CourseError, match=f"^[A-Z][^\n]+{sentence}[^\n]+$"):
        notebook["hide_facts"](Words(), list(range(1, 40)), ["aa b", "cccc"], starts, "who is", length)


def test_keys_are_cut_from_a_global_layer_alone(notebook):
    model, weights = model_and_weights()
    ids = random_ids(1, 21)
    expected = model(input_ids=ids).logits[0, -1]
    assert_close(notebook["answer_without"](weights, model.config, ids, 3, []), expected, atol=1e-4, rtol=0)
    cut = notebook["answer_without"](weights, model.config, ids, 3, range(5, 9))
    assert (cut - expected).abs().max() > 0.01
    with pytest.raises(CourseError, match="choose a global layer"):
        notebook["answer_without"](weights, model.config, ids, 0, [1])


def test_keys_kept_are_those_of_the_exercise(notebook):
    model, weights = model_and_weights()
    kept = notebook["keys_kept"](weights, model.config, model, random_ids(1, 20))
    for length, (ours, theirs, everything) in enumerate(kept.tolist(), start=1):
        assert (ours, theirs, everything) == (length % CHUNK, min(length, CHUNK - 1), length)
        total = notebook["keys_in_cache_solution"](length, model.config.layer_types, CHUNK)
        assert total == 3 * ours + everything


def test_largest_logits_stay_below_the_bound_where_there_is_qk_norm(notebook):
    ids, attend = random_ids(2, 21), notebook["attend"]
    with_norm, without = (
        notebook["largest_logits"](dict(model.state_dict()), model.config, ids)
        for model in (small_model(), small_model(use_qk_norm=False))
    )
    assert len(with_norm) == 4 and max(with_norm[:3]) <= notebook["bound"](16)
    assert with_norm[0] != pytest.approx(without[0], rel=0.01)
    assert notebook["attend"] is attend  # what was exchanged is given back


def test_mean_loss_is_the_librarys(notebook):
    ids = random_ids(2, 21)
    output = model_and_weights()[0](input_ids=ids, labels=ids)
    assert notebook["mean_loss"](output.logits, ids) == pytest.approx(output.loss.item(), rel=1e-5)


def test_changes_leave_the_configuration_alone(notebook):
    config = model_and_weights()[0].config
    before = copy.deepcopy(config.to_dict())
    assert notebook["with_changes"](config, layer_types=["full_attention"] * 4).layer_types != config.layer_types
    assert config.to_dict() == before


# ---- what is said ----


def outputs_of(text: str) -> list:
    """The outputs of the cell that contains `text`."""
    cells = read_notebook(NOTEBOOKS / "07_positions_and_walls.ipynb").cells
    return next(cell.outputs for cell in cells if cell.cell_type == "code" and text in cell.source)


def test_the_listing_is_a_whole_model_of_as_many_lines_as_the_ledger_says(notebook):
    printed, listing = outputs_of("PIECES = (")[:2]
    scope: dict = {name: notebook[name] for name in ("torch", "math", "silu", "embedding", "CourseError")}
    exec(listing.data["text/markdown"].removeprefix("```python\n").removesuffix("```"), scope)
    model, weights = model_and_weights()
    ids = random_ids(1, 21)
    assert_close(scope["llama4"](weights, model.config, ids), model(input_ids=ids).logits, atol=1e-4, rtol=0)
    claim = read_ledger()["from-scratch-llama4-equals-transformers"]["claim"]
    assert claim.split()[0] == printed.text.split()[2]
