"""The graders of notebook 17 against right answers and a catalog of plausible wrong ones."""

import math

import pytest
import torch

from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


# ---- 17.1: join ----


def right_join(pieces):
    gates, ups = zip(*(piece.chunk(2, dim=-1) for piece in pieces), strict=True)
    return torch.cat([*gates, *ups], dim=-1)


def stacked_join(pieces):
    stacked = torch.stack([torch.stack(piece.chunk(2, -1)) for piece in pieces], dim=1)  # [2, devices, E, H, w]
    return stacked.permute(2, 3, 0, 1, 4).flatten(2)


def interleaved(pieces):
    return torch.stack(right_join(pieces).chunk(2, dim=-1), dim=-1).flatten(-2)


# ---- 17.2: collect ----


def right_collect(chunks):
    text, reason = "", None
    for chunk in chunks:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
    return text, reason


def listed_collect(chunks):
    choices = [choice for chunk in chunks for choice in chunk.choices]
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    return ["".join(choice.delta.content or "" for choice in choices), reasons[-1] if reasons else None]


def adds_none(chunks):
    text = ""
    for chunk in chunks:
        text += chunk.choices[0].delta.content
    return text, "stop"


def writes_none(chunks):
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return "".join(str(choice.delta.content) for choice in choices), "stop"


def takes_first_choice(chunks):
    text, reason = "", None
    for chunk in chunks:
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
    return text, reason


def always_stop(chunks):
    return right_collect(chunks)[0], "stop"


def drops_the_last(chunks):
    text = ""
    for chunk in chunks:
        if chunk.choices:
            if chunk.choices[0].finish_reason:
                return text, chunk.choices[0].finish_reason
            text += chunk.choices[0].delta.content or ""
    return text, None


# ---- 17.3: context ----


def right_context(gpu_bytes, weight_bytes, kv_bytes, usable=0.9):
    return max(0, int((usable * gpu_bytes - weight_bytes) // kv_bytes))


def branching_context(gpu_bytes, weight_bytes, kv_bytes, usable=0.9):
    left = gpu_bytes * usable - weight_bytes
    return math.floor(left / kv_bytes) if left > 0 else 0


RIGHT = [
    ("17.1", right_join),
    ("17.1", stacked_join),
    ("17.2", right_collect),
    ("17.2", listed_collect),
    ("17.3", right_context),
    ("17.3", branching_context),
    ("17.4", 1_000_000),
    ("17.4", 1e6),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize(
    ("exercise", "answer"), [("17.1", untried), ("17.2", untried), ("17.3", untried), ("17.4", ...)]
)
def test_stubs_are_not_tried(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("17.1", lambda pieces: torch.cat(pieces, dim=-1), "side by side"),
    ("17.1", lambda pieces: torch.cat([*right_join(pieces).chunk(2, -1)][::-1], -1), "gate first"),
    ("17.1", lambda pieces: torch.cat(pieces, dim=0), "shape"),
    ("17.1", lambda pieces: sum(pieces), "shape"),
    ("17.1", interleaved, "wrong places"),
    ("17.1", lambda pieces: pieces, "one tensor"),
    ("17.2", adds_none, "None"),
    ("17.2", writes_none, "word None"),
    ("17.2", takes_first_choice, "may be empty"),
    ("17.2", always_stop, "'length'"),
    ("17.2", drops_the_last, "'Hello'"),
    ("17.2", lambda chunks: right_collect(chunks)[0], "two things"),
    ("17.3", lambda g, w, k, usable=0.9: int((usable * g - w) // k), "return 0"),
    ("17.3", lambda g, w, k, usable=0.9: max(0, (usable * g - w) / k), "fraction"),
    ("17.3", lambda g, w, k, usable=0.9: max(0, (usable * g - w) // k), "an int"),
    ("17.3", lambda g, w, k, usable=0.9: max(0, math.ceil((usable * g - w) / k)), "Round down"),
    ("17.3", lambda g, w, k, usable=0.9: max(0, int((g - w) // k)), "usable"),
    ("17.3", lambda g, w, k, usable=0.9: max(0, int(usable * (g - w) // k)), "before you subtract"),
    ("17.3", lambda g, w, k, usable=0.9: int(usable * g // k), "forgotten"),
    ("17.3", lambda g, w, k, usable=0.9: right_context(g, w, 2 * k, usable), "it should be"),
    ("17.3", lambda g, w, k, usable=0.9: "many", "one number"),
    ("17.4", 2_000_000, "8 GPUs"),
    ("17.4", 5_000_000, "global"),
    ("17.4", 0, "two"),
    ("17.4", 3_000_000, "0.9"),
    ("17.4", 4_000_000, "8 GPUs"),
    ("17.4", 1, "not millions"),
    ("17.4", 1_500_000, "divide"),
    ("17.4", "1M", "one number"),
]


@pytest.mark.parametrize(("exercise", "answer", "named"), WRONG)
def test_wrong_answers_are_named(exercise, answer, named):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet. ")
    assert named in found
