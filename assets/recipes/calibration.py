"""What notebook 14's calibration is worth:  python assets/recipes/calibration.py

Writes assets/measurements/calibration.json, from the functions of the notebook itself: the error of scout-proxy with its
experts rounded by GPTQ, by calibration tokens, damping and bits, for three draws of calibration texts (none of them among
those on which the error is measured); and the error when one expert alone is rounded. Five minutes on one thread.
"""

import random

import torch

import samples
from evaluate import provenance
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import load_checkpoint
from llama4lab.notebook_functions import functions_of

OUTPUT = ASSETS / "measurements" / "calibration.json"
SEEDS, TEXTS, TOKENS = (0, 1, 2), (1, 2, 4, 8, 16), 500  # texts of each of the six domains
DAMPINGS, WIDTHS, GROUP = (0.01, 0.1, 1.0), (2, 4), 32


def calibrated(notebook: dict, model, reference, rows) -> list[dict]:
    runs = []
    for seed in SEEDS:
        order = random.Random(seed).sample(range(2, 24), max(TEXTS))
        for texts in TEXTS:
            products, counts = notebook["calibrate"](model, notebook["held_out_rows"](order[:texts], TOKENS))
            about = {"seed": seed, "tokens": 6 * texts * TOKENS, "fewest": int(min(map(min, counts.values())))}
            for damping in DAMPINGS:
                for bits in WIDTHS:
                    how = (bits, GROUP, True)
                    run = notebook["measure_gptq"](model, reference, rows, products, how, damping)
                    runs.append(about | {"damping": damping, "bits": bits, "kl": round(run["kl"], 6)})
            print(runs[-1], flush=True)
    return runs


def one_expert_each(notebook: dict, model, reference, rows) -> list[dict]:
    """Load and error of every expert, rounded alone to two bits."""
    chosen, result = notebook["choices"](model, rows), []
    for layer, block in enumerate(model.language_model.model.layers):
        experts = block.feed_forward.experts
        for expert in range(experts.num_experts):
            kept = [weight[expert].clone() for weight in (experts.gate_up_proj, experts.down_proj)]
            for weight in (experts.gate_up_proj, experts.down_proj):
                weight[expert] = notebook["quantize"](weight[expert].mT, 2, GROUP, True).mT
            figures = notebook["compare"](reference, notebook["answers"](model, rows), rows)
            for weight, original in zip((experts.gate_up_proj, experts.down_proj), kept, strict=True):
                weight[expert] = original
            load = float((chosen[layer] == expert).float().mean())
            result.append({"layer": layer, "expert": expert, "load": round(load, 5), "kl": round(figures["kl"], 6)})
    return result


def main() -> None:
    torch.set_num_threads(1)
    notebook = functions_of("fit_it_in_memory")
    with torch.no_grad():
        model, rows = load_checkpoint("scout-proxy")[1], notebook["held_out_rows"](range(2))
        reference = notebook["answers"](model, rows)
        plain = {
            bits: notebook["measure"](model, reference, rows, {"routed experts": (bits, GROUP, True)})["kl"]
            for bits in WIDTHS
        }
        worth = one_expert_each(notebook, model, reference, rows)
        runs = calibrated(notebook, model, reference, rows)
    samples.write_json(OUTPUT, {"provenance": provenance(), "plain_rounding": plain, "runs": runs, "one_expert": worth})
    write_manifest()


if __name__ == "__main__":
    main()
