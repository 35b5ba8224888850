"""Graders of notebook 04: noise floors, balance loss by layer, bias."""

from functools import partial

import numpy as np
import torch
from torch.nn.functional import one_hot

from llama4lab.graders.balance_places import CAPACITY, SINKHORN
from llama4lab.grading import Exercise, Sign
from llama4lab.plain_answers import same

EXERCISES = {5: SINKHORN, 6: CAPACITY}


def random_logits(seed: int, tokens: int = 40, experts: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1.5, (tokens, experts)))


# ---- 1: whether MaxVio is above the 95th percentile of dice routers ----


def max_violation(counts):
    return counts.max() / counts.mean() - 1


def dice_violation(counts, quantile):
    tokens, experts = counts.sum(), len(counts)
    draws = np.random.default_rng(5).multinomial(tokens, [1 / experts] * experts, size=3000)
    return np.quantile(draws.max(axis=1) * experts / tokens - 1, quantile)


def beyond_dice(counts, quantile=0.95):
    return bool(max_violation(counts) > dice_violation(counts, quantile))


def beyond_any_expert(counts, quantile=0.95):
    """The bar of single experts in place of the busiest one of each throw."""
    draws = np.random.default_rng(5).multinomial(counts.sum(), [1 / len(counts)] * len(counts), size=3000)
    return bool(counts.max() > np.quantile(draws, quantile))


EXERCISES[1] = Exercise(
    right=beyond_dice,
    cases=[  # few tokens, where a large MaxVio is luck; many, where a small one is not
        (np.array([24, 12, 18, 14, 17, 13, 15, 16, 8, 20, 15, 17, 16, 19, 16, 16]),),  # MaxVio 0.5, 256 tokens
        (np.array([11_000] + [9_857] * 7),),  # MaxVio 0.1, 80 thousand tokens
        (np.array([40, 10, 10, 4]),),
        (np.array([18, 14, 16, 16]),),
        (np.array([45, 31, 30, 30, 30, 30, 30, 30]),),  # MaxVio 0.41, above 2 / sqrt(32), below 95 % of dice
        (np.array([21, 15, 14, 14]),),  # above half of the busiest experts, below 95 % of all experts
    ],
    mistakes={
        "The wrong way round: True stands for beyond dice.": lambda counts: not beyond_dice(counts),
        "It calls everything imbalance, even what dice do; compare with the 95th percentile of dice routers.": (
            lambda counts: counts.max() > counts.mean()
        ),
        "It never finds an imbalance; does it compare MaxVio with MaxVio, and not with a load?": (
            lambda counts: max_violation(counts) > 1000
        ),
        "256 tokens over 16 experts with MaxVio 0.5 are within what dice do; the bar is no fixed number.": (
            lambda counts: max_violation(counts) > 0.3
        ),
        "80 thousand tokens with MaxVio 0.1 are far beyond dice; the bar must fall with the number of tokens.": (
            lambda counts: max_violation(counts) > 0.6
        ),
        "Half of all dice routers are above this bar; take the 95th percentile.": partial(beyond_dice, quantile=0.5),
        "The rule 2 / sqrt(tokens per expert) is near the mean of dice; the bar is their 95th percentile.": (
            lambda counts: max_violation(counts) > 2 / counts.mean() ** 0.5
        ),
        "Your bar is the 95th percentile of any expert's load; take it over the busiest expert of each throw.": beyond_any_expert,
    },
    otherwise="The bar is the 95th percentile of MaxVio over dice routers with as many tokens and experts.",
)

# ---- 2: the mean over layers of E * sum(f * P), for a list of `[tokens, experts]` ----


def counts(logits):
    return one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype).mean(dim=0)


def probabilities(logits):
    return logits.softmax(dim=1).mean(dim=0)


def by_layer(layers, took=counts, probability=probabilities):
    return torch.stack([layer.shape[1] * (took(layer) * probability(layer)).sum() for layer in layers])


def mean_balance_loss(layers):
    return by_layer(layers).mean()


def pooled_balance_loss(layers):
    return mean_balance_loss([torch.cat(layers)])


def soft_gradient(layers):
    soft = by_layer(layers, probabilities).mean()
    return soft + (mean_balance_loss(layers) - soft).detach()


