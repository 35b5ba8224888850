"""Graders of notebook 02: scores, the block, gradients, routing along a text, cost."""

from functools import partial

import numpy as np
import torch
from torch.nn.functional import one_hot, silu

from llama4lab.grading import Exercise, Sign

EXERCISES = {}


def random_tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape)).float()


# ---- 1: the scores of the block, `[tokens, experts]` ----


def top_scores(router_logits, kept=1):
    winning, chosen = router_logits.topk(kept, dim=1)
    return torch.zeros_like(router_logits).scatter(1, chosen, winning.sigmoid())


def winner(logits):
    return one_hot(logits.argmax(dim=1), logits.shape[1]).float()


EXERCISES[1] = Exercise(
    right=top_scores,
    cases=[(random_tensor(0, 7, 5) - 0.5,), (random_tensor(1, 7, 5),)],
    mistakes={
        "Two experts have a score in each row; Llama 4 keeps one (top-1).": partial(top_scores, kept=2),
        "The experts that lost have a score too: keep the largest logit of each row alone, then apply sigmoid.": (
            torch.sigmoid
        ),
        "The experts that lost have score 0.5, since sigmoid(0) is 0.5: set their logits to minus infinity, not 0.": (
            lambda logits: (logits * winner(logits)).sigmoid()
        ),
        "These scores come from a softmax over all experts; Llama 4 applies a sigmoid to the winner's logit alone.": [
            lambda logits: logits.softmax(dim=1),
            lambda logits: logits.softmax(dim=1) * winner(logits),
        ],
        "The winner has score 1, as after a softmax over one logit; its score should be sigmoid of its logit.": winner,
        "The winner's score is its raw logit; apply the sigmoid.": lambda logits: logits * winner(logits),
        "The winner is the smallest logit; take the largest.": lambda logits: top_scores(-logits),
        "More than one expert has a score in some row; all but the winner must be exactly 0.": Sign(
            lambda result, right, _: any(sum(score != 0 for score in row) > 1 for row in result),
            lambda logits: top_scores(logits) + 0.1,
        ),
    },
    otherwise="The scores are the sigmoid of the largest logit in each row, 0 elsewhere.",
)

# ---- 2: the output of the block, `[tokens, hidden]` ----


def moe(tokens, scores, gate_up_proj, down_proj, shared_expert, at=("input",), shared=True, swap=False):
    """The block, or one with a mistake in it: the score at other places, no shared expert, gate and up swapped."""
    output = shared_expert(tokens) if shared else torch.zeros_like(tokens)
    for expert in range(scores.shape[1]):
        score = scores[:, expert, None]
        gate, up = ((tokens * score if "input" in at else tokens) @ gate_up_proj[expert]).chunk(2, dim=1)
        routed = ((gate * silu(up)) if swap else (silu(gate) * up)) @ down_proj[expert]
        output = output + (routed * score if "output" in at else routed) * (score != 0)
    return output


def moe_inputs(seed):
    shared = random_tensor(seed + 4, 6, 6)
    scores = top_scores(random_tensor(seed + 1, 7, 5))
    gate_up_proj, down_proj = random_tensor(seed + 2, 5, 6, 16), random_tensor(seed + 3, 5, 8, 6)
    return random_tensor(seed, 7, 6), scores, gate_up_proj, down_proj, lambda tokens: tokens @ shared


CHANGES = {
    "The score still multiplies the expert's output; multiply the expert's input by it.": {"at": ("output",)},
    "The score multiplies the expert's input and its output; only the input is scaled.": {"at": ("input", "output")},
    "The score is not used; multiply the expert's input by it.": {"at": ()},
    "Gate and up are swapped: silu goes to the first half of gate_up_proj.": {"swap": True},
}

EXERCISES[2] = Exercise(
    right=moe,
    cases=[moe_inputs(10), moe_inputs(20)],
    tolerance=1e-3,
    mistakes={sentence: partial(moe, **change) for sentence, change in CHANGES.items()}
    | {
        f"{sentence} The shared expert is missing too.": partial(moe, **change, shared=False)
        for sentence, change in CHANGES.items()
    }
    | {
        "The shared expert is missing: it runs on every token, unweighted, and is added.": partial(moe, shared=False),
        "The shared expert is multiplied by the score; it takes the token as it is.": lambda tokens, scores, *weights: (
            moe(tokens, scores, *weights, shared=False) + scores.sum(dim=1, keepdim=True) * weights[-1](tokens)
        ),
        "The experts are missing: this is the shared expert alone.": lambda tokens, *others: others[-1](tokens),
    },
    otherwise="The output is shared_expert(x) + expert(s · x).",
)

# ---- 3: rows with a gradient, for 5 experts and tokens that chose 3, 1, 3 ----

