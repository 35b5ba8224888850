"""What notebook 16 writes from scratch: the losses that its recorded runs learned with, and a student of other words."""

import json

import pytest
import torch
from tokenizers import Tokenizer
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast

from llama4lab.checkpoints import MODELS
from llama4lab.errors import CourseError

WORDS = 12


def drawn(seed: int) -> torch.Tensor:
    """Log-probabilities `[2, 5, WORDS]`."""
    return torch.randn(2, 5, WORDS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(-1)


def test_soft_loss_of_all_words_is_the_forward_loss(notebook):
    log_q, log_p = drawn(0), drawn(1)
    top_log_p, top_ids = log_p.topk(WORDS)
    assert_close(
        notebook["soft_loss"](log_q, top_ids, top_log_p), notebook["forward_loss"](log_q, log_p), atol=1e-5, rtol=0
    )


def test_soft_loss_pulls_toward_the_kept_words_and_the_rest(notebook):
    logits, log_p = drawn(2).requires_grad_(), drawn(3)
    top_log_p, top_ids = log_p.topk(4)
    log_q = logits.log_softmax(-1)
    (gradient,) = torch.autograd.grad(notebook["soft_loss"](log_q, top_ids, top_log_p), logits)
    target = notebook["cut_and_rest"](log_p.exp(), 4, log_q.exp().detach())
    assert_close(gradient, (log_q.exp().detach() - target) / 10)
    assert_close(target.sum(-1), torch.ones(2, 5, dtype=torch.float64))


def test_targets_drawn_by_lot_are_right_on_average(notebook):
    p = drawn(4)[0, :1].exp()
    many = notebook["by_lot"](p.expand(20_000, -1), 8, torch.Generator().manual_seed(0))
    assert_close(many.mean(0), p[0], atol=0.005, rtol=0)
    assert (notebook["cut"](p, 8) - p).abs().max() > 0.01


def test_reliability(notebook):
    sure, right = torch.tensor([0.05, 0.95, 0.91, 1.0]), torch.tensor([False, True, False, True])
    count, confidence, accuracy = notebook["reliability"](sure, right)
    assert count.tolist() == [1, *[0] * 8, 3]
    assert confidence[9].item() == pytest.approx(2.86 / 3)
    assert accuracy[9].item() == pytest.approx(2 / 3)


@pytest.fixture
def swapped() -> PreTrainedTokenizerFast:
    """The teacher's tokenizer with two ordinary words in each other's place: as many words, other ids."""
    described = json.loads((MODELS / "behemoth-proxy" / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = described["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)))


def test_a_student_with_other_words_is_refused_in_one_sentence(notebook, swapped):
    teacher = PreTrainedTokenizerFast.from_pretrained(MODELS / "behemoth-proxy")
    assert len(teacher) == len(swapped)
    with pytest.raises(CourseError, match=r"agree on [\d,]+ of [\d,]+ words: build the student with the teacher's tok"):
        notebook["check_same_words"](teacher, swapped)
    notebook["check_same_words"](teacher, teacher)
