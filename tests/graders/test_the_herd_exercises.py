"""The graders of notebook 01 against right answers and a catalog of plausible wrong ones."""

import copy
from functools import partial

import numpy as np
import pytest

from llama4lab.graders.the_herd import sizes_of
from llama4lab.grading import verdict
from llama4lab.parameters import build_on_meta, count_active, real_config


def untried(*arguments):
    raise NotImplementedError


# ---- 01.1: one attention block ----


def right_attention(hidden, heads, kv_heads, head_dim):
    return hidden * head_dim * (2 * heads + 2 * kv_heads)


# ---- 01.3: active parameters ----


def right_active(counts, experts, top_k=1, left_out=("vision",)):
    kept = {part: count for part, count in counts.items() if part not in left_out}
    kept["routed experts"] = kept["routed experts"] * top_k // experts
    return sum(kept.values())


def in_place_active(counts, experts, top_k=1, left_out=("vision",)):
    counts["routed experts"] = counts["routed experts"] * top_k // experts
    return sum(count for part, count in counts.items() if part not in left_out)


def routers_shared(counts, experts, top_k=1, left_out=("vision",)):
    return right_active(counts, experts, top_k, left_out) - counts["routers"] * (experts - top_k) // experts


# ---- 01.4: the smallest machine ----


def right_machine(weight_bytes, machines, free=0.1):
    fitting = [name for name in machines if weight_bytes <= machines[name] * 1e9 * (1 - free)]
    return min(fitting, key=machines.get, default=None)


def machine_by(choose, usable=lambda memory, free: memory * 1e9 * (1 - free), strict=False):
    def answer(weight_bytes, machines, free=0.1):
        fitting = [
            name
            for name, memory in machines.items()
            if weight_bytes < usable(memory, free) or (not strict and weight_bytes == usable(memory, free))
        ]
        return choose(fitting, machines) if fitting else None

    return answer


def smallest(fitting, machines):
    return min(fitting, key=machines.get)


def emptying(weight_bytes, machines, free=0.1):
    found = right_machine(weight_bytes, machines, free)
    machines.clear()
    return found


# ---- 01.5: a Behemoth ----

BEHEMOTH = {
    "hidden_size": 14848,
    "num_hidden_layers": 116,
    "num_attention_heads": 116,
    "intermediate_size": 22016,
}
WIDER = {"hidden_size": 16640, "num_hidden_layers": 100, "num_attention_heads": 130, "intermediate_size": 22272}


