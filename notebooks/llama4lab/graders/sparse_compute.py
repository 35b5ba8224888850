"""Graders of notebook 05: dispatch, touched experts, memory-bound batches, placement."""

import json
import math
from collections.abc import Callable

import numpy as np
import torch

from llama4lab.assets import ASSETS
from llama4lab.grading import grader


class CountingExpert:
    """An expert that multiplies its rows by `factor` and remembers how it was called."""

    def __init__(self, factor: float):
        self.factor = factor
        self.calls: list[int] = []

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(rows))
        return rows * self.factor


@grader(1)
def grade_dispatch(answer: Callable) -> str | None:
    """run_own_experts(tokens, chosen, experts) -> `[tokens, hidden]`, each row by the expert that it chose."""

    def run(chosen: list[int], number: int) -> tuple[object, torch.Tensor, list[CountingExpert], list[torch.Tensor]]:
        experts = [CountingExpert(expert + 2.0) for expert in range(number)]
        tokens = torch.arange(1.0, 3 * len(chosen) + 1).view(-1, 3)
        given = torch.tensor(chosen)
        found = answer(tokens.clone(), given.clone(), experts)
        return found, tokens, experts, [given]

    chosen = [4, 0, 2, 4, 0, 4, 2]  # experts 1 and 3 stay idle; the order is no inverse of itself
    found, tokens, experts, (given,) = run(chosen, 5)
    if not isinstance(found, torch.Tensor):
        return f"It returned {type(found).__name__}; return a tensor."
    if found.shape != tokens.shape:
        return f"The result has shape {list(found.shape)}; it should have {list(tokens.shape)}."
    order = given.argsort(stable=True)
    expected = tokens * (given + 2.0)[:, None]
    if not torch.allclose(found, expected):
        if torch.allclose(found, expected[order]):
            return "The rows are still sorted by expert; put them back in the order of the text."
        if torch.allclose(found, expected[order][order]):
            return "The rows come back by `order` itself; the way back is its inverse, `order.argsort()`."
        if torch.allclose(found, tokens):
            return "No expert was applied; the rows are those that were given."
        if torch.allclose(found, tokens * sum(expert.factor for expert in experts)):
            return "Each row is the sum over all experts; a row goes through the expert that it chose, alone."
        if torch.allclose(found, tokens[order] * (given + 2.0)[:, None]):
            return "The rows were sorted and the experts not, so rows meet the wrong expert; sort both alike."
        return "Some row was not handled by the expert that it chose, or is not in its place."
    for number, expert in enumerate(experts):
        if 0 in expert.calls:
            return f"Expert {number} was called with no rows; leave out an expert that no token chose."
        if sum(expert.calls) > int((given == number).sum()):
            return f"Expert {number} ran on {sum(expert.calls)} rows, more than chose it: right result, wasted work."
        if len(expert.calls) > 1:
            return f"Expert {number} was called {len(expert.calls)} times; give it all its rows in one call."
    # Another input: one token; and an idle last expert, which a bincount without minlength forgets.
    for chosen, number in (([1], 3), ([1, 0, 1, 0, 0], 4), ([2, 2, 2], 3)):
        found, tokens, _, (given,) = run(chosen, number)
        if not isinstance(found, torch.Tensor) or found.shape != tokens.shape:
            return f"For the choices {chosen} among {number} experts the result has the wrong shape."
        if not torch.allclose(found, tokens * (given + 2.0)[:, None]):
            return f"It is wrong for the choices {chosen} among {number} experts."
    return None


