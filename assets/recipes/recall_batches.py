"""Training rows of the recall world (`llama4lab.recall`): many facts and many questions a row."""

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llama4lab.recall import BEGIN, FILLER_0, NAME_0, NAMES, QUESTION, VALUE_0, VALUES, VOCABULARY, filler_run
from llama4lab.recall_hops import KINDS, draw_chains, question
from training_batch import Batch


def build_tokenizer(vocabulary: tuple[str, ...] = VOCABULARY) -> PreTrainedTokenizerFast:
    """One token a word, so that every distance in the notebook counts words."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<|end_of_text|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
        model_input_names=["input_ids", "attention_mask"],
    )


class _Writer:
    """A row that is being written: its token ids, which of them are answers, and the filler still to come."""

    def __init__(self, rng: np.random.Generator, length: int, table: np.ndarray) -> None:
        self.rng, self.length = rng, length
        self.filler, self.used = filler_run(rng, length, table), 0
        self.tokens, self.answers = [BEGIN], [False]

    def fill(self) -> None:
        """One to five words of filler."""
        run = int(self.rng.integers(1, 6))
        self.say(*self.filler[self.used : self.used + run])
        self.used += run

    def say(self, *tokens: int, answers: int = 0) -> None:
        """These tokens, of which the last `answers` are an answer."""
        self.tokens += map(int, tokens)
        self.answers += [False] * (len(tokens) - answers) + [True] * answers

    def is_full(self) -> bool:
        return len(self.tokens) >= self.length

    def row(self) -> tuple[np.ndarray, np.ndarray]:
        """The token ids and the mask of the answers, both `[length]`."""
        return np.array(self.tokens[: self.length]), np.array(self.answers[: self.length])


def training_row(
    rng: np.random.Generator, length: int, table: np.ndarray, far: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """One row: `length` token ids and a mask of the answers.

    Facts, questions and runs of filler in random order; how many of each differs from row to row. A question asks any
    fact told so far, with `far` preferably one that was not mentioned for long.
    """
    facts = int(rng.integers(2, max(3, length // 10)))
    names = rng.choice(len(NAMES), facts, replace=False) + NAME_0
    values = rng.integers(len(VALUES), size=facts) + VALUE_0
    writer = _Writer(rng, length, table)
    filler_share = rng.uniform(0.05, 0.7 if far else 0.5)
    mentioned = []
    while not writer.is_full():
        if rng.random() < filler_share:
            writer.fill()
        elif not mentioned or (len(mentioned) < facts and rng.random() < 0.5):
            fact = len(mentioned)
            mentioned.append(len(writer.tokens))
            writer.say(names[fact], values[fact])
        else:
            age = len(writer.tokens) - np.array(mentioned, dtype=float) if far else np.ones(len(mentioned))
            fact = int(rng.choice(len(mentioned), p=age / age.sum()))
            mentioned[fact] = len(writer.tokens)
            writer.say(QUESTION, names[fact], values[fact], answers=1)
    return writer.row()


def matching_row(rng: np.random.Generator, length: int, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row that asks again and again: up to 15 facts early, then question after question, little filler between.

    Finding some value is worth little here, since most rows hold many: the name must be matched.
    """
    facts = int(rng.integers(2, min(16, length // 5)))
    names = rng.choice(len(NAMES), facts, replace=False) + NAME_0
    values = rng.integers(len(VALUES), size=facts) + VALUE_0
    writer, told = _Writer(rng, length, table), 0
    filler_share = 0.3 * rng.random()
    while not writer.is_full():
        if rng.random() < filler_share:
            writer.fill()
        elif told < facts and (told < 2 or rng.random() < 0.6):
            writer.say(names[told], values[told])
            told += 1
        else:
            fact = int(rng.integers(told))
            writer.say(QUESTION, names[fact], values[fact], answers=1)
    return writer.row()


def hops_row(rng: np.random.Generator, length: int, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row of chains (`llama4lab.recall_hops`), told in any order, and questions of all three kinds."""
    chains = int(rng.integers(1, 1 + min(6, length // 12)))
    pointers, names, values = draw_chains(rng, chains)
    waiting = [(True, chain) for chain in range(chains)] + [(False, chain) for chain in range(chains)]
    waiting = [waiting[at] for at in rng.permutation(len(waiting))]
    writer, told = _Writer(rng, length, table), set()
    filler_share, ask_share = 0.5 * rng.random(), rng.uniform(0.2, 0.6)
    while not writer.is_full():
        if rng.random() < filler_share:
            writer.fill()
            continue
        known = [chain for chain in range(chains) if (False, chain) in told]
        if waiting and (not known or rng.random() > ask_share):
            points, chain = waiting.pop()
            told.add((points, chain))
            pair = (pointers[chain], NAME_0 + names[chain]) if points else (names[chain], VALUE_0 + values[chain])
            writer.say(NAME_0 + pair[0], pair[1])
        elif known:
            chain = int(rng.choice(known))
            linked = (True, chain) in told
            kind = str(rng.choice(KINDS, p=(0.2, 0.5, 0.3) if linked else (0.4, 0.0, 0.6)))
            asked = pointers[chain] if kind == "two hops" else names[chain]
            said = [NAME_0 + names[chain]] * (kind == "two hops") + [VALUE_0 + values[chain]]
            writer.say(*question(kind, asked), *said, answers=len(said))
    return writer.row()


def matching_batch(step: int, seed: int, batch: int, length: int, table: np.ndarray) -> Batch:
    """`batch` rows of `matching_row`, `length` tokens each; an answer weighs twenty times a filler word."""
    rng = np.random.default_rng((seed, step))
    return weigh([matching_row(rng, length, table) for _ in range(batch)], filler_weight=0.05)


def hops_batch(step: int, seed: int, batch: int, length: int, table: np.ndarray) -> Batch:
    """`batch` rows of `hops_row`, weighed as those of `matching_batch`."""
    rng = np.random.default_rng((seed, step))
    return weigh([hops_row(rng, length, table) for _ in range(batch)], filler_weight=0.05)


def recall_batch(step: int, seed: int, batch: int, length: int, table: np.ndarray, far: float = 0.0) -> Batch:
    """`batch` rows of `length` tokens, a share `far` of them with far questions.

    An answer weighs ten times a filler word; what cannot be predicted weighs nothing.
    """
    rng = np.random.default_rng((seed, step))
    return weigh([training_row(rng, length, table, rng.random() < far) for _ in range(batch)], filler_weight=0.1)


def weigh(rows: list[tuple[np.ndarray, np.ndarray]], filler_weight: float) -> Batch:
    """Rows of (token ids, mask of the answers) with weights: an answer 1, filler less, what cannot be predicted 0."""
    tokens = np.stack([row for row, _ in rows])
    answers = np.stack([mask for _, mask in rows])
    weights = np.where(answers, 1.0, np.where((tokens >= FILLER_0) & (tokens < len(VOCABULARY)), filler_weight, 0.0))
    return Batch(torch.from_numpy(tokens), torch.from_numpy(weights.astype(np.float32)))
