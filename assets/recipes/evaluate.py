"""Measure the finished models and write their cards:  python assets/recipes/evaluate.py [NAME ...]

Figures go to assets/measurements/, model cards to each model's README.md, hashes to assets/SHA256SUMS.
"""

import argparse
import json
import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers

import ablation_cards
import cards
import language_batches as lb
import samples
import training_attention
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import known_proxies, load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.parameters import count_active, count_by_part
from llama4lab.recall import CHANCE, needle_rows, recall_accuracy
from llama4lab.recall_hops import KINDS, hop_accuracy, hop_rows
from routing_information import routing_figures
from skills import recall_in_prose, skills
from train import ABLATIONS, ASKED_HYBRID, LANGUAGE_MODELS, SMALL_BATCH, TWO_GROUPS, is_stored

ROOT = Path(__file__).resolve().parents[2]

MEASUREMENTS = ASSETS / "measurements"
UNSTORED = ROOT / ".work" / "models"  # runs of which only the figures stay
DENSE_TWIN = MEASUREMENTS / "dense-twin.json"
STORED_LANGUAGE_MODELS = [name for name in LANGUAGE_MODELS if name != "dense-twin"]
HOP_LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SMALL_BATCH_TOKENS = SMALL_BATCH[0] * SMALL_BATCH[1]


def provenance() -> dict[str, str | int]:
    """What measured: enough to judge a difference, nothing that names the machine."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def evaluate_dense_twin() -> None:
    """Record the held-out NLL of the dense model with scout-proxy's active parameters, and enter it in every card.

    Of this run (`train.py dense-twin`) only the figure is kept, so it is read from .work, where the run was made.
    """
    finished = UNSTORED / "dense-twin"
    if not finished.exists():
        sys.exit("There is no finished dense twin in .work/models; make it with train.py dense-twin.")
    last = cards.read_log(finished)[-1]
    dense = {"provenance": provenance(), "steps": last["step"], "nll": last["held_out"]}
    samples.write_json(DENSE_TWIN, dense)
    for name in STORED_LANGUAGE_MODELS:
        path = MEASUREMENTS / f"{name}.json"
        if path.exists():
            figures = json.loads(path.read_text(encoding="utf-8")) | {"dense_twin_nll": dense["nll"]}
            samples.write_json(path, figures)
            cards.write_language_card(ASSETS / "models" / name, figures)


def baselines(tokenizer, train: dict[str, lb.Rows], held: dict[str, lb.Rows]) -> dict[str, dict[str, float] | None]:
    """Held-out NLL of the unigram model and, once it was recorded, of the dense twin of scout-proxy."""
    unigram = {d: round(samples.unigram_nll(train[d], held[d], len(tokenizer)), 4) for d in held}
    dense = json.loads(DENSE_TWIN.read_text(encoding="utf-8"))["nll"] if DENSE_TWIN.exists() else None
    return {"unigram_nll": unigram, "dense_twin_nll": dense}


def evaluate_language_model(name: str) -> None:
    """Measure scout-, maverick- or behemoth-proxy and write its card."""
    processor, model = load_checkpoint(name)
    model.language_model.set_attn_implementation(training_attention.NAME)
    tokenizer = processor.tokenizer
    (train, _), held = lb.load_or_build_rows(tokenizer, ROOT / ".work"), lb.held_out_rows(tokenizer)
    result = {
        "provenance": provenance(),
        **skills(model, processor, held),
        **baselines(tokenizer, train, held),
        "recall": recall_in_prose(model, tokenizer),
        "routing": routing_figures(model, held),
        "tokens_per_word": cards.fertility(tokenizer),
    }
    samples.write_json(MEASUREMENTS / f"{name}.json", result)
    cards.write_language_card(ASSETS / "models" / name, result)


def evaluate_small_models() -> None:
    """Enter the small models and what their logs say in small_models.json, and write their cards."""
    runs = {}
    for kind in ("moe", "dense-active", "dense-total"):
        folder = ASSETS / "models" / "ablations" / f"small-{kind}"
        _, model = load_checkpoint(f"ablations/small-{kind}")
        lines = [line for line in cards.read_log(folder) if "held_out" in line]
        runs[kind] = {
            "total_parameters": sum(count_by_part(model).values()),
            "active_parameters": count_active(model),
            "nll": lines[-1]["held_out"],
            "curve": [
                {
                    "step": line["step"],
                    "tokens": line["step"] * SMALL_BATCH_TOKENS,
                    "nll": round(float(np.mean(list(line["held_out"].values()))), 4),
                }
                for line in lines
            ],
        }
    samples.write_json(MEASUREMENTS / "small_models.json", {"provenance": provenance(), "runs": runs})
    for kind in runs:
        ablation_cards.write_small_card(ASSETS / "models" / "ablations" / f"small-{kind}", kind, runs, provenance())


def record_balance() -> None:
    """Gather the logs of the balance runs, which .work holds, in balance.json."""
    runs = {}
    for folder in sorted((UNSTORED / "ablations").glob("balance-*")):
        log = cards.read_log(folder)
        runs[folder.name.removeprefix("balance-")] = {
            "step": [line["step"] for line in log],
            "loss": [line["loss"][0] for line in log],
            "busiest": [line["busiest"] for line in log],
            "dead": [line["dead"] for line in log],
            "held_out": log[-1]["held_out"],
        }
    if not runs:
        sys.exit(
            "There are no balance runs in .work/models/ablations; make them with train.py ablations/balance-loss-0."
        )
    about = {"experts": 8, "tokens_per_batch": SMALL_BATCH_TOKENS, "layers": 4}
    samples.write_json(MEASUREMENTS / "balance.json", {"provenance": provenance(), **about, "runs": runs})


def recall_figures(model: torch.nn.Module, count: int = 64) -> dict[str, dict[str, dict[str, float]]]:
    """Shares of right answers for notebook 09: with and without look-alikes, by distance and by length."""
    distances = (4, 8, 16, 24, 28, 32, 40, 64, 96, 120)  # rows of 128 words: the wall is 31 words before the end
    lengths = (64, 128, 256, 512, 1024, 2048, 4096)  # the fact at the start
    figures = {}
    with sorted_dispatch(model):
        for name, distractors in (("alone", 0), ("six look-alikes", 6)):
            figures[name] = {
                "by_distance": {
                    str(d): recall_accuracy(model, needle_rows(count, 128, d, distractors=distractors))
                    for d in distances
                },
                "by_length": {
                    str(n): recall_accuracy(
                        model, needle_rows(count if n < 2048 else count // 2, n, n - 8, distractors=distractors)
                    )
                    for n in lengths
                },
            }
    return figures


def evaluate_attention_ablation(name: str) -> None:
    """Measure the named ablation and enter it beside those already recorded."""
    path = MEASUREMENTS / "recall.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))["models"] if path.exists() else {}
    stored = is_stored(f"ablations/{name}")
    folder = (ASSETS / "models" if stored else UNSTORED) / "ablations" / name
    _, model = load_checkpoint(str(folder), dtype=torch.float32)
    # Long rows without padding: the library's chunk masks would be as large as the square of their length.
    model.set_attn_implementation(training_attention.NAME)
    recorded[name] = {"provenance": provenance(), **recall_figures(model)}
    if stored:
        ablation_cards.write_ablation_card(folder, recorded[name])
    else:
        recorded[name]["training"] = cards.training_figures(folder)
    samples.write_json(path, {"chance": CHANCE, "models": {name: recorded[name] for name in sorted(recorded)}})


def evaluate_two_groups(name: str) -> None:
    """Measure the deeper hybrid's three kinds of questions by length, and write its card."""
    _, model = load_checkpoint(f"ablations/{name}", dtype=torch.float32)
    model.set_attn_implementation(training_attention.NAME)
    with sorted_dispatch(model):
        shares = {
            kind: {str(length): hop_accuracy(model, hop_rows(128, length, kind)) for length in HOP_LENGTHS}
            for kind in KINDS
        }
    figures = {"provenance": provenance(), "chains": 3, "by_length": shares}
    samples.write_json(MEASUREMENTS / f"{name}.json", figures)
    ablation_cards.write_two_groups_card(ASSETS / "models" / "ablations" / name, figures)


