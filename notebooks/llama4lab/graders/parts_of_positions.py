"""Exercises on the parts of Llama 4 that say where a token is: norm, frequencies, rotation."""

import math

import torch

import llama4
from llama4lab.grading import Case, Exercise

from .small_llama4 import config, normal

CLOSE = 1e-3  # float32, however the additions are ordered

# ---- a vector of length one, root mean square ----


def unit_rms(x, eps):
    return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=eps)


def centered(x, eps):
    return unit_rms(x - x.mean(-1, keepdim=True), eps)


UNIT_RMS = Exercise(
    right=unit_rms,
    cases=[
        Case((torch.tensor([[3.0, 4.0], [-1.0, 0.0]]), 0.0), "The mean of 9 and 16 is 12.5; divide by its root."),
        (normal(3, 4, seed=1) + 1, 1e-5),
        (normal(2, 3, 4, seed=2) / 500, 1e-5),
        (normal(3, 4, seed=3) + 1, 0.5),
    ],
    tolerance=CLOSE,
    mistakes={
        "That is LayerNorm: RMSNorm takes no mean away.": centered,
        "Divide by the root of the *mean* of the squares, not of their sum.": [
            lambda x, eps: x / (x.square().sum(-1, keepdim=True) + eps).sqrt(),
            lambda x, eps: x / x.norm(dim=-1, keepdim=True),
        ],
        "eps belongs under the root, added to the mean of the squares.": [
            lambda x, eps: x / (x.square().mean(-1, keepdim=True).sqrt() + eps),
            lambda x, eps: x / x.square().mean(-1, keepdim=True).sqrt(),
        ],
        "Each vector by itself: the mean runs over the last dimension alone.": [
            lambda x, eps: x / (x.square().mean() + eps).sqrt(),
            lambda x, eps: x / (x.square().mean(0, keepdim=True) + eps).sqrt(),
        ],
        "Divide by the root of the mean square; yours multiplies.": lambda x, eps: (
            x * (x.square().mean(-1, keepdim=True) + eps).sqrt()
        ),
        "Take the mean of the squares, not of the absolute values.": [
            lambda x, eps: x / (x.abs().mean(-1, keepdim=True) + eps),
            lambda x, eps: x / x.abs().mean(-1, keepdim=True),
        ],
        "The root is missing: divide by the root of the mean square.": lambda x, eps: (
            x / (x.square().mean(-1, keepdim=True) + eps)
        ),
    },
)

# ---- radians a token, pair by pair ----


def turns_of(c, exponent=None):
    exponent = torch.arange(0, c.head_dim, 2) / c.head_dim if exponent is None else exponent
    return 1 / c.rope_theta**exponent


def scaled(c, turn, keep):
    """The part `keep` of each pair's turn stays, the rest is divided by the factor."""
    return turn * (keep + (1 - keep) / c.factor) if c.rope_type == "llama3" else turn


def ramp(c, turn):
    turns = c.original_max_position_embeddings * turn / (2 * math.pi)
    return ((turns - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor)).clamp(0, 1)


def frequencies_with(change, c):
    return scaled(c, turns_of(c), change(c, turns_of(c))) if c.rope_type == "llama3" else turns_of(c)


def a_cut(c, turn):
    return (c.original_max_position_embeddings * turn / (2 * math.pi) >= c.high_freq_factor).float()


def a_cut_halfway(c, turn):
    return (ramp(c, turn) >= 0.5).float()


def without_pi(c, turn):
    return (
        (c.original_max_position_embeddings * turn - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor)
    ).clamp(0, 1)


