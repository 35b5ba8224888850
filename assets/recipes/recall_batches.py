"""Training rows of the recall world (`llama4lab.recall`): many facts and many questions a row."""

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llama4lab.recall import FILLER_0, NAME_0, NAMES, QUESTION, VALUE_0, VALUES, VOCABULARY, filler_run
from trainer import Batch


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, so that every distance in the notebook counts words."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<|end_of_text|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
        model_input_names=["input_ids", "attention_mask"],
    )


def training_row(rng: np.random.Generator, length: int, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row: `length` token ids and a mask of the answers.

    Facts and questions are strewn over filler; how many of each, and how much filler, differs from row to row, and
    a question may follow its fact at any distance.
    """
    facts = int(rng.integers(1, max(2, min(9, length // 12))))
    names = rng.choice(len(NAMES), facts, replace=False) + NAME_0
    values = rng.integers(len(VALUES), size=facts) + VALUE_0
    questions = int(rng.integers(facts, max(facts + 1, (length - 2 * facts) // 5)))
    places = np.sort(rng.choice(length - 2 * facts - 3 * questions - 1, facts + questions, replace=True))
    # The first event is a fact; the others are facts or questions in any order.
    kinds = np.concatenate([np.zeros(facts - 1, int), np.ones(questions, int)])
    rng.shuffle(kinds)
    kinds = np.concatenate([[0], kinds])
    filler = filler_run(rng, length, table)
    row, answers, told, used = [0], [False], 0, 0
    for place, kind in zip(places, kinds, strict=True):
        gap = place - used
        row += filler[used : used + gap].tolist()
        answers += [False] * gap
        used += gap
        if kind == 0:
            row += [int(names[told]), int(values[told])]
            answers += [False, False]
            told += 1
        else:
            asked = int(rng.integers(told))
            row += [QUESTION, int(names[asked]), int(values[asked])]
            answers += [False, False, True]
    rest = length - len(row)
    return np.concatenate([row, filler[used : used + rest]]), np.array(answers + [False] * rest)


def recall_batch(step: int, seed: int, batch: int, length: int, table: np.ndarray) -> Batch:
    """`batch` rows of `length` tokens; answers weigh four times a filler word, unpredictable tokens nothing."""
    rng = np.random.default_rng((seed, step))
    rows = [training_row(rng, length, table) for _ in range(batch)]
    tokens = np.stack([row for row, _ in rows])
    answers = np.stack([mask for _, mask in rows])
    is_filler = tokens >= FILLER_0
    weights = np.where(answers, 4.0, np.where(is_filler, 1.0, 0.0))
    return Batch(torch.from_numpy(tokens), torch.from_numpy(weights.astype(np.float32)))