@grader(2)
def grade_tokens_to_touch(answer: Callable) -> str | None:
    """tokens_to_touch(experts, share) -> smallest batch whose expected number of touched experts is at least that."""

    def exact(experts: int, share: float) -> float:
        return math.log(1 - share) / math.log(1 - 1 / experts)

    cases = [(16, 0.99), (128, 0.99), (16, 0.5), (64, 0.9), (10, 0.05)]
    found = [answer(*case) for case in cases]
    if not all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in found):
        return "Return one whole number."
    found = [float(value) for value in found]
    expected = [float(math.ceil(exact(*case))) for case in cases]
    if found == expected:
        return None
    mistakes = {
        "This is not a whole number; a batch cannot hold part of a token, so round up.": exact,
        "It is one token short: `share` must be reached, so round up, not down.": lambda e, s: math.floor(exact(e, s)),
        "Rounding to the nearest number can fall short of `share`; round up.": lambda e, s: round(exact(e, s)),
        "It is one token more than needed.": lambda e, s: math.ceil(exact(e, s)) + 1,
        "This counts as if no two tokens chose the same expert; some do, so it takes more.": lambda e, s: math.ceil(
            e * s
        ),
        "This is the number of touched experts, not of tokens.": lambda e, s: e * s,
        "Use 1 − share under the logarithm: what counts is the share of experts that are still missed.": lambda e, s: (
            math.ceil(math.log(s) / math.log(1 - 1 / e))
        ),
        "This is the mean wait until every expert was touched (the coupon collector), whatever the share.": lambda e, s: (
            math.ceil(e * sum(1 / n for n in range(1, e + 1)))
        ),
    }
    for sentence, formula in mistakes.items():
        if all(math.isclose(value, formula(*case), rel_tol=1e-9) for value, case in zip(found, cases, strict=True)):
            return sentence
    if found[0] == found[1] and found[0] == expected[0]:
        return "It gives the same for 16 and for 128 experts: it ignores `experts`."
    if found[0] == found[2]:
        return "It gives the same for the shares 0.99 and 0.5: it ignores `share`."
    wrong = next(i for i, value in enumerate(found) if value != expected[i])
    experts, share = cases[wrong]
    return (
        f"For {experts} experts and a share of {share} it gives {found[wrong]:g}; "
        f"{expected[wrong]:g} tokens touch {experts * (1 - (1 - 1 / experts) ** expected[wrong]):.2f} experts on average."
    )


@grader(3)
def grade_tokens_to_fill(answer: Callable) -> str | None:
    """tokens_to_fill(experts, flops_per_second, bytes_per_second, bytes_per_weight) -> tokens in the batch."""

    def exact(experts, flops, speed, width):
        return experts * flops / speed * width / 2

    cases = [(16, 989e12, 3.35e12, 2), (128, 989e12, 3.35e12, 1), (1, 60e9, 20e9, 4)]
    found = [answer(*case) for case in cases]
    if not all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in found):
        return "Return one number."

    def is_it(formula: Callable) -> bool:
        return all(math.isclose(value, formula(*case), rel_tol=1e-6) for value, case in zip(found, cases, strict=True))

    if is_it(exact):
        return None
    mistakes = {
        "These are the rows of one expert; the batch must have as many for each of the experts.": lambda e, f, b, w: (
            f / b * w / 2
        ),
        "A row makes two operations of each weight, a multiplication and an addition: divide by 2.": lambda e, f, b, w: (
            e * f / b * w
        ),
        "The size of a weight is missing: two bytes a weight take twice as long to come as one.": lambda e, f, b, w: (
            e * f / b / 2
        ),
        "This takes every weight to be one byte and one operation; use `bytes_per_weight`, and 2 operations.": (
            lambda e, f, b, w: e * f / b
        ),
        "The balance is upside down: operations a second divided by bytes a second.": lambda e, f, b, w: (
            e * b / f * w / 2
        ),
        "Larger weights need more rows, not fewer: multiply by `bytes_per_weight`.": lambda e, f, b, w: (
            e * f / b / w / 2
        ),
        "Divide by 2, do not multiply: intensity is 2 rows / bytes_per_weight.": lambda e, f, b, w: e * f / b * w * 2,
        "More experts need a larger batch, not a smaller one: multiply by `experts`.": lambda e, f, b, w: (
            f / b * w / 2 / e
        ),
    }
    for sentence, formula in mistakes.items():
        if is_it(formula):
            return sentence
    if is_it(lambda *case: round(exact(*case))) or is_it(lambda *case: math.ceil(exact(*case))):
        return "Do not round; the exercise asks for the plain number."
    for place, name in enumerate(("experts", "flops_per_second", "bytes_per_second", "bytes_per_weight")):
        changed = list(cases[0])
        changed[place] *= 2
        if answer(*changed) == found[0]:
            return f"The result does not depend on `{name}`: it ignores this argument."
    return "Set 2 · rows / bytes_per_weight equal to the balance, solve for rows, and multiply by the experts."


def busiest(load: np.ndarray, device_of_expert: np.ndarray, devices: int) -> float:
    total = np.bincount(device_of_expert, weights=load, minlength=devices)
    return total.max() / total.mean()


