"""llama4lab.explore_size: what the explorer shows follows from what is chosen."""

import pytest

from llama4lab.explore_size import explore_size, with_experts
from llama4lab.parameters import build_on_meta, count_active, count_by_part, real_config

FORMATS = {"bfloat16": (2, {}), "experts 4 bits": (2, {"routed experts": 0.5})}
MACHINES = {"card": 80, "node": 640, "desk": 512}


def count_parts(config):
    return count_by_part(build_on_meta(config))


@pytest.fixture
def explorer():
    configs = {"Scout": real_config("scout"), "Maverick": real_config("maverick")}
    box = explore_size(count_parts, configs, FORMATS, MACHINES)
    model, experts, top_k, step, weights, result = box.children
    return {"model": model, "experts": experts, "top_k": top_k, "step": step, "weights": weights, "result": result}


def test_starts_with_the_first_model(explorer):
    shown = explorer["result"].value
    assert "108.6 billion" in shown and "17.2 billion, 15.8%" in shown and "217.3 GB" in shown
    assert "node, desk" in shown and "card" not in shown


def test_another_model_sets_the_dials(explorer):
    explorer["model"].value = "Maverick"
    assert (explorer["experts"].value, explorer["top_k"].value, explorer["step"].value) == (128, 1, 2)
    shown = explorer["result"].value
    assert "401.6 billion" in shown and "17.2 billion, 4.3%" in shown and "none of these machines" in shown


def test_dials_change_the_sizes(explorer):
    explorer["experts"].value = 64
    assert "398.6 billion" in explorer["result"].value and "17.2 billion" in explorer["result"].value
    explorer["top_k"].value = 2
    assert "398.6 billion" in explorer["result"].value and "23.2 billion" in explorer["result"].value
    explorer["weights"].value = "experts 4 bits"
    assert "217.3 GB" in explorer["result"].value  # 386.5 B in half a byte, 12.0 B in two
    explorer["step"].value = 4
    assert "MoE" not in explorer["result"].value and "398.6" not in explorer["result"].value


def test_a_token_picks_no_more_experts_than_there_are(explorer):
    explorer["top_k"].value, explorer["experts"].value = 8, 1
    assert "17.2 billion" in explorer["result"].value  # all of it: one expert, and no idle one


@pytest.mark.parametrize(("experts", "top_k", "step"), [(2, 2, 1), (8, 1, 4)])
def test_changed_configuration_is_built_as_such(experts, top_k, step):
    config = real_config("scout")
    changed = with_experts(config, experts, top_k, step)
    assert config.text_config.num_local_experts == 16 and len(config.text_config.moe_layers) == 48
    counts = count_parts(changed)
    assert counts["routed experts"] == 48 // step * experts * 125_829_120
    assert counts["dense MLPs"] == (48 - 48 // step) * 2 * 125_829_120
    assert count_active(build_on_meta(changed)) < sum(counts.values())
