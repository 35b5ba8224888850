"""Graders of notebook 02: scores, the nearest border, the block, cost."""

from functools import partial

import numpy as np
import torch
from torch.nn.functional import normalize, one_hot, silu

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

# ---- 2: the shortest way to the border of a token's wedge, `[hidden]` ----


def switch(token, router_weight, rival=None, farthest=False):
    """The shortest way to the border with a rival: the nearest one, or the one that `rival` picks from the logits."""
    logits = router_weight @ token
    winner = logits.argmax()
    toward = router_weight - router_weight[winner]
    gaps = logits[winner] - logits
    distances = gaps / toward.norm(dim=1).clamp(min=1e-9)
    distances[winner] = -1.0 if farthest else float("inf")
    chosen = rival(logits) if rival else distances.argmax() if farthest else distances.argmin()
    return gaps[chosen] / toward[chosen].pow(2).sum() * toward[chosen]


def switch_along(token, router_weight, direction):
    """To the border with the nearest rival, along another direction than the shortest."""
    logits = router_weight @ token
    winner = logits.argmax()
    rival = ((token + 1.0001 * switch(token, router_weight)) @ router_weight.T).argmax()
    way = direction(router_weight[rival], router_weight[winner])
    return (logits[winner] - logits[rival]) / ((router_weight[rival] - router_weight[winner]) @ way) * way


EXERCISES[2] = Exercise(
    right=switch,
    # In the second and the third case the runner-up's border is not the nearest.
    cases=[(random_tensor(seed, 4), random_tensor(seed + 1, 5, 4)) for seed in (4, 34, 58)],
    tolerance=1e-3,
    mistakes={
        "The winner is among its own rivals, at a distance of 0, or 0 / 0: leave it out.": Sign(
            lambda result, right, _: not any(number > 0 or number < 0 for number in result),
            [partial(switch, rival=torch.argmax), lambda token, router: torch.zeros_like(token)],
        ),
        "It goes to the runner-up by logit; another expert's border may be nearer, if its row differs more.": (
            partial(switch, rival=lambda logits: logits.topk(2).indices[1])
        ),
        "It goes to the expert with the smallest logit; go to the border that is nearest.": (
            partial(switch, rival=torch.argmin)
        ),
        "It goes to the border that is farthest away; take the nearest.": partial(switch, farthest=True),
        "It points away from the border: add the rival's row minus the winner's, not the reverse.": (
            lambda *arguments: -switch(*arguments)
        ),
        "It has the right direction and the wrong length: with d = rival_row - winner_row, the way is gap / (d · d) · d.": Sign(
            lambda result, right, _: torch.cosine_similarity(torch.tensor(result), torch.tensor(right), dim=0) > 0.9999,
            [
                lambda *arguments: normalize(switch(*arguments), dim=0),
                lambda token, router: switch(token, router) * switch(token, router).norm(),
            ],
        ),
        "It goes half the way; at the border both logits are equal.": lambda *arguments: switch(*arguments) / 2,
        "It goes twice the way, to the mirror image of the token; stop at the border.": (
            lambda *arguments: 2 * switch(*arguments)
        ),
        "It follows the rival's row; the shortest way is along the difference of the two rows.": (
            partial(switch_along, direction=lambda rival, winner: rival)
        ),
        "It backs off along the winner's row; the shortest way is along the difference of the two rows.": (
            partial(switch_along, direction=lambda rival, winner: -winner)
        ),
        "This is the token after the move; return what is added to it.": (
            lambda token, router: token + switch(token, router)
        ),
    },
    returns="an arrow, as long as the token",
    otherwise="It is gap / (d · d) · d for the rival whose border is nearest, with d = rival_row - winner_row.",
)

# ---- 3: the output of the block, `[tokens, hidden]` ----


def moe(tokens, scores, gate_up_proj, down_proj, shared_expert, at=("input",), shared=True, swap=False):
    """The block, or one with a mistake in it: the score at other places, no shared expert, gate and up swapped."""
    output = shared_expert(tokens) if shared else torch.zeros_like(tokens)
    for expert in range(scores.shape[1]):
        score = scores[:, expert, None]
        gate, up = ((tokens * score if "input" in at else tokens) @ gate_up_proj[expert]).chunk(2, dim=1)
        gate = gate * score if "gate" in at else gate
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
    "The score reaches the gate alone; it multiplies x, which goes into gate and up.": {"at": ("gate",)},
    "The score is not used; multiply the expert's input by it.": {"at": ()},
    "Gate and up are swapped: silu goes to the first half of gate_up_proj.": {"swap": True},
}

EXERCISES[3] = Exercise(
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
        "The shared expert is added once for each routed expert; it runs once.": lambda tokens, scores, *weights: (
            moe(tokens, scores, *weights) + (scores.shape[1] - 1) * weights[-1](tokens)
        ),
        "The experts are missing: this is the shared expert alone.": lambda tokens, *others: others[-1](tokens),
    },
    otherwise="The output is shared_expert(x) + expert(s · x).",
)

# ---- 4: FLOPs of the block for one token, the router left out ----


def flops(hidden, width, experts_run, operations=2, matrices=3, shared=1):
    return float(operations * matrices * hidden * width * (experts_run + shared))


EXERCISES[4] = Exercise(
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
