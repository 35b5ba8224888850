"""Train proxies together on one GPU:  python assets/recipes/herd.py --minutes 8 NAME ...

NAME: scout-proxy, maverick-proxy, behemoth-proxy, dense-twin; all of them when none is given.

These models are so small that a GPU waits for its next kernel most of the time. So each model's step, from tokens to
changed weights, is recorded once as a CUDA graph, and every model replays its own on a stream of its own. How long a
run takes is given, not its number of steps: the learning rate and the length of rows follow the clock. Without CUDA
the same steps run one by one, for a trial.
"""

import argparse
import json
import math
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, linear
from transformers import Llama4ForConditionalGeneration

import herd_data
import last_lesson
import lean_forward
import proxies
from growing import closed, open_layers
from initial_weights import initialize
from llama4lab.drawn_pictures import SIDE

ROOT = Path(__file__).resolve().parents[2]
LEARNING_RATE, FLOOR, WARMUP, WEIGHT_DECAY, CLIP, BALANCE = 2e-3, 0.01, 500, 0.1, 1.0, 0.01
PICTURE_SHARE = 0.5  # of the loss of a step
BLOCKS = (220, 420, 200)  # of each phase, enough for ten minutes of an H200
AHEAD = 8  # steps that the processor may be ahead of the GPU


@dataclass(frozen=True)
class Recipe:
    """What a model of the herd is made of, whether it sees pictures, whether its global layers open late.

    Its last lesson, which train.py gives, has `lesson_steps` steps and asks for `lesson_kinds` of facts.
    """

    config: object
    pictures: bool = True
    grows: bool = True
    learning_rate: float = LEARNING_RATE
    lesson_steps: int = last_lesson.STEPS
    lesson_kinds: dict[str, float] = field(default_factory=last_lesson.KINDS.copy)


HERD = {
    # Of two runs, this one also learned to find a fact by other words (98 %; begun with closed layers 58 %).
    "scout-proxy": Recipe(proxies.scout_config, grows=False),
    "maverick-proxy": Recipe(proxies.maverick_config),
    "behemoth-proxy": Recipe(
        proxies.behemoth_config,
        learning_rate=1.5e-3,
        # After 500 steps of the usual kinds it found 66 % of the facts by other words.
        lesson_steps=1000,
        lesson_kinds=last_lesson.MOSTLY_OTHER_WORDS,
    ),
    "dense-twin": Recipe(proxies.dense_twin_config, pictures=False),
}


def factor(progress: float) -> float:
    """Multiplier of the learning rate after this share of the time: a cosine to FLOOR after a tenth of the time."""
    past = max(0.0, (progress - 0.1) / 0.9)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, past)))


def phase_at(progress: float) -> int:
    """The index in PHASES after this share of the time."""
    return next((i for i, phase in enumerate(herd_data.PHASES) if progress < phase.until), len(herd_data.PHASES) - 1)


