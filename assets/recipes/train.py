"""Make the models of assets/models:  python assets/recipes/train.py scout-proxy | ablations/KIND-SEED

An interrupted run continues where it stopped. Work in progress lies in .work/, the finished model in assets/models/.
"""

import argparse
import ctypes
import shutil
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "notebooks"), str(ROOT / "assets" / "recipes")]

import torch  # noqa: E402
from transformers import Llama4ForCausalLM, Llama4ForConditionalGeneration, logging  # noqa: E402

import language_batches  # noqa: E402
import recall_batches  # noqa: E402
from llama4lab.recall import follower_table, needle_rows, recall_accuracy  # noqa: E402
from proxies import ablation_config, build_generation_config, build_processor, scout_config  # noqa: E402
from trainer import Schedule, TrainingError, initialize, train, weighted_nll  # noqa: E402

ABLATIONS = ("chunk-only", "hybrid", "rope", "nope")
PICTURES_EVERY = 3  # steps


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free instead of returning it to the system.

    Training frees and asks again for the same megabytes at every step; without this a quarter of the time went into
    page faults.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            trim_threshold, mmap_threshold, never = -1, -3, 2**31 - 1
            libc.mallopt(trim_threshold, never)
            libc.mallopt(mmap_threshold, 2**30)


def held_out_nll(model, rows: dict, length: int = 256) -> dict[str, float]:
    """Mean nats a token on the held-out rows of each domain, by the training weights."""
    result = {}
    with torch.no_grad():
        for domain, held in rows.items():
            batch = language_batches.Batch(
                torch.from_numpy(held.tokens[:, :length].astype("int64")),
                torch.from_numpy(held.weights[:, :length].astype("float32")),
            )
            output = model(input_ids=batch.input_ids.to(model.device), use_cache=False)
            result[domain] = round(weighted_nll(output.logits.cpu(), batch).item(), 4)
    return result


def save(model, processor, target: Path, work: Path) -> None:
    """Write the finished model, what prepares its inputs, and the log of its training."""
    model.save_pretrained(target)
    (target / "model.safetensors").chmod(0o644)
    processor.save_pretrained(target)
    shutil.copyfile(work / "log.jsonl", target / "training_log.jsonl")


def train_scout(target: Path, work: Path, steps: int, device: str, seed: int, corpus_scale: int) -> None:
    tokenizer = language_batches.build_tokenizer()
    processor = build_processor(tokenizer)
    rows, held = language_batches.load_or_build_rows(tokenizer, work.parent, corpus_scale)
    config = scout_config(tokenizer)
    model = Llama4ForConditionalGeneration(config)
    initialize(model, seed)

    def batches(step: int) -> list:
        # Short rows first: copying from the prompt appears sooner on them.
        batch, length = (32, 128) if step < steps * 5 // 16 else (16, 256)
        found = [language_batches.text_batch(rows, step, seed, batch, length)]
        if step % PICTURES_EVERY == 0:
            found.append(language_batches.picture_batch(processor, step, seed, batch=48, share=0.5))
        return found

    model = train(
        model,
        batches,
        Schedule(steps=steps),
        work,
        device=device,
        seed=seed,
        evaluate=partial(held_out_nll, rows=held),
    )
    model.generation_config = build_generation_config(config)
    # The vision encoder's complex rotation table would lose its imaginary part on the way; it is not stored anyway.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    save(model, processor, target, work)


def train_ablation(kind: str, target: Path, work: Path, steps: int, device: str, seed: int) -> None:
    tokenizer = recall_batches.build_tokenizer()
    table = follower_table()
    model = Llama4ForCausalLM(ablation_config(kind, len(tokenizer)))
    initialize(model, seed)

    def batches(step: int) -> list:
        # Short rows with near questions first: copying a fact begins with near ones, and it begins after a number of
        # steps more than after a number of tokens, hence the small batches.
        length, far = (64, 0.0) if step < steps // 2 else (128, 0.5)
        return [recall_batches.recall_batch(step, seed, 1024 // length, length, table, far)]

    schedule = Schedule(steps=steps, learning_rate=3e-3, warmup=200, hold=0.75)
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
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "models")
    parser.add_argument("--work", type=Path, default=ROOT / ".work")
    parser.add_argument("--corpus-scale", type=int, default=1, help="divide the corpus by this, for a trial")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    target, work = options.out / options.name, options.work / options.name
    family, _, variant = options.name.partition("/")
    kind, _, seed = variant.rpartition("-")
    if options.name == "scout-proxy":
        train_scout(target, work, options.steps or 4000, options.device, options.seed, options.corpus_scale)
    elif family == "ablations" and kind in ABLATIONS and seed.isdigit():
        train_ablation(kind, target, work, options.steps or 9000, options.device, int(seed))
    else:
        kinds = ", ".join(f"ablations/{kind}-SEED" for kind in ABLATIONS)
        raise TrainingError(f"There is no recipe for {options.name!r}; known are scout-proxy, {kinds}.")


if __name__ == "__main__":
    try:
        started = time.monotonic()
        main()
        print(f"done in {time.monotonic() - started:.0f} s")
    except TrainingError as error:
        sys.exit(str(error))
