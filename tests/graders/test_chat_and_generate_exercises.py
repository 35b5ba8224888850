"""The graders of notebook 10: right answers pass, each plausible wrong one is told its mistake."""

import json

import pytest
import torch

from llama4lab.grading import verdict


def not_written(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", ["12.1", "12.2", "12.3"])
def test_stubs_are_not_tried(exercise):
    assert verdict(exercise, not_written) == f"Exercise {exercise}: not tried yet."


# ---- 12.1: top-k -------------------------------------------------------------------------------------------


def top_k(logits, k):
    return logits.masked_fill(logits < logits.topk(min(k, len(logits))).values[-1], -torch.inf)


def top_k_by_sorting(logits, k):
    smallest = logits.sort(descending=True).values[min(k, len(logits)) - 1]
    return torch.where(logits >= smallest, logits, torch.tensor(-torch.inf))


def by_places(logits, k):
    places = logits.topk(min(k, len(logits))).indices
    return torch.full_like(logits, -torch.inf).scatter(0, places, logits[places])


def in_place(logits, k):
    logits[logits < logits.topk(min(k, len(logits))).values[-1]] = -torch.inf
    return logits


@pytest.mark.parametrize("answer", [top_k, top_k_by_sorting])
def test_top_k_right(answer):
    assert verdict("12.1", answer) == "Exercise 12.1: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (in_place, "work on a copy"),
        (by_places, "Equals of the k-th"),
        (lambda logits, k: logits.clone(), "Nothing was removed"),
        (lambda logits, k: top_k(logits, k - 1), "keeps 2"),
        (lambda logits, k: -top_k(-logits, k), "other logits"),
        (lambda logits, k: top_k(logits, k).softmax(0).log(), "keep their values"),
        (lambda logits, k: logits.topk(k).values, "shape of the logits"),
        (
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[-1], -torch.inf),
            "Your code raised RuntimeError",
        ),
    ],
)
def test_top_k_wrong(answer, mistake):
    text = verdict("12.1", answer)
    assert "not yet" in text and mistake in text


# ---- 12.2: padding -----------------------------------------------------------------------------------------


def padding_share(lengths, size, order=sorted):
    ordered = order(lengths)
    batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    return 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)


def padding_share_by_counting(lengths, size):
    ordered, padding = sorted(lengths), 0
    for at in range(0, len(ordered), size):
        batch = ordered[at : at + size]
        padding += sum(max(batch) - length for length in batch)
    return padding / (padding + sum(lengths))


def sorts_in_place(lengths, size):
    lengths.sort()
    return padding_share(lengths, size)


def full_batches(lengths, size):
    ordered = sorted(lengths)
    columns = sum(size * max(ordered[at : at + size]) for at in range(0, len(ordered), size))
    return 1 - sum(lengths) / columns


@pytest.mark.parametrize("answer", [padding_share, padding_share_by_counting])
def test_padding_right(answer):
    assert verdict("12.2", answer) == "Exercise 12.2: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (lambda lengths, size: padding_share(lengths, size, list), "not sorted"),
        (lambda lengths, size: 1 - sum(lengths) / (len(lengths) * max(lengths)), "longest of all"),
        (lambda lengths, size: 1 - padding_share(lengths, size), "share of real tokens"),
        (lambda lengths, size: 100 * padding_share(lengths, size), "in percent"),
        (lambda lengths, size: 4, "number of columns"),
        (lambda lengths, size: 1 / 6, "divide by all columns"),
        (lambda lengths, size: 0.5, "4 of 28"),
        (lambda lengths, size: "1/7", "one number"),
        (sorts_in_place, "sort a copy"),
        (full_batches, "may be smaller"),
    ],
)
def test_padding_wrong(answer, mistake):
    text = verdict("12.2", answer)
    assert "not yet" in text and mistake in text


# ---- 12.3: running a call ----------------------------------------------------------------------------------


def parsed(text):
    call = json.loads(text.rpartition("<|python_end|>")[2].removesuffix("<|eot|>").removesuffix("<|eom|>"))
    return call["name"], call["parameters"]


def run_call(text, tools):
    if "<|python_end|>" not in text:
        return None
    name, parameters = parsed(text)
    content = str(tools[name](**parameters)) if name in tools else f"error: there is no {name}"
    return {"role": "tool", "content": content}


def run_call_with_try(text, tools):
    try:
        name, parameters = parsed(text)
    except (ValueError, TypeError):
        return None
    try:
        return {"content": str(tools[name](**parameters)), "role": "tool"}
    except KeyError:
        return {"content": "error: unknown tool", "role": "tool"}


def only_eot(text, tools):
    if "<|python_end|>" not in text:
        return None
    call = json.loads(text.rpartition("<|python_end|>")[2].removesuffix("<|eot|>"))
    return {"role": "tool", "content": str(tools[call["name"]](**call["parameters"]))}


def changed(**fields):
    return lambda text, tools: (message := run_call(text, tools)) and message | fields


def number_as_content(text, tools):
    message = run_call(text, tools)
    return message and message | {"content": int(message["content"])}


def raises_for_unknown(text, tools):
    if "<|python_end|>" not in text:
        return None
    name, parameters = parsed(text)
    return {"role": "tool", "content": str(tools[name](**parameters))}


def silent_for_unknown(text, tools):
    message = run_call(text, tools)
    return None if message and message["content"].startswith("error") else message


@pytest.mark.parametrize("answer", [run_call, run_call_with_try])
def test_run_call_right(answer):
    assert verdict("12.3", answer) == "Exercise 12.3: correct."


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (only_eot, "JSONDecodeError"),
        (changed(role="ipython"), "under the role 'tool'"),
        (changed(role="assistant"), "under the role 'tool'"),
        (changed(content="lamp"), "what the tool returned"),
        (number_as_content, "must be a string"),
        (raises_for_unknown, "KeyError"),
        (silent_for_unknown, "begins with 'error:'"),
        (lambda text, tools: "42", "Return a message"),
        (lambda text, tools: {"role": "tool", "content": "42"}, "was not run"),
        (lambda text, tools: run_call(text, tools) or {"role": "tool", "content": ""}, "gives None"),
    ],
)
def test_run_call_wrong(answer, mistake):
    text = verdict("12.3", answer)
    assert "not yet" in text and mistake in text
