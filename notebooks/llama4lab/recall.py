"""A small world for recall: facts among filler words, asked for at any distance.

`amber seven` is a fact: a name, then its value. `? amber` asks, and `seven` is the answer. Everything else is filler,
whose grammar needs the last two words, so that a model has something to predict between the facts.
The ablations of `assets/models` are trained on rows of this world; the needles here are what they are asked.
"""

from dataclasses import dataclass

import numpy as np
import torch

from llama4lab.errors import CourseError

NAMES = (
    "amber basil cedar clove coral daisy ebony fern ginger hazel iris ivory jade jasper lilac linen maple mint olive "
    "onyx opal pearl pepper poppy quartz rose ruby saffron sage silver tulip violet"
).split()
VALUES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion"
).split()
FILLER = (
    "a after again all and another at away before behind below beside between by came day down each every far found "
    "from garden gate gave ground had hall hill hour house into kept lake land late left light long made many morning "
    "near never night of old on once out over path quiet rain river road round sat saw sea side sky slow small some "
    "soon still street sun the then there through time to tower town tree under until up wall was water way went were "
    "wind with"
).split()
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "?")
VOCABULARY = (*SPECIAL, *NAMES, *VALUES, *FILLER)

BEGIN, QUESTION = 0, 2
NAME_0 = len(SPECIAL)
VALUE_0 = NAME_0 + len(NAMES)
FILLER_0 = VALUE_0 + len(VALUES)
CHANCE = 1 / len(VALUES)  # of guessing an answer when only "some value" is known


def follower_table() -> np.ndarray:
    """`[filler words, 2, 2]`: the grammar of this world, fixed.

    After the filler words u, w comes one of the two words `table[w, u % 2]`: whoever sees only w can do no better than
    guess among four, whoever also sees u among two.
    """
    rng = np.random.default_rng(7)
    return np.stack([rng.choice(len(FILLER), 4, replace=False).reshape(2, 2) for _ in FILLER])


def filler_run(rng: np.random.Generator, length: int, table: np.ndarray) -> np.ndarray:
    """`length` filler token ids that obey the grammar `table`."""
    words = np.empty(length, dtype=np.int64)
    before, word = rng.integers(len(FILLER), size=2).tolist()
    choices = rng.integers(2, size=length).tolist()
    grammar = table.tolist()
    for index in range(length):
        words[index] = word
        before, word = word, grammar[word][before % 2][choices[index]]
    return words + FILLER_0


@dataclass(frozen=True)
class Needles:
    """Rows that end in a question.

    Attributes:
        input_ids: `[rows, length]`; the last two tokens are `?` and the name asked for.
        answers: the token that should follow, `[rows]`.
        position: index of the asked fact's value in the row, the same in every row.
    """

    input_ids: torch.Tensor
    answers: torch.Tensor
    position: int


def needle_rows(rows: int, length: int, distance: int, seed: int = 0, distractors: int = 0) -> Needles:
    """Rows of `length` tokens in which one fact lies `distance` tokens before the end and is asked for at the end.

    `distance` counts from the fact's value to the last token, the name in the question, from which the answer must
    be predicted. `distractors` other facts, with other names, are strewn over the rest of the row.

    Raises:
        CourseError: the fact does not fit between the first token and the question, or there are too few names.
    """
    if not 2 <= distance <= length - 3:
        raise CourseError(f"A needle at distance {distance} does not fit in {length} tokens; use 2 to {length - 3}.")
    if distractors > min(len(NAMES) - 1, (length - 6) // 4):
        raise CourseError(
            f"{distractors} distractors do not fit; use at most {min(len(NAMES) - 1, (length - 6) // 4)}."
        )
    rng = np.random.default_rng((seed, length, distance, distractors))
    table = follower_table()
    position = length - 1 - distance
    # Places for other facts: pairs of tokens that meet neither the first token, nor the needle, nor the question.
    places = [p for p in range(1, length - 3, 2) if p + 1 < position - 1 or p > position]
    input_ids, answers = np.empty((rows, length), dtype=np.int64), np.empty(rows, dtype=np.int64)
    for row in range(rows):
        tokens = np.concatenate([[BEGIN], filler_run(rng, length - 1, table)])
        names = rng.choice(len(NAMES), distractors + 1, replace=False) + NAME_0
        values = rng.integers(len(VALUES), size=distractors + 1) + VALUE_0
        for place, name, value in zip(
            rng.choice(len(places), distractors, replace=False), names[1:], values[1:], strict=True
        ):
            tokens[places[place] : places[place] + 2] = name, value
        tokens[position - 1 : position + 1] = names[0], values[0]
        tokens[-2:] = QUESTION, names[0]
        input_ids[row], answers[row] = tokens, values[0]
    return Needles(torch.from_numpy(input_ids), torch.from_numpy(answers), position)


def recall_accuracy(model: torch.nn.Module, needles: Needles, batch_tokens: int = 16384) -> float:
    """Share of rows whose most probable next token is the answer, over the whole vocabulary.

    Rows are run in batches of at most `batch_tokens` tokens (but at least one row), to bound memory.
    """
    size = max(1, batch_tokens // needles.input_ids.shape[1])
    right = 0
    with torch.no_grad():
        for ids, answers in zip(needles.input_ids.split(size), needles.answers.split(size), strict=True):
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            right += (logits.argmax(dim=-1) == answers).sum().item()
    return right / len(needles.answers)
