"""The Llama 4 of notebook 06, piece by piece and as a whole, held to the library; planted faults must be told apart."""

import copy
import math
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import Llama4ForCausalLM, Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextRotaryEmbedding, apply_rotary_emb

from llama4lab.checkpoints import load_checkpoint, quiet_transformers
from llama4lab.claims import read_ledger
from llama4lab.errors import CourseError
from llama4lab.notebook_functions import NOTEBOOKS, functions_of
from llama4lab.parameters import real_config
from llama4lab.store import read_notebook

build_namespace = partial(functions_of, "positions_and_walls")
CHUNK = 8
PADDINGS = (0, 3, 11)  # of the three rows of a batch
PROXIES = ("scout-proxy", "maverick-proxy", "ablations/hybrid-0", "ablations/rope-0", "ablations/nope-0")
PROXIES += ("ablations/chunk-only-0", "ablations/small-moe", "ablations/small-dense-total")


@pytest.fixture(scope="module")
def notebook() -> dict:
    return build_namespace()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def random_model(seed=7, **changes) -> Llama4ForCausalLM:
    """A small model with weights of std 0.3, chunk 8, another floor_scale, an expert layer in every second layer."""
    settings = dict(
        vocab_size=50,
        hidden_size=32,
        head_dim=16,
        intermediate_size=24,
        intermediate_size_mlp=40,
        interleave_moe_layer_step=2,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=1,
        no_rope_layers=[1, 1, 1, 0],
        attention_chunk_size=CHUNK,
        floor_scale=5,
        attn_scale=0.4,
        use_qk_norm=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        attn_implementation="eager",
    )
    with quiet_transformers():
        model = Llama4ForCausalLM(Llama4TextConfig(**(settings | changes))).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        values = torch.empty(parameter.shape, dtype=torch.float64).normal_(0, 0.3, generator=generator)
        parameter.copy_(values + (parameter.ndim == 1))  # norms around 1
    return model


@cache
def small_model() -> tuple[Llama4ForCausalLM, dict[str, torch.Tensor]]:
    model = random_model()
    return model, dict(model.state_dict())


def random_ids(*shape: int, vocabulary=50, seed=1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(vocabulary, size=shape))


def token_positions(batch: int, seq: int) -> torch.Tensor:
    return torch.arange(seq).expand(batch, seq)


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
    found = notebook["rope_frequencies"](config)
    assert_close(found, expected, atol=0, rtol=1e-5)
    plain = 1 / 500_000 ** (torch.arange(0, 128, 2) / 128)
    blended = ((found / plain > 0.126) & (found / plain < 0.99)).sum()
    assert bool(blended) == base


def test_rotation_equals_the_library_and_depends_on_the_distance(notebook):
    model, _ = small_model()
    rotary = Llama4TextRotaryEmbedding(model.config)
    generator = torch.Generator().manual_seed(3)
    query, key = torch.rand(2, 2, 21, 3, 16, generator=generator) - 0.5
    positions = torch.stack([torch.arange(21), torch.arange(100, 121)])
    expected = apply_rotary_emb(query, key, rotary(query, positions))
    for x, turned in zip((query, key), expected, strict=True):
        assert_close(notebook["rotate"](x, positions, rotary.inv_freq), turned, atol=1e-6, rtol=1e-5)
    assert (notebook["rotate_halves"](query, positions, rotary.inv_freq) - expected[0]).abs().max() > 0.1
    moved = [notebook["rotate"](x, positions + 37, rotary.inv_freq) for x in (query, key)]
    products = [torch.einsum("bqhd,bkhd->bhqk", *pair) for pair in (expected, moved)]
    assert_close(products[0], products[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 21])
@pytest.mark.parametrize("padding", [0, 1, 5, 8])
def test_mask_equals_the_library(notebook, length, padding):
    model, _ = small_model()
    ids, real = random_ids(2, length + padding), torch.ones(2, length + padding, dtype=torch.long)
    real[1, :padding] = 0
    positions = torch.where(real == 1, real.cumsum(dim=1) - 1, -1)
    ours = notebook["visible"](positions, positions, CHUNK)
    theirs = notebook["library_chunked_mask"](model.config, ids, real)
    assert torch.equal(ours[positions >= 0], theirs[positions >= 0])
    if length > CHUNK:
        assert not torch.equal(
            notebook["visible_window"](positions, positions, CHUNK)[positions >= 0], ours[positions >= 0]
        )


