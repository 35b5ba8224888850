"""Measure the finished models and write their cards:  python assets/recipes/evaluate.py [NAME ...]

Figures go to assets/measurements/, model cards to each model's README.md, hashes to assets/SHA256SUMS.
"""

import argparse
import json
import platform
import random
import sys
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers

import cards
import corpus
import language_batches as lb
import samples
import training_attention
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import known_proxies, load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.parameters import count_active, count_by_part
from llama4lab.recall import CHANCE, needle_rows, recall_accuracy
from llama4lab.routing import record_routing
from train import ABLATIONS, LANGUAGE_MODELS, SMALL_BATCH, held_out_nll, is_stored

ROOT = Path(__file__).resolve().parents[2]

MEASUREMENTS = ASSETS / "measurements"
UNSTORED = ROOT / ".work" / "models"  # runs of which only the figures stay
DENSE_TWIN = MEASUREMENTS / "dense-twin.json"
STORED_LANGUAGE_MODELS = [name for name in LANGUAGE_MODELS if name != "dense-twin"]
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


def exact_answers(model: torch.nn.Module, rows: list[tuple[np.ndarray, np.ndarray]], pad: int, **inputs) -> list[bool]:
    """For each answer in `rows` of (token ids, weights): would greedy decoding have written exactly it?

    Greedy decoding writes an answer if and only if every one of its tokens, `<|eot|>` included, is the most probable
    after the tokens before it, so one pass over the right text decides.
    """
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), longest), pad)
    for row, (ids, _) in enumerate(rows):
        tokens[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad(), sorted_dispatch(model):
        guesses = model(input_ids=tokens, use_cache=False, **inputs).logits.argmax(dim=-1)
    verdicts = []
    for row, (ids, weights) in enumerate(rows):
        right, inside = True, False
        for index in range(1, len(ids) + 1):
            is_answer = index < len(ids) and weights[index] == lb.ANSWER_WEIGHT
            if is_answer:
                right = (right if inside else True) and guesses[row, index - 1].item() == ids[index]
            elif inside:
                verdicts.append(right)
            inside = is_answer
    return verdicts


def chat_accuracy(model, tokenizer, conversations: int = 256) -> dict[str, float]:
    """Exact answers on unseen conversations, by where the answers come from (`corpus.Conversation.kind`)."""
    rng = random.Random(20_000)
    kinds: dict[str, list] = {}
    for conversation in islice(corpus.chat(rng, held_out=True), conversations * 6):
        rows = kinds.setdefault(conversation.kind, [])
        if len(rows) < conversations:
            rows.append(lb.encode_chat(conversation, tokenizer))
    pad = tokenizer.pad_token_id
    return {kind: float(np.mean(exact_answers(model, rows, pad))) for kind, rows in sorted(kinds.items())}


def picture_accuracy(model, processor, pictures: int = 400) -> dict[str, float]:
    """Exact answers about unseen pictures, one question a picture, by kind of question."""
    rng = random.Random(30_000)
    images, rows, kinds = [], [], []
    expanded = lb.one_tile_tokens(processor)
    for _ in range(pictures):
        image, conversation, asked = lb.picture_conversation(rng)
        images.append(image)
        first_turn = replace(conversation, messages=conversation.messages[:2])
        rows.append(lb.encode_chat(first_turn, processor.tokenizer, expanded))
        kinds.append(asked[0])
    tiles = processor.image_processor(images, return_tensors="pt")["pixel_values"].to(model.dtype)
    verdicts = exact_answers(model, rows, processor.tokenizer.pad_token_id, pixel_values=tiles)
    return {
        kind: float(np.mean([right for right, other in zip(verdicts, kinds, strict=True) if other == kind]))
        for kind in sorted(set(kinds))
    }


def prompt_recall(model, tokenizer, filler: list[int], length: int, rows: int, **needle) -> float:
    """Share of exact answers to `rows` prompts of `needle_prompt`, among the tokens of `filler`."""
    rng = random.Random(f"{length}-{needle}")
    prompts = [samples.needle_prompt(rng, tokenizer, filler, length, **needle) for _ in range(rows)]
    size = max(1, 8192 // length)
    return float(np.mean([v for at in range(0, rows, size) for v in exact_answers(model, prompts[at : at + size], 0)]))


RECALL_LENGTHS = (128, 256, 512, 1024, 2048)
RECALL_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def recall_in_prose(model, tokenizer, rows: int = 40) -> dict[str, dict]:
    """One needle in held-out prose, by length and depth; harder questions by length, their facts anywhere."""
    ask = partial(prompt_recall, model, tokenizer, samples.held_out_prose(tokenizer))
    one = {
        str(length): {str(depth): ask(length, rows, depth=depth, kind="one hop", count=1) for depth in RECALL_DEPTHS}
        for length in RECALL_LENGTHS
    }
    harder = {
        name: {str(length): ask(length, 2 * rows, depth=None, kind=kind, count=count) for length in RECALL_LENGTHS}
        for name, (kind, count) in samples.NEEDLE_KINDS.items()
        if count > 1
    }
    # The first chunk of 64 tokens ends here: what happens to a fact that the wall cuts in two?
    around_a_wall = {
        str(place): ask(256, rows, depth=place / 234, kind="one hop", count=1) for place in range(40, 80, 3)
    }
    return {
        "one needle, by length and depth": one,
        "by length": harder,
        "one needle in 256 tokens, by about where it begins": around_a_wall,
    }


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """I(X;Y) in bits of two arrays of labels, from their joint counts (plug-in estimate, biased up)."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1)
    joint /= joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / product[seen])).sum())


def routing_figures(model, held: dict[str, lb.Rows], shuffles: int = 20) -> list[dict[str, float]]:
    """Per MoE layer: load, its entropy, dead experts, I(E;D) and I(E;T) with their shuffled nulls (mean and std)."""
    domains, tokens, chosen = [], [], []
    with sorted_dispatch(model):
        for index, rows in enumerate(held.values()):
            ids = torch.from_numpy(rows.tokens.astype(np.int64))
            chosen.append(record_routing(model, ids).chosen.flatten(1).numpy())
            tokens.append(rows.tokens.ravel().astype(np.int64))
            domains.append(np.full(rows.tokens.size, index))
    chosen, tokens, domains = np.concatenate(chosen, axis=1), np.concatenate(tokens), np.concatenate(domains)
    frequent = np.bincount(tokens)[tokens] >= 10  # a token seen once would be 'explained' perfectly
    experts = model.config.text_config.num_local_experts
    rng = np.random.default_rng(0)
    layers = []
    for experts_of_layer in chosen:
        load = np.bincount(experts_of_layer, minlength=experts) / len(experts_of_layer)
        figures = {
            "load": [round(float(share), 4) for share in load],
            "load_entropy": float(-(load[load > 0] * np.log(load[load > 0])).sum() / np.log(experts)),
            "dead_experts": int((load < 0.1 / experts).sum()),
        }
        for name, labels, mask in (("domain", domains, np.ones_like(frequent)), ("token", tokens, frequent)):
            picked, labels = experts_of_layer[mask], labels[mask]
            null = [mutual_information(rng.permutation(picked), labels) for _ in range(shuffles)]
            figures[f"bits_about_{name}"] = mutual_information(picked, labels)
            figures[f"null_about_{name}"] = [float(np.mean(null)), float(np.std(null))]
        layers.append(figures)
    return layers


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


def skills(model, processor, held: dict[str, lb.Rows]) -> dict[str, dict[str, float]]:
    """Held-out NLL, exact answers in chat and about pictures."""
    with sorted_dispatch(model):
        nll = held_out_nll(model, held)
    chat, seen = chat_accuracy(model, processor.tokenizer), picture_accuracy(model, processor)
    return {"nll": nll, "chat": chat, "pictures": seen}


def evaluate_longer_training() -> None:
    """Record what scout-proxy learns in more steps than its recipe has, and enter it in its card.

    Of this run (`train.py scout-proxy --steps 6000 --out .work/models`) only the figures are kept.
    """
    finished = UNSTORED / "scout-proxy"
    if not finished.exists():
        sys.exit("There is no scout-proxy in .work/models; train it with --steps 6000 --out .work/models.")
    processor, model = load_checkpoint(str(finished), dtype=torch.float32)
    model.language_model.set_attn_implementation(training_attention.NAME)
    _, held = lb.load_or_build_rows(processor.tokenizer, ROOT / ".work")
    about = {"provenance": provenance(), "training": cards.training_figures(finished)}
    samples.write_json(cards.LONGER_TRAINING, about | skills(model, processor, held))
    stored = json.loads((MEASUREMENTS / "scout-proxy.json").read_text(encoding="utf-8"))
    cards.write_language_card(ASSETS / "models" / "scout-proxy", stored)


def evaluate_language_model(name: str) -> None:
    """Measure scout-, maverick- or behemoth-proxy and write its card."""
    processor, model = load_checkpoint(name)
    model.language_model.set_attn_implementation(training_attention.NAME)
    tokenizer = processor.tokenizer
    train, held = lb.load_or_build_rows(tokenizer, ROOT / ".work")
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
        cards.write_small_card(ASSETS / "models" / "ablations" / f"small-{kind}", kind, runs, provenance())


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
    """Shares of right answers for notebook 07: with and without look-alikes, by distance and by length."""
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
        cards.write_ablation_card(folder, recorded[name])
    else:
        recorded[name]["training"] = cards.training_figures(folder)
    samples.write_json(path, {"chance": CHANCE, "models": {name: recorded[name] for name in sorted(recorded)}})


# Runs of which the course keeps what they showed, by the name that records it.
RUNS = {"balance": record_balance, "dense-twin": evaluate_dense_twin, "longer-training": evaluate_longer_training}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names",
        nargs="*",
        help="models, or balance, dense-twin or longer-training for those runs; all models when none is given",
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    names = options.names or known_proxies()
    unstored = {f"ablations/{f.name}" for kind in ABLATIONS for f in (UNSTORED / "ablations").glob(f"{kind}-[0-9]*")}
    known = sorted({*known_proxies(), *unstored})
    unknown = sorted(set(names) - {*known, *RUNS})
    if unknown:
        sys.exit(f"There is no model {unknown[0]!r}; give some of {', '.join([*known, *RUNS])}.")
    torch.set_num_threads(options.threads)
    for name in names:
        variant = name.removeprefix("ablations/")
        if name in STORED_LANGUAGE_MODELS:
            evaluate_language_model(name)
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
