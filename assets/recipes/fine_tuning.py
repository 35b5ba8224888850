"""Teach scout-proxy notebook 15's question in several ways:  python assets/recipes/fine_tuning.py

Writes assets/measurements/fine_tuning.json: for each way to train and each seed what was learned and what was forgotten,
and the untouched model on three samples of questions, the noise that any forgetting must exceed. About 20 minutes of one
thread. Finished runs are kept in .work, so that an interrupted command goes on where it was.
"""

import argparse
import copy
import json
import random
import warnings
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy, one_hot

import conversations
import language_batches as lb
import picture_batches as pb
import samples
from evaluate import ROOT, provenance
from llama4lab import drawn_pictures as pictures
from llama4lab.assets import ASSETS, read_json, write_manifest
from llama4lab.checkpoints import load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.lesson import known, lesson
from llama4lab.notebook_functions import functions_of
from llama4lab.routing import record_routing
from skills import exact_answers

OUTPUT = ASSETS / "measurements" / "fine_tuning.json"
PARTS = ROOT / ".work" / "fine_tuning"
STEPS, ROWS = 80, 16
PATH = (0, 5, 10, 15, 20, 30, 40, 60, 80)  # steps after which what was learned is measured
QUESTIONS, OF_A_KIND, TEXTS = 100, 30, 8
ATTENTION = r".*language_model.*\.(q|k|v|o)_proj"
EXPERTS = ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]
FULL, LORA = 2e-4, 2e-3  # learning rates


@dataclass(frozen=True)
class Arm:
    """One way to train: the arguments of LoraConfig, or None for all weights, and what else differs."""

    lora: dict | None = None
    rate: float = LORA
    frozen: str = ""  # parameters whose names hold it are not trained
    only: str = ""  # only parameters whose names hold it are trained
    balance: float = 0.0  # weight of the balance loss
    stops: bool = True  # whether stop tokens have a label
    old: str = ""  # a quarter of each batch: "the same facts", asked as before, or "all chat"
    seeds: tuple[int, ...] = field(default=(0, 1, 2))


BOTH = {"target_modules": ATTENTION, "target_parameters": EXPERTS}
LORAS = {
    "attention": {"target_modules": ATTENTION},
    # With the router, which returns a pair, the first forward pass of all-linear fails in peft 0.21.2.
    "all-linear": {"target_modules": "all-linear", "exclude_modules": r".*\.router"},
    "experts": {"target_modules": [], "target_parameters": EXPERTS},
    "attention and experts": BOTH,
}
ARMS = {"all weights": Arm(rate=FULL)}
ARMS |= {f"LoRA, {name}": Arm(lora) for name, lora in LORAS.items()}
ARMS |= {
    "all weights, router frozen": Arm(rate=FULL, frozen="router"),
    "all weights, balance loss": Arm(rate=FULL, balance=0.01),
    "router alone": Arm(rate=LORA, only="router"),
    "all weights, old question": Arm(rate=FULL, old="the same facts"),
    "all weights, old chat": Arm(rate=FULL, old="all chat"),
    "LoRA, attention, old chat": Arm(LORAS["attention"], old="all chat"),
    "LoRA, attention, no stop token": Arm(LORAS["attention"], stops=False),
}
for factor in (0.3, 3.0):
    ARMS[f"all weights, rate x {factor:g}"] = Arm(rate=FULL * factor, seeds=(0,))
    for name in ("attention", "experts"):
        ARMS[f"LoRA, {name}, rate x {factor:g}"] = Arm(LORAS[name], LORA * factor, seeds=(0,))


