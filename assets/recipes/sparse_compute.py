"""Measure notebook 06's blocks, library against sorted:  python assets/recipes/sparse_compute.py

Writes assets/measurements/sparse_compute.json, from the functions of the notebook itself. One CPU thread, seconds that
the thread spent on the CPU, calls of all functions interleaved, the fastest of each kept. About five minutes on an
idle machine and 6 GB of memory; on a busy one it takes longer and caches are shared, so let it run alone.
"""

import argparse
from functools import partial

import torch

import samples
from evaluate import provenance
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.notebook_functions import functions_of

OUTPUT = ASSETS / "measurements" / "sparse_compute.json"
BLOCKS = {"Scout-like": 16, "Maverick-like": 128}  # experts
TOKENS = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096)
FEWEST, MOST = 3, 60  # rounds at one point


def measure_block(notebook: dict, experts: int, library_seconds: float, tokens: tuple[int, ...] = TOKENS) -> dict:
    """By number of tokens: milliseconds of the library and of both sorted ways, FLOPs, experts touched, rounds."""
    block = notebook["make_block"](experts)
    points = {}
    for count in tokens:
        hidden = notebook["random_hidden"](1, count)
        forwards = {
            "library": partial(block, hidden),
            "plain": partial(notebook["moe_sorted"], block, hidden),
            "lean": partial(notebook["moe_lean"], block, hidden),
        }
        with torch.no_grad():
            first = notebook["fastest_calls"](forwards, rounds=1)["library"]
            rounds = round(min(max(library_seconds / first, FEWEST), MOST))
            seconds = notebook["fastest_calls"](forwards, rounds=rounds)
            torch.testing.assert_close(forwards["lean"]()[0], forwards["library"]()[0], atol=1e-5, rtol=1e-5)
            chosen = block.router(hidden.flatten(0, 1))[1].argmax(dim=1)
        points[str(count)] = {
            **{f"{name}_ms": float(f"{1000 * fastest:.5g}") for name, fastest in seconds.items()},
            "library_flops": notebook["count_flops"](forwards["library"]),
            "sorted_flops": notebook["count_flops"](forwards["lean"]),
            "experts_touched": len(chosen.unique()),
            "rounds": rounds,
        }
        print(experts, count, points[str(count)], flush=True)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="for the library's calls at one point")
    options = parser.parse_args()
    notebook = functions_of("sparse_compute")
    torch.set_num_threads(1)
    blocks = {
        name: {"experts": experts, "by_tokens": measure_block(notebook, experts, options.seconds)}
        for name, experts in BLOCKS.items()
    }
    result = {
        "provenance": provenance() | {"clock": "CPU time of the one thread, fastest call, float32"},
        "hidden": 320,
        "width": 512,
        "blocks": blocks,
    }
    samples.write_json(OUTPUT, result)
    write_manifest()


if __name__ == "__main__":
    main()
