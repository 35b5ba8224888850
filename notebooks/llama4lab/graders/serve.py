"""Graders of notebook 15: joining the experts' pieces, collecting a stream, the context that fits."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import torch

from llama4lab.grading import grader


def cut_gate_up(gate_up: torch.Tensor, devices: int) -> list[torch.Tensor]:
    """`[experts, hidden, 2 * width]`, gate first, cut so that each device has its part of gate and of up."""
    gate, up = gate_up.chunk(2, dim=-1)
    return [torch.cat(halves, dim=-1) for halves in zip(gate.chunk(devices, -1), up.chunk(devices, -1), strict=True)]


@grader(1)
def grade_join(answer: Callable) -> str | None:
    """join_gate_up(pieces) -> `[experts, hidden, 2 * width]`."""
    for experts, hidden, width, devices in ((2, 3, 4, 2), (1, 2, 8, 4), (3, 2, 5, 1)):
        whole = torch.arange(experts * hidden * 2 * width, dtype=torch.float32).view(experts, hidden, 2 * width)
        pieces = cut_gate_up(whole, devices)
        found = answer([piece.clone() for piece in pieces])
        if not isinstance(found, torch.Tensor):
            return "Return one tensor."
        if found.shape != whole.shape:
            return f"For {devices} devices the result has shape {list(found.shape)}; it should be {list(whole.shape)}."
        if torch.equal(found, whole):
            continue
        gate, up = whole.chunk(2, dim=-1)
        if torch.equal(found, torch.cat(pieces, dim=-1)):
            return (
                "The pieces are only put side by side: gate and up alternate, device by device; first come all gates."
            )
        if torch.equal(found, torch.cat([up, gate], dim=-1)):
            return "Up comes first here; the library has gate first."
        return f"For {devices} devices the values stand in the wrong places."
    return None


def chunk_of(content: str | None = None, reason: str | None = None, **fields) -> SimpleNamespace:
    delta = SimpleNamespace(content=content, role=None)
    return SimpleNamespace(choices=[SimpleNamespace(delta=delta, finish_reason=reason, index=0)], usage=None, **fields)


USAGE_ONLY = SimpleNamespace(choices=[], usage=SimpleNamespace(total_tokens=9))


@grader(2)
def grade_collect(answer: Callable) -> str | None:
    """collect(chunks) -> (text, finish_reason)."""
    cases = {
        "a plain stream": (
            [chunk_of(None), chunk_of("Port"), chunk_of("ugal."), chunk_of(None, "stop")],
            "Portugal.",
            "stop",
        ),
        "a last chunk that has content and a reason": ([chunk_of("Hel"), chunk_of("lo", "length")], "Hello", "length"),
        "a chunk without choices at the end": ([chunk_of("Hi"), chunk_of(None, "stop"), USAGE_ONLY], "Hi", "stop"),
        "a chunk behind the reason": ([chunk_of("Hi", "stop"), chunk_of(None)], "Hi", "stop"),
        "a stream that breaks off": ([chunk_of("He")], "He", None),
        "no chunk at all": ([], "", None),
    }
    for what, (chunks, text, reason) in cases.items():
        try:
            found = answer(iter(chunks))
        except IndexError:
            return f"It fails on {what}: a list of choices may be empty, and so may the stream."
        except TypeError as error:
            if "NoneType" in str(error):
                return f"It fails on {what}: content may be None, which cannot be added to a text."
            raise
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "Return two things, the text and the reason."
        if found[0] != text:
            if isinstance(found[0], str) and "None" in found[0]:
                return "A content of None became the word None in the text."
            return f"For {what} the text is {found[0]!r}; it should be {text!r}."
        if found[1] != reason:
            return f"For {what} the reason is {found[1]!r}; it should be {reason!r}."
    return None


@grader(3)
def grade_longest_context(answer: Callable) -> str | None:
    """longest_context(gpu_bytes, weight_bytes, kv_bytes, usable=0.9) -> tokens."""
    cases = [(80e9, 27.9e9, 24576, 0.9), (141e9, 52.1e9, 24576, 0.8), (80e9, 100e9, 24576, 0.9), (1000, 0, 300, 1.0)]
    found = [answer(*case) for case in cases]
    found.append(answer(80e9, 27.9e9, 24576))
    cases.append((80e9, 27.9e9, 24576, 0.9))
    expected = [max(0, int((u * g - w) // k)) for g, w, k, u in cases]
    for value, right, (size, weights, token, usable) in zip(found, expected, cases, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "Return one number."
        if value == right and isinstance(value, int):
            continue
        exact = (usable * size - weights) / token
        if value < 0:
            return "The weights alone do not fit there, and the result is negative; return 0."
        if math.isclose(value, exact, rel_tol=1e-9) and not float(value).is_integer():
            return "A fraction of a token is no token: round down to a whole number."
        if value in (right, float(right)):
            return "Return a whole number, an int."
        if value == math.ceil(exact):
            return "Round down: the last token would not fit."
        if math.isclose(value, (size - weights) / token, rel_tol=1e-3):
            return "The whole GPU is filled; only the share `usable` may be."
        if math.isclose(value, usable * (size - weights) / token, rel_tol=1e-3):
            return "`usable` is a share of the GPU, not of what the weights leave: multiply before you subtract."
        if math.isclose(value, usable * size / token, rel_tol=1e-3):
            return "The weights are forgotten; they lie on the same GPU."
        return f"For {size:g}, {weights:g}, {token} and usable={usable} it gives {value:g}; it should be {right}."
    return None


@grader(4)
def grade_four_gpus(answer: object) -> str | None:
    """Tokens of context for Scout on 4 x 141 GB, rounded down to millions."""
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return "Give one number."
    if answer == 1_000_000:
        return None
    mistakes = {
        2_000_000: "That takes the bytes of a token, or the weights, as they are with 8 GPUs; here are 4.",
        3_000_000: "That fills the whole GPU, and takes a token's bytes with 8 GPUs; use 0.9, and two heads on each of 4.",
        4_000_000: "That takes weights and bytes of a token with 8 GPUs; here are 4.",
        5_000_000: "That counts only the global layers; here all 48 are cached.",
        0: "That puts all 8 key-value heads on each GPU; each of 4 keeps two.",
        1: "Give the tokens themselves, not millions.",
        1_459_994: "Round down to whole millions.",
    }
    return mistakes.get(
        answer, "Take 0.9 of the GPU, subtract the weights on it, divide by the bytes of a token on it."
    )