def loss_and_gradients(function, layers):
    """The loss, and its gradient with respect to each layer's logits where it has one."""
    leaves = [layer.requires_grad_() for layer in layers]
    loss = function(layers)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        return loss, None
    return loss.reshape(()), torch.autograd.grad(loss.sum(), leaves, allow_unused=True)


FAVORITES = 2.0 * torch.eye(3, 5).double()  # each layer leans to an expert of its own

EXERCISES[2] = Exercise(
    right=mean_balance_loss,
    cases=[
        ([random_logits(seed) + FAVORITES[seed] for seed in range(3)],),
        ([random_logits(seed, 30, 4) for seed in range(2)],),
    ],
    run=loss_and_gradients,
    tolerance=1e-4,
    returns="a tensor with one number, so that it can be added to a loss",
    mistakes={
        "It pools the layers before the product, so that they cancel; compute each layer's loss, then take the mean.": (
            pooled_balance_loss
        ),
        "The factor E is missing: perfect balance should read 1, not 1/E.": (
            lambda layers: mean_balance_loss(layers) / layers[0].shape[1]
        ),
        "This is the sum over the layers; take the mean, so that the value does not depend on the depth.": (
            lambda layers: by_layer(layers).sum()
        ),
        "This is the largest loss of the layers; take the mean.": lambda layers: by_layer(layers).max(),
        "The logits of the layers are averaged first; compute each layer's loss, then take the mean.": (
            lambda layers: mean_balance_loss([torch.stack(layers).mean(dim=0)])
        ),
        "The softmax runs over the tokens; it must run over the experts, dim=1.": (
            lambda layers: by_layer(layers, probability=lambda logits: logits.softmax(dim=0).mean(dim=0)).mean()
        ),
        "f must be the share of tokens that each expert took, a count; here P stands in both places.": (
            lambda layers: by_layer(layers, took=probabilities).mean()
        ),
        "P must be the mean softmax probability; here the counts are in both places, and they have no gradient.": (
            lambda layers: by_layer(layers, probability=counts).mean()
        ),
        "It looks at one layer only.": [
            lambda layers: mean_balance_loss(layers[:1]),
            lambda layers: mean_balance_loss(layers[-1:]),
        ],
        "P must come from a softmax of the logits; these are sigmoids, which do not sum to 1.": (
            lambda layers: by_layer(layers, probability=lambda logits: logits.sigmoid().mean(dim=0)).mean()
        ),
        "The value is right, but it has no gradient: do not detach P, and do not rebuild the tensor from a number.": [
            lambda layers: mean_balance_loss(layers).detach(),
            lambda layers: mean_balance_loss(layers).item(),
        ],
        "The value is right, but its gradient is not: it should come from P alone, through the softmax.": Sign(
            lambda result, right, _: same(result[0], right[0], 1e-4), soft_gradient
        ),
    },
    otherwise="It is the mean over layers of E · Σ f · P.",
)

# ---- 3: chosen and score, both `[tokens]`, with a bias in the choice ----


def own(logits, chosen):
    return logits.gather(1, chosen[:, None])[:, 0]


def biased_route(
    logits,
    bias,
    choose=lambda logits, bias: (logits + bias).argmax(dim=1),
    score=lambda logits, bias, chosen: own(logits, chosen).sigmoid(),
):
    chosen = choose(logits, bias)
    return chosen, score(logits, bias, chosen)


def chooses(choose):
    """A mistake in the choice, whatever the score."""
    return Sign(
        lambda result, right, case: same(result[0], choose(*case).tolist()), partial(biased_route, choose=choose)
    )


BIASES = torch.tensor([0.5, -1.0, 2.0, 0.0, -0.5], dtype=torch.float64)

