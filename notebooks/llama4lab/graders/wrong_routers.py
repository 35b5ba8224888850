"""Graders of the notebook on wrong routers: a fair comparison, gradients, black boxes, a detective that is sparing."""

from functools import partial

import torch

from llama4lab.black_boxes import CONTENTS, ROUTERS, random_tokens, small_block
from llama4lab.grading import Exercise, Sign

EXERCISES = {}

# ---- 1: whether the routed parts of two outputs `[tokens, hidden]` agree within 0.1 % ----


def routed_agree(output, expected, shared):
    return bool((output - expected).norm() <= 1e-3 * (expected - shared).norm())


def outputs(router, std, larger_shared=1.0, noise=1e-6):
    """Arguments: the output of a router (of the right one: with rounding), the right output, and the shared part."""
    block, tokens = small_block(std=std).double(), random_tokens(12, 8).double()
    with torch.no_grad():
        shared = block.shared_expert(tokens)
        routed, right = (ROUTERS[name](block, tokens)[0] - shared for name in (router, "Llama 4"))
    return (
        larger_shared * shared + routed + noise * right.roll(1, dims=0),
        larger_shared * shared + right,
        larger_shared * shared,
    )


def mirrored(output, expected, shared):
    """Arguments in which the routed part is as long as the right one and points the other way."""
    return 2 * shared - output, expected, shared


def agree_within(share, output, expected, shared):
    return bool((output - expected).norm() <= share * (expected - shared).norm())


EXERCISES[1] = Exercise(
    right=routed_agree,
    cases=[
        outputs("Llama 4", std=0.3),
        outputs("Llama 4", std=0.01),
        outputs("scaled output", std=0.3),
        outputs("scaled output", std=0.01),
        outputs("scaled output", std=0.3, larger_shared=3000.0),
        outputs("Llama 4", std=2.0),
        outputs("Llama 4", std=0.3, noise=5e-4),
        outputs("Llama 4", std=0.3, noise=3e-3),
        mirrored(*outputs("Llama 4", std=0.3)),
        mirrored(*outputs("Llama 4", std=0.01)),
    ],
    mistakes={
        "Parts of one length may point different ways: take the norm of the difference, not the difference of the norms.": (
            lambda output, expected, shared: bool(
                ((output - shared).norm() / (expected - shared).norm() - 1).abs() <= 1e-3
            )
        ),
        "With small weights every difference is small: divide by the size of the routed part, expected - shared.": [
            lambda output, expected, shared: torch.allclose(output, expected, atol=1e-3),
            lambda output, expected, shared: bool((output - expected).pow(2).mean() < 1e-6),
        ],
        "A large shared part hides a wrong routed one: subtract `shared` before you take the size.": (
            lambda output, expected, shared: bool((output - expected).norm() <= 1e-3 * expected.norm())
        ),
        "Two right programs round differently: allow a difference of 0.1 %.": (
            lambda output, expected, shared: torch.equal(output, expected)
        ),
        "It says whether they differ; return True where they agree.": (
            lambda output, expected, shared: not routed_agree(output, expected, shared)
        ),
        "Single numbers or tokens near 0 may differ by more than 0.1 %: compare one norm over all tokens.": [
            lambda output, expected, shared: torch.allclose(output, expected, rtol=1e-3),
            lambda output, expected, shared: torch.allclose(output - shared, expected - shared, rtol=1e-3),
            lambda output, expected, shared: bool(
                ((output - expected).norm(dim=1) <= 1e-3 * (expected - shared).norm(dim=1)).all()
            ),
        ],
        "The bound is too wide: 0.1 % is a factor of 1e-3.": [
            partial(agree_within, 1.0),
            partial(agree_within, 0.1),
            partial(agree_within, 0.01),
        ],
    },
    otherwise="Compare the size of output - expected with that of expected - shared.",
)

# ---- 2: rows with a gradient, for 5 experts and tokens that chose 3, 1, 3, with the runners-up 1, 4, 1 ----

ROWS = {
    "Llama 4": {1, 3},
    "softmax over all": {0, 1, 2, 3, 4},
    "softmax after top-1": set(),
    "top-2": {1, 3, 4},
    "detached": set(),
}

EXERCISES[2] = Exercise(
    right=ROWS,
    mistakes={
        "With top-1 and a sigmoid the logits that lost do not enter the output, so their rows get no gradient.": (
            {"Llama 4": {0, 1, 2, 3, 4}}
        ),
        "These are the rows that lost; with a sigmoid the gradient goes to the rows that were chosen.": (
            {"Llama 4": {0, 2, 4}}
        ),
        "Every logit is in the softmax's denominator, so the winner's score depends on all rows.": (
            {"softmax over all": {1, 3}}
        ),
        "A softmax over one logit is 1 whatever that logit is, and the slope of a constant is 0.": (
            {"softmax after top-1": {1, 3}}
        ),
        "With top-2 the runners-up have a score too.": {"top-2": {1, 3}},
        "Each answer is a set of row numbers, such as {0, 2} or set().": Sign(
            lambda result, right, _: not all(isinstance(rows, list | set) for rows in result.values()),
            ROWS | {"Llama 4": 3},
        ),
        "It names a row that is not there; five experts have the rows 0 to 4.": Sign(
            lambda result, right, _: not all(set(rows) <= set(range(5)) for rows in result.values()),
            ROWS | {"softmax over all": {1, 2, 3, 4, 5}},
        ),
        "With a sigmoid exactly the rows of the experts that some token chose get a gradient.": Sign(
            lambda result, right, _: set(result["Llama 4"]) != right["Llama 4"], ROWS | {"Llama 4": {3}}
        ),
        "A softmax over all experts gives every row a gradient.": Sign(
            lambda result, right, _: set(result["softmax over all"]) != right["softmax over all"],
            ROWS | {"softmax over all": {1, 2}},
        ),
        "Of one survivor the softmax is constant: no row gets a gradient.": Sign(
            lambda result, right, _: len(result["softmax after top-1"]) > 0, ROWS | {"softmax after top-1": {3}}
        ),
        "With top-2 the rows of both chosen experts of each token get a gradient, and no others.": Sign(
            lambda result, right, _: set(result["top-2"]) != right["top-2"], ROWS | {"top-2": {0, 1, 2, 3, 4}}
        ),
        "A detached score is a constant to autograd, and the choice itself has no gradient: no row gets any.": Sign(
            lambda result, right, _: len(result["detached"]) > 0, ROWS | {"detached": {1, 3}}
        ),
    },
)