def test_mask_of_a_query_with_keys_from_a_cache(notebook):
    keys = torch.tensor([[-1, 5, 6, 7, 8, 9]])
    assert notebook["visible"](torch.tensor([[9]]), keys, 8).int().tolist() == [[[0, 0, 0, 0, 1, 1]]]
    assert notebook["visible"](torch.tensor([[9]]), keys).int().tolist() == [[[0, 1, 1, 1, 1, 1]]]


def test_temperature_is_that_of_the_formula(notebook):
    some = torch.tensor([0, 8190, 8191, 16_383, 10_485_759])
    expected = [1 + 0.1 * math.log(1 + (position + 1) // 8192) for position in some.tolist()]
    assert notebook["temperature"](some, 0.1, 8192).tolist() == pytest.approx(expected, rel=1e-6)


def test_logits_are_bounded_and_the_bound_is_reached(notebook):
    generator = torch.Generator().manual_seed(5)
    query, key = notebook["unit_rms"](torch.rand(2, 400, 64, generator=generator) - 0.5, 1e-5)
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
    model, _ = small_model()
    touched = notebook["touched_by_change"](model, random_ids(1, 21), changed=10)
    assert touched.sum(dim=1).tolist() == [6, 6, 6, 11]
    assert not touched[:, :10].any() and not touched[:3, 16:].any()


# ---- attention, and the whole model ----


@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention_equals_the_library_in_every_layer(notebook, qk_norm):
    model = random_model(use_qk_norm=qk_norm)
    weights = dict(model.state_dict())
    recorded = notebook["record_attention"](model, random_ids(2, 21))
    assert len(recorded) == 4
    for layer, (entering, output, attention_weights) in enumerate(recorded):
        w = notebook["layer_weights"](weights, layer)
        found = notebook["attention"](w, model.config, layer, entering, token_positions(2, 21), {})
        assert_close(found[0], output, atol=1e-5, rtol=1e-5)
        assert_close(found[1], attention_weights, atol=1e-5, rtol=1e-5)
    assert not model.model.layers[0].self_attn._forward_hooks


@pytest.mark.parametrize("length", [1, 7, 8, 9, 21, 32])
@pytest.mark.parametrize("changes", [{}, {"num_experts_per_tok": 2}, {"interleave_moe_layer_step": 1}], ids=str)
def test_the_model_equals_the_library_whole_and_token_by_token(notebook, length, changes):
    model = random_model(**changes)
    weights, ids = dict(model.state_dict()), random_ids(2, length)
    expected = model(input_ids=ids).logits
    for run in (notebook["llama4"], notebook["token_by_token"]):
        assert_close(run(weights, model.config, ids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("splits", [(5, 3, 13), (8, 8, 5), (1, 20), (9, 1, 1, 10)], ids=str)
def test_pieces_of_any_length_continue_the_cache(notebook, splits):
    model, weights = small_model()
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


def test_every_weight_of_the_checkpoint_matters(notebook):
    model, weights = small_model()
    ids = random_ids(2, 40)
    whole = notebook["llama4"](weights, model.config, ids)
    for name, weight in weights.items():
        changed = weights | {name: weight + 0.1 * torch.ones_like(weight).cumsum(dim=-1)}
        assert (notebook["llama4"](changed, model.config, ids) - whole).abs().max() > 1e-3, name


FAULTS = [
    ("seen if chunk is None else seen & (key // chunk == query // chunk)", "seen if chunk is None else seen & (query - key < chunk)"),
    ("even, odd = x[..., 0::2], x[..., 1::2]", "even, odd = x.chunk(2, dim=-1)"),
    ("(even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())", "(even * angle.cos() + odd * angle.sin(), odd * angle.cos() - even * angle.sin())"),
    ("    if config.no_rope_layers[layer]:", "    if not config.no_rope_layers[layer]:"),
    ("        if config.use_qk_norm:", "        if False:"),
    ("query, key = unit_rms(query, config.rms_norm_eps), unit_rms(key, config.rms_norm_eps)", "query = unit_rms(query, config.rms_norm_eps)"),
    ("elif config.attn_temperature_tuning:", "elif False:"),
    ("torch.floor((positions + 1) / floor_scale)", "torch.floor(positions / floor_scale)"),
    ("1 + attn_scale * torch.log1p", "1 + attn_scale * torch.log"),
    ("return kept * frequency + (1 - kept) * frequency / rope", "return frequency + 0 * kept * frequency / rope"),
    ('chunk = config.attention_chunk_size if config.layer_types[layer] == "chunked_attention" else None', "chunk = config.attention_chunk_size"),
    ("kept.repeat_interleave(queries_per_key, dim=2)", "kept.repeat(1, 1, queries_per_key, 1)"),
    ('torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1])\n    # The lowest', 'torch.einsum("bqhd,bkhd->bhqk", query, key)\n    # The lowest'),
    ("routed_in = tokens[row] * winning[row, rank].sigmoid()[:, None]", "routed_in = tokens[row]"),
    ("routed_in = tokens[row] * winning[row, rank].sigmoid()[:, None]", "routed_in = tokens[row] * winning.softmax(dim=1)[row, rank][:, None]"),
    ("return (silu(x @ gate) * (x @ up)) @ down", "return (silu(x @ up) * (x @ gate)) @ down"),
    ('out = dense(w, "feed_forward.shared_expert", tokens)', "out = torch.zeros_like(tokens)"),
    ('w["post_attention_layernorm.weight"]', 'w["input_layernorm.weight"] * w["post_attention_layernorm.weight"].mean()'),
    ("return (unit_rms(x, config.rms_norm_eps) * weights", "return (x * weights"),
]  # fmt: skip


@pytest.mark.parametrize("change", FAULTS, ids=lambda change: change[1][:50])
def test_a_planted_fault_is_told_apart(change):
    model, weights = small_model()
    ids = random_ids(2, 21)
    faulty = build_namespace(change)["llama4"](weights, model.config, ids)
    assert not (faulty - model(input_ids=ids).logits).abs().max() < 0.01  # a gap may be NaN as well


CACHE_FAULTS = [
    ("((joined[2][:, -1] + 1) % chunk).max()", "(joined[2][:, -1] % chunk).max()"),
    ("keep = stored if chunk is None else", "keep = stored - 1 if chunk is None else"),
    ("part[:, stored - keep :].clone()", "part[:, :keep].clone()"),
    ("positions = torch.where(real == 1, seen + real.cumsum(dim=1) - 1, -1)", "positions = torch.where(real == 1, real.cumsum(dim=1) - 1, -1)"),
    ("torch.cat(parts, dim=1) for parts in zip(cache[layer], new, strict=True)", "torch.cat(parts, dim=1) for parts in zip(new, cache[layer], strict=True)"),
    ("cache[layer] = [part[:, stored - keep :]", "cache[layer] = cache[layer] if layer in cache else [part[:, stored - keep :]"),
]  # fmt: skip


@pytest.mark.parametrize("change", CACHE_FAULTS, ids=lambda change: change[1][:50])
def test_a_fault_of_the_cache_shows_piece_by_piece_alone(change):
    model, weights = small_model()
    ids, changed = random_ids(2, 21), build_namespace(change)
    expected = model(input_ids=ids).logits
    assert_close(changed["llama4"](weights, model.config, ids), expected, atol=1e-4, rtol=0)
    filled = {}
    try:
        pieces = [changed["llama4"](weights, model.config, piece, filled) for piece in ids.split((5, 1, 4, 11), dim=1)]
        gap = (torch.cat(pieces, dim=1) - expected).abs().max()
    except RuntimeError:  # shapes that no longer fit are an answer too
        return
    assert not gap < 0.01


def test_a_cache_with_one_key_too_many_is_right_and_too_large(notebook):
    change = ("((joined[2][:, -1] + 1) % chunk).max()", "(joined[2][:, -1] % chunk + 1).max()")
    model, weights = small_model()
    ids, filled = random_ids(1, 2 * CHUNK), {}
    build_namespace(change)["llama4"](weights, model.config, ids, filled)
    assert filled[0][0].shape[1] == CHUNK
    notebook["llama4"](weights, model.config, ids, own := {})
    assert own[0][0].shape[1] == 0


def test_qk_norm_before_rope_is_the_same_function(notebook):
    before = build_namespace(
        (
            "query, key = rotate(query, positions, frequency), rotate(key, positions, frequency)\n",
            "query, key = rotate(unit_rms(query, 1e-5), positions, frequency), rotate(unit_rms(key, 1e-5), positions, frequency)\n",
        )
    )
    model, weights = small_model()
    ids = random_ids(2, 21)
    ours = [space["llama4"](weights, model.config, ids) for space in (notebook, before)]
    assert_close(ours[0], ours[1], atol=1e-3, rtol=0)  # the second norm of the fault adds eps once more


def test_exchanged_gives_everything_back(notebook):
    own = notebook["visible"]
    seen = notebook["exchanged"]({"visible": notebook["visible_window"]}, lambda: notebook["visible"])
    assert seen is notebook["visible_window"] and notebook["visible"] is own
    with pytest.raises(ZeroDivisionError):
        notebook["exchanged"]({"visible": None}, lambda: 1 / 0)
    assert notebook["visible"] is own


# ---- padding, batches, bad input ----


def padded_batch(notebook: dict) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
    rows = [random_ids(27 - padding, seed=padding).tolist() for padding in PADDINGS]
    return rows, *notebook["pad_left"](rows, 0)


def test_rows_of_unequal_length_get_what_they_get_alone(notebook):
    model, weights = small_model()
    rows, ids, real = padded_batch(notebook)
    assert real.sum(dim=1).tolist() == [27 - padding for padding in PADDINGS]
    together = notebook["llama4"](weights, model.config, ids, real=real)
    for row, tokens in enumerate(rows):
        alone = model(input_ids=torch.tensor([tokens])).logits[0]
        assert_close(together[row, -len(tokens) :], alone, atol=1e-4, rtol=0)
    assert together.isfinite().all()


def test_a_padded_batch_is_decoded_across_walls(notebook):
    model, weights = small_model()
    rows, ids, real = padded_batch(notebook)
    filled, more = {}, random_ids(3, 2 * CHUNK, seed=9)
    steps = [notebook["llama4"](weights, model.config, ids, filled, real)[:, -1:]]
    steps += [notebook["llama4"](weights, model.config, token, filled) for token in more.split(1, dim=1)]
    for row, tokens in enumerate(rows):
        alone = model(input_ids=torch.tensor([tokens + more[row].tolist()])).logits[0, len(tokens) - 1 :]
        assert_close(torch.cat(steps, dim=1)[row], alone, atol=1e-4, rtol=0)
    assert filled[0][0].shape[1] < CHUNK


def test_without_temperature_the_library_agrees_on_padded_batches(notebook):
    model = random_model(attn_temperature_tuning=False)
    rows, ids, real = padded_batch(notebook)
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    theirs = model(input_ids=ids, attention_mask=real, position_ids=positions).logits
    ours = notebook["llama4"](dict(model.state_dict()), model.config, ids, real=real)
    assert_close(ours[real == 1], theirs[real == 1], atol=1e-4, rtol=0)
    tuned, weights = small_model()
    theirs = tuned(input_ids=ids, attention_mask=real, position_ids=positions).logits
    gap = (notebook["llama4"](weights, tuned.config, ids, real=real) - theirs).abs().amax(dim=2)
    assert gap[0].max() < 1e-4 and gap[2, PADDINGS[2] :].max() > 0.01


@pytest.mark.parametrize(
    ("ids", "real", "sentence"),
    [
        (torch.tensor([1, 2, 3]), None, "give [batch, seq]"),
        (torch.zeros(2, 0, dtype=torch.long), None, "at least one token"),
        (torch.zeros(0, 2, dtype=torch.long), None, "at least one token"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 1, 1, 0]]), "on the left"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 0, 1, 1]]), "on the left"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[0, 0, 0, 0]]), "on the left"),
        (torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 1, 1]]), "same rows"),
        (torch.ones(2, 4, dtype=torch.long), torch.tensor([[1, 1, 1, 1]]), "same rows"),
    ],
)
def test_bad_input_gets_one_sentence(notebook, ids, real, sentence):
    model, weights = small_model()
    with pytest.raises(CourseError, match="^[A-Z][^\n]+$") as caught:
        notebook["llama4"](weights, model.config, ids, real=real)
    assert sentence in str(caught.value)
    assert notebook["sentence_of"](lambda: notebook["llama4"](weights, model.config, ids, None, real)) == str(
        caught.value
    )


