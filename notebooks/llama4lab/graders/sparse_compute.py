"""Graders of notebook 06: dispatch, touched experts, memory-bound batches, and where experts go."""

import math

import torch

from llama4lab.graders.expert_placement import COPIES, PLACEMENT
from llama4lab.grading import Exercise, Sign

EXERCISES = {}

# ---- 1: each row by the expert that it chose, `[tokens, hidden]`, with one call for each expert ----


class CountingExpert:
    """An expert that multiplies its rows by `factor` and remembers how many it got in each call."""

    def __init__(self, factor: float):
        self.factor = factor
        self.calls: list[int] = []

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(rows))
        return rows * self.factor


def rows_and_calls(function, tokens, chosen, experts):
    """The result for so many experts, and the numbers of rows with which each of them was called."""
    counting = [CountingExpert(expert + 2.0) for expert in range(experts)]
    return function(tokens, chosen, list(counting)), [expert.calls for expert in counting]


def run_own_experts(tokens, chosen, experts):
    rows = torch.empty_like(tokens)
    for expert in chosen.unique().tolist():
        rows[chosen == expert] = experts[expert](tokens[chosen == expert])
    return rows


def sorted_experts(tokens, chosen, experts, skip_idle=True, minlength=True):
    """The rows in the order of their experts."""
    counts = chosen.bincount(minlength=len(experts) if minlength else 0).tolist()
    slices = tokens[chosen.argsort(stable=True)].split(counts)
    pairs = zip(experts, slices, strict=True)
    return torch.cat([expert(rows) for expert, rows in pairs if len(rows) or not skip_idle])


def back_in_order(rows, chosen):
    return rows[chosen.argsort(stable=True).argsort()]


def unsorted_experts(tokens, chosen, experts):
    rows = tokens[chosen.argsort(stable=True)]
    return torch.stack([experts[expert](row[None])[0] for expert, row in zip(chosen.tolist(), rows, strict=True)])


def token_by_token(tokens, chosen, experts):
    return torch.cat([experts[expert](row[None]) for expert, row in zip(chosen.tolist(), tokens, strict=True)])


def dispatch_case(chosen, experts):
    return torch.arange(3.0 * len(chosen)).view(-1, 3) + experts, torch.tensor(chosen), experts


def more_rows_than_chose(result, right, arguments):
    return any(sum(calls) > sum(own) for calls, own in zip(result[1], right[1], strict=True))


EXERCISES[1] = Exercise(
    right=run_own_experts,
    run=rows_and_calls,
    cases=[  # experts 1 and 3 stay idle, and an order that is no inverse of itself; one token; an idle last expert
        dispatch_case([4, 0, 2, 4, 0, 4, 2], 5),
        dispatch_case([1], 3),
        dispatch_case([1, 0, 1, 0, 0], 4),
        dispatch_case([2, 2, 2], 3),
    ],
    returns="a tensor of the shape of the tokens",
    mistakes={
        "The rows are still sorted by expert; put them back in the order of the text.": sorted_experts,
        "The rows come back by `order` itself; the way back is its inverse, `order.argsort()`.": (
            lambda t, c, e: sorted_experts(t, c, e)[c.argsort(stable=True)]
        ),
        "No expert was applied; the rows are those that were given.": lambda t, c, e: t.clone(),
        "Each row is the sum over all experts; a row goes through the expert that it chose, alone.": (
            lambda t, c, e: sum(expert(t) for expert in e)
        ),
        "The rows were sorted and the experts not, so rows meet the wrong expert; sort both alike.": unsorted_experts,
        "It fails where the last expert is idle: `bincount` needs `minlength` there.": (
            lambda t, c, e: back_in_order(sorted_experts(t, c, e, minlength=False), c)
        ),
        "All rows go through the first expert.": lambda t, c, e: e[0](t),
        "It was called with no rows: leave out an expert that no token chose.": Sign(
            lambda result, right, _: any(0 in calls for calls in result[1]),
            lambda t, c, e: back_in_order(sorted_experts(t, c, e, skip_idle=False), c),
        ),
        "Some expert ran on more rows than chose it: right result, wasted work.": Sign(
            more_rows_than_chose, lambda t, c, e: torch.stack([expert(t) for expert in e])[c, torch.arange(len(t))]
        ),
        "Some expert was called several times; give it all its rows in one call.": Sign(
            lambda result, right, _: any(len(calls) > 1 for calls in result[1]), token_by_token
        ),
    },
)

