"""Programs of their own that talk to the hub of `loopback_hub`: the hub's address is read once, when a program starts."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llama4lab.launch import return_freed_memory
from llama4lab.loopback_hub import LoopbackHub

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # for two programs that talk to each other
YOURS = ("HF_", "HUGGING_FACE_", "TRANSFORMERS_", "LLAMA4_")  # settings of the reader's own that must stay out
DOWNLOAD = "from huggingface_hub import snapshot_download; snapshot_download({!r})"


def start_program(arguments: Sequence[str], home: str, **variables: str) -> subprocess.Popen:
    """Start Python with only the hub settings given; `home` is its cache. The reader's own token stays out of this."""
    return_freed_memory()  # of this process: the new one needs it
    environ = {name: value for name, value in os.environ.items() if not name.startswith(YOURS)}
    environ |= {"HF_HOME": home, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *arguments], env=environ, text=True, **pipes)


def run_program(arguments: Sequence[str], home: str, **variables: str) -> subprocess.CompletedProcess:
    """Run such a program to its end."""
    with start_program(arguments, home, **variables) as program:
        stdout, stderr = program.communicate()
    return subprocess.CompletedProcess(arguments, program.returncode, stdout, stderr)


def run_two_ranks(module: str, folder: Path) -> dict[str, list[str]]:
    """Run a module as rank 0 and rank 1, which find each other through `folder` and print lines of "case|rank|outcome".

    Returns:
        For each case, in order, the outcome of rank 0 and that of rank 1.
    """
    folder.mkdir(exist_ok=True)
    programs = [["-m", module, str(rank), str(folder)] for rank in (0, 1)]
    ranks = [start_program(program, str(folder), **LOOPBACK) for program in programs]
    lines = [line.split("|") for rank in ranks for line in rank.communicate()[0].splitlines()]
    outcomes = {case: ["", ""] for case, *_ in lines}
    for case, rank, outcome in lines:
        outcomes[case][int(rank)] = outcome
    return outcomes


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Look again and again; an error if the condition does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not after {seconds} seconds; run the cell again.")
        time.sleep(0.05)


def deliveries(hub: LoopbackHub, weights: str) -> tuple[list[tuple[int, int]], int]:
    """(first byte, bytes) of each delivery of the file `weights`, and how many other files came; the hub forgets both."""
    spans = [(first, number) for name, first, number in hub.sent if name == weights]
    others = {name for name, _, _ in hub.sent if name != weights}
    hub.sent.clear()
    return spans, len(others)


def download_killed(
    hub: LoopbackHub, repository: str, home: Path, weights: str, small_files: int, after: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
    """Start a download, kill it `after` bytes of the weights, start it again.

    Returns:
        The deliveries of the weights before the kill and after it, and how many small files were asked for again.
    """
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.granted_token, "HF_HUB_DOWNLOAD_TIMEOUT": "100"}
    download = ["-c", DOWNLOAD.format(repository)]
    hub.hold_at = after
    with start_program(download, str(home), **settings) as program:
        wait_until(hub.holding.is_set)
        wait_until(lambda: sum(file.stat().st_size for file in home.rglob("*.incomplete")) >= 10 * 2**20)
        wait_until(lambda: len(list(home.rglob("snapshots/*/*"))) == small_files)
        program.kill()
    wait_until(lambda: any(name == weights for name, _, _ in hub.sent))  # the hub sees that the client is gone
    before, _ = deliveries(hub, weights)
    run_program(download, str(home), **settings)
    return before, *deliveries(hub, weights)
