"""The graders of notebook 06 against right answers and a catalog of plausible wrong ones."""

import math

import numpy as np
import pytest
import torch

from llama4lab.graders.sparse_compute import dealt_forth_and_back, greedy_placement
from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


# ---- 06.1: dispatch ----


def right_dispatch(tokens, chosen, experts):
    order = chosen.argsort(stable=True)
    slices = tokens[order].split(chosen.bincount(minlength=len(experts)).tolist())
    return torch.cat([e(rows) for e, rows in zip(experts, slices, strict=True) if len(rows)])[order.argsort()]


def masked_dispatch(tokens, chosen, experts):
    output = torch.empty_like(tokens)
    for number in chosen.unique().tolist():
        output[chosen == number] = experts[number](tokens[chosen == number])
    return output


def scattered_dispatch(tokens, chosen, experts):
    order = chosen.argsort()
    output, start = torch.empty_like(tokens), 0
    for expert, count in zip(experts, chosen.bincount(minlength=len(experts)).tolist(), strict=True):
        if count:
            mine = order[start : start + count]
            output[mine] = expert(tokens[mine])
        start += count
    return output


def left_sorted(tokens, chosen, experts):
    return right_dispatch(tokens, chosen, experts)[chosen.argsort(stable=True)]


def back_by_order(tokens, chosen, experts):
    order = chosen.argsort(stable=True)
    return left_sorted(tokens, chosen, experts)[order]


def calls_idle(tokens, chosen, experts):
    order = chosen.argsort(stable=True)
    slices = tokens[order].split(chosen.bincount(minlength=len(experts)).tolist())
    return torch.cat([e(rows) for e, rows in zip(experts, slices, strict=True)])[order.argsort()]


def token_by_token(tokens, chosen, experts):
    return torch.cat([experts[e](row[None]) for e, row in zip(chosen.tolist(), tokens, strict=True)])


def every_expert_on_all(tokens, chosen, experts):
    return torch.stack([expert(tokens) for expert in experts])[chosen, torch.arange(len(tokens))]


def sum_of_all(tokens, chosen, experts):
    return sum(expert(tokens) for expert in experts)


def unsorted_experts(tokens, chosen, experts):
    order = chosen.argsort(stable=True)
    return torch.stack([experts[e](row[None])[0] for e, row in zip(chosen.tolist(), tokens[order], strict=True)])


def idle_last_forgotten(tokens, chosen, experts):
    order = chosen.argsort(stable=True)
    counts = chosen.bincount().tolist()  # without minlength: shorter than the list of experts
    slices = tokens[order].split(counts)
    return torch.cat([e(rows) for e, rows in zip(experts, slices, strict=True) if len(rows)])[order.argsort()]


def last_expert_dropped(tokens, chosen, experts):
    output = tokens.clone()
    for number in range(min(len(experts), 5)):
        if number in chosen and not (len(experts) == 3 and number == 2):
            output[chosen == number] = experts[number](tokens[chosen == number])
    return output


# ---- 06.2: tokens to touch ----


def exact(experts, share):
    return math.log(1 - share) / math.log(1 - 1 / experts)


def right_touch(experts, share):
    return math.ceil(exact(experts, share))


def counted_touch(experts, share):
    tokens = 0
    while experts * (1 - (1 - 1 / experts) ** tokens) < share * experts:
        tokens += 1
    return tokens


# ---- 06.3: tokens to fill ----


def right_fill(experts, flops, speed, width):
    return experts * (flops / speed) * width / 2


# ---- 06.4: placement ----


def by_turns(load, devices):
    placed = np.empty(len(load), dtype=int)
    placed[np.argsort(-load, kind="stable")] = np.arange(len(load)) % devices
    return placed


def by_turns_upward(load, devices):
    placed = np.empty(len(load), dtype=int)
    placed[np.argsort(-load, kind="stable")[::-1]] = np.arange(len(load)) % devices
    return placed


def busiest_together(load, devices):
    placed = np.empty(len(load), dtype=int)
    placed[np.argsort(-load, kind="stable")] = np.arange(len(load)) // (len(load) // devices)
    return placed


def contiguous(load, devices):
    return np.arange(len(load)) // (len(load) // devices)


def greedy_without_room(load, devices):
    total, placed = np.zeros(devices), np.zeros(len(load), dtype=int)
    for expert in np.argsort(-load):
        placed[expert] = total.argmin()
        total[placed[expert]] += load[expert]
    return placed


