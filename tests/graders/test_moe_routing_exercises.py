"""The graders of notebook 02 against right answers and a catalog of plausible wrong ones."""

import pytest
import torch
from torch.nn.functional import one_hot, silu

from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


# ---- 02.1: scores ----


def right_scores(logits):
    winning, chosen = logits.max(dim=1, keepdim=True)
    return torch.zeros_like(logits).scatter(1, chosen, winning.sigmoid())


def masked_sigmoid(logits):
    winning, chosen = logits.topk(1, dim=1)
    return torch.full_like(logits, float("-inf")).scatter(1, chosen, winning).sigmoid()


def winners(logits):
    return one_hot(logits.argmax(dim=1), logits.shape[1]).float()


def top2_scores(logits):
    values, places = logits.topk(2, dim=1)
    return torch.zeros_like(logits).scatter(1, places, values.sigmoid())


def softmax_over_one(logits):
    return (logits + (winners(logits) - 1) * 1e9).softmax(dim=1)


def in_place_scores(logits):
    scores = right_scores(logits)
    logits.copy_(scores)
    return logits


CONSTANT_LOGITS = torch.linspace(-1, 1, 35).reshape(7, 5)


def ignoring_scores(logits):
    return right_scores(CONSTANT_LOGITS)


# ---- 02.2: the block ----


def right_block(tokens, scores, gate_up_proj, down_proj, shared_expert):
    output = shared_expert(tokens)
    for expert, (gate_up, down) in enumerate(zip(gate_up_proj, down_proj, strict=True)):
        gate, up = ((scores[:, [expert]] * tokens) @ gate_up).chunk(2, dim=1)
        output = output + (silu(gate) * up) @ down
    return output


def block_with(tokens, scores, gate_up_proj, down_proj, inside, outside, swap=False):
    """Routed part only; `inside` and `outside` say where the score goes."""
    output = torch.zeros_like(tokens)
    for expert in range(scores.shape[1]):
        score = scores[:, [expert]]
        mine = (score > 0).float()
        gate, up = ((tokens * (score if inside else mine)) @ gate_up_proj[expert]).chunk(2, dim=1)
        gate, up = (up, gate) if swap else (gate, up)
        output = output + ((silu(gate) * up) @ down_proj[expert]) * (score if outside else mine)
    return output