class Learner:
    """A model in training: its optimizer, the buffers that its steps read, and one recorded step for each phase."""

    def __init__(self, name: str, tokenizer, device: str, seed: int = 0) -> None:
        self.name, self.recipe, self.device = name, HERD[name], device
        self.config = self.recipe.config(tokenizer)
        self.model = Llama4ForConditionalGeneration(closed(self.config) if self.recipe.grows else self.config)
        self.text = self.model.language_model
        initialize(self.model, seed)
        self.model.to(device).train()
        matrices = [p for n, p in self.model.named_parameters() if p.ndim > 1 and "embed" not in n]
        rest = [p for n, p in self.model.named_parameters() if p.ndim <= 1 or "embed" in n]
        self.rate = torch.tensor(0.0, device=device)
        on_gpu = device == "cuda"
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}],
            lr=self.rate if on_gpu else 0.0,
            betas=(0.9, 0.98),
            fused=True,
            capturable=on_gpu,
        )
        if on_gpu:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
        self.stream = torch.cuda.Stream() if on_gpu else None
        self.losses = torch.zeros(1 + self.recipe.pictures, device=device)
        self.steps, self.graphs, self.log, self.buffers = 0, [], [], []
        self.loads = []

    def make_buffers(self, phase: int) -> dict[str, torch.Tensor]:
        """Where the recorded step of a phase finds its batch."""
        of = herd_data.PHASES[phase]
        shape = (of.rows + of.picture_rows * self.recipe.pictures, of.length)
        buffers = {
            "tokens": torch.ones(shape, dtype=torch.int16),
            "weights": torch.ones(shape, dtype=torch.float16),
        }
        if self.recipe.pictures:
            buffers["feature"] = torch.full((of.picture_rows, of.length), -1, dtype=torch.int16)
            buffers["tiles"] = torch.zeros(herd_data.TILES, 3, SIDE, SIDE, dtype=torch.uint8)
        return {name: value.to(self.device) for name, value in buffers.items()}

    def embed(self, buffers: dict[str, torch.Tensor]) -> torch.Tensor:
        """What enters the first layer: embeddings, and visual features in the places of patches."""
        ids = buffers["tokens"].long()
        table = self.text.model.embed_tokens.weight
        inputs = table.index_select(0, ids.flatten()).view(*ids.shape, -1)
        if not self.recipe.pictures:
            return inputs
        seen = self.model.vision_model(buffers["tiles"].float() / 127.5 - 1).last_hidden_state
        seen = self.model.multi_modal_projector(seen.reshape(-1, seen.shape[-1]))
        feature = buffers["feature"].long()
        looked_at = seen.index_select(0, feature.clamp(min=0).flatten()).view(*feature.shape, -1)
        text, pictures = inputs.split([len(ids) - len(feature), len(feature)])
        return torch.cat([text, torch.where((feature >= 0)[..., None], looked_at, pictures)])

    def loss(self, buffers: dict[str, torch.Tensor], at: lean_forward.Positions) -> tuple[list[torch.Tensor], ...]:
        """Weighted nats a token of rows of text and of rows with pictures; loads and balance losses of the routers."""
        hidden, loads, balance = lean_forward.forward(self.text.model, self.embed(buffers), at)
        logits = linear(hidden, self.text.lm_head.weight)
        targets = buffers["tokens"].long().roll(-1, dims=1)
        weights = buffers["weights"].float().roll(-1, dims=1)
        weights[:, -1] = 0  # what follows the last token is not known
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(weights) * weights
        split = [len(weights)]
        if self.recipe.pictures:
            split = [len(weights) - len(buffers["feature"]), len(buffers["feature"])]
        parts = zip(losses.split(split), weights.split(split), strict=True)
        return [loss.sum() / weight.sum().clamp(min=1) for loss, weight in parts], loads, balance

    def step(self, buffers: dict[str, torch.Tensor], at: lean_forward.Positions) -> None:
        """Forward, backward, and new weights, for what is in the buffers."""
        self.optimizer.zero_grad(set_to_none=True)
        losses, self.loads, balance = self.loss(buffers, at)
        total = losses[0] + PICTURE_SHARE * sum(losses[1:])
        if balance:
            total = total + BALANCE * sum(balance) / len(balance)
        self.losses += torch.stack([*losses, total])[: len(self.losses)].detach()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP, foreach=True)
        if self.stream is None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate.item()
        self.optimizer.step()

    def record(self) -> None:
        """Record one graph for each phase; the weights stay as they were."""
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        pool = None
        for phase in range(len(herd_data.PHASES)):
            if phase == 1 and self.recipe.grows:
                open_layers(self.model, self.config)
            buffers = self.make_buffers(phase)
            at = lean_forward.positions(self.text.model, buffers["tokens"].shape[1])
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                for _ in range(2):
                    self.step(buffers, at)
            torch.cuda.synchronize()
            self.optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=self.stream):
                self.step(buffers, at)
            pool = pool or graph.pool()
            self.buffers.append(buffers)
            self.graphs.append((graph, self.loads, at))  # the graph reads `at` from where it is
        with torch.no_grad():
            self.model.load_state_dict(before)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()
            self.losses.zero_()
        torch.cuda.synchronize()

    def run(self, blocks: herd_data.Blocks, clock) -> None:
        """Learn until the time is over."""
        counts, opened = [0] * len(herd_data.PHASES), not self.recipe.grows
        waiting, self.begun = deque(), time.monotonic()
        with torch.cuda.stream(self.stream) if self.stream else nullcontext():
            while (progress := clock()) < 1:
                phase = phase_at(progress)
                block = blocks.get(phase, counts[phase])
                counts[phase] += 1
                if self.stream is None and phase > 0 and not opened:
                    open_layers(self.model, self.config)
                    opened = True
                buffers = self.buffers[phase] if self.stream else self.make_buffers(phase)
                at = None if self.stream else lean_forward.positions(self.text.model, buffers["tokens"].shape[1])
                begun, first = time.monotonic(), self.steps
                for step in range(herd_data.STEPS_OF_BLOCK):
                    progress = clock()
                    if progress >= 1 or phase_at(progress) != phase:
                        break
                    self.rate.fill_(self.recipe.learning_rate * factor(progress) * min(1, (self.steps + 1) / WARMUP))
                    for name, buffer in buffers.items():
                        buffer.copy_(block[name][step][: len(buffer)])
                    if self.stream is None:
                        self.step(buffers, at)
                    else:
                        self.graphs[phase][0].replay()
                        waiting.append(torch.cuda.Event())
                        waiting[-1].record()
                        if len(waiting) > AHEAD:
                            waiting.popleft().synchronize()
                    self.steps += 1
                self.note(progress, phase, begun, first)

    def note(self, progress: float, phase: int, begun: float, first: int) -> None:
        """One line of the log for the steps since `first`."""
        done = self.steps - first
        if not done:
            return
        loads = self.graphs[phase][1] if self.stream else self.loads
        losses = [round(value / done, 4) for value in self.losses.tolist()]
        self.losses.zero_()
        line = {"step": self.steps, "loss": losses}
        if loads:
            line["busiest"] = [round((load.max() * len(load)).item(), 3) for load in loads]
            line["dead"] = [int((load < 0.1 / len(load)).sum()) for load in loads]
        tokens = self.buffers[phase]["tokens"].numel() if self.stream else 0
        line |= {"phase": phase, "share_of_time": round(progress, 4)}
        line |= {"tokens_per_second": round(done * tokens / (time.monotonic() - begun))}
        line |= {"seconds": round(time.monotonic() - self.begun)}
        self.log.append(line)
        print(self.name, json.dumps(line), flush=True)


