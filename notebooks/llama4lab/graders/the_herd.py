"""Graders of notebook 01: attention, experts, active parameters, machines, a Behemoth that fits, a file without a label."""

import copy
import math
from functools import partial

from llama4lab.graders import unlabeled_file
from llama4lab.grading import Case, Exercise, Sign
from llama4lab.parameters import real_config

EXERCISES = {}

# ---- 1: parameters of one attention block ----


def attention_parameters(hidden, heads, kv_heads, head_dim):
    return float(2 * hidden * head_dim * (heads + kv_heads))


EXERCISES[1] = Exercise(
    right=attention_parameters,
    cases=[(5120, 40, 8, 128), (7, 3, 2, 5), (12, 4, 1, 3)],  # heads * head_dim is hidden in the first and last only
    mistakes={
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
    },
    otherwise="Add four matrices: queries, keys, values, and the output projection.",
)

# ---- 2: (total, active) in billions of a Scout with 64 routed experts in each layer, top-1 as before ----

ROUTED, TOTAL, ACTIVE = 96.636764160, 108.641793536, 17.172894720
TOTAL_64, ACTIVE_64 = 398.563882496, 17.184691200

EXERCISES[2] = Exercise(
    right=(TOTAL_64, ACTIVE_64),
    tolerance=2e-3,
    returns="two numbers, (total, active), in billions",
    mistakes={
        "You multiplied all of Scout by four; only the routed experts grow.": (4 * TOTAL, ...),
        "17 billion is what a token uses, not the size of an expert; add 48 experts a layer.": (17 * 64.0, ...),
        "You added four times the experts to those that were there; three times are new.": (TOTAL + 4 * ROUTED, ...),
        "You counted the routed experts only; the rest of Scout is still there.": (4 * ROUTED, ...),
        "The total did not change: 48 more experts are stored in each layer.": (TOTAL, ...),
        "You added 48 experts to one layer; there are 48 layers.": (TOTAL + 48 * 0.125829120, ...),
        "You counted the one expert in use twice: it is a routed expert.": (4 * ROUTED + ACTIVE, ...),
        "You multiplied the active size by four; a token still meets one expert a layer.": (TOTAL_64, 4 * ACTIVE),
        "You count four experts for each token; it is still sent to one of them.": (TOTAL_64, ACTIVE + 3 * ROUTED / 16),
        "You took a 64th of the old experts; a token uses one whole expert a layer, however many there are.": (
            TOTAL_64,
            ACTIVE - ROUTED / 16 * 3 / 4,
        ),
        "Give billions: divide both by 10⁹.": Sign(
            lambda result, right, _: max(result) > 1e6, (398_563_882_496, 17_184_691_200)
        ),
        "The total is smaller than the active size; give the total first.": Sign(
            lambda result, right, _: result[0] < result[1], (ACTIVE_64, TOTAL_64)
        ),
        "The total is off: add 48 layers times 48 new experts of 125,829,120 parameters to Scout's 108.6 billion.": Sign(
            lambda result, right, _: not math.isclose(result[0], right[0], rel_tol=2e-3), (300, 17.2)
        ),
        "The total is right, the active size is off: which part of what a token uses grows with the experts?": Sign(
            lambda result, right, _: True, (398.6, 20.0)
        ),
    },
)

# ---- 3: parameters used by one token ----


def active_parameters(counts, experts, top_k=1, left_out=("vision",)):
    kept = {part: count for part, count in counts.items() if part not in left_out}
    kept["routed experts"] = kept["routed experts"] * top_k // experts
    return float(sum(kept.values()))


def also_left_out(*parts):
    return lambda counts, experts, top_k=1, left_out=("vision",): active_parameters(
        counts, experts, top_k, (*left_out, *parts)
    )


def all_experts(counts, experts, top_k=1, left_out=("vision",)):
    return sum(count for part, count in counts.items() if part not in left_out)


