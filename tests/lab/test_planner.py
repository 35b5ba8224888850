"""llama4lab.planner: bytes against the library's cache and measured peaks, placement, errors, the command."""

import math

import pytest
import torch
from transformers import DynamicCache

from llama4lab import planner, workload
from llama4lab.checkpoints import MODELS, load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.errors import CourseError
from llama4lab.parameters import PRECISIONS, build_on_meta, real_config
from llama4lab.peak_memory import peak_tensor_bytes
from llama4lab.planner import make_plan
from llama4lab.workload import Workload

EXPERTS_IN_4_BITS = "experts 4 bits, rest bfloat16"


@pytest.fixture(scope="module")
def scout():
    return build_on_meta(real_config("scout"))


@pytest.fixture(scope="module")
def maverick():
    return build_on_meta(real_config("maverick"))


def tokens_of(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, 2000, (batch, length), generator=torch.Generator().manual_seed(length))


def read_in_pieces(model, ids, cache, piece):
    with torch.no_grad():
        for part in ids.split(piece, dim=1):
            model(input_ids=part, past_key_values=cache, logits_to_keep=1)


# ---- bytes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch, tokens, piece", [(1, 200, 200), (2, 200, 50), (1, 40, 40), (3, 128, 64), (1, 192, 1)])
def test_cache_is_what_the_library_holds(batch, tokens, piece):
    _, model = load_checkpoint("scout-proxy")
    text = model.config.text_config
    cache = DynamicCache(config=text)
    read_in_pieces(model, tokens_of(batch, tokens), cache, piece)
    work = Workload(tokens, batch, piece)
    for layer_type, layer in zip(text.layer_types, cache.layers, strict=True):
        held = layer.keys.untyped_storage().nbytes() + layer.values.untyped_storage().nbytes()
        assert workload.cache_bytes_of_layer(text, layer_type, work, 4) == held


@pytest.mark.parametrize("name", ["scout-proxy", "maverick-proxy"])
@pytest.mark.parametrize("batch, tokens", [(1, 48), (2, 64), (1, 700)])
def test_temporaries_of_all_experts_are_nearly_the_measured_peak(name, batch, tokens):
    _, model = load_checkpoint(name)
    ids = tokens_of(batch, tokens)
    with torch.no_grad():
        peak = peak_tensor_bytes(lambda: model(input_ids=ids, use_cache=False, logits_to_keep=1))
    planned = workload.temporary_bytes(model.config.text_config, Workload(tokens, batch), 4)
    assert 0.9 * peak <= planned <= peak


@pytest.mark.parametrize("tokens, piece", [(4096, 256), (4096, 64), (2048, 2048)])
def test_cache_and_temporaries_are_nearly_the_measured_peak_of_a_long_prompt(tokens, piece):
    # With experts that run on their own tokens only, attention is what remains.
    _, model = load_checkpoint("scout-proxy")
    text = model.config.text_config
    ids, work = tokens_of(1, tokens), Workload(tokens, piece=piece)
    with sorted_dispatch(model):
        # The cache is made within: the profiler does not see that memory from before is given back.
        peak = peak_tensor_bytes(lambda: read_in_pieces(model, ids, DynamicCache(config=text), piece))
    one_expert = type(text).from_dict(text.to_dict() | {"num_local_experts": 1})
    cache = sum(workload.cache_bytes_of_layer(text, layer_type, work, 4) for layer_type in text.layer_types)
    assert 0.8 * peak <= cache + workload.temporary_bytes(one_expert, work, 4) <= peak


@pytest.mark.parametrize("heads", [4, 40])
def test_a_cache_that_grows_by_a_token_copies_the_keys_of_a_layer(heads):
    text = type(real_config("scout").text_config)(num_attention_heads=heads, num_local_experts=1)
    keys = 100_000 * text.num_key_value_heads * text.head_dim * 2
    assert workload.temporary_bytes(text, Workload(100_000, piece=1), 2) == keys


def test_masks():
    text = real_config("scout").text_config
    assert workload.mask_bytes(text, Workload(8192)) == (0, 0)
    assert workload.mask_bytes(text, Workload(8193, batch=2)) == (2 * 8193**2, 2 * 8193**2)
    assert workload.mask_bytes(text, Workload(20_000, piece=100)) == (100 * (8291 + 20_000), 100 * 20_000)
    assert workload.mask_bytes(text, Workload(20_000, piece=1)) == (0, 0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pieces_hold_every_byte(scout, maverick, precision):
    for model, parameters in ((scout, 108_641_793_536), (maverick, 401_583_781_376)):
        pieces = planner.pieces_of(model, precision, Workload(1000))
        assert len(pieces) == 48 + 6 and len({piece.name for piece in pieces}) == 54
        assert sum(piece.cache for piece in pieces) == 1000 * 196_608
        assert sum(piece.weights for piece in pieces) <= 2 * parameters
        if precision == "bfloat16":
            assert sum(piece.weights for piece in pieces) == 2 * parameters


def test_a_text_model_has_pieces_too():
    model = build_on_meta(MODELS / "ablations" / "hybrid-0")
    names = [piece.name for piece in planner.pieces_of(model, "bfloat16", Workload(10))]
    assert names[0] == "model.embed_tokens" and names[-1] == "lm_head" and "model.layers.3" in names


# ---- placement ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "precision, work, gpus",
    [
        ("bfloat16", Workload(8192), [80e9] * 4),
        ("bfloat16", Workload(131_072, piece=256), [80e9] * 3),
        (EXPERTS_IN_4_BITS, Workload(32_768), [80e9]),
        ("4 bits", Workload(16_384, batch=8, piece=512), [24e9, 80e9]),
    ],
)
def test_nothing_is_lost_and_no_limit_is_passed(scout, precision, work, gpus):
    found = make_plan(scout, precision, work, gpus)
    pieces = planner.pieces_of(scout, precision, work)
    assert list(found.device_map) == [piece.name for piece in pieces]
    assert math.isclose(sum(share.weights for share in found.shares), sum(piece.weights for piece in pieces))
    assert sum(share.cache for share in found.shares) == sum(piece.cache for piece in pieces)
    assert found.runs and all(share.free >= 0 for share in found.shares)
    order = [share.device for share in found.shares]
    places = [order.index(device) for device in found.device_map.values()]
    assert places == sorted(places)