def learn(learners: list[Learner], blocks: herd_data.Blocks, minutes: float) -> None:
    """Let all learners learn at once, from the first block on."""
    for learner in learners:
        if learner.stream:
            learner.record()
    blocks.get(0, 0)
    started = time.monotonic()

    def clock() -> float:
        return (time.monotonic() - started) / (60 * minutes)

    with ThreadPoolExecutor(len(learners)) as pool:
        runs = [pool.submit(learner.run, blocks, clock) for learner in learners]
    for run in runs:
        run.result()  # raises what the run raised


def save(learner: Learner, out: Path) -> None:
    """Weights in half precision and the log."""
    path = out / f"{learner.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.to(torch.bfloat16).contiguous().cpu() for key, value in learner.model.state_dict().items()}
    save_file(weights, path, metadata={"format": "pt"})
    path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in learner.log), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(HERD), metavar="NAME")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--work", type=Path, default=ROOT / ".work", help="sources are in it, and results")
    parser.add_argument(
        "--blocks", default="/dev/shm", help="where blocks are drawn, in a folder that ends with the run"
    )
    parser.add_argument("--workers", type=int, default=12, help="processes that draw blocks")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if unknown := set(options.names) - set(HERD):
        sys.exit(f"There is no {sorted(unknown)[0]!r} in the herd; it has {', '.join(HERD)}.")
    torch.set_float32_matmul_precision("high")
    _, tokenizer = herd_data.sources_in(options.work)
    learners = [Learner(name, tokenizer, options.device) for name in options.names]
    # A folder of its own: blocks that another run left would be read for this one's.
    with TemporaryDirectory(dir=options.blocks) as folder:
        blocks = herd_data.Blocks(options.work / "sources", Path(folder), options.workers, BLOCKS, options.device)
        try:
            learn(learners, blocks, options.minutes)
        finally:
            blocks.close()
    for learner in learners:
        save(learner, options.work / "herd")


if __name__ == "__main__":
    main()