def share_of_routers(counts, experts, top_k=1, left_out=("vision",)):
    routers = {"routers": counts["routers"] * top_k // experts}
    return active_parameters(counts | routers, experts, top_k, left_out)


def share_of_shared_experts(counts, experts, top_k=1, left_out=("vision",)):
    shared = counts["shared experts"] * top_k // experts
    return active_parameters(counts | {"shared experts": shared}, experts, top_k, left_out)


COUNTS = {
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

EXERCISES[3] = Exercise(
    right=active_parameters,
    cases=[
        (COUNTS, 64),
        (COUNTS, 16),
        (COUNTS, 64, 3),
        (COUNTS, 64, 1, ("vision", "embed_tokens")),
        (COUNTS, 64, 1, ("vision", "embed_tokens", "lm_head")),
        (COUNTS, 64, 1, ()),
        (COUNTS | {"attention": 3000}, 64),
    ],
    mistakes={
        "You count the vision part; by default it is left out.": [
            lambda c, e, k=1, out=(): active_parameters(c, e, k, out),
            lambda c, e, k=1, out=(): active_parameters(c, e, k, ()),
        ],
        "You count all routed experts; a token uses top_k of `experts`.": [
            all_experts,
            lambda c, e, k=1, out=("vision",): sum(c.values()),
        ],
        "You leave out the routed experts; a token uses some of them in each layer.": (
            lambda counts, experts, *rest: active_parameters(counts | {"routed experts": 0}, experts, *rest)
        ),
        "The shared experts are missing: every token uses them.": also_left_out("shared experts"),
        "You take a share of the shared experts too; every token uses them whole.": [
            lambda c, e, *rest: active_parameters(c | {"shared experts": c["shared experts"] / e}, e, *rest),
            lambda c, e, k=1, *rest: active_parameters(
                c | {"shared experts": c["shared experts"] // e * k}, e, k, *rest
            ),
            share_of_shared_experts,
        ],
        "You take a share of the routers too; all of a router's rows are read to choose an expert.": share_of_routers,
        "You leave out the embedding; the default leaves out vision only.": also_left_out("embed_tokens"),
        "You leave out embedding and head; only vision is left out.": also_left_out("embed_tokens", "lm_head"),
        "You divide everything by the number of experts; only the routed experts are divided.": (
            lambda c, e, k=1, out=("vision",): all_experts(c, e, 1, out) / e
        ),
        "With top_k=3 three routed experts are used, and nothing else grows.": (
            lambda c, e, k=1, out=("vision",): k * active_parameters(c, e, 1, out)
        ),
        "With left_out of three parts it is off; leave out those parts and no other.": (
            lambda c, e, k=1, out=("vision",): active_parameters(c, e, k, out[:2])
        ),
        "With an empty left_out the vision part counts too.": also_left_out("vision"),
        "It is right for 64 experts only: the share of the routed experts is top_k / experts.": (
            lambda counts, experts, *rest: active_parameters(counts, 64, *rest) + 64 - experts
        ),
    },
    otherwise="Keep every part that is not left out, and of the routed experts the share top_k / experts.",
)

# ---- 4: the smallest machine that holds the weights ----


def smallest_machine(weight_bytes, machines, free=0.1, gigabyte=1e9, choose=min):
    fitting = {name: memory for name, memory in machines.items() if weight_bytes <= memory * gigabyte * (1 - free)}
    return choose(fitting, key=fitting.get, default=None)


MACHINES = {"node": 640, "card": 80, "desk": 512, "big card": 141, "big node": 1128}  # in no order

EXERCISES[4] = Exercise(
    right=smallest_machine,
    cases=[
        Case((100e9, MACHINES), "100 GB fit into the 126.9 GB that 141 GB leave, and not into 80 GB."),
        Case((100.0, MACHINES), "100 bytes fit on the smallest machine: weights are in bytes, machines in GB."),
        Case((2000e9, MACHINES), "Nothing holds 2000 GB; return None."),
        Case((104e9, {"card": 100}, 0.0), "104 GB do not fit into 100: a GB has 10⁹ bytes (2³⁰ are a GiB)."),
        Case((72.3e9, MACHINES), "Of 80 GB only 72 are left when 10 % are kept free: 72.3 GB do not fit."),
        Case((72.3e9, MACHINES, 0.05), "With free=0.05, 72.3 GB fit into 80 GB: use the argument."),
        Case((78e9, MACHINES, 0.05), "With free=0.05, 76 GB of 80 GB may be used: 78 GB do not fit."),
        Case((500e9, MACHINES), "500 GB do not fit into 512 GB with 10 % kept free; they fit into 640 GB."),
        Case((803.2e9, MACHINES), "803.2 GB fit into the big node only."),
        Case((45e9, {"card": 50}), "45 GB fill the usable 45 GB of a 50 GB machine exactly; that is enough."),
        Case((1e9, {}), "Without any machine the answer is None."),
    ],
    mistakes={
        "It fills the machines to the last byte: keep the share `free` of each empty.": (
            lambda w, m, free=0.1: smallest_machine(w, m, 0)
        ),
        "You add the share `free` to the weights; it is a share of the machine's memory.": (
            lambda w, m, free=0.1: smallest_machine(w * (1 + free), m, 0)
        ),
        "It always keeps 10 % free: use `free`.": (lambda w, m, free=0.1: smallest_machine(w, m)),
        "This is the first machine of the dictionary that fits; it is in no order, so look for the smallest.": (
            partial(smallest_machine, choose=lambda names, key, default: next(iter(names), default))
        ),
        "This is the largest machine; return the smallest that fits.": partial(smallest_machine, choose=max),
        "Weights come in bytes, and the memory of machines in GB of 10⁹ bytes.": [
            partial(smallest_machine, gigabyte=1),
            lambda w, m, free=0.1: smallest_machine(w * 1e9, m, free),
        ],
        "A GB has 10⁹ bytes; 2³⁰ are a GiB.": partial(smallest_machine, gigabyte=2**30),
        "Weights that fill a machine's share exactly fit.": lambda w, m, free=0.1: smallest_machine(w + 1, m, free),
        "Return the machine's name, not its memory.": (lambda w, m, free=0.1: m.get(smallest_machine(w, m, free))),
        "Return one name, that of the smallest machine that holds the weights, or None.": (
            partial(smallest_machine, choose=lambda names, key, default: list(names))
        ),
        "Where nothing fits it returns the largest machine; return None.": (
            lambda w, m, free=0.1: smallest_machine(w, m, free) or max(m, key=m.get, default=None)
        ),
        "It fails where nothing fits: min needs a default there.": (
            partial(smallest_machine, choose=lambda names, key, default: min(names, key=key))
        ),
    },
)

# ---- 5: a Scout-like configuration with 288 billion active and 1.9 to 2.0 trillion in total ----


def sizes_of(answer):
    """(active, total) in billions of Scout's text model with these four values changed, by formula."""
    text = copy.deepcopy(real_config("scout").text_config)
    hidden, layers, heads, width = (answer[key] for key in BEHEMOTH)
    expert = 3 * hidden * width
    attention = 2 * hidden * text.head_dim * (heads + text.num_key_value_heads)
    layer = attention + expert + hidden * text.num_local_experts + 2 * hidden
    always = layers * layer + hidden + 2 * text.vocab_size * hidden
    active = always + layers * expert
    return active / 1e9, (active + layers * (text.num_local_experts - 1) * expert) / 1e9


def expert_share(answer):
    """The share of routed experts in the active size."""
    experts = answer["num_hidden_layers"] * 3 * answer["hidden_size"] * answer["intermediate_size"]
    return experts / 1e9 / sizes_of(answer)[0]


# Between these shares of routed experts in the active size, total / active is what 288 and 1900 to 2000 ask for.
LOWEST_SHARE, HIGHEST_SHARE = 0.373, 0.397


def told(is_mistake):
    """A sign that tells the sizes of an answer that makes the mistake."""

    def shows(result, right, arguments):
        active, total = sizes_of(result)
        return is_mistake(result, active) and f"This has {active:.1f} billion active and {total:.0f} billion in total."

    return shows


def fits(result, right, arguments):
    whole = result.keys() == right.keys() and all(isinstance(value, int) and value > 0 for value in result.values())
    if not whole or result["hidden_size"] != result["num_attention_heads"] * 128 or result["num_hidden_layers"] % 4:
        return False
    active, total = sizes_of(result)
    return 90 <= result["num_hidden_layers"] <= 120 and 287.5 <= active < 288.5 and 1900 <= total < 2000


BEHEMOTH = {"hidden_size": 14848, "num_hidden_layers": 116, "num_attention_heads": 116, "intermediate_size": 22016}

EXERCISES[5] = Exercise(
    right=BEHEMOTH,
    accepts=fits,
    mistakes={
        "The rest stays as in Scout; change these four values only.": Sign(
            lambda result, right, _: result.keys() != right.keys(),
            [BEHEMOTH | {"num_local_experts": 16}, BEHEMOTH | {"num_experts_per_tok": 2}],
        ),
        "Each value should be a positive whole number.": Sign(
            lambda result, right, _: not all(type(value) is int and value > 0 for value in result.values()),
            [
                BEHEMOTH | {"intermediate_size": 22016.0},
                BEHEMOTH | {"hidden_size": True},
                BEHEMOTH | {"hidden_size": 0},
            ],
        ),
        "hidden_size should be num_attention_heads * 128, as in Scout: 5120 is 40 * 128.": Sign(
            lambda result, right, _: result["hidden_size"] != result["num_attention_heads"] * 128,
            BEHEMOTH | {"num_attention_heads": 40},
        ),
        "num_hidden_layers should be a multiple of 4: every fourth layer is global, as in Scout.": Sign(
            lambda result, right, _: result["num_hidden_layers"] % 4, BEHEMOTH | {"num_hidden_layers": 114}
        ),
        "Between 90 and 120 layers were asked for.": Sign(
            lambda result, right, _: not 90 <= result["num_hidden_layers"] <= 120,
            [BEHEMOTH | {"num_hidden_layers": 128}, BEHEMOTH | {"num_hidden_layers": 88}],
        ),
        "Too little of it is experts; widen them (intermediate_size), then scale by the layers.": Sign(
            told(lambda result, active: expert_share(result) < LOWEST_SHARE), BEHEMOTH | {"intermediate_size": 16384}
        ),
        "Too much of it is experts; narrow them (intermediate_size), then scale by the layers.": Sign(
            told(lambda result, active: expert_share(result) > HIGHEST_SHARE), BEHEMOTH | {"intermediate_size": 28672}
        ),
        "The proportions are right and it is too small; add layers, or hidden and width together.": Sign(
            told(lambda result, active: active < 287.5), BEHEMOTH | {"num_hidden_layers": 104}
        ),
        "The proportions are right and it is too large; take layers, or hidden and width together, away.": Sign(
            told(lambda result, active: active >= 288.5), BEHEMOTH | {"num_hidden_layers": 120}
        ),
    },
    otherwise="The total should be between 1900 and 2000 billion: change intermediate_size, then scale by the layers.",
)

EXERCISES[6] = unlabeled_file.EXERCISE
