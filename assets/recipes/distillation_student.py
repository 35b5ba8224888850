"""One student of distillation.py: how it learns from text, from the teacher, or from both, and what is kept of it."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Llama4ForCausalLM

import training_attention
from balance import Balance
from distillation_data import LENGTH, TEACHER, Lessons, judging_half, load_teacher, teacher_log_p
from distillation_routing import agreement
from initial_weights import initialize
from llama4lab.checkpoints import load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.routing import record_routing
from proxies import small_config

WORK = Path(__file__).resolve().parents[2] / ".work" / "distillation"
STEPS, BATCH, WARMUP, RATE = 400, 8, 40, 16e-3
BRANCH = 300  # the step at which a student of soft targets goes on with another text or divergence
LOOKS = (10, 20, 40, 80, 120, 180, 240, 300, 360, 400)  # steps after which a student is measured
SMOOTHING = 0.1
PROMPT = 32  # tokens of a row that the student continues
TEMPERATURES = (1.0, 0.9, 0.8, 0.7, 0.6)  # at which a student of soft targets writes

# The teacher's share of the loss by progress, 0 to 1.
SHARES: dict[str, Callable[[float], float]] = {
    "alone": lambda progress: 0.0,
    "soft": lambda progress: 1.0,
    "half": lambda progress: 0.5,
    "soft to hard": lambda progress: 1 - progress,
    "hard to soft": lambda progress: progress,
    "shuffled": lambda progress: 0.5,
    "smoothed": lambda progress: 0.0,
}
BRANCHES = ("corpus, reverse", "own text, forward", "own text, reverse")


@dataclass(frozen=True)
class Run:
    """One student: the kind of its blocks (of small_config), how it learns, rows of text, seed."""

    kind: str
    arm: str
    size: int
    seed: int
    rate: float = RATE

    @property
    def path(self) -> Path:
        """Where its figures are kept."""
        return WORK / f"{self.kind} {self.arm} {self.size} {self.seed} {self.rate}.json"


def learning_rate(step: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def next_log_q(student: Llama4ForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """The student's log-probabilities of the token after each but the last, `[rows, seq - 1, vocabulary]`."""
    return student(input_ids=rows, use_cache=False).logits[:, :-1].log_softmax(-1)


def held_out_nll(student: Llama4ForCausalLM, lessons: Lessons) -> dict[str, list[float]]:
    """Nats a token by domain: on the half that chooses a step, on the half that judges it."""
    result = {}
    with torch.no_grad():
        for domain, rows in lessons.held_out.items():
            nll = -next_log_q(student, rows).gather(-1, rows[:, 1:, None]).mean(dim=(1, 2))
            result[domain] = [round(half.mean().item(), 4) for half in nll.chunk(2)]
    return result