# Runs of which the course keeps what they showed, by the name that records it.
RUNS = {"balance": record_balance, "dense-twin": evaluate_dense_twin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names",
        nargs="*",
        help="models, or balance or dense-twin for those runs; all models when none is given",
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    names = options.names or known_proxies()
    kinds = (*ABLATIONS, ASKED_HYBRID)
    unstored = {f"ablations/{f.name}" for kind in kinds for f in (UNSTORED / "ablations").glob(f"{kind}-[0-9]*")}
    known = sorted({*known_proxies(), *unstored})
    unknown = sorted(set(names) - {*known, *RUNS})
    if unknown:
        sys.exit(f"There is no model {unknown[0]!r}; give some of {', '.join([*known, *RUNS])}.")
    torch.set_num_threads(options.threads)
    for name in names:
        variant = name.removeprefix("ablations/")
        if name in STORED_LANGUAGE_MODELS:
            evaluate_language_model(name)
        elif variant.startswith(TWO_GROUPS):
            evaluate_two_groups(variant)
        elif variant != name and not variant.startswith("small-"):
            evaluate_attention_ablation(variant)
    if any(name.startswith("ablations/small-") for name in names):
        evaluate_small_models()
    for run, record in RUNS.items():
        if run in names:
            record()
    write_manifest()


if __name__ == "__main__":
    main()