def output_scaled(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return block_with(tokens, scores, gate_up_proj, down_proj, False, True) + shared_expert(tokens)


def as_ported(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return block_with(tokens, scores, gate_up_proj, down_proj, False, True)


def scaled_twice(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return block_with(tokens, scores, gate_up_proj, down_proj, True, True) + shared_expert(tokens)


def unscaled(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return block_with(tokens, scores, gate_up_proj, down_proj, False, False) + shared_expert(tokens)


def gate_and_up_swapped(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return block_with(tokens, scores, gate_up_proj, down_proj, True, False, swap=True) + shared_expert(tokens)


def without_shared(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return block_with(tokens, scores, gate_up_proj, down_proj, True, False)


def shared_scaled(tokens, scores, gate_up_proj, down_proj, shared_expert):
    routed = block_with(tokens, scores, gate_up_proj, down_proj, True, False)
    return routed + scores.sum(dim=1, keepdim=True) * shared_expert(tokens)


def only_shared(tokens, scores, gate_up_proj, down_proj, shared_expert):
    return shared_expert(tokens)


def in_place_block(tokens, scores, gate_up_proj, down_proj, shared_expert):
    tokens *= scores.sum(dim=1, keepdim=True)
    return right_block(tokens, scores, gate_up_proj, down_proj, shared_expert)


RIGHT_ROWS = {"sigmoid": {1, 3}, "softmax": {0, 1, 2, 3, 4}, "detached": set()}


# ---- 02.4: routing along a text ----


def right_share(chosen, distance):
    return (chosen[:, distance:] == chosen[:, :-distance]).float().mean().item()


def share_by_loop(chosen, distance):
    pairs = [(row[i], row[i + distance]) for row in chosen.tolist() for i in range(len(row) - distance)]
    return sum(a == b for a, b in pairs) / len(pairs)


def share_across_borders(chosen, distance):
    return right_share(chosen.reshape(1, -1), distance)


def share_up_to(chosen, distance):
    same = [chosen[:, d:] == chosen[:, :-d] for d in range(1, distance + 1)]
    return torch.cat(same, dim=1).float().mean().item()


def in_place_share(chosen, distance):
    share = right_share(chosen, distance)
    chosen += 1
    return share


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("02.1", right_scores),
        ("02.1", masked_sigmoid),
        ("02.1", lambda logits: winners(logits) * logits.sigmoid()),
        ("02.2", right_block),
        ("02.3", RIGHT_ROWS),
        ("02.3", {"sigmoid": [3, 1, 3], "softmax": list(range(5)), "detached": []}),
        ("02.4", right_share),
        ("02.4", share_by_loop),
        ("02.4", lambda chosen, distance: torch.tensor(right_share(chosen, distance))),
        ("02.5", lambda hidden, width, experts_run: 6 * hidden * width * (experts_run + 1)),
    ],
)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize("exercise", ["02.1", "02.2", "02.3", "02.4", "02.5"])
def test_untouched_stubs(exercise):
    assert verdict(exercise, ...) == f"Exercise {exercise}: not tried yet."
    if exercise != "02.3":
        assert verdict(exercise, untried) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("02.1", lambda logits: logits.softmax(dim=1), "softmax over all experts"),
    ("02.1", lambda logits: logits.softmax(dim=1) * winners(logits), "softmax over all experts"),
    ("02.1", softmax_over_one, "has score 1"),
    ("02.1", lambda logits: logits.sigmoid(), "experts that lost have a score too"),
    ("02.1", lambda logits: (logits * winners(logits)).sigmoid(), "sigmoid(0) is 0.5"),
    ("02.1", top2_scores, "Two experts"),
    ("02.1", lambda logits: logits * winners(logits), "raw logit"),
    ("02.1", in_place_scores, "changes the logits"),
    ("02.1", ignoring_scores, "ignores its argument"),
    ("02.1", lambda logits: logits.amax(dim=1).sigmoid(), "shape [7]"),
    ("02.1", lambda logits: right_scores(logits).tolist(), "return a tensor"),
    ("02.1", lambda logits: right_scores(-logits), "differ from sigmoid"),
    ("02.1", lambda logits: right_scores(logits).abs() + 0.1, "More than one expert"),
    ("02.1", lambda logits: logits.nothing(), "raised AttributeError"),
    ("02.2", output_scaled, "still multiplies the expert's output"),
    ("02.2", as_ported, "still multiplies the expert's output"),
    ("02.2", as_ported, "shared expert is missing too"),
    ("02.2", scaled_twice, "input and its output"),
    ("02.2", unscaled, "score is not used"),
    ("02.2", gate_and_up_swapped, "swapped"),
    ("02.2", without_shared, "shared expert is missing"),
    ("02.2", shared_scaled, "shared expert is multiplied by the score"),
    ("02.2", only_shared, "ignores this argument"),
    ("02.2", in_place_block, "changes `tokens`"),
    ("02.2", lambda *arguments: right_block(*arguments).sum(), "shape []"),
    ("02.2", lambda *arguments: right_block(*arguments) + 1, "differs from"),
    ("02.3", RIGHT_ROWS | {"sigmoid": {0, 1, 2, 3, 4}}, "logits that lost do not enter"),
    ("02.3", RIGHT_ROWS | {"sigmoid": {0, 2, 4}}, "rows that lost"),
    ("02.3", RIGHT_ROWS | {"sigmoid": {3}}, "exactly the rows"),
    ("02.3", RIGHT_ROWS | {"softmax": {1, 3}}, "denominator"),
    ("02.3", RIGHT_ROWS | {"softmax": {1, 2}}, "gives every row"),
    ("02.3", RIGHT_ROWS | {"detached": {1, 3}}, "constant to autograd"),
    ("02.3", RIGHT_ROWS | {"softmax": {1, 2, 3, 4, 5}}, "not there"),
    ("02.3", RIGHT_ROWS | {"sigmoid": 3}, "set of row numbers"),
    ("02.3", {"sigmoid": {1, 3}}, "dictionary"),
    ("02.3", [1, 3], "dictionary"),
    ("02.4", lambda c, d: (c == c.roll(d, dims=1)).float().mean(), "`roll` joins"),
    ("02.4", lambda c, d: (c == c.roll(-d, dims=1)).float().mean(), "`roll` joins"),
    ("02.4", share_across_borders, "border of two texts"),
    ("02.4", lambda c, d: (c[:, d:] == c[:, :-d]).sum() / c.numel(), "divide by the number of pairs"),
    ("02.4", lambda c, d: 1 - right_share(c, d), "experts differ"),
    ("02.4", lambda c, d: (c[:, d:] == c[:, :-d]).sum().item(), "number of pairs; divide"),
    ("02.4", lambda c, d: 100 * right_share(c, d), "percentage"),
    ("02.4", lambda c, d: right_share(c, d + 1), "4 apart"),
    ("02.4", lambda c, d: right_share(c, d - 1), "2 apart"),
    ("02.4", lambda c, d: right_share(c, 1), "ignores `distance`"),
    ("02.4", share_up_to, "up to this distance"),
    ("02.4", lambda c, d: right_share(c.T, d), "different texts"),
    ("02.4", lambda c, d: ((c[:, d:] - c[:, :-d]).abs() <= 1).float().mean(), "are names"),
    ("02.4", lambda c, d: right_share(c[:1], d), "first text only"),
    ("02.4", lambda c, d: (c[:, d:] == c[:, :-d]).float().mean(dim=1), "one number"),
    ("02.4", lambda c, d: None, "one number"),
    ("02.4", in_place_share, "changes `chosen`"),
    ("02.4", lambda c, d: 0.5 * right_share(c, d), "equal pairs is"),
    ("02.4", lambda c, d: right_share(c, 3), "right for one input only"),
    ("02.5", lambda h, w, e: 6 * h * w * e, "shared expert is missing"),
    ("02.5", lambda h, w, e: 3 * h * w * (e + 1), "count as two"),
    ("02.5", lambda h, w, e: 4 * h * w * (e + 1), "three matrices"),
    ("02.5", lambda h, w, e: 2 * h * w * (e + 1), "not one"),
    ("02.5", lambda h, w, e: 6 * h * w * 2, "`experts_run`"),
    ("02.5", lambda h, w, e: 6 * h * h * (e + 1), "`width`"),
    ("02.5", lambda h, w, e: 6 * w * w * (e + 1), "`hidden`"),
    ("02.5", lambda h, w, e: 6 * h * w * (e + 2), "Count 2 operations"),
    ("02.5", lambda h, w, e: "many", "one number"),
]


@pytest.mark.parametrize(("exercise", "answer", "named"), WRONG)
def test_wrong_answers_are_named(exercise, answer, named):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet. ")
    assert named in found
