"""Grader of the exercise of 10 in which attention reads its keys piece by piece, as machines do that share a context."""

import math

import torch

from llama4lab.grading import Exercise, Sign


class Pieces:
    """Pairs of keys and values, once each; the memory of a pair is used again for the next one, as buffers are."""

    def __init__(self, pieces):
        self.rest, self.buffer = [[states.clone() for states in piece] for piece in pieces], []

    def __iter__(self):
        return self

    def __next__(self):
        for states in self.buffer:
            states.zero_()
        if not self.rest:
            raise StopIteration
        self.buffer = self.rest.pop(0)
        return tuple(self.buffer)


def attend_in_pieces(query, pieces, scaled=True, rescaled=(True, True), divided=True):
    """rescaled: whether the sum shrinks when a larger score comes, and whether the weighted values do."""
    largest, total, weighted = -math.inf, 0.0, 0.0
    for keys, values in pieces:
        scores = keys @ query / (math.sqrt(len(query)) if scaled else 1)
        newest = max(largest, scores.max().item())
        weights, shrink = (scores - newest).exp(), math.exp(largest - newest)
        total = (shrink if rescaled[0] else 1.0) * total + weights.sum()
        weighted = (shrink if rescaled[1] else 1.0) * weighted + weights @ values
        largest = newest
    return weighted / total if divided else weighted


def all_at_once(query, pieces):
    keys, values = (torch.cat(states) for states in zip(*list(pieces), strict=True))
    return attend_in_pieces(query, [(keys, values)])


def mean_of_outputs(query, pieces, weight=lambda keys: 1.0):
    outputs = [(weight(keys), attend_in_pieces(query, [(keys, values)])) for keys, values in pieces]
    return sum(share * output for share, output in outputs) / sum(share for share, _ in outputs)


def last_piece_alone(query, pieces):
    for keys, values in pieces:
        output = attend_in_pieces(query, [(keys, values)])
    return output


def raw_exponentials(query, pieces):
    total, weighted = 0.0, 0.0
    for keys, values in pieces:
        weights = (keys @ query / math.sqrt(len(query))).exp()
        total, weighted = total + weights.sum(), weighted + weights @ values
    return weighted / total


def two_passes(query, pieces):
    largest = max((keys @ query).max().item() / math.sqrt(len(query)) for keys, _ in pieces)
    total = weighted = torch.zeros(len(query))
    for keys, values in pieces:
        weights = (keys @ query / math.sqrt(len(query)) - largest).exp()
        total, weighted = total + weights.sum(), weighted + weights @ values
    return weighted / total


def states(seed, lengths, head_dim=4, size=1.0):
    """A query, and pieces of keys and values with so many tokens each."""
    numbers = torch.Generator().manual_seed(seed)
    pieces = [[torch.randn(length, head_dim, generator=numbers) for _ in range(2)] for length in lengths]
    return size * torch.randn(head_dim, generator=numbers), pieces


EXERCISE = Exercise(
    right=attend_in_pieces,
    run=lambda answer, query, pieces: answer(query, Pieces(pieces)),
    cases=[
        states(0, [3, 3]),
        states(1, [5, 2, 1]),
        states(2, [4]),
        states(3, [2, 6, 3], 8),
        states(4, [3, 4], 4, 400.0),
    ],
    tolerance=1e-4,
    returns="a tensor of the shape of the query",
    mistakes={
        "It keeps a piece whose memory the next one uses again: take from it what you need before you ask for more.": (
            all_at_once
        ),
        "The pieces pass by once; a second loop over them finds none, so take maximum, sum and values in one.": Sign(
            lambda result, right, _: all(map(math.isnan, result)), two_passes
        ),
        "exp of a raw score overflows where scores are large: subtract the largest score so far.": raw_exponentials,
        "It takes the mean of the pieces' outputs; a piece weighs as much as its sum of exponentials.": mean_of_outputs,
        "It weights a piece by its number of keys; a piece weighs as much as its sum of exponentials.": (
            lambda query, pieces: mean_of_outputs(query, pieces, len)
        ),
        "When a larger score comes, what was summed before must shrink by exp(old largest − new largest).": (
            lambda query, pieces: attend_in_pieces(query, pieces, rescaled=(False, False))
        ),
        "Both must shrink when a larger score comes, the sum of the weights and the weighted values.": [
            lambda query, pieces: attend_in_pieces(query, pieces, rescaled=(True, False)),
            lambda query, pieces: attend_in_pieces(query, pieces, rescaled=(False, True)),
        ],
        "The scores are to be divided by the square root of head_dim.": (
            lambda query, pieces: attend_in_pieces(query, pieces, scaled=False)
        ),
        "This is the sum of weighted values; divide it by the sum of the weights.": (
            lambda query, pieces: attend_in_pieces(query, pieces, divided=False)
        ),
        "Only the last piece counts here; add what each of them brings.": last_piece_alone,
    },
)