def test_a_layer_that_is_brought_in_has_room_and_its_cache_on_the_first_gpu(scout):
    found = make_plan(scout, "bfloat16", Workload(8192), [80e9])
    gpu, cpu, _ = found.shares
    layer = max(piece.weights for piece in planner.pieces_of(scout, "bfloat16", Workload(1)))
    temporaries = workload.temporary_bytes(scout.config.text_config, Workload(8192), 2)
    assert gpu.working == temporaries + planner.RESERVE + layer
    assert gpu.cache == 8192 * 196_608 and cpu.cache == 0
    assert found.offloaded == cpu.weights > 0


def test_no_room_for_what_must_be_there(scout):
    found = make_plan(scout, "bfloat16", Workload(131_072), [80e9])
    assert not found.runs and set(found.device_map.values()) == {"cpu"}
    assert planner.describe(found).endswith("device 0 has no room for a module beside what a pass takes")


def test_gpus_that_are_not_needed_do_not_matter(scout):
    found = make_plan(scout, EXPERTS_IN_4_BITS, Workload(1000), [141e9, 0.5e9])
    assert found.runs and set(found.device_map.values()) == {0}
    found = make_plan(scout, EXPERTS_IN_4_BITS, Workload(1000), [0.5e9, 141e9])
    assert not found.runs  # the first one computes what lies elsewhere


def test_the_disk_comes_last():
    model = build_on_meta(MODELS / "scout-proxy")
    found = make_plan(model, "bfloat16", Workload(100), gpus=[], cpu=10e6)
    assert set(found.device_map.values()) == {"cpu", "disk"}
    assert found.device_map["language_model.lm_head"] == "disk" and found.runs
    assert found.shares[0].cache == 4 * 100 * 2 * 2 * 64 * 2


@pytest.mark.parametrize("piece", [None, 1024])
def test_longest_context_is_the_edge(scout, piece):
    longest = planner.longest_context(scout, EXPERTS_IN_4_BITS, [80e9], piece=piece)
    for tokens, fits in ((longest, True), (longest + 1, False)):
        found = make_plan(scout, EXPERTS_IN_4_BITS, Workload(tokens, piece=piece), [80e9])
        assert (found.runs and not found.offloaded) == fits


def test_longest_context_has_bounds(scout, maverick):
    with pytest.raises(CourseError, match="at least one"):
        planner.longest_context(scout, "bfloat16", [])
    assert planner.longest_context(maverick, "bfloat16", [80e9]) == 0
    assert planner.longest_context(maverick, "4 bits", [10e12], piece=256) == 1_048_576


# ---- errors and the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"tokens": 10, "batch": 1.5}, {"tokens": 10, "piece": -1}])
def test_workloads_that_are_none(wrong):
    with pytest.raises(CourseError, match="whole number"):
        Workload(**wrong)


def test_unknown_precision(scout):
    with pytest.raises(CourseError, match="no precision 'int4'; give one of 'bfloat16'"):
        make_plan(scout, "int4", Workload(10), [])


def test_command(capsys):
    command = ["scout", "--precision", EXPERTS_IN_4_BITS, "--tokens", "32768", "--piece", "256", "--gpus", "80"]
    assert planner.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["0", "80.0", "72.3", "2.9", "1.7", "3.1"] and lines[-1] == "runs"
    assert planner.main(["scout", "--precision", "8 bits", "--gpus", "80", "--cpu", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:2] == ["cpu", "200.0"] and lines[-1].startswith("runs, slowly")
    assert planner.main(["scout-proxy"]) == 0
    assert planner.main(["maverick", "--gpus", "80", "--tokens", "8192"]) == 1
    assert "does not run" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command, sentence",
    [
        (["llama5"], "There is no configuration 'llama5'"),
        (["scout", "--tokens", "0"], "whole number of tokens"),
        (["scout", "--precision", "int4"], "There is no precision 'int4'"),
        (["scout", "--gpus", "80e9"], "in GB"),
        (["scout", "--gpus", "80", "nan"], "in GB"),
        (["scout", "--gpus", "-80"], "in GB"),
        (["scout", "--cpu", "-5"], "in GB"),
        (["maverick", "--tokens", "1048577"], "maverick is declared for at most 1,048,576 tokens"),
    ],
)
def test_command_says_what_is_wrong(capsys, command, sentence):
    assert planner.main(command) == 1
    shown = capsys.readouterr()
    assert sentence in shown.err and not shown.out and shown.err.count("\n") == 1
