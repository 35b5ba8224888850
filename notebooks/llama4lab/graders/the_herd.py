"""Graders of notebook 01: attention, experts, active parameters, machines, and a Behemoth that fits its numbers."""

import copy
import math
from collections.abc import Callable
from numbers import Integral

from llama4lab.grading import grader
from llama4lab.parameters import real_config

BILLION = 1e9


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@grader(1)
def attention_parameters(answer: Callable) -> str | None:
    """attention_parameters(hidden, heads, kv_heads, head_dim) -> parameters of one attention block."""
    if not callable(answer):
        return "Give the function itself, without calling it."

    def count(hidden, heads, kv_heads, head_dim):
        return 2 * hidden * head_dim * (heads + kv_heads)

    mistakes = {
        "Keys and values have fewer heads than queries: use kv_heads for those two.": lambda h, q, kv, d: 4 * h * q * d,
        "You count three matrices; the output projection, from the heads back to hidden, is missing.": (
            lambda h, q, kv, d: h * d * (q + 2 * kv)
        ),
        "Keys or values are missing: there is a matrix for each of the two.": lambda h, q, kv, d: h * d * (2 * q + kv),
        "You take the queries to be as wide as hidden; their width is heads * head_dim.": (
            lambda h, q, kv, d: 2 * h * h + 2 * h * kv * d
        ),
        "That is one head's worth of everything; multiply by the number of heads.": lambda h, q, kv, d: 4 * h * d,
        "Llama 4's projections have no bias; count the matrices only.": (
            lambda h, q, kv, d: 2 * h * d * (q + kv) + d * (q + 2 * kv) + h
        ),
    }
    cases = [(5120, 40, 8, 128), (7, 3, 2, 5), (12, 4, 1, 3)]  # heads * head_dim is hidden in the first and last only
    found = [answer(*case) for case in cases]
    if not all(number(value) for value in found):
        return f"Return one number; yours returned a {type(found[0]).__name__}."
    if found == [count(*case) for case in cases]:
        return None
    for sentence, wrong in mistakes.items():
        if found == [wrong(*case) for case in cases]:
            return sentence
    for place, name in enumerate(("hidden", "heads", "kv_heads", "head_dim")):
        changed = list(cases[1])
        changed[place] += 1
        if answer(*changed) == found[1]:
            return f"The result does not depend on `{name}`: it ignores this argument."
    return "Add four matrices: queries, keys, values, and the output projection; Scout's block has 62,914,560."


@grader(2)
def scout_with_64_experts(answer: object) -> str | None:
    """(total, active) in billions of a Scout with 64 routed experts in each layer, top-1 as before."""
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(number(value) for value in answer):
        return "Give two numbers, (total, active), in billions."
    total, active = answer
    if max(total, active) > 1e6:
        return "Give billions: divide both by 10⁹."
    if total < active:
        return "The total is smaller than the active size; give the total first."
    routed, scout_total, scout_active = 96.636764160, 108.641793536, 17.172894720
    right = (398.563882496, 17.184691200)

    def near(value, expected):
        return math.isclose(value, expected, rel_tol=2e-3)

    wrong_totals = {
        4 * scout_total: "You multiplied all of Scout by four; attention, shared experts, embeddings and vision stay.",
        17 * 64: "17 billion is what a token uses, not the size of an expert; add the 48 new experts of each layer.",
        scout_total + 4 * routed: "You added four times the experts to those that were there; three times are new.",
        4 * routed: "You counted the routed experts only; the rest of Scout is still there.",
        scout_total: "The total did not change: 48 more experts are stored in each layer.",
        scout_total + 48 * 0.125829120: "You added 48 experts to one layer; there are 48 layers.",
        4 * routed + scout_active: "You counted the one expert in use twice: it is among the routed experts already.",
    }
    wrong_actives = {
        4 * scout_active: "You multiplied the active size by four; a token is still sent to one expert a layer.",
        scout_active + 3 * routed / 16: "You count four experts for each token; it is still sent to one of them.",
        scout_active - routed / 16 * 3 / 4: (
            "You took a 64th of the old experts; a token uses one whole expert a layer, however many there are."
        ),
    }
    if not near(total, right[0]):
        return next(
            (sentence for wrong, sentence in wrong_totals.items() if near(total, wrong)),
            "The total is off: add 48 layers times 48 new experts of 125,829,120 parameters to Scout's 108.6 billion.",
        )
    if not near(active, right[1]):
        return next(
            (sentence for wrong, sentence in wrong_actives.items() if near(active, wrong)),
            "The total is right, the active size is off: which part of what a token uses grows with the experts?",
        )
    return None