def greedy_by_number(load, devices):
    room, total, placed = np.full(devices, len(load) // devices), np.zeros(devices), np.zeros(len(load), dtype=int)
    for expert in range(len(load)):
        placed[expert] = np.where(room > 0, total, np.inf).argmin()
        room[placed[expert]] -= 1
        total[placed[expert]] += load[expert]
    return placed


def experts_of_each_device(load, devices):
    placed = greedy_placement(load, devices)
    return [np.flatnonzero(placed == device).tolist() for device in range(devices)]


def normalizing_in_place(load, devices):
    load *= 2
    return greedy_placement(load, devices)


RIGHT = [
    ("06.1", right_dispatch),
    ("06.1", masked_dispatch),
    ("06.1", scattered_dispatch),
    ("06.2", right_touch),
    ("06.2", counted_touch),
    ("06.3", right_fill),
    ("06.3", lambda e, f, b, w: e * w * f / (2 * b)),
    ("06.4", greedy_placement),
    ("06.4", lambda load, devices: greedy_placement(load, devices).tolist()),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize("exercise", ["06.1", "06.2", "06.3", "06.4"])
def test_stubs_are_not_tried(exercise):
    assert verdict(exercise, untried) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("06.1", left_sorted, "still sorted by expert"),
    ("06.1", back_by_order, "its inverse"),
    ("06.1", calls_idle, "called with no rows"),
    ("06.1", token_by_token, "in one call"),
    ("06.1", every_expert_on_all, "wasted work"),
    ("06.1", sum_of_all, "sum over all experts"),
    ("06.1", unsorted_experts, "meet the wrong expert"),
    ("06.1", idle_last_forgotten, "ValueError"),
    ("06.1", last_expert_dropped, "wrong for the choices [2, 2, 2]"),
    ("06.1", lambda tokens, chosen, experts: tokens, "No expert was applied"),
    ("06.1", lambda tokens, chosen, experts: experts[0](tokens), "not handled by the expert"),
    ("06.1", lambda tokens, chosen, experts: tokens.tolist(), "return a tensor"),
    ("06.1", lambda tokens, chosen, experts: tokens[:3], "shape [3, 3]"),
    ("06.2", exact, "not a whole number"),
    ("06.2", lambda e, s: math.floor(exact(e, s)), "round up, not down"),
    ("06.2", lambda e, s: round(exact(e, s)), "Rounding to the nearest"),
    ("06.2", lambda e, s: right_touch(e, s) + 1, "one token more"),
    ("06.2", lambda e, s: math.ceil(e * s), "no two tokens chose the same"),
    ("06.2", lambda e, s: math.ceil(math.log(s) / math.log(1 - 1 / e)), "Use 1 − share"),
    ("06.2", lambda e, s: math.ceil(e * sum(1 / n for n in range(1, e + 1))), "coupon collector"),
    ("06.2", lambda e, s: right_touch(16, s), "ignores `experts`"),
    ("06.2", lambda e, s: right_touch(e, 0.99), "ignores `share`"),
    ("06.2", lambda e, s: 2 * right_touch(e, s), "72 tokens touch"),
    ("06.2", lambda e, s: [72], "one whole number"),
    ("06.3", lambda e, f, b, w: f / b * w / 2, "rows of one expert"),
    ("06.3", lambda e, f, b, w: e * f / b * w, "two operations"),
    ("06.3", lambda e, f, b, w: e * f / b / 2, "size of a weight is missing"),
    ("06.3", lambda e, f, b, w: e * f / b, "one byte and one operation"),
    ("06.3", lambda e, f, b, w: e * b / f * w / 2, "upside down"),
    ("06.3", lambda e, f, b, w: e * f / b / w / 2, "more rows, not fewer"),
    ("06.3", lambda e, f, b, w: e * f / b * w * 2, "do not multiply"),
    ("06.3", lambda e, f, b, w: f / b * w / 2 / e, "larger batch, not a smaller"),
    ("06.3", lambda e, f, b, w: math.ceil(right_fill(e, f, b, w)), "Do not round"),
    ("06.3", lambda e, f, b, w: right_fill(e, f, 3.35e12, w), "ignores this argument"),
    ("06.3", lambda e, f, b, w: right_fill(e, f, b, w) * 3, "solve for rows"),
    ("06.3", lambda e, f, b, w: "many", "one number"),
    ("06.4", contiguous, "contiguous placement"),
    ("06.4", by_turns, "favors the same end"),
    ("06.4", by_turns_upward, "favors the same end"),
    ("06.4", dealt_forth_and_back, "Forth and back"),
    ("06.4", busiest_together, "worst placement"),
    ("06.4", lambda load, devices: np.arange(len(load)) % devices, "by number"),
    ("06.4", greedy_without_room, "equally many"),
    ("06.4", greedy_by_number, "straggler factor is"),
    ("06.4", experts_of_each_device, "not the experts of each device"),
    ("06.4", lambda load, devices: greedy_placement(load, devices) + 1, "names device 8"),
    ("06.4", lambda load, devices: greedy_placement(load, devices) / 1, "return integers"),
    ("06.4", lambda load, devices: greedy_placement(load, devices)[:-1], "shape [63]"),
    ("06.4", normalizing_in_place, "changes the loads"),
]


@pytest.mark.parametrize(("exercise", "answer", "named"), WRONG)
def test_wrong_answers_are_named(exercise, answer, named):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet. ")
    assert named in found
