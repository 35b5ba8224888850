"""Graders of notebook 16: the loss with temperature, another vocabulary, bytes of a target, the best mixed student."""

from functools import partial

import torch

from llama4lab.grading import Exercise, Sign

EXERCISES = {}

# ---- 1: the loss with temperature, from logits `[batch, seq, vocabulary]` ----


def distillation_loss(student_logits, teacher_logits, temperature, power=2, of_student=True, of_teacher=True):
    q = (student_logits / (temperature if of_student else 1)).log_softmax(-1)
    p = (teacher_logits / (temperature if of_teacher else 1)).log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean() * temperature**power


def cross_entropy(student_logits, teacher_logits, temperature):
    q, p = ((logits / temperature).log_softmax(-1) for logits in (student_logits, teacher_logits))
    return -(p.exp() * q).sum(-1).mean() * temperature**2


def draw(*seeds):
    return [torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]


EXERCISES[1] = Exercise(
    right=distillation_loss,
    cases=[(*draw(0, 1), 2.0), (*draw(2, 3), 4.0), (*draw(4, 5), 1.5)],
    mistakes={
        "The square of the temperature is missing.": partial(distillation_loss, power=0),
        "It is multiplied by T; the gradient wants its square.": partial(distillation_loss, power=1),
        "The teacher's logits were not divided by T.": partial(distillation_loss, of_teacher=False),
        "The student's logits were not divided by T.": partial(distillation_loss, of_student=False),
        "That is the reverse direction: the teacher's chances are the weights.": (
            lambda student, teacher, temperature: distillation_loss(teacher, student, temperature)
        ),
        "That is the cross-entropy: equal students would not have 0; subtract the teacher's own entropy.": cross_entropy,
        "That is a sum over positions; take their mean.": (
            lambda student, teacher, temperature: 6 * distillation_loss(student, teacher, temperature)
        ),
        "That is a mean over the vocabulary, too; words are summed.": (
            lambda student, teacher, temperature: distillation_loss(student, teacher, temperature) / 5
        ),
        "That is divided by the batch alone, as kl_div's batchmean does; divide by all positions.": (
            lambda student, teacher, temperature: 3 * distillation_loss(student, teacher, temperature)
        ),
    },
    returns="one number, the loss",
)

# ---- 2: a teacher's chances for the words of another vocabulary ----


def begins(theirs, ours):
    return theirs.startswith(ours)


def carry_over(probabilities, teacher_words, student_words, fits=begins, pick=max, scale=True):
    carried = [0.0] * len(student_words)
    for chance, theirs in zip(probabilities, teacher_words, strict=True):
        word = pick((ours for ours in student_words if fits(theirs, ours)), key=len, default=None)
        if word is not None:
            carried[student_words.index(word)] += chance
    total = sum(carried)
    return [chance / total for chance in carried] if scale and total else carried


def to_all(probabilities, teacher_words, student_words):
    pairs = list(zip(probabilities, teacher_words, strict=True))
    carried = [sum(p for p, theirs in pairs if theirs.startswith(ours)) for ours in student_words]
    return [chance / sum(carried) for chance in carried] if sum(carried) else [0.0] * len(carried)


def last_wins(probabilities, teacher_words, student_words):
    alone = [
        carry_over([p], [w], student_words, scale=False) for p, w in zip(probabilities, teacher_words, strict=True)
    ]
    carried = [next((one[at] for one in reversed(alone) if one[at]), 0.0) for at in range(len(student_words))]
    return [chance / sum(carried) for chance in carried] if sum(carried) else carried


