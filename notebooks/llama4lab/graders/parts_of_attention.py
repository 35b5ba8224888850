"""Exercises on how tokens look at each other in Llama 4: walls, temperature, attention."""

import math
import sys

import torch
from torch.nn.functional import linear

import llama4
from llama4lab.grading import Case, Exercise

from .parts_of_positions import CLOSE, rotate
from .small_llama4 import config, layer_weights, normal

# ---- what a token sees ----


def sees(tokens, chunk):
    at = torch.arange(tokens)
    return (at <= at[:, None]) & (at // chunk == at[:, None] // chunk)


def causal(tokens):
    return torch.ones(tokens, tokens).tril().bool()


SEES = Exercise(
    right=sees,
    cases=[(6, 3), (7, 4), (3, 4), (5, sys.maxsize), (5, 1)],
    mistakes={
        "The walls are missing: a token sees no farther back than the start of its own chunk.": lambda tokens, chunk: (
            causal(tokens)
        ),
        "A token sees itself, too.": lambda tokens, chunk: sees(tokens, chunk) & ~torch.eye(tokens).bool(),
        "That is a sliding window: a token sees back to its wall, not a fixed number of tokens.": (
            lambda tokens, chunk: causal(tokens) & ~causal(tokens).tril(-min(chunk, tokens))
        ),
        "A token sees no later ones, within its chunk either.": lambda tokens, chunk: (
            sees(tokens, chunk) | sees(tokens, chunk).T
        ),
        "It is transposed: the rows are the tokens that look, the columns those that are seen.": (
            lambda tokens, chunk: sees(tokens, chunk).T
        ),
        "The walls are a token off: the first chunk is the positions 0 to chunk - 1.": [
            lambda tokens, chunk: sees(tokens + 1, chunk)[1:, 1:],
            lambda tokens, chunk: (
                sees(tokens + chunk - 1, chunk)[chunk - 1 :, chunk - 1 :] if chunk < 99 else causal(tokens)
            ),
        ],
        "It is the opposite: True marks what a token sees.": lambda tokens, chunk: ~sees(tokens, chunk),
        "Give True and False, not numbers: `attend` will ask which keys are seen.": [
            lambda tokens, chunk: sees(tokens, chunk).int(),
            lambda tokens, chunk: sees(tokens, chunk).float(),
            lambda tokens, chunk: torch.zeros(tokens, tokens).masked_fill(~sees(tokens, chunk), -math.inf),
        ],
    },
)

# ---- the more there is to see, the sharper the look ----


def temperature(at, scale, floor):
    return 1 + scale * torch.floor((at + 1) / floor).log1p()


AT = torch.arange
TEMPERATURE = Exercise(
    right=temperature,
    cases=[
        Case((AT(8), 0.5, 4), "Position 3 is the fourth token: there (3 + 1) / 4 is 1 for the first time."),
        (AT(5, 30, 6), 0.1, 8),
        (torch.tensor([0, 8190, 8191, 16383, 1_000_000]), 0.1, 8192),
    ],
    tolerance=1e-5,
    mistakes={
        "Count tokens, not positions: position p has seen p + 1 tokens.": lambda at, scale, floor: (
            1 + scale * torch.floor(at / floor).log1p()
        ),
        "Round (p + 1) / floor down first: the temperature rises in steps.": lambda at, scale, floor: (
            1 + scale * ((at + 1) / floor).log1p()
        ),
        "The 1 in front is missing: the first tokens are multiplied by 1, not by 0.": [
            lambda at, scale, floor: scale * torch.floor((at + 1) / floor).log1p(),
            lambda at, scale, floor: (1 + scale) * torch.floor((at + 1) / floor).log1p(),
        ],
        "Take the logarithm of 1 + the steps; of 0 steps there is none.": [
            lambda at, scale, floor: 1 + scale * torch.floor((at + 1) / floor).log(),
            lambda at, scale, floor: 1 + scale * torch.floor((at + 1) / floor).clamp(min=1).log(),
        ],
        "It is the natural logarithm.": [
            lambda at, scale, floor: 1 + scale * (1 + torch.floor((at + 1) / floor)).log2(),
            lambda at, scale, floor: 1 + scale * (1 + torch.floor((at + 1) / floor)).log10(),
        ],
        "It rises with position; yours falls.": lambda at, scale, floor: 1 / temperature(at, scale, floor),
        "A step is complete with every floor-th token: round (p + 1) / floor down.": [
            lambda at, scale, floor: 1 + scale * torch.ceil((at + 1) / floor).log1p(),
            lambda at, scale, floor: 1 + scale * torch.round((at + 1) / floor).log1p(),
        ],
        "scale multiplies the logarithm, from outside.": [
            lambda at, scale, floor: (scale * torch.floor((at + 1) / floor)).log1p(),
            lambda at, scale, floor: 1 + (scale * torch.floor((at + 1) / floor)).log1p(),
        ],
    },
)

# ---- queries ask, keys answer, values are taken ----


def attend(q, k, v, seen):
    return torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], seen, enable_gqa=True)[0]


