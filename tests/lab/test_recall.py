"""The recall world: rows that ask what they told, and sentences for rows that cannot be made."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import recall_batches
from llama4lab.errors import CourseError
from llama4lab.recall import (
    BEGIN,
    FILLER_0,
    NAME_0,
    QUESTION,
    VALUE_0,
    VOCABULARY,
    filler_run,
    follower_table,
    needle_rows,
    recall_accuracy,
)


@pytest.mark.parametrize(("length", "distance", "distractors"), [(64, 2, 0), (64, 61, 0), (64, 30, 6), (512, 500, 20)])
def test_needle_stands_where_it_says_and_is_asked_for(length, distance, distractors):
    needles = needle_rows(20, length, distance, distractors=distractors)
    ids = needles.input_ids
    assert ids.shape == (20, length) and needles.position == length - 1 - distance
    assert (ids[:, 0] == BEGIN).all() and (ids[:, -2] == QUESTION).all()
    assert (ids[:, needles.position] == needles.answers).all()
    assert (ids[:, needles.position - 1] == ids[:, -1]).all()
    for row in ids:
        names = [token for token in row[:-1].tolist() if NAME_0 <= token < VALUE_0]
        assert len(names) == len(set(names)) == distractors + 1  # no other fact about the asked name
        told = [token for before, token in pairwise(row[:-1].tolist()) if before in names]
        assert all(VALUE_0 <= value < FILLER_0 for value in told)


def test_needles_depend_on_the_seed_alone():
    assert torch.equal(needle_rows(3, 64, 20, seed=1).input_ids, needle_rows(3, 64, 20, seed=1).input_ids)
    assert not torch.equal(needle_rows(3, 64, 20, seed=1).input_ids, needle_rows(3, 64, 20, seed=2).input_ids)


@pytest.mark.parametrize(("distance", "distractors"), [(1, 0), (62, 0), (900, 0), (30, 40)])
def test_a_row_that_cannot_be_made_gets_a_sentence(distance, distractors):
    with pytest.raises(CourseError, match="fit"):
        needle_rows(1, 64, distance, distractors=distractors)


def test_filler_obeys_its_grammar():
    table = follower_table()
    words = filler_run(np.random.default_rng(0), 500, table) - FILLER_0
    assert all(words[i + 1] in table[words[i], words[i - 1] % 2] for i in range(1, 499))


def test_training_rows_answer_with_the_value_that_was_told():
    rng = np.random.default_rng(3)
    for _ in range(50):
        row, answers = recall_batches.training_row(rng, 128, follower_table())
        assert row.shape == answers.shape == (128,) and row.max() < len(VOCABULARY)
        told = {}
        for index, token in enumerate(row.tolist()):
            asked = index >= 2 and row[index - 2] == QUESTION
            assert bool(answers[index]) == asked
            if asked:
                assert told[row[index - 1]] == token
            elif VALUE_0 <= token < FILLER_0:
                told[row[index - 1]] = token


class Echo(torch.nn.Module):
    """Says the token at `place` of each row, whatever the question; `and_before` it, maybe, a word that is likelier."""

    def __init__(self, place, and_before=None):
        super().__init__()
        self.place, self.and_before = place, and_before

    def forward(self, input_ids, use_cache, logits_to_keep):
        said = torch.nn.functional.one_hot(input_ids[:, self.place], len(VOCABULARY)).float()
        if self.and_before is not None:
            said[:, self.and_before] = 2.0
        return type("Output", (), {"logits": said[:, None]})()


def test_recall_accuracy_counts_right_answers_whatever_the_batch():
    needles = needle_rows(10, 64, 20, distractors=3)
    assert recall_accuracy(Echo(needles.position), needles, batch_tokens=150) == 1.0
    assert recall_accuracy(Echo(0), needles, batch_tokens=10) == 0.0


def test_recall_is_scored_among_all_words_and_not_among_values_alone():
    needles = needle_rows(10, 64, 20)
    second_choice = Echo(needles.position, and_before=FILLER_0)  # the answer, but one filler word is likelier
    assert recall_accuracy(second_choice, needles) == 0.0
