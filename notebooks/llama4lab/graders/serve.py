"""Graders of notebook 17: joining the experts' pieces, collecting a stream, finding a cliff, the context that fits."""

import itertools
import math
from types import SimpleNamespace

import torch

from llama4lab.grading import Case, Exercise, Sign

EXERCISES = {}

# ---- 1: the pieces of all devices as `[experts, hidden, 2 * width]`, gate first ----


def join_gate_up(pieces):
    gates, ups = zip(*(piece.chunk(2, dim=-1) for piece in pieces), strict=True)
    return torch.cat([*gates, *ups], dim=-1)


def cut_gate_up(experts, hidden, width, devices):
    """A matrix of numbers in order, cut so that each device has its part of gate and of up."""
    gate, up = torch.arange(2.0 * experts * hidden * width).view(experts, hidden, 2 * width).chunk(2, dim=-1)
    return [torch.cat(halves, dim=-1) for halves in zip(gate.chunk(devices, -1), up.chunk(devices, -1), strict=True)]


EXERCISES[1] = Exercise(
    right=join_gate_up,
    cases=[(cut_gate_up(2, 3, 4, 2),), (cut_gate_up(1, 2, 8, 4),), (cut_gate_up(3, 2, 5, 1),)],
    mistakes={
        "The pieces are only put side by side: gate and up alternate, device by device; first come all gates.": (
            lambda pieces: torch.cat(pieces, dim=-1)
        ),
        "Up comes first here; the library has gate first.": (
            lambda pieces: torch.cat(join_gate_up(pieces).chunk(2, dim=-1)[::-1], dim=-1)
        ),
        "Gate and up alternate column by column; first come all columns of gate.": (
            lambda pieces: torch.stack(join_gate_up(pieces).chunk(2, dim=-1), dim=-1).flatten(-2)
        ),
        "The first half of each piece is gate and the second is up, not every other column.": (
            lambda pieces: torch.cat([piece[..., place::2] for place in range(2) for piece in pieces], dim=-1)
        ),
        "The pieces are columns of one matrix: join them along the last axis, not along the experts.": (
            lambda pieces: torch.cat(pieces, dim=0)
        ),
        "The pieces are columns of one matrix: join them, do not add them.": lambda pieces: sum(pieces),
    },
)

# ---- 2: the text and the finish reason of a stream ----


def collect(chunks):
    choices = [choice for chunk in chunks for choice in chunk.choices]
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    return "".join(choice.delta.content or "" for choice in choices), reasons[-1] if reasons else None


def first_choices(chunks):
    choices = [chunk.choices[0] for chunk in chunks]
    return collect([SimpleNamespace(choices=choices)])


def drops_the_last(chunks):
    kept = []
    for chunk in chunks:
        if any(choice.finish_reason for choice in chunk.choices):
            return collect(kept)[0], chunk.choices[0].finish_reason
        kept.append(chunk)
    return collect(kept)


def last_reason(chunks):
    chunks = list(chunks)
    return collect(chunks)[0], next((chunk.choices[0].finish_reason for chunk in chunks[::-1] if chunk.choices), None)


def ends_without_choices(chunks):
    return collect(itertools.takewhile(lambda chunk: chunk.choices, chunks))


def skips_the_empty(chunks):
    return collect([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content])


def starts_with_stop(chunks):
    text, reason = collect(chunks)
    return text, reason or "stop"


def contents(chunks):
    return [choice.delta.content for chunk in chunks for choice in chunk.choices]


def chunk_of(content=None, reason=None):
    delta = SimpleNamespace(content=content, role=None)
    return SimpleNamespace(choices=[SimpleNamespace(delta=delta, finish_reason=reason, index=0)], usage=None)


USAGE_ONLY = SimpleNamespace(choices=[], usage=SimpleNamespace(total_tokens=9))

EXERCISES[2] = Exercise(
    right=collect,
    run=lambda function, chunks: function(iter(chunks)),
    returns="two values, the text and the reason",
    cases=[
        Case(([chunk_of(), chunk_of("Port"), chunk_of("ugal."), chunk_of(None, "stop")],), "This is a plain stream."),
        Case(([chunk_of("Hel"), chunk_of("lo", "length")],), "The last chunk has content and a reason."),
        Case(([chunk_of("Hi"), chunk_of(None, "stop"), USAGE_ONLY],), "The last chunk has no choices."),
        Case(([chunk_of("Hi"), USAGE_ONLY, chunk_of("!", "stop")],), "A chunk between has no choices."),
        Case(([chunk_of("Hi", "stop"), chunk_of()],), "A chunk follows the reason."),
        Case(([chunk_of("He")],), "The stream breaks off: there is no reason."),
        Case(([],), "There is no chunk at all."),
    ],
    mistakes={
        "A stream that breaks off has no reason: begin with None, not with 'stop'.": starts_with_stop,
        "Content may be None, which cannot be added to a text.": lambda chunks: ("".join(contents(chunks)), "stop"),
        "A content of None became the word None in the text.": (
            lambda chunks: ("".join(map(str, contents(chunks))), "stop")
        ),
        "A list of choices may be empty: the last chunk may hold the usage alone.": first_choices,
        "The reason is not always 'stop': a text may be cut ('length'), or break off (None).": (
            lambda chunks: (collect(chunks)[0], "stop")
        ),
        "The chunk with the reason may have content too; it is left out.": drops_the_last,
        "A chunk without a reason may follow the one with it; keep the reason.": last_reason,
        "A chunk without choices is not the end of the stream.": ends_without_choices,
        "A chunk without content may hold the reason; it is skipped.": [
            skips_the_empty,
            lambda chunks: skips_the_empty(itertools.takewhile(lambda chunk: chunk.choices, chunks)),
        ],
        "The text comes first, then the reason.": lambda chunks: collect(chunks)[::-1],
        "Return two values, the text and the reason.": lambda chunks: collect(chunks)[0],
    },
)

