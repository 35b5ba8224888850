"""Measure notebook 06's ways at Llama 4's real sizes on a GPU:  python3 assets/recipes/sparse_compute_gpu.py OUTPUT.json

One layer of Scout (16 experts) and of Maverick (128), bfloat16, random weights, with the functions of the notebook
itself. Wall time between synchronizations, calls interleaved, the fastest of each kept. It needs 80 GB of GPU memory,
torch and transformers, and nothing else of the course; about two minutes on an H100. Its output is stored as
assets/measurements/sparse_compute_gpu.json.
"""

import ast
import datetime
import json
import math
import sys
import time
from functools import partial
from pathlib import Path

import torch
import transformers
from transformers import Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06_sparse_compute.ipynb"
NAMES = ("swiglu_of", "moe_sorted", "sort_rows", "shared_in_slices", "moe_lean", "moe_grouped")
LAYERS = {"Scout": (16, 4096), "Maverick": (128, 1024)}  # experts; most tokens for which the library fits beside them
TOKENS = (1, 4, 16, 64, 256, 1024, 4096)
HIDDEN, WIDTH, ROUNDS = 5120, 8192, 20


def functions() -> dict:
    """The notebook's own functions, over the names that they use."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    namespace = {"torch": torch, "silu": torch.nn.functional.silu, "grouped_mm": torch.nn.functional.grouped_mm}
    for cell in cells:
        if cell["cell_type"] == "code":
            for node in ast.parse("".join(cell["source"])).body:
                if isinstance(node, ast.FunctionDef) and node.name in NAMES:
                    exec(ast.unparse(node), namespace)
    return namespace


def layer(experts: int) -> Llama4TextMoe:
    config = Llama4TextConfig(hidden_size=HIDDEN, intermediate_size=WIDTH, num_local_experts=experts)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        block = Llama4TextMoe(config).eval()
    torch.set_default_dtype(torch.float32)
    for weight in block.parameters():
        weight.data.normal_(std=1 / math.sqrt(weight.shape[1]))
    return block


def fastest_milliseconds(forwards: dict, rounds: int = ROUNDS) -> dict:
    fastest = dict.fromkeys(forwards, math.inf)
    for _ in range(rounds + 2):  # the first calls of each warm up; the fastest is none of them
        for name, forward in forwards.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            forward()
            torch.cuda.synchronize()
            fastest[name] = min(fastest[name], 1000 * (time.perf_counter() - start))
    return {name: float(f"{value:.4g}") for name, value in fastest.items()}


def measure_layer(ways: dict, experts: int, most: int) -> dict:
    """By tokens: milliseconds of each way, and the share of rows that agree with the library within 2 %."""
    block, points = layer(experts), {}
    for tokens in TOKENS:
        hidden = torch.randn(1, tokens, HIDDEN, device="cuda", dtype=torch.bfloat16)
        forwards = {"library": block} if tokens <= most else {}
        forwards |= {name: partial(ways[f"moe_{name}"], block) for name in ("sorted", "lean", "grouped")}
        calls = {name: partial(forward, hidden) for name, forward in forwards.items()}
        outputs = {name: call()[0].float() for name, call in calls.items()}
        expected = outputs.get("library", outputs["sorted"])
        points[str(tokens)] = {f"{name}_ms": value for name, value in fastest_milliseconds(calls).items()}
        for name in ("lean", "grouped"):
            apart = (outputs[name] - expected).norm(dim=1) / expected.norm(dim=1)
            points[str(tokens)][f"{name}_rows_that_agree"] = float((apart < 0.02).float().mean())
        print(experts, tokens, points[str(tokens)], flush=True)
    return points


@torch.no_grad()
def main() -> None:
    torch.manual_seed(0)
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    square = fastest_milliseconds({"square": partial(torch.mm, left, right)})["square"]
    source, target = torch.empty(2, 2**30, device="cuda", dtype=torch.bfloat16)
    copied = fastest_milliseconds({"copy": partial(target.copy_, source)})["copy"]
    copied_bytes = source.nbytes
    del left, right, source, target
    ways = functions()
    result = {
        "provenance": {
            "date": datetime.date.today().isoformat(),
            "machine": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "clock": "wall time of the fastest call, bfloat16, random weights",
        },
        "peak_tflops": round(2 * 8192**3 / square / 1e9, 1),
        "copy_tb_per_second": round(2 * copied_bytes / copied / 1e9, 2),
        "layers": {
            name: {"experts": experts, "by_tokens": measure_layer(ways, experts, most)}
            for name, (experts, most) in LAYERS.items()
        },
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