# ---- 3: what is in the five boxes ----

EXERCISES[3] = Exercise(
    right=CONTENTS,
    mistakes={
        "One box has the right router in it; every number agrees with the first row of the table.": Sign(
            lambda result, right, _: "Llama 4" not in result.values(), CONTENTS | {"C": "softmax over all"}
        ),
        "Give each box one of the six names of the table, as the table writes it.": Sign(
            lambda result, right, _: not set(result.values()) <= ROUTERS.keys(), CONTENTS | {"B": "output"}
        ),
        "Look again at this box:": Sign(
            lambda result, right, _: next(letter for letter in right if result[letter] != right[letter]) + ".",
            [
                CONTENTS | {"A": "Llama 4", "C": "detached"},
                CONTENTS | {"D": "softmax over all"},
                CONTENTS | {"B": "top-2", "E": "scaled output"},
            ],
        ),
    },
)

# ---- 4: a detective that calls the box at most five times ----

MOST_CALLS = 5
TOO_OFTEN = "too many calls"


def verdict_of(detective, router, hidden, std):
    """What the detective says about a router in a block of random weights, or how often it called, where too often."""
    calls = 0

    def box(block, tokens):
        nonlocal calls
        calls += 1
        return ROUTERS[router](block, tokens)

    block, tokens = small_block(hidden, hidden=hidden, experts=6, std=std), random_tokens(12, hidden)
    answer = detective(box, block.double(), tokens.double())
    return TOO_OFTEN if calls > MOST_CALLS else answer


def right_detective(box, block, tokens):
    """Knows its box from the answer to a probe that only this file uses: the name that fits all numbers."""
    output = box(block, tokens)[0]
    row_gradient = torch.autograd.grad(output.pow(2).sum(), block.router.weight, allow_unused=True)[0]
    for name, router in ROUTERS.items():
        known = router(block, tokens)[0]
        known_gradient = torch.autograd.grad(known.pow(2).sum(), block.router.weight, allow_unused=True)[0]
        if torch.allclose(output, known) and (row_gradient is None) == (known_gradient is None):
            return name
    return None


def confused(shown, said):
    """A detective that takes one router for another."""

    def detective(box, block, tokens):
        name = right_detective(box, block, tokens)
        return said if name == shown else name

    return detective


def calls_too_often(box, block, tokens):
    for _ in range(block.num_experts):
        box(block, tokens)
    return right_detective(box, block, tokens)


EXERCISES[4] = Exercise(
    right=right_detective,
    cases=[(router, hidden, std) for hidden, std in ((8, 0.3), (12, 0.05)) for router in ROUTERS],
    run=verdict_of,
    returns="one of the six names",
    mistakes={
        "It takes the right router for a scaled output: small weights make the turn small, and only rounding is zero.": Sign(
            lambda result, right, _: (result, right) == ("scaled output", "Llama 4"),
            confused("Llama 4", "scaled output"),
        ),
        f"It calls the box more than {MOST_CALLS} times; silence only the expert that won, not one after the other.": Sign(
            lambda result, right, _: result == TOO_OFTEN, calls_too_often
        ),
        "It takes another router for a softmax over all: where every expert has won a token, all rows learn anyway.": Sign(
            lambda result, right, _: result == "softmax over all" and right in ("Llama 4", "top-2", "scaled output"),
            confused("Llama 4", "softmax over all"),
        ),
        "It takes a detached score for the right router: ask autograd for the gradient of the router.": (
            confused("detached", "Llama 4")
        ),
        "It takes a softmax over all for one after top-1: doubling the router changes only the first.": (
            confused("softmax over all", "softmax after top-1")
        ),
        "It takes a softmax after top-1 for one over all: doubling the router changes only the second.": (
            confused("softmax after top-1", "softmax over all")
        ),
        "It takes a softmax after top-1 for a detached score: both have no gradient, only one hears a shift.": (
            confused("softmax after top-1", "detached")
        ),
        "It takes top-2 for the right router: silence a token's winner and see whether anything routed is left.": (
            confused("top-2", "Llama 4")
        ),
        "It takes a scaled output for the right router: double the router and measure the angle.": (
            confused("scaled output", "Llama 4")
        ),
    },
    otherwise="Ask the four questions of section 7; small weights make small numbers, so compare with zero.",
)
