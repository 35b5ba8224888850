"""Graders of notebook 02: scores, the block, gradients, routing along a text, cost."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import silu

from llama4lab.grading import grader

TOKENS, EXPERTS, HIDDEN, WIDTH = 7, 5, 6, 8


def random_tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape)).float()


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found.float(), expected, atol=1e-5, rtol=0)


def wrong_shape(found: object, shape: tuple[int, ...]) -> str | None:
    """A sentence if `found` is no tensor of that shape."""
    if not isinstance(found, torch.Tensor):
        return f"It returned {type(found).__name__}; return a tensor."
    if found.shape != shape:
        return f"The result has shape {list(found.shape)}; it should have {list(shape)}."
    return None


def top1_sigmoid(router_logits: torch.Tensor) -> torch.Tensor:
    """Llama 4's scores: sigmoid of each row's largest logit, zero elsewhere, `[tokens, experts]`."""
    winning, chosen = router_logits.max(dim=1, keepdim=True)
    return torch.zeros_like(router_logits).scatter(1, chosen, winning.sigmoid())


@grader(1)
def grade_scores(answer: Callable) -> str | None:
    """top1_scores(router_logits) -> scores, both `[tokens, experts]`."""
    logits, others = random_tensor(0, TOKENS, EXPERTS) - 0.5, random_tensor(1, TOKENS, EXPERTS)
    given = logits.clone()
    found = answer(given)
    if problem := wrong_shape(found, (TOKENS, EXPERTS)):
        return problem
    if not torch.equal(given, logits):
        return "It changes the logits that it was given; work on a copy, or without operations in place."
    if same(found, top1_sigmoid(logits)):
        return None if same(answer(others), top1_sigmoid(others)) else "It is right for one input only."
    if same(found, answer(others)):
        return "It gives the same scores for other logits: it ignores its argument."
    kept = (found != 0).sum(dim=1)
    is_winner = torch.zeros_like(logits).scatter(1, logits.argmax(dim=1, keepdim=True), 1.0)
    if same(found * is_winner, top1_sigmoid(logits)) and (kept == 2).all():
        return "Two experts have a score in each row; Llama 4 keeps one (top-1)."
    if same(found, logits.sigmoid()):
        return "The experts that lost have a score too: keep the largest logit of each row alone, then apply sigmoid."
    if same(found, (logits * is_winner).sigmoid()):
        return (
            "The experts that lost have score 0.5, since sigmoid(0) is 0.5: set their logits to minus infinity, not 0."
        )
    if same(found, logits.softmax(dim=1)) or same(found, logits.softmax(dim=1) * is_winner):
        return (
            "These scores come from a softmax over all experts; Llama 4 applies a sigmoid to the winner's logit alone."
        )
    if same(found, is_winner):
        return "The winner has score 1, as after a softmax over one logit; its score should be sigmoid of its logit."
    if same(found, logits * is_winner):
        return "The winner's score is its raw logit; apply the sigmoid."
    if (kept > 1).any():
        return "More than one expert has a score in some row; all but the winner must be exactly 0."
    return "The scores differ from sigmoid of the largest logit in each row, 0 elsewhere."


def moe_output(tokens, scores, gate_up_proj, down_proj, shared_expert, at="input", with_shared=True, swap=False):
    """The block's output `[tokens, hidden]`, or one with a known mistake in it."""
    output = shared_expert(tokens) if with_shared else torch.zeros_like(tokens)
    for expert in range(scores.shape[1]):
        score = scores[:, expert, None]
        scaled = tokens * score if at in ("input", "both") else tokens
        gate, up = (scaled @ gate_up_proj[expert]).chunk(2, dim=1)
        routed = ((gate * silu(up)) if swap else (silu(gate) * up)) @ down_proj[expert]
        if at in ("output", "both"):
            routed = routed * score
        output = output + routed * (score != 0)
    return output


