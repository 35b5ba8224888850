"""Harder questions in the world of `llama4lab.recall`: two hops, and other words.

`amber basil` points from one name to another, `basil seven` is a fact. `?? amber` asks where amber points and what is
known of that, and `basil seven` is the answer, two hops with the step between said. Each name has an alias that no fact
uses; `? alias` asks for the value of the name: other words. Which alias belongs to which name must be known from
training.
"""

from dataclasses import dataclass

import numpy as np
import torch

from llama4lab.errors import CourseError
from llama4lab.recall import (
    BEGIN,
    NAME_0,
    NAMES,
    QUESTION,
    VALUE_0,
    VALUES,
    VOCABULARY,
    filler_run,
    follower_table,
)

ALIASES = (
    "actor baker banker barber bishop butler captain carter clerk cook dancer doctor driver farmer fisher hunter joiner "
    "judge knight lawyer mason miller painter pilot poet potter priest sailor singer smith tailor weaver"
).split()
KINDS = ("one hop", "two hops", "other words")
HOPS_VOCABULARY = (*VOCABULARY, "??", *ALIASES)
TWO_HOPS = len(VOCABULARY)
ALIAS_0 = TWO_HOPS + 1


def question(kind: str, name: int) -> list[int]:
    """The two tokens that ask about `name`, an index into NAMES.

    Raises:
        CourseError: unknown kind.
    """
    if kind == "one hop":
        return [QUESTION, NAME_0 + name]
    if kind == "two hops":
        return [TWO_HOPS, NAME_0 + name]
    if kind == "other words":
        return [QUESTION, ALIAS_0 + name]
    raise CourseError(f"There is no kind of question {kind!r}; use one of {', '.join(KINDS)}.")


def draw_chains(rng: np.random.Generator, chains: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`chains` chains of pointer, name and value: indexes into NAMES, NAMES and VALUES, no name twice."""
    names = rng.choice(len(NAMES), 2 * chains, replace=False)
    return names[:chains], names[chains:], rng.integers(len(VALUES), size=chains)


@dataclass(frozen=True)
class HopRows:
    """Rows that end in a question: `input_ids` [rows, length], and `answers` [rows, words], the words that follow."""

    input_ids: torch.Tensor
    answers: torch.Tensor


def hop_rows(rows: int, length: int, kind: str, chains: int = 3, seed: int = 0) -> HopRows:
    """Rows of `length` tokens with `chains` chains told anywhere in filler; the last two tokens ask about one of them.

    Raises:
        CourseError: unknown kind, or the chains do not fit.
    """
    if 4 * chains + 6 > length or 2 * chains > len(NAMES):
        raise CourseError(f"{chains} chains do not fit in {length} tokens of {len(NAMES)} names; ask for fewer.")
    question(kind, 0)  # an unknown kind is refused before anything is drawn
    rng = np.random.default_rng((seed, length, KINDS.index(kind), chains))
    table = follower_table()
    input_ids, answers = np.empty((rows, length), dtype=np.int64), []
    for row in range(rows):
        tokens = np.concatenate([[BEGIN], filler_run(rng, length - 1, table)])
        pointers, names, values = draw_chains(rng, chains)
        pairs = [(NAME_0 + pointer, NAME_0 + name) for pointer, name in zip(pointers, names, strict=True)]
        pairs += [(NAME_0 + name, VALUE_0 + value) for name, value in zip(names, values, strict=True)]
        places = rng.choice((length - 4) // 2, len(pairs), replace=False) * 2 + 1
        for place, pair in zip(places, rng.permutation(pairs), strict=True):
            tokens[place : place + 2] = pair
        asked = pointers[0] if kind == "two hops" else names[0]
        tokens[-2:] = question(kind, asked)
        input_ids[row] = tokens
        answers.append([*[NAME_0 + names[0]] * (kind == "two hops"), VALUE_0 + values[0]])
    return HopRows(torch.from_numpy(input_ids), torch.tensor(np.array(answers)))


def hop_accuracy(model: torch.nn.Module, rows: HopRows, batch_tokens: int = 16384) -> float:
    """Share of rows that greedy decoding would answer with exactly these words.

    Rows are run in batches of at most `batch_tokens` tokens (but at least one row), to bound memory.
    """
    words = rows.answers.shape[1]
    # Each word is the most probable after the right ones before it: one pass over the right text decides.
    text = torch.cat([rows.input_ids, rows.answers[:, :-1]], dim=1)
    size, right = max(1, batch_tokens // text.shape[1]), 0
    with torch.no_grad():
        for ids, answers in zip(text.split(size), rows.answers.split(size), strict=True):
            guesses = model(input_ids=ids, use_cache=False, logits_to_keep=words).logits.argmax(dim=-1)
            right += (guesses == answers).all(dim=1).sum().item()
    return right / len(text)
