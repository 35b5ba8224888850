"""Graders of notebook 03: balance loss by layer, bias, noise floors and capacity."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import one_hot

from llama4lab.grading import grader

EXPERTS = 5


def random_logits(seed: int, tokens: int = 40, experts: int = EXPERTS) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1.5, (tokens, experts)))


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return abs(found.item() - expected.item()) < 1e-4


def took_and_probability(router_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    took = one_hot(router_logits.argmax(dim=1), router_logits.shape[1]).double().mean(dim=0)
    return took, router_logits.softmax(dim=1).mean(dim=0)


def layer_loss(router_logits: torch.Tensor) -> torch.Tensor:
    """The Switch balance loss of one layer."""
    took, probability = took_and_probability(router_logits)
    return router_logits.shape[1] * (took * probability).sum()


def mean_loss(layers: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([layer_loss(layer) for layer in layers]).mean()


@grader(1)
def grade_balance_loss(answer: Callable) -> str | None:
    """mean_balance_loss(layers) -> the mean over layers of E * sum(f * P); layers: list of `[tokens, experts]`."""
    favorites = 2.0 * torch.eye(3, EXPERTS).double()  # each layer leans to an expert of its own
    layers = [(random_logits(seed) + favorites[seed]).requires_grad_() for seed in range(3)]
    found = answer(layers)
    if not isinstance(found, torch.Tensor) or found.numel() != 1:
        return "Return a tensor with one number, so that it can be added to a loss."
    expected = mean_loss(layers)
    if close(found, expected):
        return balance_gradient_mistake(found, expected, layers)
    took, probability = (sum(parts) / 3 for parts in zip(*map(took_and_probability, layers), strict=True))
    mistakes = {
        "It pools the layers before the product, so that they cancel; compute each layer's loss, then take the mean.": (
            EXPERTS * (took * probability).sum()
        ),
        "The factor E is missing: perfect balance should read 1, not 1/E.": expected / EXPERTS,
        "This is the sum over the layers; take the mean, so that the value does not depend on the depth.": 3 * expected,
        "f must be the share of tokens that each expert took, a count; here P stands in both places.": torch.stack(
            [EXPERTS * took_and_probability(layer)[1].pow(2).sum() for layer in layers]
        ).mean(),
        "P must be the mean softmax probability; here the counts stand in both places, and they have no gradient.": (
            torch.stack([EXPERTS * took_and_probability(layer)[0].pow(2).sum() for layer in layers]).mean()
        ),
        "It looks at the first layer only.": layer_loss(layers[0]),
        "It looks at the last layer only.": layer_loss(layers[-1]),
        "P must come from a softmax of the logits; these are sigmoids, which do not sum to 1.": torch.stack(
            [EXPERTS * (took_and_probability(layer)[0] * layer.sigmoid().mean(dim=0)).sum() for layer in layers]
        ).mean(),
    }
    for sentence, value in mistakes.items():
        if close(found, value):
            return sentence
    return f"For three layers that should read {expected:.4f} it reads {found.item():.4f}: mean over layers of E · Σ f · P."


def balance_gradient_mistake(found: torch.Tensor, expected: torch.Tensor, layers: list[torch.Tensor]) -> str | None:
    """A right value must have the right gradient too."""
    if not found.requires_grad:
        return (
            "The value is right, but it has no gradient: do not detach P, and do not rebuild the tensor from a number."
        )
    gradients = torch.autograd.grad(found, layers, allow_unused=True)
    for gradient, right in zip(gradients, torch.autograd.grad(expected, layers), strict=True):
        if gradient is None or not torch.allclose(gradient, right, atol=1e-6):
            return "The value is right, but its gradient is not: it should come from P alone, through the softmax."
    return None


@grader(2)
def grade_biased_route(answer: Callable) -> str | None:
    """biased_route(router_logits, bias) -> chosen `[tokens]`, score `[tokens]`."""
    logits, bias = random_logits(7), torch.tensor([0.5, -1.0, 2.0, 0.0, -0.5], dtype=torch.float64)
    given, given_bias = logits.clone(), bias.clone()
    found = answer(given, given_bias)
    if not isinstance(found, tuple | list) or len(found) != 2:
        return "Return two tensors: chosen and score."
    chosen, score = found
    if not all(isinstance(part, torch.Tensor) and part.shape == (len(logits),) for part in found):
        return f"Both results should be tensors of shape [{len(logits)}], one value a token."
    if not (torch.equal(given, logits) and torch.equal(given_bias, bias)):
        return "It changes what it was given; work without operations in place."
    right = (logits + bias).argmax(dim=1)
    if torch.equal(chosen, logits.argmax(dim=1)):
        return "The bias has no say in the choice: add it to the logits before argmax."
    if torch.equal(chosen, (logits - bias).argmax(dim=1)):
        return "The bias is subtracted; a high bias should draw tokens to its expert."
    if torch.equal(chosen, (logits.sigmoid() + bias).argmax(dim=1)):
        return "Here the bias is added to the sigmoid; in this notebook it is added to the logit."
    if not torch.equal(chosen, right):
        return "The chosen expert should be the one with the largest logit plus bias."
    own = logits.gather(1, right[:, None])[:, 0]
    mistakes = {
        "The bias is in the score; the score is the sigmoid of the logit without bias.": (own + bias[right]).sigmoid(),
        "The score is the raw logit; apply the sigmoid.": own,
        "The score belongs to the expert that would win without bias; take that of the chosen one.": logits.amax(
            dim=1
        ).sigmoid(),
        "The score is a softmax over all experts; Llama 4's is the sigmoid of the chosen logit.": logits.softmax(
            1
        ).gather(1, right[:, None])[:, 0],
    }
    for sentence, value in mistakes.items():
        if torch.allclose(score.double(), value, atol=1e-6):
            return sentence
    if not torch.allclose(score.double(), own.sigmoid(), atol=1e-6):
        return "The score should be the sigmoid of the chosen expert's logit, without bias."
    return None


@grader(3)
def grade_next_bias(answer: Callable) -> str | None:
    """next_bias(bias, counts, rate) -> the bias after a step, `[experts]`."""
    bias, counts = torch.tensor([0.1, 0.0, -0.2, 0.3], dtype=torch.float64), torch.tensor([10, 2, 3, 5])
    given = bias.clone()
    found = answer(given, counts, 0.01)
    if not isinstance(found, torch.Tensor) or found.shape != bias.shape:
        return "Return a tensor with one bias for each expert."
    if not torch.equal(given, bias):
        return "It changes the bias that it was given; return a new one."
    away = counts.double().mean() - counts
    mistakes = {
        "The wrong way round: an expert above its share must become less attractive.": bias - 0.01 * away.sign(),
        "The old bias is lost; add the notch to it.": 0.01 * away.sign(),
        "The step grows with the distance; it should be one notch, the sign times the rate.": bias + 0.01 * away,
        "The step grows with the distance from the share of tokens; it should be one notch, the sign times the rate.": (
            bias + 0.01 * away / counts.sum()
        ),
        "The rate is not used.": bias + away.sign(),
        "The expert exactly at its share should keep its bias; here it moves up.": bias
        + 0.01 * torch.where(away >= 0, 1.0, -1.0),
        "The expert exactly at its share should keep its bias; here it moves down.": bias
        + 0.01 * torch.where(away > 0, 1.0, -1.0),
        "It compares tokens with the share 1/E; compare both as counts, or both as shares.": bias
        + 0.01 * (1 / 4 - counts.double()).sign(),
        "Only the busiest expert moves; each one below its share should rise.": bias
        - 0.01 * one_hot(counts.argmax(), 4).double(),
    }
    for sentence, value in mistakes.items():
        if torch.allclose(found.double(), value, atol=1e-9):
            return sentence
    if not torch.allclose(found.double(), bias + 0.01 * away.sign(), atol=1e-9):
        return "Each bias should rise by the rate below the even share, fall by it above, and stay at it."
    other = torch.tensor([7, 8, 0])
    expected = 0.5 * (5.0 - other).sign()
    if not torch.allclose(answer(torch.zeros(3).double(), other, 0.5).double(), expected.double()):
        return "It is right for one input only; does it use the number of experts given?"
    return None


@grader(4)
def grade_beyond_dice(answer: Callable) -> str | None:
    """beyond_dice(counts) -> whether MaxVio is beyond what 95 % of dice routers stay below; counts NumPy `[experts]`."""
    # counts, whether beyond dice: few tokens, where a large MaxVio is luck; many, where a small one is not
    cases = [
        (np.array([24, 12, 18, 14, 17, 13, 15, 16] + [8, 20, 15, 17, 16, 19, 16, 16]), False),  # MaxVio 0.5, 256 tokens
        (np.array([11_000] + [9_857] * 7), True),  # MaxVio 0.1, 80 thousand tokens
        (np.array([40, 10, 10, 4]), True),
        (np.array([18, 14, 16, 16]), False),
    ]
    found = [answer(counts.copy()) for counts, _ in cases]
    if not all(isinstance(value, bool | np.bool_) for value in found):
        return "Return True or False."
    found = [bool(value) for value in found]
    expected = [value for _, value in cases]
    if found == expected:
        return None
    if found == [not value for value in expected]:
        return "The wrong way round: True stands for beyond dice."
    if all(found):
        return "It calls everything imbalance, even what dice do; compare with the 95th percentile of dice routers."
    if not any(found):
        return "It never finds an imbalance; does it compare MaxVio with MaxVio, and not with a load?"
    if found[0]:
        return (
            "256 tokens over 16 experts with MaxVio 0.5 are within what dice do; is the bar the 95th percentile, "
            "for this number of tokens and experts?"
        )
    if not found[1]:
        return "80 thousand tokens with MaxVio 0.1 are far beyond dice; the bar must fall with the number of tokens."
    return "The bar should be the 95th percentile of MaxVio over dice routers with as many tokens and experts."


def kept_in_order(chosen: torch.Tensor, experts: int, capacity: int) -> torch.Tensor:
    """True for tokens that find a place in their row, `[batch, seq]`."""
    place = one_hot(chosen, experts).cumsum(dim=1).gather(2, chosen[..., None])[..., 0]
    return place <= capacity


@grader(5)
def grade_kept_tokens(answer: Callable) -> str | None:
    """kept_tokens(chosen, experts, capacity) -> boolean `[batch, seq]`."""
    chosen = torch.from_numpy(np.random.default_rng(3).integers(0, 3, (16, 20)))
    given = chosen.clone()
    found = answer(given, 3, 5)
    if not isinstance(found, torch.Tensor) or found.shape != chosen.shape:
        return f"Return a tensor of shape {list(chosen.shape)}, one value a token."
    if found.dtype != torch.bool:
        return "Return booleans: True where the token is kept."
    if not torch.equal(given, chosen):
        return "It changes the choices that it was given."
    right = kept_in_order(chosen, 3, 5)
    mistakes = {
        "These are the dropped tokens; return True for those that are kept.": ~right,
        "One place too few: the token with number `capacity` still finds a place.": kept_in_order(chosen, 3, 4),
        "One place too many: `capacity` tokens find a place, not one more.": kept_in_order(chosen, 3, 6),
        "It counts over the whole batch as one list; each row has its own places.": kept_in_order(
            chosen.reshape(1, -1), 3, 5
        ).view_as(chosen),
        "It counts down the batch, position by position; count along each row.": kept_in_order(chosen.T, 3, 5).T,
        "The last tokens of each expert are kept; first come, first served.": kept_in_order(chosen.flip(1), 3, 5).flip(
            1
        ),
        "It counts all tokens alike; each expert has its own places.": (torch.arange(20) < 5).expand(16, 20),
        "It counts all tokens alike, with room for all experts; each expert has its own places.": (
            torch.arange(20) < 15
        ).expand(16, 20),
        "It keeps or drops an expert's tokens all together; those who came first keep their place.": (
            one_hot(chosen, 3).sum(dim=1).gather(1, chosen) <= 5
        ),
    }
    for sentence, value in mistakes.items():
        if torch.equal(found, value):
            return sentence
    if not torch.equal(found, right):
        return "In each row the first `capacity` tokens of each expert should be kept, and no others."
    other = torch.from_numpy(np.random.default_rng(4).integers(0, 6, (2, 30)))
    if not torch.equal(answer(other.clone(), 6, 3), kept_in_order(other, 6, 3)):
        return "It is right for one input only; does it use `experts` and `capacity`?"
    return None