def attend_with(q, k, v, seen, scale=None, tiled=False, over=-1, mask_after=False, hidden=-math.inf):
    group = len(q) // len(k)
    k, v = (x.repeat(group, 1, 1) if tiled else x.repeat_interleave(group, 0) for x in (k, v))
    scores = q @ k.mT * (scale or q.shape[-1] ** -0.5)
    if mask_after:
        return (scores.softmax(-1) * seen) @ v
    return torch.nan_to_num(scores.masked_fill(~seen, hidden).softmax(over)) @ v


ATTEND = Exercise(
    right=attend,
    cases=[
        (normal(4, 5, 4, seed=8), normal(2, 5, 4, seed=9), normal(2, 5, 4, seed=10), sees(5, 3)),
        (normal(6, 4, 2, seed=11), normal(2, 4, 2, seed=12), normal(2, 4, 2, seed=13), sees(4, 9)),
        (normal(2, 3, 4, seed=14), normal(2, 3, 4, seed=15), normal(2, 3, 4, seed=16), sees(3, 9)),
    ],
    tolerance=CLOSE,
    mistakes={
        "Scores are divided by the root of d, the size of a head.": [
            lambda q, k, v, seen: attend_with(q, k, v, seen, scale=1.0),
            lambda q, k, v, seen: attend_with(q, k, v, seen, scale=1 / q.shape[-1]),
            lambda q, k, v, seen: attend_with(q, k, v, seen, scale=(len(q) * q.shape[-1]) ** -0.5),
        ],
        "Neighbors share: query heads 0 and 1 of four ask key head 0. Yours gives them key heads 0 and 1.": (
            lambda q, k, v, seen: attend_with(q, k, v, seen, tiled=True)
        ),
        "Mask before the softmax: what is seen must share all of the weight.": lambda q, k, v, seen: attend_with(
            q, k, v, seen, mask_after=True
        ),
        "The softmax runs over the keys, the last dimension of the scores.": lambda q, k, v, seen: attend_with(
            q, k, v, seen, over=-2
        ),
        "Nothing is masked: where `seen` is False, the score is minus infinity.": lambda q, k, v, seen: attend_with(
            q, k, v, torch.ones_like(seen)
        ),
        "A score of 0 still gets weight: what is not seen needs minus infinity.": lambda q, k, v, seen: attend_with(
            q, k, v, seen, hidden=0.0
        ),
        "The mask is the wrong way around: True marks what is seen.": lambda q, k, v, seen: attend_with(q, k, v, ~seen),
    },
)

# ---- the whole block ----


def attention(
    x,
    w,
    config,
    layer,
    rotates=None,
    values="",
    sharp=None,
    all_heads=False,
    walls=None,
    tuned="q",
    switches=False,
    out=True,
    mixed="",
):
    """The attention of one layer, [T, D] -> [T, D]; what is asked for beyond that are wrong twins."""
    rotates = config.rotates[layer] if rotates is None else rotates
    q, k, v = (
        linear(x, w[f"self_attn.{name}_proj.weight"]).unflatten(-1, (-1, config.head_dim)).transpose(0, 1)
        for name in "qkv"
    )
    if mixed == "tokens":
        q, k, v = (y.transpose(0, 1).reshape(len(y), -1, config.head_dim) for y in (q, k, v))
    if mixed == "woven":
        q, k, v = (
            y.transpose(0, 1).reshape(len(x), config.head_dim, -1).permute(2, 0, 1).contiguous() for y in (q, k, v)
        )
    if rotates:
        angle = torch.arange(len(x))[:, None] * llama4.frequencies(config)
        q, k, v = rotate(q, angle), rotate(k, angle), rotate(v, angle) if values == "turned" else v
    if (rotates if sharp is None else sharp) and (config.use_qk_norm or switches):
        over = (0, 2) if all_heads else 2
        q, k, normed = (y * (y.square().mean(over, keepdim=True) + config.rms_norm_eps).rsqrt() for y in (q, k, v))
        v = normed if values == "normed" else v
    if tuned == "all" or (
        not (config.rotates[layer] if tuned == "fourth" else rotates)
        and tuned
        and (config.attn_temperature_tuning or switches)
    ):
        heat = temperature(torch.arange(len(x)), config.attn_scale, config.floor_scale)[:, None]
        q, k = q * heat, k * heat if tuned == "qk" else k
    y = attend(q, k, v, sees(len(x), walls or config.chunks[layer]))
    y = y.reshape(len(x), -1) if mixed == "result" else y.transpose(0, 1).flatten(1)
    return linear(y, w["self_attn.o_proj.weight"]) if out else y[:, : x.shape[1]]