WORDS = [" peaches", " pears", " plums", "xyz", " p"]
EXERCISES[2] = Exercise(
    right=carry_over,
    cases=[
        ([0.3, 0.2, 0.3, 0.1, 0.1], WORDS, [" p", " pea", " plums", " figs"]),
        ([0.25, 0.25, 0.25, 0.125, 0.125], WORDS, [" pears and", " pe", " p", "z"]),
        ([0.5, 0.5], ["ab", "cd"], ["x", "yz"]),
        ([0.6, 0.4], ["ab", "cd"], ["", "ab"]),
    ],
    mistakes={
        "Each word goes to the longest beginning that the student has, not to the shortest.": partial(
            carry_over, pick=min
        ),
        "Only equal words were carried over; a word that begins with a student's word counts, too.": partial(
            carry_over, fits=lambda theirs, ours: theirs == ours
        ),
        "The teacher's word must begin with the student's, not the other way around.": partial(
            carry_over, fits=lambda theirs, ours: ours.startswith(theirs)
        ),
        "A student's word inside of the teacher's does not count; it must be its beginning.": partial(
            carry_over, fits=lambda theirs, ours: ours in theirs
        ),
        "What is left was not scaled to sum to 1.": partial(carry_over, scale=False),
        "Each word gives its chance to one student's word, the longest; yours gives it to all that fit.": to_all,
        "Several teacher's words may go to one of the student's: add them.": last_wins,
    },
    otherwise='With " p" and " pea", " peaches" and " pears" go to " pea", " plums" to " p".',
)

# ---- 3: bytes of the k likeliest words of a token ----


def id_bytes(vocabulary):
    return max(1, -(-(vocabulary - 1).bit_length() // 8))


def target_bytes(vocabulary, k, value_bytes):
    return k * (value_bytes + id_bytes(vocabulary))


EXERCISES[3] = Exercise(
    right=target_bytes,
    cases=[(202_048, 32, 2), (65_536, 10, 2), (256, 4, 4), (257, 4, 1)],
    mistakes={
        "The ids are missing: which words the numbers belong to.": lambda vocabulary, k, value: k * value,
        "An id needs fewer than 4 bytes here.": lambda vocabulary, k, value: k * (value + 4),
        "That is the whole vocabulary; keep k of it.": lambda vocabulary, k, value: vocabulary * value,
        "One byte more than needed: 65,536 words have ids of 0 to 65,535, two bytes.": (
            lambda vocabulary, k, value: k * (value + -(-vocabulary.bit_length() // 8))
        ),
        "That counts bits of the ids, not whole bytes.": (
            lambda vocabulary, k, value: k * (value + (vocabulary - 1).bit_length())
        ),
        "An id of 18 bits takes three bytes; round up, not down.": (
            lambda vocabulary, k, value: k * (value + max(1, (vocabulary - 1).bit_length() // 8))
        ),
        "The ids are counted once; each of the k numbers has its own.": (
            lambda vocabulary, k, value: k * value + id_bytes(vocabulary)
        ),
    },
    otherwise="For a vocabulary of 202,048, k = 32 and values of 2 bytes it is 32 · (2 + 3).",
)

# ---- 4: the student that minimizes a mix of soft and hard loss ----


def best_mix(teacher, truth, share):
    return [share * chance + (1 - share) * (word == truth) for word, chance in enumerate(teacher)]


def product(teacher, truth, share):
    raised = [chance**share * (1.0 if word == truth else 1e-9) ** (1 - share) for word, chance in enumerate(teacher)]
    return [chance / sum(raised) for chance in raised]


EXERCISES[4] = Exercise(
    right=best_mix,
    cases=[([0.5, 0.25, 0.25], 1, 0.5), ([0.7, 0.2, 0.1], 0, 0.25), ([0.1, 0.9], 0, 0.8)],
    mistakes={
        "The shares are swapped: `share` belongs to the teacher.": (
            lambda teacher, truth, share: best_mix(teacher, truth, 1 - share)
        ),
        "That is the teacher alone.": lambda teacher, truth, share: list(teacher),
        "That is the hard target alone.": lambda teacher, truth, share: best_mix(teacher, truth, 0),
        "That multiplies the two; the minimum of the sum of two cross-entropies is their weighted mean.": product,
        "The rest was spread evenly, as label smoothing does; it should follow the teacher.": (
            lambda teacher, truth, share: best_mix([1 / len(teacher)] * len(teacher), truth, share)
        ),
        "It does not sum to 1.": Sign(
            lambda result, right, _: (
                isinstance(result, list)
                and all(isinstance(entry, float) for entry in result)
                and abs(sum(result) - 1) > 1e-6
            ),
            lambda teacher, truth, share: [2 * chance for chance in best_mix(teacher, truth, share)],
        ),
    },
    otherwise="For chances of 0.5, 0.25, 0.25, the true word 1 and a share of 0.5 it is 0.25, 0.625, 0.125.",
)