# ---- 2: the smallest batch whose expected number of touched experts is at least the share ----


def exact_tokens(experts, share):
    return math.log(1 - share) / math.log(1 - 1 / experts)


def tokens_to_touch(experts, share):
    return float(math.ceil(exact_tokens(experts, share)))


EXERCISES[2] = Exercise(
    right=tokens_to_touch,
    cases=[(16, 0.99), (128, 0.99), (16, 0.5), (64, 0.9), (10, 0.05)],
    mistakes={
        "This is not a whole number; a batch cannot hold part of a token, so round up.": exact_tokens,
        "It is one token short: `share` must be reached, so round up, not down.": (
            lambda e, s: math.floor(exact_tokens(e, s))
        ),
        "Rounding to the nearest number can fall short of `share`; round up.": lambda e, s: round(exact_tokens(e, s)),
        "It is one token more than needed.": lambda e, s: math.ceil(exact_tokens(e, s)) + 1,
        "It is twice as many tokens as needed.": lambda e, s: 2 * math.ceil(exact_tokens(e, s)),
        "This counts as if no two tokens chose the same expert; some do, so it takes more.": (
            lambda e, s: math.ceil(e * s)
        ),
        "This is the number of touched experts, not of tokens.": lambda e, s: e * s,
        "Use 1 − share under the logarithm: what counts is the share of experts that are still missed.": (
            lambda e, s: math.ceil(math.log(s) / math.log(1 - 1 / e))
        ),
        "This is the mean wait until every expert was touched (the coupon collector), whatever the share.": (
            lambda e, s: math.ceil(e * sum(1 / n for n in range(1, e + 1)))
        ),
        "This is a share of the wait for all experts; the last ones take longest, so the wait is no proportion.": [
            lambda e, s: math.ceil(s * e * sum(1 / n for n in range(1, e + 1))),
            lambda e, s: s * e * sum(1 / n for n in range(1, e + 1)),
        ],
        "This is the mean wait until so many experts are touched; asked is the batch that touches so many on average.": (
            lambda e, s: math.ceil(sum(e / (e - n) for n in range(math.ceil(e * s))))
        ),
    },
    otherwise="So many tokens touch experts · (1 − (1 − 1 / experts)^tokens) of them on average.",
)

# ---- 3: tokens in a batch that keeps the arithmetic busy ----


def tokens_to_fill(experts, flops_per_second, bytes_per_second, bytes_per_weight):
    return experts * flops_per_second / bytes_per_second * bytes_per_weight / 2


EXERCISES[3] = Exercise(
    right=tokens_to_fill,
    cases=[(16, 989e12, 3.35e12, 2), (128, 989e12, 3.35e12, 1), (1, 60e9, 20e9, 4)],
    mistakes={
        "These are the rows of one expert; the batch must have as many for each of the experts.": (
            lambda e, f, b, w: f / b * w / 2
        ),
        "A row makes two operations of each weight, a multiplication and an addition: divide by 2.": (
            lambda e, f, b, w: e * f / b * w
        ),
        "The size of a weight is missing: two bytes a weight take twice as long to come as one.": (
            lambda e, f, b, w: e * f / b / 2
        ),
        "This takes every weight to be one byte and one operation; use `bytes_per_weight`, and 2 operations.": (
            lambda e, f, b, w: e * f / b
        ),
        "The balance is upside down: operations a second divided by bytes a second.": (
            lambda e, f, b, w: e * b / f * w / 2
        ),
        "Larger weights need more rows, not fewer: multiply by `bytes_per_weight`.": (
            lambda e, f, b, w: e * f / b / w / 2
        ),
        "Divide by 2, do not multiply: intensity is 2 rows / bytes_per_weight.": lambda e, f, b, w: e * f / b * w * 2,
        "More experts need a larger batch, not a smaller one: multiply by `experts`.": (
            lambda e, f, b, w: f / b * w / 2 / e
        ),
        "The shared expert is counted with the routed ones; it gets all tokens and is full long before them.": (
            lambda e, f, b, w: (e + 1) * f / b * w / 2
        ),
        "Do not round; the exercise asks for the plain number.": [
            lambda *case: round(tokens_to_fill(*case)),
            lambda *case: math.ceil(tokens_to_fill(*case)),
        ],
    },
    otherwise="Set 2 · rows / bytes_per_weight equal to the balance, solve for rows, and multiply by the experts.",
)

# ---- 4 and 5: where experts go ----

EXERCISES[4] = PLACEMENT
EXERCISES[5] = COPIES
