"""Measure notebook 06's blocks, library against sorted:  python assets/recipes/sparse_compute.py

Writes assets/measurements/sparse_compute.json, from the functions of the notebook itself. One CPU thread, seconds that
the thread spent on the CPU, calls of all functions interleaved, the fastest of each kept. A large square product runs
in the same race: its speed is the peak that the others are held against. About ten minutes on an idle machine and 6 GB
of memory; on a busy one it takes longer and caches are shared, so let it run alone.
"""

import argparse
from functools import partial

import torch

import samples
from evaluate import provenance
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.notebook_functions import functions_of
from llama4lab.timing import fastest_calls, square_product

OUTPUT = ASSETS / "measurements" / "sparse_compute.json"
BLOCKS = {"Scout-like": 16, "Maverick-like": 128}  # experts
TOKENS = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FEWEST, MOST = 5, 60  # rounds at one point


def milliseconds(seconds: float) -> float:
    return float(f"{1000 * seconds:.5g}")


def measure_block(notebook: dict, experts: int, library_seconds: float, tokens: tuple[int, ...] = TOKENS) -> dict:
    """By number of tokens: milliseconds of the library, of the sorted ways and of the square product, FLOPs, rounds."""
    block = notebook["make_block"](experts)
    square, square_flops = square_product()
    points = {}
    for count in tokens:
        hidden = notebook["random_hidden"](1, count)
        forwards = {
            "library": partial(block, hidden),
            "plain": partial(notebook["moe_sorted"], block, hidden),
            "lean": partial(notebook["moe_lean"], block, hidden),
            "grouped": partial(notebook["moe_grouped"], block, hidden),
        }
        with torch.no_grad():
            first = fastest_calls(forwards, rounds=1)["library"]
            rounds = round(min(max(library_seconds / first, FEWEST), MOST))
            seconds = fastest_calls(forwards | {"square": square}, rounds=rounds)
            expected = forwards["library"]()[0]
            for way in ("plain", "lean", "grouped"):
                torch.testing.assert_close(forwards[way]()[0], expected, atol=1e-5, rtol=1e-5)
            chosen = block.router(hidden.flatten(0, 1))[1].argmax(dim=1)
        points[str(count)] = {
            **{f"{name}_ms": milliseconds(fastest) for name, fastest in seconds.items()},
            "library_flops": notebook["count_flops"](forwards["library"]),
            "sorted_flops": notebook["count_flops"](forwards["lean"]),
            "square_flops": square_flops,
            "experts_touched": len(chosen.unique()),
            "rounds": rounds,
        }
        print(experts, count, points[str(count)], flush=True)
    return points


def measure_slices(notebook: dict, experts: int, rows: tuple[int, ...] = ROWS, rounds: int = 20) -> dict:
    """Milliseconds in which so many rows visit all experts' gate and up weights, by rows; FLOPs of one row."""
    weights = notebook["make_block"](experts).experts.gate_up_proj  # [experts, hidden, 2 * width]
    visits = {
        str(count): partial(notebook["visit_all"], torch.ones(count, weights.shape[1]), weights) for count in rows
    }
    with torch.no_grad():
        seconds = fastest_calls(visits, rounds=rounds)
    return {
        "experts": experts,
        "flops_of_one_row": 2 * weights.numel(),
        "ms_by_rows": {count: milliseconds(fastest) for count, fastest in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="for the library's calls at one point")
    options = parser.parse_args()
    notebook = functions_of("sparse_compute")
    torch.set_num_threads(1)
    slices = measure_slices(notebook, BLOCKS["Maverick-like"])
    blocks = {
        name: {"experts": experts, "by_tokens": measure_block(notebook, experts, options.seconds)}
        for name, experts in BLOCKS.items()
    }
    result = {
        "provenance": provenance() | {"clock": "CPU time of the one thread, fastest call, float32"},
        "hidden": 320,
        "width": 512,
        "blocks": blocks,
        "slices": slices,
    }
    samples.write_json(OUTPUT, result)
    write_manifest()


if __name__ == "__main__":
    main()