class Student:
    """A student in training: model, optimizer, its rows and what the teacher says of them."""

    def __init__(self, run: Run, lessons: Lessons, losses: dict) -> None:
        self.run, self.losses = run, losses
        self.lessons = lessons.of_student(run.size, run.seed)
        tokenizer = load_checkpoint(TEACHER)[0].tokenizer
        self.model = Llama4ForCausalLM(small_config(tokenizer, run.kind))
        initialize(self.model, run.seed)
        self.model.set_attn_implementation(training_attention.NAME)
        self.balance = Balance(self.model, "loss" if run.kind == "moe" else "none", 0.01)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=run.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, learning_rate)
        self.curve: list[dict] = []
        self.teacher, self.own_rows = None, None
        # The null: the teacher's words, each about another place.
        if run.arm == "shuffled":
            places = torch.randperm(
                self.lessons.top_ids[..., 0].numel(), generator=torch.Generator().manual_seed(run.seed)
            )
            for part in (self.lessons.top_ids, self.lessons.top_log_p):
                part.copy_(part.flatten(0, 1)[places].view_as(part))

    def rows_of(self, step: int) -> torch.Tensor:
        """Indices of the step's rows: every row once before any comes again."""
        steps_of_round = self.run.size // BATCH
        around, at = divmod(step, steps_of_round)
        order = torch.randperm(self.run.size, generator=torch.Generator().manual_seed(1000 * self.run.seed + around))
        return order[at * BATCH : (at + 1) * BATCH]

    def write_on(self, prompts: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """The student's own continuation of `prompts` [rows, PROMPT], to LENGTH tokens; no token ends it."""
        self.model.set_attn_implementation("sdpa")
        with torch.no_grad():
            text = self.model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                top_k=0,
                temperature=temperature,
                max_new_tokens=LENGTH - PROMPT,
                min_new_tokens=LENGTH - PROMPT,
                eos_token_id=None,
                pad_token_id=0,
            )
        self.model.set_attn_implementation(training_attention.NAME)
        return text

    def branch_loss(self, step: int, index: torch.Tensor) -> torch.Tensor:
        """The loss of the last steps of a branch: which text, which direction."""
        text, direction = self.run.arm.split(", ")
        self.teacher = self.teacher or load_teacher()
        rows, first = self.lessons.rows[index], 0
        if text == "own text":
            ahead = (step - BRANCH) % 10
            if ahead == 0:
                chosen = torch.cat([self.rows_of(step + later) for later in range(10)])
                self.own_rows = self.write_on(self.lessons.rows[chosen][:, :PROMPT]).split(BATCH)
            rows, first = self.own_rows[ahead], PROMPT - 1
        log_q, log_p = next_log_q(self.model, rows), teacher_log_p(self.teacher, rows)
        return self.losses[f"{direction}_loss"](log_q[:, first:], log_p[:, first:])

    def loss(self, step: int) -> torch.Tensor:
        """The loss of one step, without the balance of the experts."""
        index, arm = self.rows_of(step), self.run.arm
        if arm in BRANCHES and step >= BRANCH:
            return self.branch_loss(step, index)
        rows = self.lessons.rows[index]
        log_q = next_log_q(self.model, rows)
        share = SHARES["soft" if arm in BRANCHES else arm](step / STEPS)
        loss = torch.zeros(())
        if share < 1:
            hard = self.losses["hard_loss"](log_q, rows[:, 1:])
            if arm == "smoothed":
                hard = (1 - SMOOTHING) * hard - SMOOTHING * log_q.mean()
            loss = loss + (1 - share) * hard
        if share > 0:
            top_ids, top_log_p = self.lessons.top_ids[index].long(), self.lessons.top_log_p[index].float()
            loss = loss + share * self.losses["soft_loss"](log_q, top_ids, top_log_p)
        return loss

    def learn(self) -> None:
        """All steps, with a look at the held-out text in between."""
        torch.manual_seed(self.run.seed)
        with sorted_dispatch(self.model) if self.balance.routers else nullcontext():
            for step in range(STEPS):
                loss = self.loss(step) + self.balance.loss()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
                if step + 1 in LOOKS:
                    self.curve.append({"step": step + 1, "nll": held_out_nll(self.model, self.lessons)})
        self.balance.remove()

    def calibration(self) -> dict[str, list[float]]:
        """How sure the finished student is, and how often it is right, on the judging half."""
        rows = judging_half(self.lessons.held_out)
        with torch.no_grad():
            confidence, guess = next_log_q(self.model, rows).exp().max(-1)
        count, sure, right = self.losses["reliability"](confidence.flatten(), (guess == rows[:, 1:]).flatten())
        return {
            "count": count.tolist(),
            "confidence": [round(value, 4) for value in sure.tolist()],
            "accuracy": [round(value, 4) for value in right.tolist()],
        }

    def own_text(self, temperature: float) -> dict[str, float]:
        """What the teacher thinks of text that the student wrote, and how sure the student was; nats a token."""
        torch.manual_seed(0)
        rows = self.write_on(judging_half(self.lessons.held_out)[:, :PROMPT], temperature)
        self.teacher = self.teacher or load_teacher()
        log_p = teacher_log_p(self.teacher, rows)[:, PROMPT - 1 :]
        with torch.no_grad():
            log_q = (next_log_q(self.model, rows)[:, PROMPT - 1 :] / temperature).log_softmax(-1)
        nll = -log_p.gather(-1, rows[:, PROMPT:, None]).mean()
        entropy = -(log_q.exp() * log_q).sum(-1).mean()
        figures = {"teacher_nll": nll.item(), "student_entropy": entropy.item()}
        return {"temperature": temperature} | {name: round(value, 4) for name, value in figures.items()}

    def figures(self) -> dict:
        """What is kept of the run."""
        result = {"curve": self.curve, "calibration": self.calibration()}
        if self.balance.routers:
            chosen = record_routing(self.model, judging_half(self.lessons.held_out)).chosen.flatten(1)
            tokens = judging_half(self.lessons.held_out).flatten()
            result["routing"] = agreement(chosen, self.lessons.routing, tokens)
            if self.run.arm in ("soft", *BRANCHES):
                temperatures = TEMPERATURES if self.run.arm == "soft" else TEMPERATURES[:1]
                result["own_text"] = [self.own_text(temperature) for temperature in temperatures]
        return result
