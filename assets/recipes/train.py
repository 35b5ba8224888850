"""Make the models of assets/models:  python assets/recipes/train.py NAME

NAME: scout-proxy, maverick-proxy, behemoth-proxy, dense-twin, ablations/KIND-SEED; an unknown one lists them all.

An interrupted run continues where it stopped. Work in progress lies in .work/, the finished model in assets/models/.
"""

import argparse
import ctypes
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Llama4ForCausalLM, Llama4ForConditionalGeneration, logging

import herd_data
import language_batches
import recall_batches
from growing import deepen
from herd import HERD
from initial_weights import initialize
from last_lesson import Lesson
from llama4lab.recall import VOCABULARY, follower_table, needle_rows, recall_accuracy
from llama4lab.recall_hops import HOPS_VOCABULARY, KINDS, hop_accuracy, hop_rows
from proxies import (
    ablation_config,
    build_generation_config,
    build_processor,
    small_config,
    two_groups_config,
)
from trainer import Schedule, TrainingError, train

ROOT = Path(__file__).resolve().parents[2]

ABLATIONS = ("chunk-only", "hybrid", "grown-hybrid", "rope", "nope")
TWO_GROUPS = "two-groups"
ASKED_HYBRID = "asked-hybrid"  # the control of grown-hybrid: only measured
# A model that begins with the finished weights of another one, of the same seed.
BEGINS_AS = {"grown-hybrid": "chunk-only", ASKED_HYBRID: "hybrid", TWO_GROUPS: "grown-hybrid"}
ABLATION_STEPS = {"grown-hybrid": 4000, ASKED_HYBRID: 4000, TWO_GROUPS: 5000}
FROM_SCRATCH_STEPS = 9000
LANGUAGE_MODELS = tuple(HERD)
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
    return [*LANGUAGE_MODELS, *small, *(f"ablations/{kind}-SEED" for kind in (*ABLATIONS, ASKED_HYBRID, TWO_GROUPS))]


def is_stored(name: str) -> bool:
    """Whether assets/models keeps the weights of a run, or only assets/measurements what it showed.

    The latter lie in .work/models, where evaluate.py finds them.
    """
    kind, _, seed = name.removeprefix("ablations/").rpartition("-")
    if kind == ASKED_HYBRID:
        return False
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


def train_language_model(name: str, target: Path, work: Path, steps: int, device: str, seed: int) -> None:
    """The last lesson of a model that herd.py trained, and its folder.

    Raises:
        TrainingError: the herd's weights are not there.
    """
    herd = work.parent / "herd"
    if not (herd / f"{name}.safetensors").exists():
        raise TrainingError(f"{name} begins with what the herd learned: run herd.py {name} first.")
    recipe = HERD[name]
    sources, tokenizer = herd_data.sources_in(work.parent)
    processor, config = build_processor(tokenizer), recipe.config(tokenizer)
    model = Llama4ForConditionalGeneration(config)
    model.load_state_dict({key: value.float() for key, value in load_file(herd / f"{name}.safetensors").items()})
    lesson = Lesson(processor, sources, recipe.pictures, recipe.lesson_kinds)
    held = language_batches.held_out_rows(tokenizer)
    model = train(
        model,
        lesson.batches,
        Schedule(steps=steps, learning_rate=5e-4, warmup=50, hold=0.3, floor=0.02, half_precision=True),
        work,
        device=device,
        seed=seed,
        evaluate=partial(language_batches.held_out_nll, rows=held),
        evaluate_every=steps,
    )
    model.generation_config = build_generation_config(config)
    save(model, processor, target, work)
    log = (herd / f"{name}.jsonl").read_text(encoding="utf-8")
    (target / "training_log.jsonl").write_text(log + (work / "log.jsonl").read_text(encoding="utf-8"), encoding="utf-8")


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


def first_weights(kind: str, seed: int, work: Path) -> dict[str, torch.Tensor]:
    """The finished model that `kind` begins as, from assets or, where it is only measured, from .work.

    Raises:
        TrainingError: it was not trained yet.
    """
    begins_as = f"ablations/{BEGINS_AS[kind]}-{seed}"
    for folder in (ROOT / "assets" / "models", work / "models"):
        if (folder / begins_as).exists():
            weights = load_file(folder / begins_as / "model.safetensors")
            return {key: value.float() for key, value in weights.items()}
    raise TrainingError(f"{kind} begins as another model: run train.py {begins_as} first.")


def train_ablation(kind: str, target: Path, work: Path, steps: int, device: str, seed: int) -> None:
    """One of ABLATIONS: rows of the recall world, near questions first.

    A grown hybrid begins with the weights of a chunk-only model, which can match names within a chunk; then its last
    layer is opened and it learns on rows that ask again and again. Trained from the start, a hybrid finds a fact
    anywhere, but does not learn to tell facts apart. An asked hybrid is such a one, finished, that then gets the grown
    one's rows, as many steps: whether they and not the late opening make the difference. Two groups begin as a grown
    hybrid with four more layers.
    """
    vocabulary = HOPS_VOCABULARY if kind == TWO_GROUPS else VOCABULARY
    tokenizer, table = recall_batches.build_tokenizer(vocabulary), follower_table()
    config = two_groups_config(len(tokenizer)) if kind == TWO_GROUPS else ablation_config(kind, len(tokenizer))
    model = Llama4ForCausalLM(config)
    initialize(model, seed)
    grows = kind in BEGINS_AS
    if grows:
        deepen(model, first_weights(kind, seed, work.parents[1]))

    def batches(step: int) -> list:
        if kind == TWO_GROUPS:
            return [recall_batches.hops_batch(step, seed, 8, 128, table)]
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
        if kind == TWO_GROUPS:
            return {asked: hop_accuracy(trained, hop_rows(64, 128, asked, seed=1)) for asked in KINDS}
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
        steps = options.steps or HERD[options.name].lesson_steps
        train_language_model(options.name, target, work, steps, options.device, options.seed)
    elif family == "ablations" and variant in SMALL_MODELS:
        steps = options.steps or SMALL_STEPS
        train_small(variant, target, work, steps, options.device, options.seed, options.corpus_scale)
    elif family == "ablations" and kind in SMALL_MODELS and seed.isdigit():
        steps = options.steps or BALANCE_STEPS
        train_small(kind, target, work, steps, options.device, int(seed), options.corpus_scale)
    elif family == "ablations" and kind in (*ABLATIONS, ASKED_HYBRID, TWO_GROUPS) and seed.isdigit():
        train_ablation(
            kind,
            target,
            work,
            options.steps or ABLATION_STEPS.get(kind, FROM_SCRATCH_STEPS),
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