EXERCISES[3] = Exercise(
    right=biased_route,
    cases=[(random_logits(7), BIASES), (random_logits(8), -BIASES)],
    mistakes={
        "The bias has no say in the choice: add it to the logits before argmax.": chooses(
            lambda logits, bias: logits.argmax(dim=1)
        ),
        "The bias is subtracted; a high bias should draw tokens to its expert.": chooses(
            lambda logits, bias: (logits - bias).argmax(dim=1)
        ),
        "Here the bias is added to the sigmoid; in this notebook it is added to the logit.": chooses(
            lambda logits, bias: (logits.sigmoid() + bias).argmax(dim=1)
        ),
        "The smallest logit plus bias wins here; take the largest.": chooses(
            lambda logits, bias: (logits + bias).argmin(dim=1)
        ),
        "The bias is in the score; the score is the sigmoid of the logit without bias.": (
            partial(biased_route, score=lambda logits, bias, chosen: own(logits + bias, chosen).sigmoid())
        ),
        "The score comes first here; return the chosen expert, then its score.": (
            lambda logits, bias: biased_route(logits, bias)[::-1]
        ),
        "The scores are a column, [tokens, 1]; take that dimension off, or index with [:, 0].": (
            partial(biased_route, score=lambda logits, bias, chosen: own(logits, chosen).sigmoid()[:, None])
        ),
        "The scores are those of all pairs of tokens; take one for each token, with `gather` or arange.": (
            partial(biased_route, score=lambda logits, bias, chosen: logits.sigmoid()[:, chosen])
        ),
        "The score is the raw logit; apply the sigmoid.": (
            partial(biased_route, score=lambda logits, bias, chosen: own(logits, chosen))
        ),
        "The score belongs to the expert that would win without bias; take that of the chosen one.": (
            partial(biased_route, score=lambda logits, bias, chosen: logits.amax(dim=1).sigmoid())
        ),
        "The score is a softmax over all experts; Llama 4's is the sigmoid of the chosen logit.": (
            partial(biased_route, score=lambda logits, bias, chosen: own(logits.softmax(dim=1), chosen))
        ),
        "The choice is right, the score is not: it is the sigmoid of the chosen expert's logit, without bias.": Sign(
            lambda result, right, _: same(result[0], right[0]),
            partial(biased_route, score=lambda logits, bias, chosen: torch.ones(len(logits))),
        ),
    },
    otherwise="The chosen expert is the one with the largest logit plus bias.",
)

# ---- 4: the bias after a step, `[experts]` ----


def next_bias(bias, counts, rate):
    return bias + rate * away_from_share(counts).sign()


def away_from_share(counts):
    return counts.double().mean() - counts


EXERCISES[4] = Exercise(
    right=next_bias,
    cases=[
        (torch.tensor([0.1, 0.0, -0.2, 0.3], dtype=torch.float64), torch.tensor([10, 2, 3, 5]), 0.01),
        (torch.zeros(3, dtype=torch.float64), torch.tensor([7, 8, 0]), 0.5),
        (torch.zeros(4, dtype=torch.float64), torch.tensor([3, 3, 4, 5]), 0.1),  # a share that is no whole number
    ],
    mistakes={
        "The wrong way round: an expert above its share must become less attractive.": (
            lambda b, n, r: b - r * away_from_share(n).sign()
        ),
        "The old bias is lost; add the notch to it.": lambda b, n, r: r * away_from_share(n).sign(),
        "The step grows with the distance; it should be one notch, the sign times the rate.": [
            lambda b, n, r: b + r * away_from_share(n),
            lambda b, n, r: b + r * away_from_share(n) / n.sum(),
        ],
        "The rate is not used.": lambda b, n, r: b + away_from_share(n).sign(),
        "The expert exactly at its share should keep its bias; here it moves.": [
            lambda b, n, r: b + r * torch.where(away_from_share(n) >= 0, 1.0, -1.0),
            lambda b, n, r: b + r * torch.where(away_from_share(n) > 0, 1.0, -1.0),
        ],
        "It compares tokens with the share 1/E; compare both as counts, or both as shares.": (
            lambda b, n, r: b + r * (1 / len(n) - n.double()).sign()
        ),
        "The even share is rounded down; with 15 tokens and 4 experts it is 3.75, so an expert with 3 is below it.": (
            lambda b, n, r: b + r * (n.sum() // len(n) - n).sign()
        ),
        "It compares with the median; the even share is the mean.": lambda b, n, r: b + r * (n.median() - n).sign(),
        "Only the busiest expert moves; each one below its share should rise.": (
            lambda b, n, r: b - r * one_hot(n.argmax(), len(n))
        ),
        "Every bias rises; those of the experts above the even share should fall.": lambda b, n, r: b + r,
    },
    otherwise="Each bias should rise by the rate below the even share, fall by it above, and stay at it.",
)
