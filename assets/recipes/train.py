"""Make the models of assets/models:  python assets/recipes/train.py NAME

NAME: scout-proxy, maverick-proxy, behemoth-proxy, dense-twin, ablations/KIND-SEED; an unknown one lists them all.

An interrupted run continues where it stopped. Work in progress lies in .work/, the finished model in assets/models/.
"""

import argparse
import ctypes
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Llama4ForCausalLM, Llama4ForConditionalGeneration, logging

import language_batches
import recall_batches
from llama4lab.recall import follower_table, needle_rows, recall_accuracy
from proxies import (
    ablation_config,
    behemoth_config,
    build_generation_config,
    build_processor,
    dense_twin_config,
    maverick_config,
    scout_config,
    small_config,
)
from trainer import Schedule, TrainingError, initialize, train

ROOT = Path(__file__).resolve().parents[2]

ABLATIONS = ("chunk-only", "hybrid", "grown-hybrid", "rope", "nope")
ABLATION_STEPS, GROWING_STEPS = 9000, 4000
PICTURES_EVERY = 3  # steps


@dataclass(frozen=True)
class LanguageModel:
    """A recipe's configuration, number of optimizer steps, and whether it learns from pictures too."""

    config: Callable
    steps: int
    pictures: bool = True


LANGUAGE_MODELS = {
    "scout-proxy": LanguageModel(scout_config, 4000),
    "maverick-proxy": LanguageModel(maverick_config, 2000),
    "behemoth-proxy": LanguageModel(behemoth_config, 2000),
    "dense-twin": LanguageModel(dense_twin_config, 4000, pictures=False),
}
# Small models: the kind of their blocks and how their experts are balanced.
SMALL_MODELS = {
    "small-moe": ("moe", "loss"),
    "small-dense-active": ("dense-active", "none"),
    "small-dense-total": ("dense-total", "none"),
    "balance-loss": ("moe", "loss"),
    "balance-bias": ("moe", "bias"),
    "balance-none": ("moe", "none"),
}
SMALL_STEPS, BALANCE_STEPS = 2000, 600
SMALL_BATCH = (16, 128)  # rows, tokens a row
KEPT_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)  # of the steps; the tenth is the finished model
STORED_SEEDS = ("0", "1")  # of the attention ablations


def known_recipes() -> list[str]:
    """The names that this command takes."""
    small = [f"ablations/{name}" + "-SEED" * name.startswith("balance-") for name in SMALL_MODELS]
    return [*LANGUAGE_MODELS, *small, *(f"ablations/{kind}-SEED" for kind in ABLATIONS)]


def is_stored(name: str) -> bool:
    """Whether assets/models keeps the weights of a run, or only assets/measurements what it showed.

    The latter lie in .work/models, where evaluate.py finds them.
    """
    kind, _, seed = name.removeprefix("ablations/").rpartition("-")
    return name != "dense-twin" and not kind.startswith("balance-") and (kind not in ABLATIONS or seed in STORED_SEEDS)


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free instead of returning it to the system.

    Training frees and asks again for the same megabytes at every step; without this a tenth of the time went into page
    faults.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            trim_threshold, largest_number_of_mmaps = -1, -4
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(largest_number_of_mmaps, 0)


def save(model, processor, target: Path, work: Path) -> None:
    """Write the finished model in half precision, what prepares its inputs, and the log of its training."""
    # Parameter by parameter: the vision encoder's complex rotation table, which is not stored, would lose its
    # imaginary part in model.to(bfloat16).
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(target)
    (target / "model.safetensors").chmod(0o644)
    processor.save_pretrained(target)
    shutil.copyfile(work / "log.jsonl", target / "training_log.jsonl")


def train_language_model(name: str, target: Path, work: Path, steps: int, device: str, seed: int, scale: int) -> None:
    """One of LANGUAGE_MODELS: text of six domains, and for most of them pictures every third step."""
    tokenizer = language_batches.build_tokenizer()
    processor = build_processor(tokenizer)
    rows, held = language_batches.load_or_build_rows(tokenizer, work.parent, scale)
    config = LANGUAGE_MODELS[name].config(tokenizer)
    model = Llama4ForConditionalGeneration(config)
    initialize(model, seed)

    def batches(step: int) -> list:
        # Short rows first: copying from the prompt appears sooner on them.
        batch, length = (32, 128) if step < steps * 5 // 16 else (16, 256)
        found = [language_batches.text_batch(rows, step, seed, batch, length)]
        if LANGUAGE_MODELS[name].pictures and step % PICTURES_EVERY == 0:
            found.append(language_batches.picture_batch(processor, step, seed, batch=48, share=0.5))
        return found

    model = train(
        model,
        batches,
        Schedule(steps=steps, floor=0.02),
        work,
        device=device,
        seed=seed,
        evaluate=partial(language_batches.held_out_nll, rows=held),
    )
    model.generation_config = build_generation_config(config)
    save(model, processor, target, work)