def test_a_cache_is_refused_where_it_does_not_fit(notebook):
    model, weights = small_model()
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
        (4, [1, 2], "does not fit"),
        (60, [3, 8], "too few for 60"),
    ],
)
def test_a_fact_that_does_not_fit_gets_one_sentence(notebook, length, starts, sentence):
    with pytest.raises(CourseError, match="^[A-Z][^\n]+$") as caught:
        notebook["hide_facts"](Words(), list(range(1, 40)), ["aa b", "cccc"], starts, "who is", length)
    assert sentence in str(caught.value)


def test_keys_are_cut_from_a_global_layer_alone(notebook):
    model, weights = small_model()
    ids = random_ids(1, 21)
    expected = model(input_ids=ids).logits[0, -1]
    assert_close(notebook["answer_without"](weights, model.config, ids, 3, []), expected, atol=1e-4, rtol=0)
    cut = notebook["answer_without"](weights, model.config, ids, 3, range(5, 9))
    assert (cut - expected).abs().max() > 0.01
    with pytest.raises(CourseError, match="choose a global layer"):
        notebook["answer_without"](weights, model.config, ids, 0, [1])


def test_keys_kept_are_those_of_the_exercise(notebook):
    model, weights = small_model()
    kept = notebook["keys_kept"](weights, model.config, model, random_ids(1, 20))
    for length, (ours, theirs, everything) in enumerate(kept.tolist(), start=1):
        assert (ours, theirs, everything) == (length % CHUNK, min(length, CHUNK - 1), length)
        total = notebook["keys_in_cache_solution"](length, model.config.layer_types, CHUNK)
        assert total == 3 * ours + everything