def frequencies_of_exponent(c, exponent):
    turn = turns_of(c, exponent)
    return scaled(c, turn, ramp(c, turn)) if c.rope_type == "llama3" else turn


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
RAMP = "Halfway from low to high half stays, at low and below nothing, at high and above all. 2.5 turns count as 2.5."
FREQUENCIES = Exercise(
    right=llama4.frequencies,
    cases=[
        Case(
            (config(head_dim=8),),
            "With rope_type 'default' nothing is slowed down: theta to the powers 0, -2/d, -4/d ...",
        ),
        Case((config(head_dim=64, rope_theta=5e5, original_max_position_embeddings=128, **LLAMA3),), RAMP),
        Case((config(head_dim=128, rope_theta=5e5, original_max_position_embeddings=8192, **LLAMA3),), RAMP),
        Case(
            (config(head_dim=16, rope_theta=1e4, original_max_position_embeddings=64, **LLAMA3 | {"factor": 16.0}),),
            "The factor is 16 here.",
        ),
    ],
    tolerance=CLOSE,
    returns="d / 2 numbers, one for each pair",
    mistakes={
        "The slow pairs must be slowed down further: with rope_type 'llama3' divide them by the factor.": turns_of,
        "The exponents are 0, 2, 4 ... divided by d: theta to the power of minus those.": [
            lambda c: frequencies_of_exponent(c, torch.arange(c.head_dim // 2) / c.head_dim),
            lambda c: turns_of(c, torch.arange(c.head_dim // 2) / c.head_dim),
        ],
        "The power is negative: theta to the power of minus 2i / d, so that later pairs turn more slowly.": [
            lambda c: frequencies_of_exponent(c, -torch.arange(0, c.head_dim, 2) / c.head_dim),
            lambda c: turns_of(c, -torch.arange(0, c.head_dim, 2) / c.head_dim),
        ],
        "Mix what stays and what is divided; yours mixes the lengths of a turn, one over that.": lambda c: (
            turns_of(c) / (ramp(c, turns_of(c)) + (1 - ramp(c, turns_of(c))) * c.factor)
            if c.rope_type == "llama3"
            else turns_of(c)
        ),
        "The wrong end is slowed down: it is the pairs that turn least that are divided by the factor.": (
            lambda c: frequencies_with(lambda c, turn: 1 - ramp(c, turn), c)
        ),
        "The slow pairs are *divided* by the factor, so that they turn more slowly still.": lambda c: (
            turns_of(c) * (ramp(c, turns_of(c)) + (1 - ramp(c, turns_of(c))) * c.factor)
            if c.rope_type == "llama3"
            else turns_of(c)
        ),
        "All pairs are slowed down; those that turn often within the original length stay as they are.": (
            lambda c: frequencies_with(lambda c, turn: torch.zeros_like(turn), c)
        ),
        "Between low and high there is a ramp, not a cut: part of the turn stays, the rest is divided.": (
            [lambda c: frequencies_with(a_cut, c), lambda c: frequencies_with(a_cut_halfway, c)]
        ),
        "A whole turn is 2 pi radians: divide by it where you count turns.": lambda c: frequencies_with(without_pi, c),
    },
)


# ---- each two neighbors turn together ----


def rotate(x, angle):
    return llama4.rotate(x, (1j * angle).exp())


def in_halves(x, angle):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], dim=-1)


def half_turned(x, angle):
    turned = rotate(x, angle)
    return torch.stack([turned[..., ::2], x[..., 1::2]], dim=-1).flatten(-2)


def not_interleaved(x, angle):
    turned = rotate(x, angle)
    return torch.cat([turned[..., ::2], turned[..., 1::2]], dim=-1)


ROTATE = Exercise(
    right=rotate,
    cases=[
        Case((torch.tensor([[[1.0, 0.0]]]), torch.tensor([[math.pi / 2]])), "A quarter turn of (1, 0) gives (0, 1)."),
        (normal(2, 3, 4, seed=4), normal(3, 2, seed=5)),
        (normal(3, 2, 6, seed=6), normal(2, 3, seed=7)),
    ],
    tolerance=CLOSE,
    mistakes={
        "Llama 4 pairs neighbors, 0 with 1 and 2 with 3; yours pairs the halves.": in_halves,
        "It turns the other way: (1, 0) turned by a quarter is (0, 1).": lambda x, angle: rotate(x, -angle),
        "Only the first of each pair is turned; the second becomes x0 sin + x1 cos.": half_turned,
        "The pairs are turned and then taken apart: put each two numbers back side by side.": not_interleaved,
        "Both products are added: the first of a pair is x0 cos *minus* x1 sin.": lambda x, angle: torch.stack(
            [
                x[..., ::2] * angle.cos() + x[..., 1::2] * angle.sin(),
                x[..., ::2] * angle.sin() + x[..., 1::2] * angle.cos(),
            ],
            dim=-1,
        ).flatten(-2),
    },
)
