"""llama4lab.chunked_attention against the library's masked attention: lengths, padding, caches, errors, cost."""

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache, StaticCache

from llama4lab import chunked_attention
from llama4lab.checkpoints import load_checkpoint
from llama4lab.peak_memory import peak_tensor_bytes

LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 101, 130)


@pytest.fixture(scope="module", params=["ablations/hybrid-0", "ablations/chunk-only-0", "ablations/nope-0"])
def pair(request):
    """A model under the library's attention and under ours; float64, so that a gap is a mistake and no rounding."""
    names = ("sdpa", chunked_attention.NAME)
    return [
        load_checkpoint(request.param, attn_implementation=name, dtype=torch.float64)[1].requires_grad_(False)
        for name in names
    ]


@pytest.fixture(scope="module")
def hybrid():
    return load_checkpoint("ablations/hybrid-0", attn_implementation=chunked_attention.NAME, dtype=torch.float64)[
        1
    ].requires_grad_(False)


def random_ids(batch: int, tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 150, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def assert_equal_where_real(pair, ids, mask):
    library, ours = (model(input_ids=ids, attention_mask=mask).logits for model in pair)
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    assert_close(ours[real], library[real], atol=1e-5, rtol=1e-5)
    assert not ours.isnan().any()


@pytest.mark.parametrize("tokens", LENGTHS)
def test_any_length_equals_the_library(pair, tokens):
    assert_equal_where_real(pair, random_ids(2, tokens), None)


@pytest.mark.parametrize("tokens", [33, 64, 101])
@pytest.mark.parametrize("kind", ["left alike", "left unequal", "left more than a chunk", "right", "both", "holes"])
def test_padding_equals_the_library(pair, tokens, kind):
    mask = torch.ones(3, tokens, dtype=torch.long)
    if kind == "left alike":
        mask[:, :7] = 0
    elif kind == "left unequal":
        mask[0, :7], mask[2, :20] = 0, 0
    elif kind == "left more than a chunk":
        mask[1, : tokens - 1], mask[2, : min(40, tokens - 2)] = 0, 0
    elif kind == "right":
        mask[0, -5:], mask[1, 1:] = 0, 0
    elif kind == "both":
        mask[0, :6], mask[0, -6:], mask[1, -1:] = 0, 0, 0
    else:
        mask[0, 3:9], mask[1, :4], mask[1, 6] = 0, 0, 0
    assert_equal_where_real(pair, random_ids(3, tokens, seed=1), mask)


@pytest.mark.parametrize("pieces", [[101], [32, 32, 37], [31, 1, 1, 1, 67], [90, 11], [1] * 101])
@pytest.mark.parametrize("kind", ["chunk-aware", "everything", "static"])
def test_in_pieces_equals_at_once(pair, pieces, kind):
    ids = random_ids(2, 101)

    def logits_of(model):
        cache = {
            "chunk-aware": lambda: DynamicCache(config=model.config),
            "everything": DynamicCache,
            "static": lambda: StaticCache(config=model.config, max_cache_len=110),
        }[kind]()
        steps = [model(input_ids=part, past_key_values=cache).logits for part in ids.split(pieces, dim=1)]
        return torch.cat(steps, dim=1)

    library, ours = pair
    found = logits_of(ours)
    assert_close(found, logits_of(library), atol=1e-5, rtol=1e-5)
    # The library's temperature is float32 whatever the model is: cut differently, its last bit may differ.
    assert_close(found, ours(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static", "disable_compile": True}])
def test_generates_the_same_tokens_for_unequal_prompts(pair, options):
    ids, mask = random_ids(3, 50), torch.ones(3, 50, dtype=torch.long)
    mask[0, :20], mask[2, :33] = 0, 0
    library, ours = (
        model.generate(ids, attention_mask=mask, max_new_tokens=40, do_sample=False, eos_token_id=None, **options)
        for model in pair
    )
    assert torch.equal(library, ours)


def test_multimodal_model_with_a_picture_of_noise():
    library, ours = (
        load_checkpoint("scout-proxy", attn_implementation=name, dtype=torch.float64)[1].requires_grad_(False)
        for name in ("sdpa", chunked_attention.NAME)
    )
    patches = (48 // 6 // 2) ** 2
    ids = torch.randint(0, 2048, (1, 100), generator=torch.Generator().manual_seed(2))
    ids[0, 10 : 10 + patches] = ours.config.image_token_index
    pixels = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found, expected = (model(input_ids=ids, pixel_values=pixels).logits for model in (ours, library))
    assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_token_changes_its_chunk_alone_on_chunked_layers():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.rand(1, 2, 70, 8, generator=generator) for _ in range(3))
    before = chunked_attention.attend_in_chunks(query, key, value, 32)
    key[:, :, 40], value[:, :, 40] = 9, 9
    changed = (chunked_attention.attend_in_chunks(query, key, value, 32) != before).any(dim=(0, 2, 3)).nonzero()
    assert changed.flatten().tolist() == list(range(40, 64))


def test_trains_like_the_library():
    gradients = []
    for name in ("sdpa", chunked_attention.NAME):
        _, model = load_checkpoint("ablations/hybrid-0", attn_implementation=name, dtype=torch.float64)
        ids = random_ids(2, 80)
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append(model.model.layers[0].self_attn.q_proj.weight.grad)
    assert_close(*gradients, atol=1e-8, rtol=1e-5)


def test_missing_keys_are_refused_in_one_sentence():
    query, key = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 5, 4)
    with pytest.raises(ValueError, match="Queries at 30 to 30 need the keys from 0 on.*the last 31 keys"):
        chunked_attention.attend_in_chunks(query, key, key, 32, first_query=30, first_key=26)


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"attention_mask": torch.ones(1, 20)}])
def test_packed_texts_are_refused_in_one_sentence(hybrid, options):
    positions = torch.cat([torch.arange(12), torch.arange(8)])[None]
    with pytest.raises(ValueError, match="not packed texts.*attn_implementation='sdpa'"):
        hybrid(input_ids=random_ids(1, 20), position_ids=positions, **options)


