"""Graders of 18: questions that a difference needs, the sign test, ratings at equal length, three fresh claims."""

from math import ceil, comb, floor, log10, sqrt

import numpy as np

from llama4lab.grading import Exercise, Sign

EXERCISES = {}

# ---- 1: questions for which the difference of two scores in percent is as large as half of its 95 % interval ----


def questions(first, second, z=1.96, round_it=ceil):
    variance = sum(score / 100 * (1 - score / 100) for score in (first, second))
    return round_it(z**2 * variance / ((first - second) / 100) ** 2)


def one_score_only(first, second):
    return ceil(1.96**2 * first / 100 * (1 - first / 100) / ((first - second) / 100) ** 2)


def intervals_apart(first, second):
    errors = sum(sqrt(score / 100 * (1 - score / 100)) for score in (first, second))
    return ceil((1.96 * errors / ((first - second) / 100)) ** 2)


EXERCISES[1] = Exercise(
    right=questions,
    cases=[(33.3, 32.8), (50.5, 57.2), (79.3, 79.6), (91.1, 90.6), (20.0, 60.0)],
    mistakes={
        "Only one of the two scores varies; both do, so their variances add.": [
            one_score_only,
            lambda first, second: one_score_only(second, first),
            lambda first, second: max(one_score_only(first, second), one_score_only(second, first)),
        ],
        "That keeps the two intervals from touching, which asks for too much; take the interval of the difference.": (
            intervals_apart
        ),
        "The 1.96 is missing or not squared.": [
            lambda first, second: questions(first, second, z=1),
            lambda first, second: questions(first, second, z=sqrt(1.96)),
        ],
        "Round up: with one question less the difference is smaller than its half-width.": (
            lambda first, second: questions(first, second, round_it=floor)
        ),
        "The scores are in percent; divide them by 100 in the variances and in the difference.": Sign(
            lambda result, right, _: result < 0 or result > 50 * right or 50 * result < right,
            lambda first, second: ceil(
                1.96**2 * (first * (100 - first) + second * (100 - second)) / (first - second) ** 2 / 1e4
            ),
        ),
    },
)

# ---- 2: the sign test ----


def disagreements(first, second):
    pairs = list(zip(first, second, strict=True))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def at_most(heads, tosses):
    return sum(comb(tosses, k) for k in range(heads + 1)) / 2**tosses


def split_probability(first, second, sides=2, most=1.0):
    lost, won = disagreements(first, second)
    return min(most, sides * at_most(min(lost, won), lost + won))


