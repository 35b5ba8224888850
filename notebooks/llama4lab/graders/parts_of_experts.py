"""Exercises on what Llama 4 does to each token by itself: its router picks an expert, and the expert works."""

import torch
from torch.nn.functional import gelu, linear, silu

from llama4lab.grading import Case, Exercise

from .parts_of_positions import CLOSE
from .small_llama4 import normal

# ---- a token picks its expert ----


def route(x, router):
    logit, expert = linear(x, router).max(-1)
    return expert, logit.sigmoid()


def route_with(score):
    def routed(x, router):
        logits = linear(x, router)
        return logits.argmax(-1), score(logits)

    return routed


def in_order(*order):
    return lambda x, router: tuple(route(x, router)[place] for place in order)


ROUTE = Exercise(
    right=route,
    cases=[
        Case(
            (torch.tensor([[-1.0, -0.5]]), torch.tensor([[2.0, 0.0], [0.0, 0.5], [0.5, 0.5]])), "Expert 1, score 0.438."
        ),
        (normal(6, 4, seed=1), normal(3, 4, seed=2)),
        (3 * normal(5, 8, seed=3), normal(16, 8, seed=4)),
    ],
    tolerance=CLOSE,
    returns="two arrays with a number for each token: its expert, a whole number, and its score",
    mistakes={
        "The score is a sigmoid of the winning logit by itself; a softmax lets the others have a say.": route_with(
            lambda logits: logits.softmax(-1).amax(-1)
        ),
        "That is a softmax over the winner alone, which is always 1.": route_with(
            lambda logits: torch.ones(len(logits))
        ),
        "The score is the sigmoid of the logit, not the logit.": route_with(lambda logits: logits.amax(-1)),
        "The largest logit wins; yours takes the smallest.": lambda x, router: (
            route(-x, router)[:1] + (linear(x, router).amin(-1).sigmoid(),)
        ),
        "The largest logit wins, not the one farthest from zero.": lambda x, router: (
            linear(x, router).abs().argmax(-1),
            linear(x, router).gather(1, linear(x, router).abs().argmax(-1, keepdim=True))[:, 0].sigmoid(),
        ),
    },
)

# ---- each token through its own expert ----


def experts(x, expert, score, gate_up, down, gate=silu, up=None, swapped=False, woven=False, on="input", back=True):
    """The routed part of the block, [T, D] -> [T, D]; what is asked for beyond that are wrong twins."""
    out = torch.empty_like(x)
    order = expert.sort(stable=True).indices
    for n, (token, chosen) in enumerate(zip(order.tolist(), expert[order].tolist(), strict=True)):
        hidden = (x[token] * (score[token] if "input" in on else 1)) @ gate_up[chosen]
        first, second = (hidden[::2], hidden[1::2]) if woven else hidden.chunk(2)
        first, second = (second, first) if swapped else (first, second)
        y = (gate(first) * (up(second) if up else second)) @ down[chosen]
        out[token if back else n] = y * (score[token] if "output" in on else 1)
    return out


def twin(**changes):
    return lambda x, expert, score, gate_up, down: experts(x, expert, score, gate_up, down, **changes)


def tokens_and_experts(tokens, hidden, width, count, seed, busy=None):
    chosen = torch.arange(tokens) * 7 % (busy or count)
    return (
        normal(tokens, hidden, seed=seed),
        chosen,
        normal(tokens, seed=seed + 1).sigmoid(),
        normal(count, hidden, 2 * width, seed=seed + 2),
        normal(count, width, hidden, seed=seed + 3),
    )


EXPERTS = Exercise(
    right=experts,
    cases=[
        Case(
            tokens_and_experts(6, 4, 3, 3, seed=20), "The token times its score is x; then (silu(x gate) * x up) down."
        ),
        Case(tokens_and_experts(5, 6, 2, 4, seed=30, busy=2), "Two experts get no token here."),
        tokens_and_experts(1, 4, 3, 2, seed=40),
        tokens_and_experts(8, 4, 4, 5, seed=50),
    ],
    tolerance=CLOSE,
    mistakes={
        "The score multiplies what goes *into* the expert; yours multiplies what comes out.": twin(on="output"),
        "The score multiplies once, what goes in; yours multiplies what comes out as well.": twin(
            on="input and output"
        ),
        "The score is missing: it multiplies what goes into the expert.": twin(on=""),
        "The first half of gate_up is the gate, and the gate alone gets the silu.": [twin(swapped=True), twin(up=silu)],
        "gate_up is two halves side by side, not woven: the first F columns are the gate.": twin(woven=True),
        "The gate is silu(z) = z times sigmoid(z).": [
            twin(gate=g) for g in (gelu, torch.sigmoid, torch.relu, torch.clone)
        ],
        "The rows are not in the order of the tokens: put each back where its token was, out[order] = ...": [
            twin(back=False),
            lambda x, expert, score, gate_up, down: experts(x, expert, score, gate_up, down, back=False)[
                expert.sort(stable=True).indices
            ],
        ],
        "Every token takes its own expert; yours sends all of them to one.": lambda x, expert, score, gate_up, down: (
            experts(x, torch.zeros_like(expert), score, gate_up, down)
        ),
        "Every token takes one expert; yours adds up all of them.": lambda x, expert, score, gate_up, down: sum(
            experts(x, torch.full_like(expert, e), score, gate_up, down) for e in range(len(down))
        ),
    },
)
