"""Measure notebooks/llama4.py against transformers:  python assets/recipes/llama4_file.py

Writes assets/measurements/llama4_file.json: for a proxy, what either program takes, in one process and by turns, and
how many times as much the library takes.
- prompt: reading a prompt, up to the logits of its last token, with a cache: seconds and MiB.
- token: one more token after that prompt.
- token_of_an_answer: greedy generation after a short question, by each program's own loop.
- prompt_with_all_logits: reading the prompt for the logits of every token.
One CPU thread, seconds that the thread spent on the CPU, the fastest call kept; memory is the peak of PyTorch's
allocator during a call; attention is scaled_dot_product_attention in both. Less than a minute.
"""

import time
from collections.abc import Callable
from itertools import islice

import torch

import llama4
import samples
from context_cost import random_ids, rounded
from evaluate import provenance
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import MODELS, load_checkpoint
from llama4lab.peak_memory import peak_tensor_bytes

OUTPUT = ASSETS / "measurements" / "llama4_file.json"
PROXIES = ("scout-proxy", "maverick-proxy")
TOKENS = 4096  # of the prompt that is read
QUESTION = 32  # of the prompt that is answered
WRITTEN = 64  # tokens of an answer


def fastest(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest of `rounds` calls of each, called by turns, so that a busy moment meets all of them."""
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            seconds[name].append(time.thread_time() - start)
    return {name: min(values) for name, values in seconds.items()}


def compared(figures: dict[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in figures.items()} | {
        "ratio": rounded(figures["transformers"] / figures["llama4.py"])
    }


def per_token(seconds: dict[str, float]) -> dict[str, float]:
    return {name: 1000 * value / WRITTEN for name, value in seconds.items()}


def measure(proxy: str) -> dict[str, dict[str, float]]:
    library, ours = load_checkpoint(proxy)[1], llama4.Llama4.from_pretrained(MODELS / proxy)
    prompt, token, question, caches = random_ids(TOKENS), random_ids(1), random_ids(QUESTION), {}

    def library_reads() -> None:
        caches["transformers"] = library(input_ids=prompt, use_cache=True, logits_to_keep=1).past_key_values

    def ours_reads() -> None:
        caches["llama4.py"] = ours.new_cache()
        ours(prompt, cache=caches["llama4.py"], last_only=True)

    reads = {"transformers": library_reads, "llama4.py": ours_reads}

    def library_writes() -> None:
        for _ in range(WRITTEN):
            library(input_ids=token, past_key_values=caches["transformers"])

    def ours_writes() -> None:
        for _ in range(WRITTEN):
            ours(token, cache=caches["llama4.py"])

    def library_answers() -> None:
        library.generate(question, do_sample=False, min_new_tokens=WRITTEN, max_new_tokens=WRITTEN)

    def ours_answers() -> None:
        list(islice(llama4.generate(ours, question, None, stop=set()), WRITTEN))

    writes = {"transformers": library_writes, "llama4.py": ours_writes}
    answers = {"transformers": library_answers, "llama4.py": ours_answers}
    every = {
        "transformers": lambda: library(input_ids=prompt, use_cache=True),
        "llama4.py": lambda: ours(prompt, cache=ours.new_cache()),
    }
    return {
        "prompt_s": compared(fastest(reads, 3)),
        "prompt_mib": compared({name: peak_tensor_bytes(call) / 2**20 for name, call in reads.items()}),
        "token_ms": compared(per_token(fastest(writes, 10))),
        "token_of_an_answer_ms": compared(per_token(fastest(answers, 10))),
        "prompt_with_all_logits_s": compared(fastest(every, 3)),
    }


def main() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    result = {
        "provenance": provenance() | {"clock": "CPU time of the one thread, fastest call, float32"},
        "tokens": {"prompt": TOKENS, "question": QUESTION, "answer": WRITTEN},
        "proxies": {proxy: measure(proxy) for proxy in PROXIES},
    }
    samples.write_json(OUTPUT, result)
    write_manifest()


if __name__ == "__main__":
    main()
