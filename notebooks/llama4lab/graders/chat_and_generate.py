"""Graders of notebook 12: top-k, padding in sorted batches, running a tool call, a draft by lookup."""

import json
from functools import partial

import torch

from llama4lab.grading import Exercise, Sign

EXERCISES = {}

# ---- 1: logits `[vocab]` with everything below the k-th largest at -inf ----


def apply_top_k(logits, k):
    return logits.masked_fill(logits < logits.topk(min(k, len(logits))).values[-1], -torch.inf)


def by_places(logits, k):
    values, places = logits.topk(min(k, len(logits)))
    return torch.full_like(logits, -torch.inf).scatter(0, places, values)


def kept(logits):
    return [logit > -torch.inf for logit in logits]


EXERCISES[1] = Exercise(
    right=apply_top_k,
    cases=[
        (torch.tensor([0.5, 3.0, -1.0, 2.0, 2.5]), 3),
        (torch.tensor([2.0, 1.0, 2.0, 0.0]), 1),
        (torch.tensor([0.5, 3.0, -1.0, 2.0, 2.5]), 9),
    ],
    mistakes={
        "Nothing was removed.": lambda logits, k: logits.clone(),
        "It keeps one logit too few.": lambda logits, k: apply_top_k(logits, max(1, k - 1)),
        "It keeps the smallest logits; keep the largest.": lambda logits, k: -apply_top_k(-logits, k),
        "Equals of the k-th largest stay too: for [2, 1, 2, 0] and k = 1 both 2 stay.": by_places,
        "Return all logits, those that are removed as -inf.": lambda logits, k: logits.topk(min(k, len(logits))).values,
        "With k larger than the vocabulary nothing is removed.": [
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[-1], -torch.inf),
            lambda logits, k: torch.full_like(logits, -torch.inf).scatter(
                0, logits.topk(k).indices, logits.topk(k).values
            ),
        ],
        "It keeps other logits than the largest.": Sign(
            lambda result, right, _: kept(result) != kept(right), lambda logits, k: apply_top_k(logits.roll(1), k)
        ),
        "The logits that stay must keep their values.": Sign(
            lambda result, right, _: kept(result) == kept(right),
            lambda logits, k: apply_top_k(logits, k).softmax(dim=0).log(),
        ),
    },
)

# ---- 2: the share of columns that are padding in sorted batches ----


def columns(lengths, size, order=sorted, of_batch=len):
    ordered = order(lengths)
    batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    return sum(of_batch(batch) * max(batch) for batch in batches)


def padding_share(lengths, size, **mistake):
    return 1 - sum(lengths) / columns(lengths, size, **mistake)


EXERCISES[2] = Exercise(
    right=padding_share,
    cases=[([10, 2, 8, 4], 2), ([1, 2, 9], 2), ([1, 2, 9], 3)],
    mistakes={
        "The prompts were not sorted first.": partial(padding_share, order=list),
        "All prompts were padded to the longest of all, not of their batch.": (
            lambda lengths, size: 1 - sum(lengths) / (len(lengths) * max(lengths))
        ),
        "That is the share of real tokens; asked is that of padding.": (
            lambda lengths, size: sum(lengths) / columns(lengths, size)
        ),
        "That is padding for each real token; divide by all columns.": (
            lambda lengths, size: columns(lengths, size) / sum(lengths) - 1
        ),
        "That is the number of columns of padding, not their share.": (
            lambda lengths, size: columns(lengths, size) - sum(lengths)
        ),
        "That is in percent; return a share between 0 and 1.": lambda lengths, size: 100 * padding_share(lengths, size),
        "The last batch may be smaller: it has no columns for prompts that are not there.": (
            lambda lengths, size: padding_share(lengths, size, of_batch=lambda batch: size)
        ),
    },
    otherwise="For lengths 10, 2, 8, 4 in batches of 2, 4 of 28 positions are padding.",
)

# ---- 3: the tool message, or None where the text holds no call ----


CALLS = []


def raised(error):
    return {"role": "tool", "content": f"raised {error.__name__}"}


def add(a, b):
    CALLS.append([a, b])
    return a + b


def message_and_calls(function, text, tools):
    """The message, cut after `error:`, and the arguments with which `add` was called.

    The name of an error that belongs to a mistake takes the place of the message, so that two of them do not hide each
    other; any other error is raised.
    """
    CALLS.clear()
    try:
        message = function(text, tools)
    except NotImplementedError:
        raise
    except Exception as error:
        no_call_to_read = text == NOT_JSON or "<|python_end|>" not in text
        is_unknown = "add" not in tools and isinstance(error, KeyError)
        if not no_call_to_read and not is_unknown and not isinstance(error, json.JSONDecodeError | SyntaxError):
            raise
        message = raised(type(error))
    if isinstance(message, dict) and str(message.get("content")).startswith("error:"):
        message = message | {"content": "error:"}
    return None if text == NOT_JSON else message, list(CALLS)


def run_call(text, tools, read=json.loads, ends=("<|eot|>", "<|eom|>"), role="tool", content=str):
    if "<|python_end|>" not in text:
        return None
    for end in ends:
        text = text.removesuffix(end)
    call = read(text.rpartition("<|python_end|>")[2])
    if call["name"] not in tools:
        return {"role": role, "content": f"error: there is no {call['name']}"}
    return {"role": role, "content": content(tools[call["name"]](**call["parameters"]))}


def without_errors(text, tools):
    message = run_call(text, tools)
    return None if message and message["content"].startswith("error:") else message


def raising(text, tools, **mistake):
    message = run_call(text, tools, **mistake)
    return message if message is None or not str(message["content"]).startswith("error:") else tools["no such tool"]