def without(answer, key):
    return {name: value for name, value in answer.items() if name != key}


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("01.1", right_attention),
        ("01.1", lambda hidden, heads, kv_heads, head_dim: float(right_attention(hidden, heads, kv_heads, head_dim))),
        ("01.2", (398.563882496, 17.184691200)),
        ("01.2", (398.6, 17.18)),
        ("01.2", [399, 17.2]),
        ("01.3", right_active),
        ("01.4", right_machine),
        ("01.5", BEHEMOTH),
        ("01.5", WIDER),
        ("01.5", {key: np.int32(value) for key, value in BEHEMOTH.items()}),  # from a search with np.arange
    ],
)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize("exercise", ["01.1", "01.2", "01.3", "01.4", "01.5"])
def test_untouched_stubs(exercise):
    assert verdict(exercise, ...) == f"Exercise {exercise}: not tried yet."
    if exercise not in ("01.2", "01.5"):
        assert verdict(exercise, untried) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("01.1", lambda hidden, heads, kv_heads, head_dim: 4 * hidden * heads * head_dim, "fewer heads than queries"),
    ("01.1", lambda h, q, kv, d: h * d * (q + 2 * kv), "output projection"),
    ("01.1", lambda h, q, kv, d: h * d * (2 * q + kv), "Keys or values are missing"),
    ("01.1", lambda h, q, kv, d: 2 * h * h + 2 * h * kv * d, "as wide as hidden"),
    ("01.1", lambda h, q, kv, d: 4 * h * d, "multiply by the number of heads"),
    ("01.1", lambda h, q, kv, d: right_attention(h, q, kv, d) + d * (q + 2 * kv) + h, "no bias"),
    ("01.1", lambda h, q, kv, d: right_attention(h, 40, kv, d), "ignores this argument"),
    ("01.1", lambda h, q, kv, d: right_attention(h, q, kv, d) + 1, "Add four matrices"),
    ("01.1", lambda h, q, kv, d: str(right_attention(h, q, kv, d)), "Return one number"),
    ("01.1", 62914560, "Give the function itself"),
    ("01.2", (434.6, 17.18), "multiplied all of Scout by four"),
    ("01.2", (1088, 17.2), "not the size of an expert"),
    ("01.2", (495.2, 17.2), "three times are new"),
    ("01.2", (386.5, 17.2), "routed experts only"),
    ("01.2", (108.6, 17.2), "did not change"),
    ("01.2", (114.7, 17.2), "48 experts to one layer"),
    ("01.2", (403.7, 17.2), "counted the one expert in use twice"),
    ("01.2", (300, 17.2), "The total is off"),
    ("01.2", (398.6, 68.7), "multiplied the active size by four"),
    ("01.2", (398.6, 35.3), "count four experts for each token"),
    ("01.2", (398.6, 12.64), "a 64th of the old experts"),
    ("01.2", (398.6, 20.0), "active size is off"),
    ("01.2", (17.18, 398.6), "give the total first"),
    ("01.2", (398_563_882_496, 17_184_691_200), "Give billions"),
    ("01.2", 398.6, "Give two numbers"),
    ("01.2", ("398.6", "01.2"), "Give two numbers"),
    ("01.3", lambda counts, experts, top_k=1, left_out=(): right_active(counts, experts, top_k, ()), "vision part"),
    ("01.3", lambda counts, experts, top_k=1, left_out=(): sum(counts.values()), "all routed experts"),
    ("01.3", lambda counts, experts, top_k=1, left_out=(): sum(counts.values()) - counts["vision"], "all routed"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, k, out) - 100, "leave out the routed experts"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, k, (*out, "shared experts")), "shared experts"),
    ("01.3", routers_shared, "share of the routers"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, k, (*out, "embed_tokens")), "out the embedding"),
    ("01.3", lambda c, e, k=1, out=(): right_active(c, e, k, ("vision", "embed_tokens", "lm_head")), "embedding and head"),
    ("01.3", lambda c, e, k=1, out=(): (sum(c.values()) - c["vision"]) / e, "divide everything"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, 64, k, out), "does not depend on `experts`"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, 64, k, out) + 64 - e, "With 16 experts"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, 1, out), "does not depend on `top_k`"),
    ("01.3", lambda c, e, k=1, out=("vision",): k * right_active(c, e, 1, out), "With top_k=3"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, k), "does not depend on `left_out`"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, k, out[:2]), "left_out of three parts"),
    ("01.3", lambda c, e, k=1, out=("vision",): right_active(c, e, k, (*out, "vision")), "empty left_out"),
    ("01.3", in_place_active, "changed the dictionary"),
    ("01.3", lambda c, e, k=1, out=("vision",): dict(c), "Return one number"),
    ("01.3", lambda c, e, k=1, out=("vision",): 1.5, "Keep every part"),
    ("01.3", 17.2, "Give the function itself"),
    ("01.4", machine_by(smallest, lambda memory, free: memory * 1e9), "72.3 GB do not fit"),
    ("01.4", lambda w, m, free=0.1: right_machine(w, m, 0.1), "use the argument"),
    ("01.4", machine_by(lambda fitting, machines: fitting[0]), "100 GB fit into"),
    ("01.4", machine_by(lambda fitting, machines: max(fitting, key=machines.get)), "100 GB fit into"),
    ("01.4", machine_by(smallest, lambda memory, free: memory * (1 - free)), "100 GB fit into"),
    ("01.4", lambda w, m, free=0.1: right_machine(w * 1e9, m, free), "100 GB fit into"),
    ("01.4", machine_by(smallest, lambda memory, free: memory * 2**30 * (1 - free)), "2³⁰ are a GiB"),
    ("01.4", machine_by(smallest, strict=True), "exactly; that is enough"),
    ("01.4", lambda w, m, free=0.1: m[right_machine(w, m, free)], "machine's name, not a number"),
    ("01.4", machine_by(lambda fitting, machines: fitting), "Return one name"),
    ("01.4", lambda w, m, free=0.1: right_machine(w, m, free) or max(m, key=m.get), "Nothing holds 2000 GB"),
    ("01.4", emptying, "changed the dictionary"),
    ("01.4", lambda w, m, free=0.1: min((n for n in m if w <= m[n] * 9e8), key=m.get), "raised ValueError"),
    ("01.4", "8 x H100", "Give the function itself"),
    ("01.5", BEHEMOTH | {"intermediate_size": 16384}, "too little of it is experts"),
    ("01.5", BEHEMOTH | {"intermediate_size": 28672}, "too much of it is experts"),
    ("01.5", BEHEMOTH | {"num_hidden_layers": 104}, "it is too small"),
    ("01.5", BEHEMOTH | {"num_hidden_layers": 120}, "it is too large"),
    ("01.5", BEHEMOTH | {"num_hidden_layers": 114}, "multiple of 4"),
    ("01.5", BEHEMOTH | {"num_hidden_layers": 128}, "Between 90 and 120"),
    ("01.5", BEHEMOTH | {"num_attention_heads": 40}, "num_attention_heads * 128"),
    ("01.5", BEHEMOTH | {"num_local_experts": 16}, "stays as in Scout"),
    ("01.5", BEHEMOTH | {"num_experts_per_tok": 2}, "stays as in Scout"),
    ("01.5", BEHEMOTH | {"intermediate_size": 22016.0}, "positive whole number"),
    ("01.5", BEHEMOTH | {"hidden_size": True}, "positive whole number"),
    ("01.5", without(BEHEMOTH, "intermediate_size"), "intermediate_size is missing"),
    ("01.5", (288, 2000), "Give a dictionary"),
]  # fmt: skip