@grader(3)
def active_parameters(answer: Callable) -> str | None:
    """active_parameters(counts, experts, top_k=1, left_out=("vision",)) -> parameters used by one token."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    counts = {
        "vision": 700,
        "routed experts": 6400,
        "shared experts": 500,
        "routers": 64,
        "dense MLPs": 30,
        "attention": 2000,
        "norms": 9,
        "embed_tokens": 1100,
        "lm_head": 1300,
    }
    given = dict(counts)

    def count(top_k=1, left_out=("vision",), shared=True, experts=64):
        kept = {part: size for part, size in counts.items() if part not in left_out}
        kept["routed experts"] = kept["routed experts"] * top_k // experts
        return sum(kept.values()) - (0 if shared else kept["shared experts"])

    found = answer(given, 64)
    if given != counts:
        return "You changed the dictionary that you were given; work on a copy."
    if not number(found):
        return f"Return one number; yours returned a {type(found).__name__}."
    everything = sum(counts.values())
    mistakes = {
        count(left_out=()): "You count the vision part; by default it is left out.",
        everything: "You count all routed experts; a token uses top_k of `experts`.",
        everything - 700: "You count all routed experts; a token uses top_k of `experts`.",
        count() - 100: "You leave out the routed experts; a token uses one of them in each layer.",
        count(shared=False): "The shared experts are missing: every token uses them.",
        count() - 63: "You take a share of the routers too; all of a router's rows are read to choose an expert.",
        count(left_out=("vision", "embed_tokens")): "You leave out the embedding; the default leaves out vision only.",
        count(left_out=("vision", "embed_tokens", "lm_head")): (
            "You leave out embedding and head; the default leaves out vision only."
        ),
        (everything - 700) / 64: "You divide everything by the number of experts; only the routed experts are divided.",
    }
    if found != count():
        return next(
            (sentence for wrong, sentence in mistakes.items() if math.isclose(found, wrong)),
            "Keep every part that is not left out, and of the routed experts the share top_k / experts.",
        )
    if answer(given, 16) == found:
        return "The result does not depend on `experts`: it ignores this argument."
    if answer(given, 16) != count(experts=16):
        return "With 16 experts it is off; the share of the routed experts is top_k / experts."
    if answer(given, 64, 3) == found:
        return "The result does not depend on `top_k`: it ignores this argument."
    if answer(given, 64, 3) != count(top_k=3):
        return "With top_k=3 it is off; three routed experts are used, and nothing else grows."
    if answer(given, 64, 1, ("vision", "embed_tokens")) == found:
        return "The result does not depend on `left_out`: it ignores this argument."
    if answer(given, 64, 1, ("vision", "embed_tokens", "lm_head")) != count(
        left_out=("vision", "embed_tokens", "lm_head")
    ):
        return "With left_out of three parts it is off; leave out those parts and no other."
    if answer(given, 64, 1, ()) != count(left_out=()):
        return "With an empty left_out the vision part counts too."
    return None


@grader(4)
def smallest_machine(answer: Callable) -> str | None:
    """smallest_machine(weight_bytes, machines, free=0.1) -> name of the smallest machine that holds them, or None."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    machines = {"node": 640, "card": 80, "desk": 512, "big card": 141, "big node": 1128}  # in no order
    cases = (
        ((100e9, machines), "big card", "100 GB fit into the 126.9 GB that 141 GB leave, and not into 80 GB."),
        ((100.0, machines), "card", "100 bytes fit on the smallest machine: weights are in bytes, machines in GB."),
        ((2000e9, machines), None, "Nothing holds 2000 GB; return None."),
        ((104e9, {"card": 100}, 0.0), None, "104 GB do not fit into 100: a GB has 10⁹ bytes (2³⁰ are a GiB)."),
        ((72.3e9, machines), "big card", "Of 80 GB only 72 are left when 10 % are kept free: 72.3 GB do not fit."),
        ((72.3e9, machines, 0.05), "card", "With free=0.05, 72.3 GB fit into 80 GB: use the argument."),
        ((500e9, machines), "node", "500 GB do not fit into 512 GB with 10 % kept free; they fit into 640 GB."),
        ((803.2e9, machines), "big node", "803.2 GB fit into the big node only."),
        ((45e9, {"card": 50}), "card", "45 GB fill the usable 45 GB of a 50 GB machine exactly; that is enough."),
        ((1e9, {}), None, "Without any machine the answer is None."),
    )
    for arguments, wanted, sentence in cases:
        copied = dict(arguments[1])
        found = answer(arguments[0], copied, *arguments[2:])
        if copied != arguments[1]:
            return "You changed the dictionary of machines that you were given; leave it as it is."
        if number(found):
            return "Return the machine's name, not a number."
        if isinstance(found, list | tuple | set):
            return "Return one name, that of the smallest machine that holds the weights, or None."
        if found != wanted:
            return f"{sentence} Your function returned {found!r}."
    return None


KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def sizes_of(answer: dict) -> tuple[float, float]:
    """(active, total) in billions of Scout's text model with these four values changed, by formula."""
    text = copy.deepcopy(real_config("scout").text_config)
    hidden, layers, heads, width = (answer[key] for key in KEYS)
    expert = 3 * hidden * width
    attention = 2 * hidden * text.head_dim * (heads + text.num_key_value_heads)
    layer = attention + expert + hidden * text.num_local_experts + 2 * hidden
    always = layers * layer + hidden + 2 * text.vocab_size * hidden
    active = always + layers * expert
    return active / BILLION, (active + layers * (text.num_local_experts - 1) * expert) / BILLION


@grader(5)
def behemoth_configuration(answer: object) -> str | None:
    """Four values of a Scout-like configuration with 288 billion active and 1.9 to 2.0 trillion in total."""
    if not isinstance(answer, dict):
        return f"Give a dictionary with the keys {', '.join(KEYS)}; this is a {type(answer).__name__}."
    missing = [key for key in KEYS if key not in answer]
    if missing:
        return f"{missing[0]} is missing; give {', '.join(KEYS)}."
    unknown = sorted(answer.keys() - set(KEYS))
    if unknown:
        return f"{unknown[0]} stays as in Scout; change {', '.join(KEYS)} only."
    for key in KEYS:
        if not isinstance(answer[key], Integral) or isinstance(answer[key], bool) or answer[key] < 1:
            return f"{key} should be a positive whole number; it is {answer[key]!r}."
    answer = {key: int(answer[key]) for key in KEYS}  # NumPy integers of a search would overflow
    if answer["hidden_size"] != answer["num_attention_heads"] * 128:
        return "hidden_size should be num_attention_heads * 128, as in Scout: 5120 is 40 * 128."
    if answer["num_hidden_layers"] % 4:
        return "num_hidden_layers should be a multiple of 4: every fourth layer is global, as in Scout."
    if not 90 <= answer["num_hidden_layers"] <= 120:
        return "Between 90 and 120 layers were asked for."
    active, total = sizes_of(answer)
    active_fits, total_fits = 287.5 <= active < 288.5, 1900 <= total < 2000
    if active_fits and total_fits:
        return None
    found = f"This has {active:.1f} billion active and {total:.0f} billion in total"
    share = answer["num_hidden_layers"] * 3 * answer["hidden_size"] * answer["intermediate_size"] / BILLION / active
    # Between these shares of routed experts in the active size, total / active is what 288 and 1900 to 2000 ask for.
    if active_fits or not 0.373 <= share <= 0.397:
        if share < 0.373:
            return f"{found}: too little of it is experts; widen them (intermediate_size), then scale by the layers."
        return f"{found}: too much of it is experts; narrow them (intermediate_size), then scale by the layers."
    if active < 287.5:
        return f"{found}: the proportions are right and it is too small; add layers, or hidden and width together."
    return f"{found}: the proportions are right and it is too large; take layers, or hidden and width together, away."
