"""The graders of notebook 04 against right answers and a catalog of plausible wrong ones."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from llama4lab.grading import verdict


def untried(*arguments):
    raise NotImplementedError


# ---- 04.1: balance loss ----


def parts(logits):
    return one_hot(logits.argmax(dim=1), logits.shape[1]).double().mean(dim=0), logits.softmax(dim=1).mean(dim=0)


def by_layer(layers, product=lambda took, probability: took * probability):
    return torch.stack([layer.shape[1] * product(*parts(layer)).sum() for layer in layers])


def right_loss(layers):
    return by_layer(layers).mean()


def loss_from_counts(layers):
    total = 0.0
    for logits in layers:
        counts = torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1])
        total = total + logits.shape[1] * counts.double() @ logits.softmax(dim=1).sum(dim=0) / len(logits) ** 2
    return total / len(layers)


def pooled_loss(layers):
    return right_loss([torch.cat(layers)])


def sigmoid_loss(layers):
    return torch.stack(
        [layer.shape[1] * (parts(layer)[0] * layer.sigmoid().mean(dim=0)).sum() for layer in layers]
    ).mean()


def soft_gradient_loss(layers):
    hard = right_loss(layers)
    soft = by_layer(layers, lambda took, probability: probability * probability).mean()
    return soft + (hard - soft).detach()


# ---- 04.2: bias in the choice ----


def route(logits, bias, score):
    chosen = (logits + bias).argmax(dim=1)
    return chosen, score(logits, bias, chosen)


def own(logits, chosen):
    return logits.gather(1, chosen[:, None])[:, 0]


def right_route(logits, bias):
    return route(logits, bias, lambda logits, bias, chosen: own(logits, chosen).sigmoid())


def route_in_place(logits, bias):
    before = logits.clone()
    logits += bias
    chosen = logits.argmax(dim=1)
    return chosen, own(before, chosen).sigmoid()


def route_by(choice):
    def answer(logits, bias):
        chosen = choice(logits, bias)
        return chosen, own(logits, chosen).sigmoid()

    return answer


# ---- 04.3: the next bias ----


def right_bias(bias, counts, rate):
    return bias + rate * (counts.double().mean() - counts).sign()


def bias_in_place(bias, counts, rate):
    bias += rate * (counts.double().mean() - counts).sign()
    return bias


# ---- 04.4: dice ----


def dice_violation(tokens, experts, quantile=0.95):
    draws = np.random.default_rng(5).multinomial(tokens, [1 / experts] * experts, size=3000)
    return np.quantile(draws.max(axis=1) * experts / tokens - 1, quantile)


def violation(counts):
    return counts.max() / counts.mean() - 1


def right_dice(counts):
    return violation(counts) > dice_violation(counts.sum(), len(counts))


# ---- 04.5: capacity ----


def right_kept(chosen, experts, capacity):
    kept = torch.zeros_like(chosen, dtype=torch.bool)
    for row in range(chosen.shape[0]):
        places = [capacity] * experts
        for position, expert in enumerate(chosen[row].tolist()):
            kept[row, position] = places[expert] > 0
            places[expert] -= 1
    return kept


def kept_all_together(chosen, experts, capacity):
    return one_hot(chosen, experts).sum(dim=1).gather(1, chosen) <= capacity


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("04.1", right_loss),
        ("04.1", loss_from_counts),
        ("04.2", right_route),
        ("04.2", lambda logits, bias: list(right_route(logits, bias))),
        ("04.3", right_bias),
        ("04.3", lambda bias, counts, rate: bias + rate * (1 / len(counts) - counts / counts.sum()).sign()),
        ("04.4", right_dice),
        ("04.4", lambda counts: bool(right_dice(counts))),
        ("04.5", right_kept),
        ("04.5", lambda chosen, e, c: (one_hot(chosen, e).cumsum(1) * one_hot(chosen, e)).sum(2) <= c),
    ],
)
def test_right_answers(exercise, answer):
    assert verdict(exercise, answer) == f"Exercise {exercise}: correct."


@pytest.mark.parametrize("exercise", ["04.1", "04.2", "04.3", "04.4", "04.5"])
def test_untouched_stubs(exercise):
    assert verdict(exercise, untried) == f"Exercise {exercise}: not tried yet."


WRONG = [
    ("04.1", pooled_loss, "pools the layers"),
    ("04.1", lambda layers: right_loss(layers) / layers[0].shape[1], "factor E is missing"),
    ("04.1", lambda layers: by_layer(layers).sum(), "sum over the layers"),
    ("04.1", lambda layers: by_layer(layers, lambda f, p: p * p).mean(), "P stands in both places"),
    ("04.1", lambda layers: by_layer(layers, lambda f, p: f * f).mean(), "counts stand in both places"),
    ("04.1", lambda layers: right_loss(layers[:1]), "first layer only"),
    ("04.1", lambda layers: right_loss(layers[-1:]), "last layer only"),
    ("04.1", sigmoid_loss, "do not sum to 1"),
    ("04.1", lambda layers: right_loss(layers).detach(), "no gradient"),
    ("04.1", soft_gradient_loss, "gradient is not"),
    ("04.1", lambda layers: right_loss(layers).item(), "tensor with one number"),
    ("04.1", by_layer, "tensor with one number"),
    ("04.1", lambda layers: right_loss(layers) + 1, "mean over layers of E"),
    ("04.2", route_by(lambda logits, bias: logits.argmax(dim=1)), "no say in the choice"),
    ("04.2", route_by(lambda logits, bias: (logits - bias).argmax(dim=1)), "subtracted"),
    ("04.2", route_by(lambda logits, bias: (logits.sigmoid() + bias).argmax(dim=1)), "added to the sigmoid"),
    ("04.2", route_by(lambda logits, bias: (logits + bias).argmin(dim=1)), "largest logit plus bias"),
    ("04.2", lambda z, b: route(z, b, lambda z, b, c: own(z + b, c).sigmoid()), "bias is in the score"),
    ("04.2", lambda z, b: route(z, b, lambda z, b, c: own(z, c)), "raw logit"),
    ("04.2", lambda z, b: route(z, b, lambda z, b, c: z.amax(dim=1).sigmoid()), "would win without bias"),
    ("04.2", lambda z, b: route(z, b, lambda z, b, c: own(z.softmax(dim=1), c)), "softmax over all"),
    ("04.2", lambda z, b: route(z, b, lambda z, b, c: torch.ones(len(z))), "sigmoid of the chosen"),
    ("04.2", route_in_place, "in place"),
    ("04.2", lambda z, b: right_route(z, b)[0], "two tensors"),
    ("04.2", lambda z, b: ((z + b).argmax(dim=1, keepdim=True), z.amax(dim=1)), "one value a token"),
    ("04.3", lambda b, n, r: b - r * (n.double().mean() - n).sign(), "wrong way round"),
    ("04.3", lambda b, n, r: r * (n.double().mean() - n).sign(), "old bias is lost"),
    ("04.3", lambda b, n, r: b + r * (n.double().mean() - n), "grows with the distance"),
    ("04.3", lambda b, n, r: b + r * (1 / len(n) - n / n.sum()), "share of tokens"),
    ("04.3", lambda b, n, r: b + (n.double().mean() - n).sign(), "rate is not used"),
    ("04.3", lambda b, n, r: b + torch.where(n <= n.double().mean(), r, -r), "moves up"),
    ("04.3", lambda b, n, r: b + torch.where(n < n.double().mean(), r, -r), "moves down"),
    ("04.3", lambda b, n, r: b + r * (1 / len(n) - n.double()).sign(), "compares tokens with the share"),
    ("04.3", lambda b, n, r: b - r * one_hot(n.argmax(), len(n)), "Only the busiest"),
    ("04.3", bias_in_place, "return a new one"),
    ("04.3", lambda b, n, r: b + r * (5 - n).sign() if len(b) == 4 else b + r, "one input only"),
    ("04.3", lambda b, n, r: (b + r).tolist(), "one bias for each"),
    ("04.3", lambda b, n, r: b + r, "rise by the rate"),
    ("04.4", lambda counts: violation(counts) > 0.3, "within what dice do"),
    ("04.4", lambda counts: violation(counts) > 0.6, "must fall with the number of tokens"),
    ("04.4", lambda counts: violation(counts) > dice_violation(counts.sum(), len(counts), 0.5), "95th percentile"),
    ("04.4", lambda counts: counts.max() > counts.mean(), "calls everything imbalance"),
    ("04.4", lambda counts: violation(counts) > dice_violation(counts.sum(), len(counts)) + 1000, "never finds"),
    ("04.4", lambda counts: not right_dice(counts), "wrong way round"),
    ("04.4", violation, "True or False"),
    ("04.5", lambda c, e, k: ~right_kept(c, e, k), "dropped tokens"),
    ("04.5", lambda c, e, k: right_kept(c, e, k - 1), "One place too few"),
    ("04.5", lambda c, e, k: right_kept(c, e, k + 1), "One place too many"),
    ("04.5", lambda c, e, k: right_kept(c.reshape(1, -1), e, k).view_as(c), "whole batch"),
    ("04.5", lambda c, e, k: right_kept(c.T, e, k).T, "down the batch"),
    ("04.5", lambda c, e, k: right_kept(c.flip(1), e, k).flip(1), "first come, first served"),
    ("04.5", lambda c, e, k: (torch.arange(c.shape[1]) < k).expand(c.shape), "counts all tokens alike;"),
    ("04.5", lambda c, e, k: (torch.arange(c.shape[1]) < k * e).expand(c.shape), "room for all experts"),
    ("04.5", kept_all_together, "all together"),
    ("04.5", lambda c, e, k: right_kept(c, 3, 5) if e == 3 else right_kept(c, e, k + 1), "one input only"),
    ("04.5", lambda c, e, k: right_kept(c, e, k).long(), "booleans"),
    ("04.5", lambda c, e, k: right_kept(c, e, k).sum(), "one value a token"),
    ("04.5", lambda c, e, k: torch.ones_like(c, dtype=torch.bool), "no others"),
]


@pytest.mark.parametrize(("exercise", "answer", "named"), WRONG)
def test_wrong_answers_are_named(exercise, answer, named):
    found = verdict(exercise, answer)
    assert found.startswith(f"Exercise {exercise}: not yet. ")
    assert named in found