EXERCISES[3] = Exercise(
    right={"sigmoid": {1, 3}, "softmax": {0, 1, 2, 3, 4}, "detached": set()},
    mistakes={
        "With top-1 and a sigmoid the logits that lost do not enter the output, so their rows get no gradient.": (
            {"sigmoid": {0, 1, 2, 3, 4}}
        ),
        "These are the rows that lost; with a sigmoid the gradient goes to the rows that were chosen.": (
            {"sigmoid": {0, 2, 4}}
        ),
        "Every logit is in the softmax's denominator, so the winner's score depends on all rows.": {"softmax": {1, 3}},
        "Each answer is a set of row numbers, such as {0, 2} or set().": Sign(
            lambda result, right, _: not all(isinstance(rows, list | set) for rows in result.values()),
            {"sigmoid": 3, "softmax": {0, 1, 2, 3, 4}, "detached": set()},
        ),
        "It names a row that is not there; five experts have the rows 0 to 4.": Sign(
            lambda result, right, _: not all(set(rows) <= set(range(5)) for rows in result.values()),
            {"sigmoid": {1, 3}, "softmax": {1, 2, 3, 4, 5}, "detached": set()},
        ),
        "With a sigmoid exactly the rows of the experts that some token chose get a gradient.": Sign(
            lambda result, right, _: set(result["sigmoid"]) != right["sigmoid"],
            {"sigmoid": {3}, "softmax": {0, 1, 2, 3, 4}, "detached": set()},
        ),
        "A softmax over all experts gives every row a gradient.": Sign(
            lambda result, right, _: set(result["softmax"]) != right["softmax"],
            {"sigmoid": {1, 3}, "softmax": {1, 2}, "detached": set()},
        ),
        "A detached score is a constant to autograd, and the choice itself has no gradient: no row gets any.": Sign(
            lambda result, right, _: len(result["detached"]) > 0,
            {"sigmoid": {1, 3}, "softmax": {0, 1, 2, 3, 4}, "detached": {1, 3}},
        ),
    },
)

# ---- 4: the share of pairs of tokens, `distance` apart in a text, that have the same expert ----


def share_at_distance(chosen, distance):
    return (chosen[:, distance:] == chosen[:, :-distance]).float().mean().item()


def share_up_to(chosen, distance):
    equal = [(chosen[:, apart:] == chosen[:, :-apart]).flatten() for apart in range(1, distance + 1)]
    return torch.cat(equal).float().mean()


def drawn_experts(seed, experts, *shape):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, experts, shape))


ONE_APART = "tokens `distance` apart have distance - 1 tokens between them: compare t with t + distance."

EXERCISES[4] = Exercise(
    right=share_at_distance,
    cases=[(drawn_experts(32, 3, 4, 14), 3), (drawn_experts(31, 4, 3, 17), 1), (drawn_experts(31, 4, 3, 17), 5)],
    mistakes={
        "`roll` joins the end of each text to its start; compare only pairs that are both inside the text.": [
            lambda chosen, distance: (chosen == chosen.roll(distance, dims=1)).float().mean(),
            lambda chosen, distance: (chosen == chosen.roll(-distance, dims=1)).float().mean(),
        ],
        "It counts pairs across the border of two texts; cut along the last axis, not after flattening.": (
            lambda chosen, distance: share_at_distance(chosen.reshape(1, -1), distance)
        ),
        "A text of n tokens has n - distance such pairs, not n: divide by the number of pairs.": (
            lambda chosen, distance: (chosen[:, distance:] == chosen[:, :-distance]).sum() / chosen.numel()
        ),
        "This is the share of pairs whose experts differ; count those that are the same.": (
            lambda chosen, distance: 1 - share_at_distance(chosen, distance)
        ),
        "This is the number of pairs; divide it by how many pairs there are.": (
            lambda chosen, distance: (chosen[:, distance:] == chosen[:, :-distance]).sum().float()
        ),
        "This is a percentage; return a share between 0 and 1.": (
            lambda chosen, distance: 100 * share_at_distance(chosen, distance)
        ),
        f"This is the share for one token further apart; {ONE_APART}": (
            lambda chosen, distance: share_at_distance(chosen, distance + 1)
        ),
        f"This is the share for one token less apart; {ONE_APART}": (
            lambda chosen, distance: share_at_distance(chosen, distance - 1)
        ),
        "It compares neighbors whatever the distance: it ignores `distance`.": (
            lambda chosen, distance: share_at_distance(chosen, 1)
        ),
        "It counts all pairs up to this distance; only those exactly `distance` apart belong here.": share_up_to,
        "It compares different texts; the tokens of a text are along the last axis.": (
            lambda chosen, distance: share_at_distance(chosen.T, distance)
        ),
        "It asks whether the experts' numbers are close; experts are names, only equal ones count.": (
            lambda chosen, distance: ((chosen[:, distance:] - chosen[:, :-distance]).abs() <= 1).float().mean()
        ),
        "It looks at the first text only.": lambda chosen, distance: share_at_distance(chosen[:1], distance),
    },
)

# ---- 5: FLOPs of the block for one token, the router left out ----


def flops(hidden, width, experts_run, operations=2, matrices=3, shared=1):
    return float(operations * matrices * hidden * width * (experts_run + shared))


EXERCISES[5] = Exercise(
    right=flops,
    cases=[(5120, 8192, 1), (5120, 8192, 128), (6, 7, 3)],
    mistakes={
        "The shared expert is missing: it runs for every token.": partial(flops, shared=0),
        "A multiplication and its addition count as two operations.": partial(flops, operations=1),
        "An expert has three matrices: gate, up and down.": partial(flops, matrices=2),
        "An expert has three matrices (gate, up, down), not one.": partial(flops, matrices=1),
        "The shared expert is counted twice.": partial(flops, shared=2),
    },
    otherwise="Count 2 operations for each weight of each expert that runs, the shared one included.",
)