class Lab:
    """The untouched model, and the questions that every run is asked."""

    def __init__(self) -> None:
        self.processor, self.model = load_checkpoint()
        self.tokenizer = self.processor.tokenizer
        held_out = read_json("samples/held_out.json")
        self.texts = {
            domain: [torch.tensor(self.tokenizer(text)["input_ids"][:256])[None] for text in one["texts"][:TEXTS]]
            for domain, one in held_out.items()
        }
        with sorted_dispatch(self.model):
            self.routes = self.chosen(self.model)

    def encode(self, messages: list[dict]):
        return lb.encode_chat(conversations.Conversation("lesson", messages), self.tokenizer)

    def answered(self, model, ask, held_out: bool) -> float:
        """Share of exact answers to questions of the lesson."""
        rng = random.Random(f"asked-{held_out}")
        rows = [self.encode(ask(rng, held_out)) for _ in range(QUESTIONS)]
        return float(np.mean(exact_answers(model, rows, self.tokenizer.pad_token_id)))

    def skills(self, model, seed: int = 0) -> dict[str, float]:
        """Exact answers in new conversations, by kind, and about new pictures, by layout."""
        rng, kinds, pad = random.Random(f"skills-{seed}"), {}, self.tokenizer.pad_token_id
        for conversation in islice(conversations.chat(rng, held_out=True), 45 * OF_A_KIND):
            rows = kinds.setdefault(conversation.kind, [])
            if len(rows) < OF_A_KIND:
                rows.append(lb.encode_chat(conversation, self.tokenizer))
        shares = {kind: np.mean(exact_answers(model, rows, pad)) for kind, rows in sorted(kinds.items())}
        for layout in pb.LAYOUTS:
            grid = pictures.GRIDS[0] if layout == "several tiles" else (1, 1)
            drawn = [pb.picture_conversation(rng, layout, grid) for _ in range(OF_A_KIND)]
            rows, tiles = pb.encode_pictures(drawn, self.processor)
            shares[f"picture: {layout}"] = np.mean(exact_answers(model, rows, pad, pixel_values=tiles.to(model.dtype)))
        return {kind: round(float(share), 3) for kind, share in shares.items()}

    @torch.no_grad()
    def nll(self, model) -> dict[str, float]:
        """Nats a token of held-out texts, by domain."""
        result = {}
        for domain, texts in self.texts.items():
            losses = [
                cross_entropy(model(input_ids=ids, use_cache=False).logits[0, :-1], ids[0, 1:], reduction="none")
                for ids in texts
            ]
            result[domain] = round(torch.cat(losses).mean().item(), 4)
        return result

    def chosen(self, model) -> torch.Tensor:
        """The expert of each token of the held-out texts, `[layers, tokens]`."""
        texts = [ids for texts in self.texts.values() for ids in texts]
        return torch.cat([record_routing(model, ids).chosen.flatten(1) for ids in texts], dim=1)

    def routing(self, model) -> dict:
        """On the held-out texts: tokens that go to another expert than before, largest load, dead experts."""
        chosen = self.chosen(model)
        load = one_hot(chosen, 16).float().mean(dim=1)  # [layers, experts]
        return {
            "moved": [round(v, 4) for v in (chosen != self.routes).float().mean(dim=1).tolist()],
            "busiest": [round(v, 4) for v in load.amax(dim=1).tolist()],
            "dead": (load < 0.1 / 16).sum(dim=1).tolist(),
        }

    def batch(self, rng: random.Random, arm: Arm, chat) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and labels `[rows, seq]`; only the assistant's words and stop tokens have a label."""
        rows = [self.encode(lesson(rng, False)) for _ in range(ROWS - ROWS // 4 if arm.old else ROWS)]
        if arm.old == "all chat":
            rows += [lb.encode_chat(next(chat), self.tokenizer) for _ in range(ROWS // 4)]
        elif arm.old:
            rows += [self.encode(known(rng, False)) for _ in range(ROWS // 4)]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        labels = torch.full_like(ids, -100)
        for row, (tokens, weights) in enumerate(rows):
            tokens = torch.from_numpy(tokens.astype(np.int64))
            learned = torch.from_numpy(weights.astype(np.float32)) == lb.ANSWER_WEIGHT
            if not arm.stops:
                learned &= tokens != self.tokenizer.convert_tokens_to_ids("<|eot|>")
            ids[row, : len(tokens)] = tokens
            labels[row, : len(tokens)] = torch.where(learned, tokens, -100)
        return ids, labels


def balance_loss(router_logits: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Switch's loss, one layer at a time: 1 where experts are used evenly."""
    losses = []
    for logits in router_logits:
        probabilities, experts = logits.float().softmax(dim=-1), logits.shape[-1]
        shares = one_hot(logits.argmax(dim=-1), experts).float().mean(dim=0)
        losses.append(experts * (shares * probabilities.mean(dim=0)).sum())
    return torch.stack(losses).mean()


class Balanced(torch.nn.Module):
    """A model whose loss has `weight` times the balance loss added to it."""

    def __init__(self, model: torch.nn.Module, weight: float) -> None:
        super().__init__()
        self.model, self.weight = model, weight

    def forward(self, **inputs):
        output = self.model(**inputs, output_router_logits=True)
        output.loss = output.loss + self.weight * balance_loss(output.router_logits)
        return output


def prepared(lab: Lab, arm: Arm, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = copy.deepcopy(lab.model)
    if arm.lora is not None:
        return get_peft_model(model, LoraConfig(r=8, lora_alpha=16, **arm.lora))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(arm.only in name and not (arm.frozen and arm.frozen in name))
    return model


def run(lab: Lab, arm: Arm, seed: int) -> dict:
    """Train one model with the notebook's own step and rate, and measure it."""
    model, rng = prepared(lab, arm, seed), random.Random(f"lesson-{seed}")
    chat = conversations.chat(random.Random(f"chat-{seed}"), held_out=False)
    notebook = functions_of("fine_tune")
    notebook["STEPS"] = STEPS
    optimizer = notebook["optimizer_for"](model, arm.rate)
    learner = Balanced(model, arm.balance) if arm.balance else model
    path = []
    for step in range(STEPS + 1):
        if step in PATH:
            model.eval()
            path.append((lab.answered(model, lesson, True), lab.answered(model, known, True)))
        if step == STEPS:
            break
        model.train()
        optimizer.param_groups[0]["lr"] = arm.rate * notebook["rate_at"](step)
        notebook["one_step"](learner, optimizer, *lab.batch(rng, arm, chat))
    with sorted_dispatch(model):
        return {
            "trained": sum(parameter.numel() for parameter in optimizer.param_groups[0]["params"]),
            "path": path,
            "new, words of the lesson": lab.answered(model, lesson, False),
            "skills": lab.skills(model),
            "nll": lab.nll(model),
            "routing": lab.routing(model),
        }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name about to change
    torch.set_num_threads(1)
    PARTS.mkdir(parents=True, exist_ok=True)
    lab = Lab()
    untouched = {"path": [(lab.answered(lab.model, lesson, True), lab.answered(lab.model, known, True))]}
    with sorted_dispatch(lab.model):
        untouched |= {"nll": lab.nll(lab.model), "routing": lab.routing(lab.model)}
        untouched["skills"] = [lab.skills(lab.model, seed) for seed in range(3)]
    arms = {}
    order = [(seed, name) for seed in range(3) for name, arm in ARMS.items() if seed in arm.seeds]
    for seed, name in order:
        part = PARTS / f"{name}-{seed}.json"
        if not part.exists():
            samples.write_json(part, run(lab, ARMS[name], seed))
            print(name, seed, json.loads(part.read_text())["path"][-1], flush=True)
        arms.setdefault(name, {"rate": ARMS[name].rate, "runs": []})["runs"].append(json.loads(part.read_text()))
    settings = {"steps": STEPS, "rows": ROWS, "rank": 8, "alpha": 16, "questions": QUESTIONS, "of_a_kind": OF_A_KIND}
    record = {"provenance": provenance(), "settings": settings | {"path": PATH}, "untouched": untouched, "arms": arms}
    samples.write_json(OUTPUT, record)
    write_manifest()


if __name__ == "__main__":
    main()