@pytest.mark.parametrize(("exercise", "answer", "mistake"), WRONG)
def test_wrong_answers(exercise, answer, mistake):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet.")
    assert mistake in found


def test_every_exercise_has_wrong_answers():
    tried = [exercise for exercise, *_ in WRONG]
    assert all(tried.count(exercise) >= 8 for exercise in ("01.1", "01.2", "01.3", "01.4", "01.5"))


# ---- the numbers that the graders hold answers to ----


@pytest.mark.parametrize("change", [{}, {"num_hidden_layers": 8}, {"hidden_size": 256, "num_attention_heads": 2}])
def test_sizes_of_a_candidate_equal_the_built_model(change):
    answer = {
        "hidden_size": 5120,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "intermediate_size": 8192,
    } | change
    text = copy.deepcopy(real_config("scout").text_config)
    for key, value in answer.items():
        setattr(text, key, value)
    layers = answer["num_hidden_layers"]
    text.moe_layers, text.no_rope_layers = list(range(layers)), [1, 1, 1, 0] * (layers // 4)
    text.layer_types = text.layer_types[:4] * (layers // 4)
    model = build_on_meta(text)
    built = (count_active(model), sum(parameter.numel() for parameter in model.parameters()))
    assert [round(size * 1e9) for size in sizes_of(answer)] == list(built)


def test_scout_with_64_experts_is_what_the_library_builds():
    config = copy.deepcopy(real_config("scout"))
    config.text_config.num_local_experts = 64
    model = build_on_meta(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert verdict("01.2", (total / 1e9, count_active(model) / 1e9)) == "Exercise 01.2: correct."
    assert partial(verdict, "01.2")((total / 1e9 * 1.01, count_active(model) / 1e9)) != "Exercise 01.2: correct."