# ---- 3: the shortest prompt that is computed wrong, with few calls ----


def first_wrong(is_right, most):
    right, wrong = 0, most + 1
    while wrong - right > 1:
        middle = (right + wrong) // 2
        right, wrong = (middle, wrong) if is_right(middle) else (right, middle)
    return wrong


def asked_until_wrong(is_right, most):
    return next((length for length in range(1, most + 1) if not is_right(length)), most + 1)


def find(answer, wall, most):
    """What the answer returns for an engine that is right below `wall`, and how many calls it took."""
    lengths = []

    def is_right(length):
        lengths.append(length)
        if not 1 <= length <= most:
            raise ValueError(f"It asks for a prompt of {length} tokens; ask for 1 to {most}.")
        return length < wall

    return [answer(is_right, most), len(lengths)]


def few(most):
    return 2 * most.bit_length() + 2


EXERCISES[3] = Exercise(
    right=first_wrong,
    run=find,
    returns="a length",
    accepts=lambda result, right, case: result[0] == right[0] and result[1] <= few(case[1]),
    cases=[(129, 512), (1, 300), (513, 512), (512, 512), (8193, 1_000_000), (2, 2)],
    mistakes={
        "That is the longest length that is right; return the next one.": Sign(
            lambda result, right, case: result[0] == right[0] - 1 and right[0] <= case[1],
            lambda is_right, most: first_wrong(is_right, most) - 1,
        ),
        "Where every length is right, return most + 1: begin with most + 1 as the wrong one.": Sign(
            lambda result, right, case: right[0] == case[1] + 1 and result[0] == case[1],
            lambda is_right, most: min(first_wrong(is_right, most), most),
        ),
        "That is one too many; the length before it is wrong already.": Sign(
            lambda result, right, case: result[0] == right[0] + 1,
            lambda is_right, most: first_wrong(is_right, most) + 1,
        ),
        "The lengths are right, but it takes far too many calls: halve what is left with each.": Sign(
            lambda result, right, case: result[0] == right[0] and result[1] > few(case[1]), asked_until_wrong
        ),
    },
    otherwise="Keep one length that is right and one that is wrong, and ask in the middle.",
)

# ---- 4: tokens of context that fit beside the weights ----


def exact_context(gpu_bytes, weight_bytes, kv_bytes, usable=0.9):
    return (usable * gpu_bytes - weight_bytes) / kv_bytes


def longest_context(gpu_bytes, weight_bytes, kv_bytes, usable=0.9):
    return max(0, math.floor(exact_context(gpu_bytes, weight_bytes, kv_bytes, usable)))


EXERCISES[4] = Exercise(
    right=longest_context,
    cases=[
        (80e9, 27.9e9, 24576, 0.9),
        (141e9, 52.1e9, 24576, 0.8),
        (80e9, 100e9, 24576, 0.9),
        (1000, 0, 300, 1.0),
        (80e9, 27.9e9, 24576),
    ],
    mistakes={
        "The weights alone do not fit there, and the result is negative; return 0.": (
            lambda *case: math.floor(exact_context(*case))
        ),
        "A fraction of a token is no token: round down to a whole number.": lambda *case: max(0, exact_context(*case)),
        "Round down: the last token would not fit.": lambda *case: max(0, math.ceil(exact_context(*case))),
        "The whole GPU is filled; only the share `usable` may be.": (
            lambda g, w, k, usable=0.9: longest_context(g, w, k, 1)
        ),
        "`usable` is a share of the GPU, not of what the weights leave: multiply before you subtract.": (
            lambda g, w, k, usable=0.9: max(0, int(usable * (g - w) // k))
        ),
        "The weights are forgotten; they are on the same GPU.": (
            lambda g, w, k, usable=0.9: longest_context(g, 0, k, usable)
        ),
        "Key and value are counted twice: `kv_bytes` already holds both.": (
            lambda g, w, k, usable=0.9: longest_context(g, w, 2 * k, usable)
        ),
    },
)

# ---- 5: tokens of context for Scout on 4 x 141 GB, rounded down to millions ----

EXERCISES[5] = Exercise(
    right=1e6,
    mistakes={
        "That takes the bytes of a token, or the weights, as they are with 8 GPUs; here are 4.": 2_000_000,
        "That fills the whole GPU, and takes a token's bytes with 8 GPUs; use 0.9, and two heads on each of 4.": 3_000_000,
        "That takes weights and bytes of a token with 8 GPUs; here are 4.": 4_000_000,
        "That counts only the global layers; here all 48 are cached.": 5_000_000,
        "That puts all 8 key-value heads on each GPU; each of 4 keeps two.": 0,
        "Give the tokens themselves, not millions.": 1,
        "Round down to whole millions.": [1_459_994, 1_460_000, 1_400_000],
        "Round down, not to the nearest half million.": 1_500_000,
    },
    otherwise="Take 0.9 of the GPU, subtract the weights on it, divide by the bytes of a token on it.",
)