def test_positions_that_jump_ahead_are_no_packed_texts(pair):
    positions = torch.cat([torch.arange(12), torch.arange(40, 48)])[None]
    library, ours = (model(input_ids=random_ids(1, 20), position_ids=positions).logits for model in pair)
    assert_close(ours, library, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace the builtin `sys._getframe:UserWarning")
def test_a_compiled_model_runs_with_a_cache_and_is_refused_without(hybrid):
    compiled, ids = torch.compile(hybrid, backend="eager"), random_ids(1, 40)
    assert_close(compiled(input_ids=ids).logits, hybrid(input_ids=ids).logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="not .* torch.compile without a cache: load the model with"):
        compiled(input_ids=ids[:, :2], use_cache=False)
    with pytest.raises(ValueError, match="not packed texts"):
        compiled(input_ids=ids, position_ids=torch.arange(40)[None] % 20)


def test_a_mask_of_ones_own_goes_to_the_library(pair):
    library, ours = pair
    ids = random_ids(1, 20)
    mask = torch.ones(1, 1, 20, 20, dtype=torch.bool).tril()
    assert_close(ours(input_ids=ids, attention_mask=mask).logits, library(input_ids=ids, attention_mask=mask).logits)


def test_padding_alone_gives_zeros():
    states = torch.ones(1, 2, 3, 4)
    output = chunked_attention.attend_in_chunks(states, states, states, 8, first_query=-5, first_key=-5)
    assert output.shape == (1, 3, 2, 4) and not output.any()


@pytest.mark.parametrize("padded", [False, True])
def test_memory_grows_with_the_length_and_not_its_square(hybrid, padded):
    def peak(tokens: int) -> int:
        mask = torch.ones(2, tokens, dtype=torch.long)
        mask[0, : 40 * padded] = 0
        layer = hybrid.model.layers[0].self_attn
        states = [torch.zeros(2, heads, tokens, 64) for heads in (4, 2, 2)]

        def call():
            places = chunked_attention.describe_places(2, tokens, tokens, attention_mask=mask.bool(), local_size=32)
            return chunked_attention.chunked_attention_forward(layer, *states, places, scaling=0.125)

        return peak_tensor_bytes(call)

    assert peak(4096) < 2.2 * peak(2048)


def test_peak_memory_counts_what_is_held_at_once():
    assert peak_tensor_bytes(lambda: torch.ones(1000, 1000)) == 4_000_000
    one_by_one = peak_tensor_bytes(lambda: [torch.ones(1000, 1000).sum().item() for _ in range(5)])
    together = peak_tensor_bytes(lambda: [torch.ones(1000, 1000) for _ in range(5)])
    assert one_by_one < 4_100_000 and together == 20_000_000
    assert peak_tensor_bytes(lambda: None) == 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a window instead of chunks", {"walls": "slide"}),
        ("walls of the padded row", {"walls": "row"}),
    ],
)
def test_wrong_walls_would_be_noticed(pair, monkeypatch, name, change):
    library, ours = pair
    if "chunked_attention" not in ours.config.layer_types:
        pytest.skip("a model without chunked layers has no walls")
    right = chunked_attention.attend_in_chunks

    def slide(query, key, value, chunk, first_query=0, first_key=0, real=None, **options):
        place = torch.arange(key.shape[2])
        visible = (place <= place[:, None]) & (place > place[:, None] - (chunk or len(place) + 1))
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, **options)
        return output.transpose(1, 2)

    def row(query, key, value, chunk, first_query=0, first_key=0, real=None, **options):
        return right(query, key, value, chunk, max(first_query, 0), max(first_key, 0), real, **options)

    monkeypatch.setattr(chunked_attention, "attend_in_chunks", {"slide": slide, "row": row}[change["walls"]])
    ids, mask = random_ids(1, 80), torch.ones(1, 80, dtype=torch.long)
    mask[0, :5] = 0
    gap = (ours(input_ids=ids, attention_mask=mask).logits - library(input_ids=ids, attention_mask=mask).logits)[:, 5:]
    assert gap.abs().max() > 1e-2, name