def greedy_placement(load: np.ndarray, devices: int) -> np.ndarray:
    """Busiest expert first, each to the device with the least load that has room."""
    room, total = np.full(devices, len(load) // devices), np.zeros(devices)
    placed = np.zeros(len(load), dtype=int)
    for expert in np.argsort(-load, kind="stable"):
        device = np.where(room > 0, total, np.inf).argmin()
        placed[expert] = device
        room[device] -= 1
        total[device] += load[expert]
    return placed


def dealt_forth_and_back(load: np.ndarray, devices: int) -> np.ndarray:
    """Experts in order of load, dealt out as 0 1 2 ... 2 1 0 0 1 2 ..."""
    turn = np.concatenate([np.arange(devices), np.arange(devices)[::-1]])
    placed = np.empty(len(load), dtype=int)
    placed[np.argsort(-load, kind="stable")] = np.resize(turn, len(load))
    return placed


def example_loads() -> list[tuple[np.ndarray, int]]:
    """Loads and numbers of devices: OLMoE's equal mix, and random ones with some experts several times as busy."""
    counts = json.loads((ASSETS / "measurements" / "olmoe_loads.json").read_text(encoding="utf-8"))["counts"]
    loads = [(np.mean([np.array(layers["15"]) / sum(layers["15"]) for layers in counts.values()], axis=0), 8)]
    rng = np.random.default_rng(5)
    for experts, devices in ((16, 4), (128, 8)):
        load = np.exp(rng.normal(0, 0.6, experts))
        loads.append((load / load.sum(), devices))
    return loads


@grader(4)
def grade_placement(answer: Callable) -> str | None:
    """place_experts(load, devices) -> the device of each expert, integers `[experts]`."""
    for load, devices in example_loads():
        experts = len(load)
        given = load.copy()
        found = answer(given, devices)
        if not np.array_equal(given, load):
            return "It changes the loads that it was given; work on a copy."
        try:
            placed = np.asarray(found)
        except ValueError:
            return "Return one device for each expert, not a list of experts for each device."
        if placed.shape == (devices, experts // devices):
            return "Return the device of each expert, `[experts]`, not the experts of each device."
        if placed.shape != (experts,):
            return (
                f"The result has shape {list(placed.shape)}; it should have one device for each of {experts} experts."
            )
        if placed.dtype.kind not in "iu":
            return "Devices are numbers: return integers."
        if placed.min() < 0 or placed.max() >= devices:
            return f"It names device {placed.max() if placed.max() >= devices else placed.min()}; there are 0 to {devices - 1}."
        held = np.bincount(placed, minlength=devices)
        if held.max() != held.min():
            return (
                f"One device holds {held.max()} experts and one {held.min()}; "
                "memory is equal, so each must hold equally many."
            )
        if np.array_equal(placed, np.arange(experts) // (experts // devices)):
            return "This is the contiguous placement, which does not look at the load."
        order = np.argsort(-load, kind="stable")
        turns = np.empty(experts, dtype=int)
        turns[order] = np.arange(experts) % devices
        blocks = np.empty(experts, dtype=int)
        blocks[order] = np.arange(experts) // (experts // devices)
        upward = np.empty(experts, dtype=int)
        upward[order[::-1]] = np.arange(experts) % devices
        if np.array_equal(placed, blocks):
            return "The busiest experts are all on one device: that is the worst placement; spread them."
        if np.array_equal(placed, turns) or np.array_equal(placed, upward):
            return (
                "Dealing the sorted experts out as 0 1 2 … 0 1 2 … always favors the same end: "
                "device 0 gets the busiest of every round. Go forth and back, or look at the loads so far."
            )
        if np.array_equal(placed, np.arange(experts) % devices):
            return "It deals the experts out by number and does not look at the load."
        if np.array_equal(placed, dealt_forth_and_back(load, devices)):
            return (
                "Forth and back is fair to the ends, but does not look at the loads so far; one busy expert spoils it."
            )
        factor, reference = busiest(load, placed, devices), busiest(load, greedy_placement(load, devices), devices)
        if factor > 1.01 * reference:
            return (
                f"The straggler factor is {factor:.3f} where placing greedily gives {reference:.3f}; "
                "spread the busy experts."
            )
    return None