@grader(2)
def grade_block(answer: Callable) -> str | None:
    """mended_moe(tokens, scores, gate_up_proj, down_proj, shared_expert) -> output `[tokens, hidden]`."""

    def inputs(seed: int) -> tuple:
        shared = random_tensor(seed + 4, HIDDEN, HIDDEN)
        return (
            random_tensor(seed, TOKENS, HIDDEN),
            top1_sigmoid(random_tensor(seed + 1, TOKENS, EXPERTS)),
            random_tensor(seed + 2, EXPERTS, HIDDEN, 2 * WIDTH),
            random_tensor(seed + 3, EXPERTS, WIDTH, HIDDEN),
            lambda tokens: tokens @ shared,
        )

    first, second = inputs(10), inputs(20)
    names = ("tokens", "scores", "gate_up_proj", "down_proj", "shared_expert")
    before = [given.clone() for given in first[:4]]
    found = answer(*first)
    if problem := wrong_shape(found, (TOKENS, HIDDEN)):
        return problem
    for name, given, copy in zip(names[:4], first[:4], before, strict=True):
        if not torch.equal(given, copy):
            return f"It changes `{name}`, which it was given; work without operations in place."
    if torch.allclose(found, moe_output(*first), atol=1e-4):
        if torch.allclose(answer(*second), moe_output(*second), atol=1e-4):
            return None
        return "It is right for one input only."
    mistakes = {
        "The score still multiplies the expert's output; multiply the expert's input by it.": {"at": "output"},
        "The score multiplies the expert's input and its output; only the input is scaled.": {"at": "both"},
        "The score is not used; multiply the expert's input by it.": {"at": "none"},
        "Gate and up are swapped: silu goes to the first half of gate_up_proj.": {"swap": True},
    }
    for sentence, change in mistakes.items():
        if torch.allclose(found, moe_output(*first, **change), atol=1e-4):
            return sentence
        if torch.allclose(found, moe_output(*first, **change, with_shared=False), atol=1e-4):
            return f"{sentence} The shared expert is missing too."
    if torch.allclose(found, moe_output(*first, with_shared=False), atol=1e-4):
        return "The shared expert is missing: it runs on every token, unweighted, and is added."
    scores = first[1].sum(dim=1, keepdim=True)
    routed = moe_output(*first, with_shared=False)
    if torch.allclose(found, routed + scores * first[4](first[0]), atol=1e-4) or torch.allclose(
        found, routed + first[4](scores * first[0]), atol=1e-4
    ):
        return "The shared expert is multiplied by the score; it takes the token as it is."
    for place, name in enumerate(names):
        changed = [second[place] if i == place else given for i, given in enumerate(first)]
        if torch.allclose(answer(*changed), found, atol=1e-4):
            return f"The output does not depend on `{name}`: it ignores this argument."
    return "The output differs from shared_expert(x) + expert(s · x)."


@grader(3)
def grade_gradient_rows(answer: dict) -> str | None:
    """{"sigmoid": rows, "softmax": rows, "detached": rows} for 5 experts and tokens that chose 3, 1, 3."""
    expected = {"sigmoid": {1, 3}, "softmax": {0, 1, 2, 3, 4}, "detached": set()}
    if not isinstance(answer, dict) or set(answer) != set(expected):
        return 'Answer with a dictionary that has the keys "sigmoid", "softmax" and "detached".'
    rows = {}
    for key, value in answer.items():
        if not isinstance(value, list | tuple | set | frozenset):
            return f'The answer for "{key}" should be a set of row numbers, such as {{0, 2}} or set().'
        rows[key] = set(value)
        if not rows[key] <= set(range(5)):
            return f'The answer for "{key}" names a row that is not there; five experts have the rows 0 to 4.'
    if rows["sigmoid"] == expected["softmax"]:
        return "With top-1 and a sigmoid the logits that lost do not enter the output, so their rows get no gradient."
    if rows["sigmoid"] == {0, 2, 4}:
        return "These are the rows that lost; with a sigmoid the gradient goes to the rows that were chosen."
    if rows["sigmoid"] != expected["sigmoid"]:
        return "With a sigmoid exactly the rows of the experts that some token chose get a gradient."
    if rows["softmax"] == expected["sigmoid"]:
        return "Every logit stands in the softmax's denominator, so the winner's score depends on all rows."
    if rows["softmax"] != expected["softmax"]:
        return "A softmax over all experts gives every row a gradient."
    if rows["detached"]:
        return "A detached score is a constant to autograd, and the choice itself has no gradient: no row gets any."
    return None


def share_of_pairs(chosen: torch.Tensor, distance: int) -> float:
    """Share of pairs of tokens of one text, `distance` apart, that have the same expert; chosen is `[texts, seq]`."""
    return (chosen[:, distance:] == chosen[:, :-distance]).float().mean().item()


