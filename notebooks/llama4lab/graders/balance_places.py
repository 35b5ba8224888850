"""Graders of notebook 04 about who finds a place: Sinkhorn's plan and capacity. They are numbered in balance.py."""

from functools import partial

import numpy as np
import torch
from torch.nn.functional import one_hot

from llama4lab.grading import Exercise, Sign


def drawn_logits(seed: int, size: float) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, size, (40, 5)))


# ---- the plan that Sinkhorn's rounds make of the logits, `[tokens, experts]` ----


def softmax(logits):
    return logits.softmax(dim=1)


def sinkhorn_plan(logits, rounds, start=softmax, dims=(0, 1)):
    """Each round divides by the sums over the first, then over the second of the dims."""
    plan = start(logits)
    for _ in range(rounds):
        for dim in dims:
            plan = plan / plan.sum(dim=dim, keepdim=True)
    return plan


SINKHORN = Exercise(
    right=sinkhorn_plan,
    cases=[(drawn_logits(9, 1.5), 3), (drawn_logits(10, 1.5), 1), (drawn_logits(11, 300), 2)],
    mistakes={
        "This is the softmax alone; each round evens out the columns, then the rows.": (
            lambda logits, rounds: softmax(logits)
        ),
        "There is one round, whatever `rounds` says.": lambda logits, rounds: sinkhorn_plan(logits, 1),
        "There is one round too many.": lambda logits, rounds: sinkhorn_plan(logits, rounds + 1),
        "There is one round too few.": lambda logits, rounds: sinkhorn_plan(logits, rounds - 1),
        "The rounds end with the columns; end with the rows, so that each token has 1 to give.": (
            partial(sinkhorn_plan, dims=(1, 0))
        ),
        "Only the columns are evened out; the rows must sum to 1 again.": partial(sinkhorn_plan, dims=(0,)),
        "It starts from sigmoids; start from the exponentials of the logits.": (
            partial(sinkhorn_plan, start=torch.sigmoid)
        ),
        "It starts from the logits, some of which are negative; start from their exponentials.": (
            partial(sinkhorn_plan, start=lambda logits: logits)
        ),
        "The exponential of a logit of a thousand overflows; take the largest of each row off first, as softmax does.": (
            Sign(
                lambda result, right, _: any(share != share for row in result for share in row),
                partial(sinkhorn_plan, start=torch.exp),
            )
        ),
    },
    otherwise="In each round, every column is divided by its sum, then every row by its own.",
)

# ---- which tokens are kept, booleans `[batch, seq]` ----


def kept_tokens(chosen, experts, capacity):
    place = one_hot(chosen, experts).cumsum(dim=1).gather(2, chosen[..., None])[..., 0]
    return place <= capacity


def drawn_choices(seed, experts, *shape):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, experts, shape))


CAPACITY = Exercise(
    right=kept_tokens,
    cases=[(drawn_choices(3, 3, 16, 20), 3, 5), (drawn_choices(4, 6, 2, 30), 6, 3)],
    mistakes={
        "These are the dropped tokens; return True for those that are kept.": (lambda c, e, k: ~kept_tokens(c, e, k)),
        "One place too few: the token with number `capacity` still finds a place.": (
            lambda c, e, k: kept_tokens(c, e, k - 1)
        ),
        "One place too many: `capacity` tokens find a place, not one more.": (lambda c, e, k: kept_tokens(c, e, k + 1)),
        "It counts over the whole batch as one list; each row has its own places.": (
            lambda c, e, k: kept_tokens(c.view(1, -1), e, k).view_as(c)
        ),
        "It counts down the batch, position by position; count along each row.": (
            lambda c, e, k: kept_tokens(c.T, e, k).T
        ),
        "The last tokens of each expert are kept; first come, first served.": (
            lambda c, e, k: kept_tokens(c.flip(1), e, k).flip(1)
        ),
        "It counts all tokens alike; each expert has its own places.": [
            lambda c, e, k: (torch.arange(c.shape[1]) < k).expand(c.shape),
            lambda c, e, k: (torch.arange(c.shape[1]) < k * e).expand(c.shape),
        ],
        "It keeps or drops an expert's tokens all together; those who came first keep their place.": (
            lambda c, e, k: one_hot(c, e).sum(dim=1).gather(1, c) <= k
        ),
        "It keeps all tokens.": lambda c, e, k: torch.ones_like(c, dtype=torch.bool),
        "These are numbers; return booleans, True for those that are kept.": (
            lambda c, e, k: kept_tokens(c, e, k).long()
        ),
    },
    otherwise="In each row the first `capacity` tokens of each expert should be kept, and no others.",
)
