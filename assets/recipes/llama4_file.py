"""Measure notebooks/llama4.py against transformers:  python assets/recipes/llama4_file.py

Writes assets/measurements/llama4_file.json: for a proxy, what either program takes, in one process and by turns, and
how many times as much the library takes.
- prompt: reading a prompt, up to the logits of its last token, with a cache: seconds and MiB.
- token: one more token after that prompt.
- token_of_an_answer: greedy generation after a short question, by each program's own loop.
- prompt_with_all_logits: reading the prompt for the logits of every token.
- prompt_s_without: llama4.py alone, reading the prompt as for `prompt`, with pieces exchanged for the library's way: walls
  as one mask of T x T in the chunked layers, every expert on every token, and both.
One CPU thread, seconds that the thread spent on the CPU, the fastest call kept; memory is the peak of PyTorch's
allocator during a call; attention is scaled_dot_product_attention in both. About a minute.
"""

import time
from collections.abc import Callable
from itertools import islice
from unittest import mock

import torch
import torch.nn.functional as F

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


def walls_as_a_mask(tokens: int) -> Callable[..., torch.Tensor]:
    """Attention of chunked layers with one mask for the whole prompt, built once, as the library does it."""
    folded, masks = llama4.attend_between_walls, {}

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
        if chunk >= tokens:
            return folded(q, k, v, chunk)  # a global layer: causal, without a mask, in the library too
        if chunk not in masks:
            at = torch.arange(tokens)
            masks[chunk] = (at <= at[:, None]) & (at // chunk == at[:, None] // chunk)
        return F.scaled_dot_product_attention(q, k, v, masks[chunk], enable_gqa=True)

    return attend


def every_expert_on_every_token(x: torch.Tensor, w: llama4.Weights) -> torch.Tensor:
    """The experts as in the library: copies of all tokens for each, of which all but one are multiplied by 0."""
    tokens = x.flatten(0, 1)
    gate_up, down = w["feed_forward.experts.gate_up_proj"], w["feed_forward.experts.down_proj"]
    logit, expert = w.linear("feed_forward.router", tokens).max(-1)
    score = torch.zeros(len(gate_up), len(tokens)).scatter(0, expert[None], logit.sigmoid()[None])
    gate, up = ((tokens * score[..., None]) @ gate_up).chunk(2, dim=-1)
    routed = ((F.silu(gate) * up) @ down).sum(0)
    return (llama4.mlp(tokens, w, "feed_forward.shared_expert") + routed).view_as(x)


def without(ours: llama4.Llama4, prompt: torch.Tensor) -> dict[str, dict[str, float]]:
    """Seconds of reading the prompt with pieces of llama4.py exchanged, and how many times as long that takes."""
    walls = {"attend_between_walls": walls_as_a_mask(prompt.shape[1])}
    experts = {"experts": every_expert_on_every_token}
    ways = {"nothing": {}, "folded walls": walls, "sorted experts": experts, "both": walls | experts}

    def read(pieces: dict[str, Callable]) -> torch.Tensor:
        with mock.patch.multiple(llama4, **{"mlp": llama4.mlp} | pieces):
            return ours(prompt, cache=ours.new_cache(), last_only=True)

    for pieces in ways.values():
        torch.testing.assert_close(read(pieces), read({}), atol=1e-4, rtol=0)
    seconds = fastest({name: lambda pieces=pieces: read(pieces) for name, pieces in ways.items()}, 3)
    times = {name: value / seconds["nothing"] for name, value in seconds.items()}
    return {name: {"s": rounded(seconds[name]), "ratio": rounded(times[name])} for name in ways}


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
        "prompt_s_without": without(ours, prompt),
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
