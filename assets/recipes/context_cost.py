"""Measure what context costs, masked against chunked:  python assets/recipes/context_cost.py

Writes assets/measurements/context_cost.json, with the functions of notebook 10. One CPU thread, seconds that the thread
spent on the CPU, the fastest call kept; memory is the peak of PyTorch's allocator during a call. About six minutes on
an idle machine and 9 GB of memory; on a busy one it takes longer and caches are shared, so let it run alone, such as

    OMP_NUM_THREADS=1 taskset -c 1 .venv/bin/python assets/recipes/context_cost.py
"""

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from transformers import DynamicCache

import samples
from evaluate import provenance
from llama4lab import chunked_attention
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import load_checkpoint
from llama4lab.dispatch import sorted_dispatch
from llama4lab.notebook_functions import functions_of

OUTPUT = ASSETS / "measurements" / "context_cost.json"
WAYS = {"masked": "sdpa", "chunked": chunked_attention.NAME}
CHUNK = 128
LAYER_TOKENS = (2048, 4096, 8192, 16_384, 32_768)
MODEL_TOKENS = (1024, 2048, 4096, 8192, 16_384, 32_768)
LIBRARY_TOKENS = MODEL_TOKENS[:-1]  # the library's masks of 32 k tokens take minutes


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def measure_layer(notebook: dict, tokens: int, rounds: dict[str, int]) -> dict[str, float]:
    """Seconds and MiB of both ways on one layer; `rounds` by way."""
    layer, states = notebook["make_layer"](CHUNK), notebook["random_states"](tokens)
    point = {}
    for way, name in WAYS.items():
        seconds, peak = notebook["measure"](partial(notebook["attention_call"], layer, name, *states), rounds[way])
        point |= {f"{way}_s": rounded(seconds), f"{way}_mib": rounded(peak / 2**20)}
    print(tokens, point, flush=True)
    return point


def measure_process(way: str) -> float:
    """MiB by which the peak of this process grows in one call at 16 k tokens; on Linux, where the peak can be reset."""
    notebook = functions_of("cost_of_context")
    torch.set_num_threads(1)
    layer = notebook["make_layer"](CHUNK)
    with torch.no_grad():
        notebook["attention_call"](layer, WAYS[way], *notebook["random_states"](256))
        states = notebook["random_states"](16_384)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        before = peak_mib()
        notebook["attention_call"](layer, WAYS[way], *states)
    return peak_mib() - before


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_own_process(way: str) -> float:
    command = [sys.executable, __file__, "--process", way]
    return rounded(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))


def random_ids(tokens: int) -> torch.Tensor:
    return torch.randint(0, 2048, (1, tokens), generator=torch.Generator().manual_seed(0))


def measure_prefill(notebook: dict, models: dict, tokens: int, rounds: int) -> dict[str, float]:
    """Seconds and MiB of one pass over a prompt, with experts by sorted dispatch and a chunk-aware cache."""
    point = {}
    for way, model in models.items():
        if way == "sdpa" and tokens not in LIBRARY_TOKENS:
            continue

        def read(model=model) -> None:
            with sorted_dispatch(model):
                model(input_ids=random_ids(tokens), use_cache=True, logits_to_keep=1)

        seconds, peak = notebook["measure"](read, rounds)
        point |= {f"{way}_s": rounded(seconds), f"{way}_mib": rounded(peak / 2**20)}
    print(tokens, point, flush=True)
    return point


def measure_decode(notebook: dict, model: torch.nn.Module, tokens: int, rounds: int) -> dict[str, float]:
    """Milliseconds of one token after `tokens`, and MiB of the cache, for both kinds of cache."""
    text, point = model.config.get_text_config(), {}
    for name, cache in (("everywhere", DynamicCache()), ("aware", DynamicCache(config=text))):
        with sorted_dispatch(model):
            model(input_ids=random_ids(tokens), past_key_values=cache, logits_to_keep=1)
            seconds = []
            for _ in range(rounds):
                start = time.thread_time()
                model(input_ids=random_ids(1), past_key_values=cache)
                seconds.append(time.thread_time() - start)
        held = notebook["held_bytes"](cache)
        point |= {f"{name}_ms": rounded(1000 * min(seconds)), f"{name}_mib": rounded(held / 2**20)}
    return point


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--process", choices=WAYS, help="measure the peak of one process and print it")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each kind; fewer of the long ones")
    parser.add_argument("--longest", type=int, default=32_768, help="leave out longer texts")
    options = parser.parse_args()
    if options.process:
        print(measure_process(options.process))
        return
    notebook = functions_of("cost_of_context")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    # Long calls are their own repetition; short ones are repeated.
    few = {tokens: min(2, options.rounds) if tokens > 8192 else options.rounds for tokens in MODEL_TOKENS}
    layer_tokens, model_tokens = ([n for n in some if n <= options.longest] for some in (LAYER_TOKENS, MODEL_TOKENS))
    models = {
        way: load_checkpoint("scout-proxy", attn_implementation=name)[1]
        for way, name in (("sdpa", "sdpa"), ("chunked", chunked_attention.NAME))
    }
    result = {
        "provenance": provenance() | {"clock": "CPU time of the one thread, fastest call, float32"},
        "chunk_of_the_layer": CHUNK,
        "layer": {
            str(n): measure_layer(notebook, n, {"masked": few[n], "chunked": 4 * options.rounds}) for n in LAYER_TOKENS
        },
        "process_at_16k": {f"{way}_mib": in_own_process(way) for way in WAYS if options.longest >= 16_384},
        "prefill": {str(n): measure_prefill(notebook, models, n, few[n]) for n in model_tokens},
        "decode": {str(n): measure_decode(notebook, models["chunked"], n, 6 * options.rounds) for n in model_tokens},
    }
    samples.write_json(OUTPUT, result)
    write_manifest()


if __name__ == "__main__":
    main()
