"""Graders of notebook 10: top-k, padding in sorted batches, running a tool call."""

import math
from collections.abc import Callable

import torch

from llama4lab.grading import grader


@grader(1)
def grade_top_k(answer: Callable) -> str | None:
    """apply_top_k(logits, k) -> logits `[vocab]` with everything below the k-th largest at -inf."""
    logits = torch.tensor([0.5, 3.0, -1.0, 2.0, 2.5])
    given = logits.clone()
    found = answer(given, 3)
    if not isinstance(found, torch.Tensor) or found.shape != logits.shape:
        return "Return a tensor of the shape of the logits."
    if not torch.equal(given, logits):
        return "The logits that were given have changed; work on a copy."
    kept = torch.isfinite(found)
    if bool(kept.all()):
        return "Nothing was removed."
    if int(kept.sum()) != 3:
        return f"For k = 3 it keeps {int(kept.sum())} logits."
    if not torch.equal(kept, logits >= 2.0):
        return "It keeps other logits than the largest."
    if not torch.equal(found[kept], logits[kept]):
        return "The logits that stay must keep their values."
    if not torch.equal(answer(torch.tensor([2.0, 1.0, 2.0, 0.0]), 1) == 2.0, torch.tensor([True, False, True, False])):
        return "Equals of the k-th largest stay too: for [2, 1, 2, 0] and k = 1 both 2 stay."
    if not torch.equal(answer(logits.clone(), 9), logits):
        return "With k larger than the vocabulary nothing is removed."
    return None


@grader(2)
def grade_padding_share(answer: Callable) -> str | None:
    """padding_share(lengths, size) -> share of columns that are padding in sorted batches."""
    given = [10, 2, 8, 4]
    found = answer(given, 2)
    if given != [10, 2, 8, 4]:
        return "The list that was given has changed; sort a copy."
    if not isinstance(found, int | float):
        return "Return one number."
    for value, mistake in (
        (1 - 24 / 36, "The prompts were not sorted first."),
        (1 - 24 / 40, "All prompts were padded to the longest of all, not of their batch."),
        (24 / 28, "That is the share of real tokens; asked is that of padding."),
        (4 / 24, "That is padding for each real token; divide by all columns."),
        (4, "That is the number of columns of padding, not their share."),
        (100 * 4 / 28, "That is in percent; return a share between 0 and 1."),
    ):
        if math.isclose(found, value, rel_tol=1e-6):
            return mistake
    if not math.isclose(found, 4 / 28, rel_tol=1e-6):
        return f"For lengths 10, 2, 8, 4 in batches of 2 it gives {found:.3g}; 4 of 28 columns are padding."
    if not math.isclose(answer([1, 2, 9], 2), 1 / 13, rel_tol=1e-6):
        return "The last batch may be smaller: lengths 1, 2, 9 in batches of 2 have 13 columns, 1 of them padding."
    return None


CALL = '<|python_start|><|python_end|>{"name": "add", "parameters": {"a": 2, "b": 40}}'


@grader(3)
def grade_run_call(answer: Callable) -> str | None:
    """run_call(text, tools) -> the tool message, or None where the text holds no call."""
    used = []

    def add(a: int, b: int) -> int:
        used.append((a, b))
        return a + b

    for end in ("<|eot|>", "<|eom|>", ""):
        found = answer(CALL + end, {"add": add, "other": lambda **_: "wrong tool"})
        if not isinstance(found, dict):
            return "Return a message, a dictionary with role and content."
        if not used:
            return "The tool that the call names was not run."
        if found.get("role") != "tool":
            return f"The role is {found.get('role')!r}; a result comes back under the role 'tool'."
        if not isinstance(found.get("content"), str):
            return "The content must be a string; the tool returned a number."
        if found["content"] != "42":
            return f"The content is {found['content']!r}; it should be what the tool returned, '42'."
    if answer("42.<|eot|>", {"add": add}) is not None:
        return "A text without a call gives None."
    try:
        refused = answer(CALL + "<|eot|>", {"other": add})
    except KeyError:
        return "An unknown tool raised KeyError; tell the model with a message that begins with 'error:'."
    if not isinstance(refused, dict) or not str(refused.get("content")).startswith("error:"):
        return "For an unknown tool return a tool message whose content begins with 'error:'."
    return None