def train_small(name: str, target: Path, work: Path, steps: int, device: str, seed: int, scale: int) -> None:
    """A small text-only language model: of `small-moe` the weights of nine earlier steps stay too, for notebook 05."""
    kind, balance = SMALL_MODELS[name]
    tokenizer = language_batches.build_tokenizer()
    rows, held = language_batches.load_or_build_rows(tokenizer, work.parent, scale)
    model = Llama4ForCausalLM(small_config(tokenizer, kind))
    initialize(model, seed)
    kept = sorted({max(1, round(steps * share)) for share in KEPT_SHARES}) if name == "small-moe" else []
    model = train(
        model,
        lambda step: [language_batches.text_batch(rows, step, seed, *SMALL_BATCH)],
        Schedule(steps=steps, learning_rate=4e-3, warmup=50, balance=balance),
        work,
        device=device,
        seed=seed,
        evaluate=partial(language_batches.held_out_nll, rows=held, length=128),
        evaluate_every=100,
        keep_at={step: partial(keep_weights, path=work / "kept" / f"step-{step:05d}.safetensors") for step in kept},
    )
    save(model, tokenizer, target, work)
    for step in kept:
        shutil.copyfile(work / "kept" / f"step-{step:05d}.safetensors", target / f"step-{step:05d}.safetensors")


def keep_weights(model, path: Path) -> None:
    """Write the weights of a model in training, in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tied = set(model.all_tied_weights_keys)
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file({name: value for name, value in weights.items() if name not in tied}, path, metadata={"format": "pt"})


def chunk_only_weights(seed: int, work: Path) -> dict[str, torch.Tensor]:
    """The finished chunk-only model of this seed, from assets or, where it is only measured, from .work.

    Raises:
        TrainingError: it was not trained yet.
    """
    name = f"ablations/chunk-only-{seed}/model.safetensors"
    for path in (ROOT / "assets" / "models" / name, work / "models" / name):
        if path.exists():
            return {key: value.float() for key, value in load_file(path).items()}
    raise TrainingError(f"A grown hybrid begins as chunk-only: run train.py ablations/chunk-only-{seed} first.")


def train_ablation(kind: str, target: Path, work: Path, steps: int, device: str, seed: int) -> None:
    """One of ABLATIONS: rows of the recall world, near questions first.

    A grown hybrid begins with the weights of a chunk-only model, which can match names within a chunk; then its last
    layer is opened and it learns on rows that ask again and again. Trained from the start, a hybrid finds a fact
    anywhere, but does not learn to tell facts apart.
    """
    tokenizer = recall_batches.build_tokenizer()
    table = follower_table()
    model = Llama4ForCausalLM(ablation_config(kind, len(tokenizer)))
    grows = kind == "grown-hybrid"
    if grows:
        model.load_state_dict(chunk_only_weights(seed, work.parents[1]))
    else:
        initialize(model, seed)

    def batches(step: int) -> list:
        if grows:
            return [recall_batches.matching_batch(step, seed, 8, 128, table)]
        # Short rows with near questions first: copying a fact begins with near ones, and it begins after a number of
        # steps more than after a number of tokens, hence the small batches.
        length, far = (64, 0.0) if step < steps // 2 else (128, 0.5)
        return [recall_batches.recall_batch(step, seed, 1024 // length, length, table, far)]

    schedule = Schedule(steps=steps, learning_rate=2e-3 if grows else 3e-3, warmup=200, hold=0.75)
    distances = (6, 24, 48, 100)
    needles = {distance: needle_rows(64, 128, distance, seed=1, distractors=6) for distance in distances}

    def evaluate(trained) -> dict[str, float]:
        return {f"recall at {distance}": recall_accuracy(trained, rows) for distance, rows in needles.items()}

    model = train(
        model,
        batches,
        schedule,
        work,
        device=device,
        seed=seed,
        evaluate=evaluate,
        evaluate_every=250,
    )
    save(model, tokenizer, target, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--steps", type=int, help="optimizer steps, for a shorter trial; default the card's number")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of scout-proxy; an ablation's name ends in its seed")
    parser.add_argument("--out", type=Path, help="default assets/models, for runs that are only measured .work/models")
    parser.add_argument("--work", type=Path, default=ROOT / ".work")
    parser.add_argument("--corpus-scale", type=int, default=1, help="divide the corpus by this, for a trial")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    out = options.out or (ROOT / "assets" / "models" if is_stored(options.name) else options.work / "models")
    target, work = out / options.name, options.work / options.name
    family, _, variant = options.name.partition("/")
    kind, _, seed = variant.rpartition("-")
    if options.name in LANGUAGE_MODELS:
        steps = options.steps or LANGUAGE_MODELS[options.name].steps
        train_language_model(options.name, target, work, steps, options.device, options.seed, options.corpus_scale)
    elif family == "ablations" and variant in SMALL_MODELS:
        steps = options.steps or SMALL_STEPS
        train_small(variant, target, work, steps, options.device, options.seed, options.corpus_scale)
    elif family == "ablations" and kind in SMALL_MODELS and seed.isdigit():
        steps = options.steps or BALANCE_STEPS
        train_small(kind, target, work, steps, options.device, int(seed), options.corpus_scale)
    elif family == "ablations" and kind in ABLATIONS and seed.isdigit():
        train_ablation(
            kind,
            target,
            work,
            options.steps or (GROWING_STEPS if kind == "grown-hybrid" else ABLATION_STEPS),
            options.device,
            int(seed),
        )
    else:
        raise TrainingError(f"There is no recipe for {options.name!r}; known are {', '.join(known_recipes())}.")


if __name__ == "__main__":
    try:
        started = time.monotonic()
        main()
        print(f"done in {time.monotonic() - started:.0f} s")
    except TrainingError as error:
        sys.exit(str(error))
