"""Does the place of a fact matter because training asked for that place?  python assets/recipes/position_demand.py

Trains small dense models that differ in one thing, which of a row's sixteen facts their
training asks for, and writes assets/measurements/position_demand.json: recall by the place of the fact, at every
hundredth step. Twelve runs of one to two minutes on a CPU thread; an interrupted one continues where it stopped.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import Llama4ForCausalLM, Llama4TextConfig, logging

import samples
from evaluate import provenance
from initial_weights import initialize
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.recall import BEGIN, FILLER_0, NAME_0, NAMES, QUESTION, VALUE_0, VALUES
from trainer import Schedule, train
from training_batch import Batch

ROOT = Path(__file__).resolve().parents[2]

OUTPUT = ASSETS / "measurements" / "position_demand.json"
FACTS, QUESTIONS, ROWS = 16, 4, 32  # of a row, of a row, of a step
STEPS, EVALUATE_EVERY = 1200, 100
DEMANDS = ("uniform", "first", "recent", "both ends")
SEEDS = (0, 1, 2)


def demand(kind: str) -> np.ndarray:
    """Weight of each place when a row's questions are drawn, without repetition, `[FACTS]`.

    Away from a favored end it falls e-fold in two places.

    Raises:
        ValueError: an unknown kind.
    """
    place = np.arange(FACTS)
    first = np.exp(-place / 2)
    weights = {"uniform": np.ones(FACTS), "first": first, "recent": first[::-1], "both ends": first + first[::-1]}
    if kind not in weights:
        raise ValueError(f"There is no demand {kind!r}; use one of {', '.join(weights)}.")
    return weights[kind] / weights[kind].sum()


def draw_rows(rng: np.random.Generator, rows: int, shares: np.ndarray, questions: int) -> tuple[np.ndarray, np.ndarray]:
    """`FACTS` facts, then `questions` questions with their answers, about different facts drawn by `shares`.

    Returns:
        Token ids `[rows, 1 + 2 * FACTS + 3 * questions]`, and which of them are answers, the same shape.
    """
    names = np.stack([rng.permutation(len(NAMES))[:FACTS] for _ in range(rows)]) + NAME_0
    values = rng.integers(len(VALUES), size=(rows, FACTS)) + VALUE_0
    asked = np.stack([rng.choice(FACTS, questions, replace=False, p=shares) for _ in range(rows)])
    line = np.arange(rows)[:, None]
    told = np.stack([names, values], axis=2).reshape(rows, -1)
    asks = np.stack([np.full((rows, questions), QUESTION), names[line, asked], values[line, asked]], axis=2)
    ids = np.concatenate([np.full((rows, 1), BEGIN), told, asks.reshape(rows, -1)], axis=1)
    answers = np.zeros(ids.shape, dtype=bool)
    answers[:, 1 + 2 * FACTS + 2 :: 3] = True
    return ids, answers


def training_batch(step: int, seed: int, shares: np.ndarray) -> list[Batch]:
    ids, answers = draw_rows(np.random.default_rng((seed, step)), ROWS, shares, QUESTIONS)
    return [Batch(torch.from_numpy(ids), torch.from_numpy(answers.astype(np.float32)))]


def recall_by_place(model: torch.nn.Module, rows: int = 128) -> list[float]:
    """Share of right answers for a question about the fact told first, second, ..., `[FACTS]`."""
    rng, shares = np.random.default_rng(99), []
    with torch.no_grad():
        for place in range(FACTS):
            ids = torch.from_numpy(draw_rows(rng, rows, np.eye(FACTS)[place], questions=1)[0])
            logits = model(input_ids=ids[:, :-1], use_cache=False, logits_to_keep=1).logits[:, -1]
            shares.append((logits.argmax(dim=-1) == ids[:, -1]).float().mean().item())
    return shares


def small_global_model() -> Llama4ForCausalLM:
    """Two dense layers, both global with RoPE: what most language models are, as small as this task allows."""
    return Llama4ForCausalLM(
        Llama4TextConfig(
            attn_temperature_tuning=False,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            head_dim=32,
            hidden_size=64,
            intermediate_size=64,
            intermediate_size_mlp=128,
            layer_types=["full_attention"] * 2,
            max_position_embeddings=256,
            moe_layers=[],
            no_rope_layers=[1, 1],
            num_attention_heads=2,
            num_hidden_layers=2,
            num_key_value_heads=2,
            num_local_experts=1,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            use_qk_norm=True,
            vocab_size=FILLER_0,
        )
    )


def measure(kind: str, seed: int, work: Path, steps: int = STEPS, every: int = EVALUATE_EVERY) -> dict[str, list]:
    """Train one model; recall by place at every `every`-th step, from the log."""
    model = small_global_model()
    initialize(model, seed)
    train(
        model,
        partial(training_batch, seed=seed, shares=demand(kind)),
        Schedule(steps=steps, warmup=100, hold=1.0),
        work,
        seed=seed,
        evaluate=lambda trained: {"by place": recall_by_place(trained)},
        evaluate_every=every,
    )
    log = [json.loads(line) for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {str(line["step"]): line["held_out"]["by place"] for line in log if "held_out" in line}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".work" / "position-demand")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    runs = {
        kind: {str(seed): measure(kind, seed, options.work / f"{kind}-{seed}".replace(" ", "-")) for seed in SEEDS}
        for kind in DEMANDS
    }
    samples.write_json(
        OUTPUT,
        {
            "provenance": provenance(),
            "facts": FACTS,
            "demand": {kind: demand(kind).round(4).tolist() for kind in DEMANDS},
            "recall by place": runs,
        },
    )
    write_manifest()


if __name__ == "__main__":
    main()