@grader(4)
def grade_share_at_distance(answer: Callable) -> str | None:
    """share_at_distance(chosen, distance) -> share of pairs, `distance` apart in a text, that have one expert."""
    chosen = torch.from_numpy(np.random.default_rng(32).integers(0, 3, (4, 14)))
    given, distance = chosen.clone(), 3
    found = answer(given, distance)
    if isinstance(found, torch.Tensor) and found.numel() == 1:
        found = found.item()
    if not isinstance(found, int | float):
        return "Return one number for all texts together."
    if not torch.equal(given, chosen):
        return "It changes `chosen`, which it was given; work without operations in place."
    texts, seq = chosen.shape
    flat, share = chosen.flatten(), share_of_pairs(chosen, distance)
    pairs = texts * (seq - distance)
    within = [share_of_pairs(chosen, d) * texts * (seq - d) for d in range(1, distance + 1)]
    wrong_step = "but tokens `distance` apart have distance - 1 tokens between them: compare t with t + distance."
    mistakes = {
        "`roll` joins the end of each text to its start; compare only pairs that are both inside the text.": (
            (chosen == chosen.roll(distance, dims=1)).float().mean()
        ),
        "It counts pairs across the border of two texts; cut along the last axis, not after flattening.": (
            (flat[distance:] == flat[:-distance]).float().mean()
        ),
        f"A text of {seq} tokens has {seq - distance} such pairs, not {seq}: divide by the number of pairs.": (
            share * pairs / (texts * seq)
        ),
        "This is the share of pairs whose experts differ; count those that are the same.": 1 - share,
        "This is the number of pairs; divide it by how many pairs there are.": share * pairs,
        "This is a percentage; return a share between 0 and 1.": 100 * share,
        f"This is the share for {distance + 1} apart, {wrong_step}": share_of_pairs(chosen, distance + 1),
        f"This is the share for {distance - 1} apart, {wrong_step}": share_of_pairs(chosen, distance - 1),
        "It compares neighbors whatever the distance: it ignores `distance`.": share_of_pairs(chosen, 1),
        "It counts all pairs up to this distance; only those exactly `distance` apart belong here.": (
            sum(within) / (texts * sum(seq - d for d in range(1, distance + 1)))
        ),
        "It compares different texts; the tokens of a text lie along the last axis.": (
            share_of_pairs(chosen.T.contiguous(), distance)
        ),
        "It asks whether the experts' numbers are close; experts are names, only equal ones count.": (
            ((chosen[:, distance:] - chosen[:, :-distance]).abs() <= 1).float().mean()
        ),
        "It looks at the first text only.": share_of_pairs(chosen[:1], distance),
    }
    if abs(found - share) > 1e-6:
        for sentence, value in mistakes.items():
            if abs(found - float(value)) < 1e-6:
                return sentence
        return f"For experts drawn by a seed it gives {found:.4f}; the share of equal pairs is {share:.4f}."
    for other_distance in (1, 5):
        other = torch.from_numpy(np.random.default_rng(31).integers(0, 4, (3, 17)))
        if abs(float(answer(other, other_distance)) - share_of_pairs(other, other_distance)) > 1e-6:
            return "It is right for one input only; use the `chosen` and the `distance` that are given."
    return None


@grader(5)
def grade_flops(answer: Callable) -> str | None:
    """flops_per_token(hidden, width, experts_run) -> FLOPs of the block for one token, the router left out."""

    def flops(hidden, width, experts_run, operations=2, matrices=3, shared=1):
        return operations * matrices * hidden * width * (experts_run + shared)

    cases = [(5120, 8192, 1), (5120, 8192, 128), (6, 7, 3)]
    found = [answer(*case) for case in cases]
    if not all(isinstance(value, int | float) for value in found):
        return "Return one number: the FLOPs of one token."
    if found == [flops(*case) for case in cases]:
        return None
    mistakes = {
        "The shared expert is missing: it runs for every token.": {"shared": 0},
        "A multiplication and its addition count as two operations.": {"operations": 1},
        "An expert has three matrices: gate, up and down.": {"matrices": 2},
        "An expert has three matrices (gate, up, down), not one.": {"matrices": 1},
    }
    for sentence, change in mistakes.items():
        if found == [flops(*case, **change) for case in cases]:
            return sentence
    for place, name in enumerate(("hidden", "width", "experts_run")):
        changed = list(cases[2])
        changed[place] += 1
        if answer(*changed) == found[2]:
            return f"The result does not depend on `{name}`: it ignores this argument."
    return "Count 2 operations for each weight of each expert that runs, the shared one included."
