"""One training loop for every proxy: sorted dispatch, balanced experts, resumable, its log as JSON lines.

The batch of a step depends on the seed and the step alone, so an interrupted run continues on the curve it left.
"""

import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import linear_cross_entropy
from transformers import PreTrainedModel

import training_attention
from balance import Balance
from llama4lab.dispatch import sorted_dispatch
from training_batch import Batch


class TrainingError(Exception):
    """A run cannot start or continue; the message is one sentence with the remedy."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn: `steps` optimizer steps, linear warm-up, then a cosine down to `floor`.

    The cosine begins after the share `hold` of the steps.
    """

    steps: int
    learning_rate: float = 3e-3
    warmup: int = 200
    hold: float = 0.0
    floor: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    half_precision: bool = False  # multiply matrices in bfloat16; weights and optimizer stay in float32
    balance: str = "loss"  # or "bias" or "none"
    balance_weight: float = 0.01

    def factor(self, step: int) -> float:
        """Multiplier of the learning rate at `step`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        start = max(self.warmup, self.hold * self.steps)
        progress = (step - start) / max(1, self.steps - start)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def nll_of_hidden_states(hidden: torch.Tensor, head: torch.Tensor, batch: Batch) -> torch.Tensor:
    """`weighted_nll` of the logits `hidden @ head.T`, which are never all in memory at once.

    Logits of a vocabulary much wider than the model cost more time to write and read than to compute. The library's
    loss knows no weight a token, but few weights are different: one sum for each.

    Args:
        hidden: the final states, after the last norm, `[batch, seq, hidden]`.
        head: the output embedding, `[vocabulary, hidden]`.
        batch: token ids and weights, `[batch, seq]` both.
    """
    hidden, targets = hidden[:, :-1].flatten(0, 1), batch.input_ids[:, 1:].flatten()
    weights = batch.weights[:, 1:].flatten()
    total = torch.zeros((), device=hidden.device)
    for weight in weights[weights > 0].unique():
        of_weight = weights == weight
        total = total + weight * linear_cross_entropy(
            hidden[of_weight], head, targets[of_weight], reduction="sum", options=LinearCrossEntropyOptions()
        )
    return total / weights.sum()


def train(
    model: PreTrainedModel,
    batches_of_step: Callable[[int], list[Batch]],
    schedule: Schedule,
    work: Path,
    *,
    device: str = "cpu",
    seed: int = 0,
    save_every: int = 250,
    evaluate: Callable[[PreTrainedModel], dict[str, float]] | None = None,
    evaluate_every: int = 500,
    stop_after: int | None = None,
    keep_at: dict[int, Callable[[PreTrainedModel], None]] | None = None,
) -> PreTrainedModel:
    """Train `model` in place and return it; continues from `work/checkpoint` where one is.

    Args:
        batches_of_step: the micro-batches of a step; must depend on the step number alone.
        work: folder for the checkpoint and `log.jsonl`.
        evaluate: held-out figures to log every `evaluate_every` steps.
        stop_after: leave off after this many steps of the schedule.
        keep_at: what to do with the model after some steps, for checkpoints that are meant to stay.

    Raises:
        TrainingError: unknown or absent device, a checkpoint that cannot be read, no room to save one.
    """
    if device not in ("cpu", "cuda"):
        raise TrainingError(f"--device must be cpu or cuda, not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("This machine has no CUDA device; use --device cpu.")
    keep_at = keep_at or {}
    work.mkdir(parents=True, exist_ok=True)
    set_seed(seed)
    accelerator = Accelerator(cpu=device == "cpu")
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=schedule.learning_rate,
        betas=schedule.betas,
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    balance = Balance(model, schedule.balance, schedule.balance_weight)
    accelerator.register_for_checkpointing(balance)
    first, seconds_before = _resume(accelerator, work)
    text_model = getattr(model, "language_model", model)
    text_model.set_attn_implementation(training_attention.NAME)
    model.train()
    last = min(schedule.steps, stop_after or schedule.steps)
    tokens, started = 0, time.monotonic()
    has_experts = bool(balance.routers)
    dispatch = sorted_dispatch(model) if has_experts else nullcontext()
    with dispatch, open(work / "log.jsonl", "a", encoding="utf-8") as log:
        for step in range(first, last):
            losses = []
            for batch in batches_of_step(step):
                batch = batch.to(accelerator.device)
                pictures = {} if batch.pixel_values is None else {"pixel_values": batch.pixel_values}
                # Not for pictures: in the one run in bfloat16, shapes and places stayed at chance for 4,000 steps.
                half = schedule.half_precision and batch.pixel_values is None
                with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=half):
                    output = model(
                        input_ids=batch.input_ids,
                        use_cache=False,
                        logits_to_keep=1,
                        output_hidden_states=True,
                        **pictures,
                    )
                hidden, head = output.hidden_states[-1], model.get_output_embeddings().weight
                if half:
                    hidden, head = hidden.bfloat16(), head.bfloat16()
                loss = nll_of_hidden_states(hidden, head, batch)
                losses.append(loss.item())
                accelerator.backward(batch.share * (loss + balance.loss()))
                tokens += batch.input_ids.numel()
            accelerator.clip_grad_norm_(model.parameters(), schedule.clip)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            balance.after_step()
            done = step + 1
            if done % 25 == 0 or done == last:
                seconds = time.monotonic() - started
                line = {"step": done, "loss": [round(value, 4) for value in losses]}
                if has_experts:
                    line |= {"busiest": balance.busiest(), "dead": balance.dead()}
                line |= {
                    "tokens_per_second": round(tokens / seconds),
                    "seconds": round(seconds_before + seconds),
                    "seconds_left": round(seconds / (done - first) * (last - done)),
                }
                if evaluate is not None and (done % evaluate_every == 0 or done == last):
                    model.eval()
                    line["held_out"] = evaluate(model)
                    model.train()
                log.write(json.dumps(line) + "\n")
                log.flush()
                print(json.dumps(line), flush=True)
            if done in keep_at:
                keep_at[done](model)
            if done % save_every == 0 or done == last:
                _save(accelerator, work, done, seconds_before + time.monotonic() - started)
    balance.remove()
    text_model.set_attn_implementation("sdpa")
    return accelerator.unwrap_model(model).eval()


def _save(accelerator: Accelerator, work: Path, step: int, seconds: float) -> None:
    """Write beside the last good checkpoint and swap, so that a full disk leaves that one in place."""
    fresh, last = work / "checkpoint.new", work / "checkpoint"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        accelerator.save_state(fresh)
        (fresh / "progress.json").write_text(json.dumps({"step": step, "seconds": seconds}), encoding="utf-8")
    except (OSError, RuntimeError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise TrainingError(
            f"The checkpoint of step {step} could not be written ({error}); free some disk and run the command "
            "again to continue from the last one."
        ) from error
    shutil.rmtree(last, ignore_errors=True)
    fresh.rename(last)


def _resume(accelerator: Accelerator, work: Path) -> tuple[int, float]:
    """Load the last checkpoint, if any: the step to continue at and the seconds already spent."""
    if not (work / "checkpoint").exists():
        return 0, 0.0
    try:
        progress = json.loads((work / "checkpoint" / "progress.json").read_text(encoding="utf-8"))
        accelerator.load_state(work / "checkpoint")
        return progress["step"], progress["seconds"]
    except Exception as error:  # whatever a damaged file raises, the remedy is the same
        raise TrainingError(
            f"The checkpoint in {work.name}/checkpoint cannot be read ({type(error).__name__}); delete that folder to "
            "start this run anew."
        ) from error