def of_the_file(x, w, config, layer):
    """The same by llama4.py, where a text is a row of a batch."""
    at = torch.arange(len(x)).view(1, 1, -1, 1)
    turn = (1j * at * llama4.frequencies(config)).exp() if config.rotates[layer] else None
    return llama4.attention(x[None], llama4.Weights(w), config, llama4.Shelf(config.chunks[layer]), at, turn, None)[0]


def changed(**changes):
    return lambda x, w, config, layer: attention(x, w, config, layer, **changes)


ATTENTION = Exercise(
    right=of_the_file,
    cases=[
        Case(
            (normal(9, 8, seed=17), layer_weights(1), config(), 0),
            "Rotate queries and keys, norm both, look back to the wall, mix with o_proj; the sum with x comes later.",
        ),
        Case(
            (normal(7, 8, seed=18), layer_weights(2), config(), 3),
            "A layer that does not rotate: no angles, no norm, a temperature. The first token is at position 0.",
        ),
        Case((normal(6, 8, seed=19), layer_weights(3), config(chunks=[3] * 4), 1), "Walls after every third token."),
        Case(
            (normal(7, 8, seed=20), layer_weights(4), config(use_qk_norm=False), 2),
            "use_qk_norm is False, as in Maverick.",
        ),
        Case(
            (normal(7, 8, seed=21), layer_weights(5), config(attn_temperature_tuning=False), 3),
            "attn_temperature_tuning is False.",
        ),
    ],
    tolerance=CLOSE,
    mistakes={
        "QK-norm is for the layers that rotate; the others take queries and keys as they are.": changed(sharp=True),
        "QK-norm is missing: after the rotation, queries and keys get root mean square 1, head by head.": changed(
            sharp=False
        ),
        "QK-norm is for each head by itself, over d numbers; yours takes all heads together.": changed(all_heads=True),
        "There are two switches: config.use_qk_norm, and config.attn_temperature_tuning.": changed(switches=True),
        "Only the layers with config.rotates turn; the fourth knows no positions.": [
            changed(rotates=True),
            changed(rotates=True, tuned="fourth"),
            lambda x, w, config, layer: attention(
                x, w, config, layer, rotates=True, sharp=bool(config.rotates[layer]), tuned="fourth"
            ),
        ],
        "Nothing turns: in the layers with config.rotates queries and keys are rotated.": changed(
            rotates=False, sharp=None
        ),
        "Queries and keys are turned and normed; values stay as they are.": [
            changed(values="turned"),
            changed(values="normed"),
        ],
        "The temperature is for the layers that do not rotate.": changed(tuned="all"),
        "The temperature is missing: where a layer does not rotate, it multiplies the queries.": changed(tuned=""),
        "The temperature multiplies the queries alone, not the keys.": changed(tuned="qk"),
        "The walls are missing: a layer's chunk is config.chunks[layer].": changed(walls=sys.maxsize),
        "Every layer has its own chunk, config.chunks[layer]: the global one has no walls.": lambda x, w, config, layer: (
            attention(x, w, config, layer, walls=config.chunks[0])
        ),
        "The last map is missing: o_proj mixes what the heads bring.": changed(out=False),
        "Heads and tokens are mixed up: [T, H * d] becomes [T, H, d], the first two change places, and after `attend` back.": [
            changed(mixed="tokens"),
            changed(mixed="woven"),
            changed(mixed="result"),
        ],
    },
)
