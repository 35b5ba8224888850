"""What the students of distillation.py read: rows of text, and what the teacher says about each of their tokens.

The rows are in blocks of 32 in which every domain has its share, so that the smallest student reads of each.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Llama4ForConditionalGeneration

import herd_data
import language_batches as lb
import training_attention
from llama4lab.checkpoints import load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.routing import record_routing

TEACHER = "behemoth-proxy"
LENGTH, TOP = 128, 32  # tokens of a row; the teacher's probabilities that are kept of each
BLOCK = {
    "prose": 8,
    "code": 4,
    "languages": 2,
    "arithmetic": 3,
    "recall": 6,
    "chat": 9,
}  # rows, by language_batches.MIX
BLOCKS = 100
HELD_OUT_ROWS = 32  # of a domain; one half chooses the best step of a run, the other judges it
AT_ONCE = 64  # rows


@dataclass(frozen=True)
class Lessons:
    """Rows of text and the teacher's view of them.

    Attributes:
        rows: token ids, `[rows, LENGTH]`.
        top_ids, top_log_p: the teacher's likeliest next tokens after each token but the last, `[rows, LENGTH - 1, TOP]`.
        held_out: token ids by domain, `[HELD_OUT_ROWS, LENGTH]`.
        routing: the teacher's experts on the judging half, domains joined, `[expert layers, tokens]`.
    """

    rows: torch.Tensor
    top_ids: torch.Tensor
    top_log_p: torch.Tensor
    held_out: dict[str, torch.Tensor]
    routing: torch.Tensor

    def of_student(self, size: int, seed: int) -> "Lessons":
        """The part with `size` rows; two seeds share rows only where there are not enough."""
        chosen = (torch.arange(size) + seed * size) % len(self.rows)
        return Lessons(self.rows[chosen], self.top_ids[chosen], self.top_log_p[chosen], self.held_out, self.routing)


def judging_half(held_out: dict[str, torch.Tensor]) -> torch.Tensor:
    """The rows that judge a student, domains joined, `[rows, LENGTH]`."""
    return torch.cat([rows[HELD_OUT_ROWS // 2 :] for rows in held_out.values()])


def load_teacher() -> Llama4ForConditionalGeneration:
    """The teacher, ready to read whole rows."""
    _, teacher = load_checkpoint(TEACHER)
    teacher.language_model.set_attn_implementation(training_attention.NAME)
    return teacher


def teacher_log_p(teacher: Llama4ForConditionalGeneration, rows: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the token after each token but the last, `[rows, seq - 1, vocabulary]`; in half precision."""
    with torch.no_grad(), sorted_dispatch(teacher), torch.autocast("cpu", torch.bfloat16):
        return teacher(input_ids=rows, use_cache=False).logits[:, :-1].float().log_softmax(-1)


def ask_teacher(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `Lessons` keeps of the teacher for `rows`: ids as int16, log-probabilities in half precision."""
    teacher, parts = load_teacher(), []
    for part in rows.split(AT_ONCE):
        log_p, ids = teacher_log_p(teacher, part).topk(TOP)
        parts.append((ids.short(), log_p.half()))
    return tuple(torch.cat(side) for side in zip(*parts, strict=True))


def load_or_build_lessons(work: Path) -> Lessons:
    """The lessons, kept in `work` for the next run."""
    path = work / "lessons.pt"
    if not path.exists():
        sources, tokenizer = herd_data.sources_in(work.parent)
        drawn = lb.build_rows(tokenizer, sources, {d: BLOCKS * n for d, n in BLOCK.items()}, LENGTH, says_steps=False)
        blocks = [drawn[domain].tokens.reshape(BLOCKS, n, LENGTH) for domain, n in BLOCK.items()]
        rows = torch.from_numpy(np.concatenate(blocks, axis=1).reshape(-1, LENGTH).astype(np.int64))
        held = lb.held_out_rows(tokenizer, says_steps=False)
        held = {d: torch.from_numpy(r.tokens[:HELD_OUT_ROWS, :LENGTH].astype(np.int64)) for d, r in held.items()}
        teacher = load_checkpoint(TEACHER)[1]
        routing = record_routing(teacher, judging_half(held)).chosen.flatten(1)
        ids, log_p = ask_teacher(rows)
        work.mkdir(parents=True, exist_ok=True)
        torch.save([rows, ids, log_p, held, routing], path)
    return Lessons(*torch.load(path, weights_only=True))