def with_ties_as_tosses(first, second):
    lost, won = disagreements(first, second)
    ties = len(first) - lost - won
    return min(1.0, 2 * at_most(min(lost, won) + ties // 2, len(first)))


def with_all_as_tosses(first, second):
    lost, won = disagreements(first, second)
    return min(1.0, 2 * at_most(min(lost, won), len(first)))


def of_this_split_alone(first, second, most=1.0):
    lost, won = disagreements(first, second)
    return min(most, 2 * comb(lost + won, lost) / 2 ** (lost + won))


def answers(both, lost, won, neither):
    """Arguments with so many questions that both, only the first, only the second and neither answered."""
    kinds = [(True, True, both), (True, False, lost), (False, True, won), (False, False, neither)]
    return [a for a, _, n in kinds for _ in range(n)], [b for _, b, n in kinds for _ in range(n)]


EXERCISES[2] = Exercise(
    right=split_probability,
    cases=[answers(9, 6, 1, 4), answers(40, 0, 3, 9), answers(3, 12, 5, 2), answers(5, 6, 6, 5), answers(5, 0, 0, 3)],
    mistakes={
        "That is one-sided; the uneven split could have gone the other way, so double it.": (
            lambda first, second: split_probability(first, second, sides=1)
        ),
        "A probability is at most 1; cut it there.": lambda first, second: split_probability(first, second, most=9.0),
        "Questions on which both agree are counted as tosses; only those on which they differ tell anything.": [
            with_ties_as_tosses,
            with_all_as_tosses,
        ],
        "That is the probability of just this split; add those that are more uneven.": [
            of_this_split_alone,
            lambda first, second: of_this_split_alone(first, second, most=9.0),
        ],
    },
)

# ---- 3: Bradley-Terry ratings at equal length ----


POINTS = 400 / np.log(10)  # rating points for a weight of 1


def fitted(votes, style=True, mean=1000.0, scale=POINTS, sign=1.0, from_first=False):
    models = sorted({model for winner, loser, _ in votes for model in (winner, loser)})
    x = np.zeros((len(votes), len(models) + 1))
    for row, (winner, loser, longer) in zip(x, votes, strict=True):
        row[models.index(winner)], row[models.index(loser)] = 1, -1
        row[-1] = longer if style else 0.0
    weights = np.zeros(len(models) + 1)
    for _ in range(30):
        wins = 1 / (1 + np.exp(-x @ weights))
        weights += np.linalg.pinv((x.T * (wins * (1 - wins))) @ x) @ (x.T @ (1 - wins))
    of_models = weights[:-1] - (weights[0] if from_first else weights[:-1].mean())
    return {model: mean + sign * scale * value for model, value in zip(models, of_models.tolist(), strict=True)}


def with_length_as(votes, seen):
    """The ratings if the length enters as `seen` of it."""
    return fitted([(winner, loser, float(seen(longer))) for winner, loser, longer in votes])


def with_style_as_model(votes):
    return fitted(votes) | {"length": 0.0}


def online(votes):
    """Elo's update, vote by vote, which depends on their order."""
    rating = dict.fromkeys(sorted({model for winner, loser, _ in votes for model in (winner, loser)}), 1000.0)
    for winner, loser, _ in votes:
        step = 16 * (1 - 1 / (1 + 10 ** ((rating[loser] - rating[winner]) / 400)))
        rating[winner], rating[loser] = rating[winner] + step, rating[loser] - step
    return rating


def by_win_rate(votes):
    models = sorted({model for winner, loser, _ in votes for model in (winner, loser)})
    wins = {m: sum(w == m for w, _, _ in votes) / sum(m in (w, loser) for w, loser, _ in votes) for m in models}
    return {model: 1000 + 400 * log10(share / (1 - share)) for model, share in wins.items()}


def ballots(names, skill, taste, seed, count=300):
    """Votes among models of these skills, by voters with this taste for length."""
    rng = np.random.default_rng(seed)
    votes = []
    for _ in range(count):
        a, b = (str(name) for name in rng.permutation(names)[:2])
        longer = float(rng.normal() + 0.5 * (names.index(a) - names.index(b)))
        first_wins = rng.random() < 1 / (1 + np.exp(-(skill[a] - skill[b] + taste * longer)))
        votes.append((a, b, longer) if first_wins else (b, a, -longer))
    return votes


EXERCISES[3] = Exercise(
    right=fitted,
    tolerance=1e-4,
    returns="a dictionary from model to rating",
    cases=[
        (ballots(["ada", "bo", "cy"], {"ada": 0.8, "bo": 0.3, "cy": 0.0}, 0.6, seed=1),),
        (ballots(["x", "y", "z", "w"], {"x": 0.0, "y": 0.2, "z": -0.4, "w": 0.7}, -0.5, seed=2),),
    ],
    mistakes={
        "Length still counts: fit a weight for the third entry of the votes as well.": lambda votes: fitted(
            votes, style=False
        ),
        "The scale is another one: a weight of ln 10 is 400 points.": [
            lambda votes: fitted(votes, scale=400.0),
            lambda votes: fitted(votes, scale=1.0),
        ],
        "The mean of the ratings is 1000.": [
            lambda votes: fitted(votes, mean=0.0),
            lambda votes: fitted(votes, from_first=True),
        ],
        "How much longer has a sign: the winner's answer may be the shorter one.": lambda votes: with_length_as(
            votes, abs
        ),
        "How much longer, not whether: the third entry enters the fit as it is.": [
            lambda votes: with_length_as(votes, np.sign),
            lambda votes: with_length_as(votes, lambda longer: longer > 0),
        ],
        "Winners and losers are swapped.": lambda votes: fitted(votes, sign=-1.0),
        "Vote after vote, the result depends on their order; fit all votes at once.": online,
        "Shares of votes won depend on who met whom; fit the ratings of all models together.": by_win_rate,
        "The weight of the length is no model's rating; leave it out.": Sign(
            lambda result, right, _: isinstance(result, dict) and len(result) > len(right), with_style_as_model
        ),
    },
    otherwise="Give x one more column, with the third entry of each vote.",
)

# ---- 4: three fresh claims ----

EXERCISES[4] = Exercise(
    right={
        "A verdict": "fails",
        "A question": "what is counted",
        "A number": 217.3,
        "B verdict": "fails",
        "B question": "which model",
        "B number": 32,
        "C verdict": "undecided",
        "C question": "how many questions",
        "C number": questions(33.3, 32.8),
    },
    tolerance=2e-3,
    mistakes={
        "A: only a part of the parameters is active for a token, but all of them wait in memory.": [
            {"A verdict": "holds"},
            {"A verdict": "undecided"},
        ],
        "A: that is what the active parameters take; weigh all of them, at two bytes each.": {"A number": 34.3},
        "A: that is in GiB; the GPU is sold in GB, so divide by 1e9.": {"A number": 202.4},
        "A: that is not bfloat16; it has two bytes a parameter.": [{"A number": 108.6}, {"A number": 54.3}],
        "A: the model is the right one; ask which of its parameters the sentence counts.": [
            {"A question": "which model"},
            {"A question": "how many questions"},
            {"A question": "which date"},
            {"A question": "which place"},
        ],
        "B: the number exists, but the model that earned it was not released; so the sentence fails.": [
            {"B verdict": "holds"},
            {"B verdict": "undecided"},
        ],
        "B: ask first which model was rated.": [
            {"B question": "what is counted"},
            {"B question": "how many questions"},
            {"B question": "which date"},
            {"B question": "which place"},
        ],
        "B: that is the rating of the version that was not released; give the place of the released one.": {
            "B number": 1417
        },
        "C: half a point is less than chance, so it decides neither way: a difference that may be noise does not show the opposite.": [
            {"C verdict": "holds"},
            {"C verdict": "fails"},
        ],
        "C: the models are named; ask how many questions half a point takes.": [
            {"C question": "which model"},
            {"C question": "what is counted"},
            {"C question": "which date"},
            {"C question": "which place"},
        ],
        "C: take both scores' variances, and 1.96 squared, as in exercise 18.1.": [
            {"C number": one_score_only(33.3, 32.8)},
            {"C number": intervals_apart(33.3, 32.8)},
            {"C number": questions(33.3, 32.8, z=1)},
        ],
    },
    otherwise="Use only the words that are offered, and a number for each claim.",
)
