"""Teach a small student with and without behemoth-proxy:  python assets/recipes/distillation.py

Writes assets/measurements/distillation.json for notebook 16, with the losses that the notebook defines. Each run is one
thread and about half a minute; it leaves a file in .work/distillation, and a command that was interrupted makes what is
missing.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Iterator
from itertools import product

import torch
from transformers import Llama4ForCausalLM

import samples
from distillation_data import (
    BLOCK,
    HELD_OUT_ROWS,
    LENGTH,
    TEACHER,
    TOP,
    Lessons,
    load_or_build_lessons,
    load_teacher,
    teacher_log_p,
)
from distillation_student import BATCH, BRANCHES, LOOKS, RATE, STEPS, WORK, Run, Student
from evaluate import provenance
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import load_checkpoint
from llama4lab.notebook_functions import functions_of
from llama4lab.parameters import count_active, count_by_part
from proxies import small_config

OUTPUT = ASSETS / "measurements" / "distillation.json"
SIZES, SEEDS = (32, 320, 3200), (0, 1, 2)  # rows
OTHER_SEEDS = (0, 1, 2)  # of the arms that follow from the main comparison
OTHER_RATES = (4e-3, 8e-3, 32e-3)  # learning rates that judge the one of all other runs


def all_runs() -> Iterator[Run]:
    """The runs whose comparison is the main one come first."""
    few, plenty = SIZES[0], SIZES[-1]
    for seed in SEEDS:
        for size, arm in product(SIZES, ("alone", "soft", "shuffled")):
            yield Run("moe", arm, size, seed)
    for seed in OTHER_SEEDS:
        for size, arm in product((few, plenty), ("half", "soft to hard", "hard to soft", "smoothed")):
            yield Run("moe", arm, size, seed)
        for size, arm in product((few, plenty), ("alone", "soft")):
            yield Run("dense-active", arm, size, seed)
        for arm in BRANCHES:
            yield Run("moe", arm, plenty, seed)
    for rate, arm in product(OTHER_RATES, ("alone", "soft")):
        yield Run("moe", arm, plenty, 0, rate)


def entry(run: Run) -> dict:
    """What distillation.json says of a finished run: means over domains, but by domain at the step chosen."""
    kept = json.loads(run.path.read_text(encoding="utf-8"))
    means = [[statistics.mean(halves) for halves in zip(*look["nll"].values(), strict=True)] for look in kept["curve"]]
    best = min(range(len(means)), key=lambda at: means[at][0])
    counts, sure, right = (torch.tensor(kept["calibration"][name]) for name in ("count", "confidence", "accuracy"))
    off = float((counts / counts.sum() * (sure - right).abs()).sum())
    result = {
        **dataclasses.asdict(run),
        "nll_by_step": [round(judged, 4) for _, judged in means],
        "best_step": LOOKS[best],
        "nll": round(means[best][1], 4),
        "nll_by_domain": {domain: judged for domain, (_, judged) in kept["curve"][best]["nll"].items()},
        "calibration_error": round(off, 4),
    }
    if run.arm in ("alone", "soft") and run.seed == 0 and run.rate == RATE:
        result["calibration"] = kept["calibration"]
    if "routing" in kept:
        result["routing"] = {name: round(float(torch.tensor(v).mean()), 4) for name, v in kept["routing"].items()}
    return result | {"own_text": kept["own_text"]} if "own_text" in kept else result


def teacher_figures(lessons: Lessons) -> dict:
    """The teacher's own NLL, on the judging half and on text that the students learn from."""
    teacher = load_teacher()

    def nll(rows: torch.Tensor) -> float:
        return round(-teacher_log_p(teacher, rows).gather(-1, rows[:, 1:, None]).mean().item(), 4)

    blocks = lessons.rows[: SIZES[1]].view(-1, sum(BLOCK.values()), LENGTH)
    parts = zip(BLOCK, blocks.split(tuple(BLOCK.values()), dim=1), strict=True)
    return {
        "held_out": {domain: nll(rows[HELD_OUT_ROWS // 2 :]) for domain, rows in lessons.held_out.items()},
        "students_text": {domain: nll(rows.flatten(0, 1)) for domain, rows in parts},
    }


def gathered(lessons: Lessons) -> dict:
    """The content of distillation.json."""
    tokenizer = load_checkpoint(TEACHER)[0].tokenizer
    models = {kind: Llama4ForCausalLM(small_config(tokenizer, kind)) for kind in ("moe", "dense-active")}
    places = lessons.top_ids[..., 0].numel()
    return {
        "provenance": provenance(),
        "students": {
            kind: {"total": sum(count_by_part(model).values()), "active": count_active(model)}
            for kind, model in models.items()
        },
        "steps": STEPS,
        "tokens_of_step": BATCH * LENGTH,
        "row_tokens": LENGTH,
        "looks": LOOKS,
        "teacher": teacher_figures(lessons),
        "targets": {"kept": TOP, "bytes": 4 * TOP * places, "bytes_of_all_logits": 2 * len(tokenizer) * places},
        "runs": [entry(run) for run in all_runs()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    torch.set_num_threads(1)
    losses, lessons = functions_of("distill"), load_or_build_lessons(WORK)
    for run in all_runs():
        if not run.path.exists():
            student = Student(run, lessons, losses)
            student.learn()
            samples.write_json(run.path, student.figures())
            print(run, student.curve[-1]["nll"], flush=True)
    samples.write_json(OUTPUT, gathered(lessons))
    write_manifest()


if __name__ == "__main__":
    main()