CALL = '<|python_start|><|python_end|>{"name": "add", "parameters": {"a": 2, "b": 40}}'
NOT_JSON = CALL.replace("40", "20 + 20")  # whoever runs the tool with 40 has evaluated the text
NOT_READ = raised(json.JSONDecodeError), raised(SyntaxError)

EXERCISES[3] = Exercise(
    right=run_call,
    run=message_and_calls,
    cases=[
        (CALL + "<|eot|>", {"add": add, "other": len}),
        (CALL + "<|eom|>", {"add": add, "other": len}),
        (CALL, {"add": add, "other": len}),
        ("42.<|eot|>", {"add": add}),
        (CALL + "<|eot|>", {"other": len}),
        (NOT_JSON, {"add": add}),
    ],
    returns="a message, a dictionary with role and content, or None",
    mistakes={
        "A call may end in <|eom|> or in nothing, as well as in <|eot|>.": partial(run_call, ends=("<|eot|>",)),
        "The content must be a string; the tool returned a number.": partial(run_call, content=lambda value: value),
        "The content should be what the tool returned.": partial(run_call, content=lambda value: "lamp"),
        "An unknown tool raised KeyError; tell the model with a message that begins with 'error:'.": Sign(
            lambda result, right, arguments: "add" not in arguments[1] and result[0] == raised(KeyError),
            [
                raising,
                partial(raising, content=lambda value: value),
                partial(raising, ends=("<|eot|>",)),
                partial(raising, role="ipython"),
                partial(raising, read=eval),
                lambda text, tools: raising(text, tools) or dict(None),
            ],
        ),
        "For an unknown tool return a tool message whose content begins with 'error:'.": without_errors,
        "JSON is only what is between <|python_end|> and the mark at the end; cut both off, or use read_call.": Sign(
            lambda result, right, arguments: right[1] and result[0] in NOT_READ,
            [
                partial(run_call, ends=()),
                partial(run_call, ends=(), content=lambda value: value),
                partial(run_call, ends=(), read=eval),
                lambda text, tools: run_call(text, tools) and json.loads(text),
                lambda text, tools: json.loads(text + "<|eot|>"),
            ],
        ),
        "It evaluates the text of the model, which may then run any code: read it with json.loads.": Sign(
            lambda result, right, _: [2, 40] in result[1] and [2, 40] not in right[1], partial(run_call, read=eval)
        ),
        "A result comes back under the role 'tool'.": Sign(
            lambda result, right, _: isinstance(result[0], dict) and result[0].get("role") != "tool",
            [partial(run_call, role="ipython"), partial(run_call, role="assistant")],
        ),
        "The tool that the call names was not run.": Sign(
            lambda result, right, _: len(right[1]) > len(result[1]),
            lambda text, tools: {"role": "tool", "content": "42"},
        ),
        "A text without a call gives None.": Sign(
            lambda result, right, _: right[0] is None and result[0] is not None,
            [
                lambda text, tools: run_call(text, tools) or {"role": "tool", "content": ""},
                lambda text, tools: run_call(text, tools) or run_call("<|python_end|>" + text, tools),
                lambda text, tools: run_call(text, tools) or dict(None),
                lambda text, tools: run_call(text, tools) or [][1],
                lambda text, tools: run_call(text, tools, content=lambda value: value) or dict(None),
            ],
        ),
        "Return a message, a dictionary with role and content.": Sign(
            lambda result, right, _: not isinstance(result[0], dict),
            lambda text, tools: (run_call(text, tools) or {}).get("content"),
        ),
    },
)

# ---- 4: what followed the longest ending of 3, 2 or 1 tokens where it occurred last before ----


def lookup_draft(row, ahead, sizes=(3, 2, 1), latest=True, last=1):
    for size in sizes:
        places = range(len(row) - size - last + 1)
        for place in reversed(places) if latest else places:
            if row[place : place + size] == row[-size:]:
                return row[place + size :][:ahead]
    return []


EXERCISES[4] = Exercise(
    right=lookup_draft,
    cases=[
        ([1, 2, 3, 4, 9, 2, 3, 5, 8, 3, 6, 1, 2, 3], 2),
        ([7, 8, 5, 7, 8, 6, 7, 8], 4),
        ([1, 2, 3], 4),
        ([5, 6, 7, 5], 2),
        ([4, 4, 4, 4], 4),
        ([5, 6, 5, 6], 1),
    ],
    mistakes={
        "A longer ending goes first: try 3 tokens, then 2, then 1.": partial(lookup_draft, sizes=(1, 2, 3)),
        "Of several places take the last one.": partial(lookup_draft, latest=False),
        "An ending of 3 tokens counts, too.": partial(lookup_draft, sizes=(2, 1)),
        "If no longer ending occurs before, one token is enough.": partial(lookup_draft, sizes=(3, 2)),
        "Return at most `ahead` tokens.": lambda row, ahead: lookup_draft(row, len(row)),
        "Return what follows the place, without the ending itself.": (
            lambda row, ahead: (row[-1:] + lookup_draft(row, ahead))[:ahead] if lookup_draft(row, ahead) else []
        ),
        "The ending is no earlier place of itself: nothing follows it yet.": partial(lookup_draft, last=0),
        "An earlier place may overlap the ending: in 4, 4, 4, 4 the first three are such a place.": lambda row, ahead: (
            next(
                (
                    row[place + size :][:ahead]
                    for size in (3, 2, 1)
                    for place in range(len(row) - 2 * size, -1, -1)
                    if row[place : place + size] == row[-size:]
                ),
                [],
            )
        ),
    },
    otherwise="For 7, 8, 5, 7, 8, 6, 7, 8 the ending 7, 8 occurred last before 6, so the draft is 6, 7, 8.",
)