def test_largest_logits_stay_below_the_bound_where_there_is_qk_norm(notebook):
    ids = random_ids(2, 21)
    with_norm, without = (
        notebook["largest_logits"](dict(model.state_dict()), model.config, ids)
        for model in (random_model(), random_model(use_qk_norm=False))
    )
    assert len(with_norm) == 4 and max(with_norm[:3]) <= notebook["bound"](16)
    assert with_norm[0] != pytest.approx(without[0], rel=0.01)


def test_mean_loss_is_the_librarys(notebook):
    model, _ = small_model()
    ids = random_ids(2, 21)
    output = model(input_ids=ids, labels=ids)
    assert notebook["mean_loss"](output.logits, ids) == pytest.approx(output.loss.item(), rel=1e-5)


def test_changes_leave_the_configuration_alone(notebook):
    model, _ = small_model()
    before = copy.deepcopy(model.config.to_dict())
    changed = notebook["with_changes"](model.config, layer_types=["full_attention"] * 4)
    assert changed.layer_types != model.config.layer_types and model.config.to_dict() == before


# ---- what is said ----


def test_the_ledger_names_the_number_of_lines():
    (path,) = NOTEBOOKS.glob("07_*.ipynb")
    printed = "".join(
        output.get("text", "") for cell in read_notebook(path).cells for output in cell.get("outputs", [])
    )
    (line,) = [line for line in printed.splitlines() if "lines of code" in line]
    claim = read_ledger()["from-scratch-llama4-equals-transformers"]["claim"]
    assert claim.split()[0] == line.split()[2]


def test_the_listing_holds_each_function_once(notebook):
    (path,) = NOTEBOOKS.glob("07_*.ipynb")
    (cell,) = [cell for cell in read_notebook(path).cells if cell.source.startswith("PIECES = (")]
    listing = cell.outputs[1].data["text/markdown"]
    starts = [place for place in range(len(listing)) if listing.startswith("\ndef ", place)]
    assert len(starts) == 15 == int(cell.outputs[0].text.split()[0])
    assert all(a < b for a, b in pairwise(starts))
    scope: dict = {name: notebook[name] for name in ("torch", "math", "silu", "embedding", "CourseError")}
    exec(listing.removeprefix("```python\n").removesuffix("```"), scope)
    model, weights = small_model()
    ids = random_ids(1, 21)
    assert_close(scope["llama4"](weights, model.config, ids), model(input_ids=ids).logits, atol=1e-4, rtol=0)
