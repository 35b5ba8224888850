"""Programs that run beside a notebook, on the loopback interface, and surely end with it.

`run_processes` starts several copies of a script through `torchrun`; `serve` starts `transformers serve` and
`serve_llama_cpp` llama.cpp's server, both OpenAI-compatible, for as long as a `with` block lasts.
"""

import ctypes
import gc
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from llama4lab.checkpoints import check_folder, resolve_checkpoint
from llama4lab.errors import CourseError

LOOPBACK = "127.0.0.1"
TETHER = Path(__file__).with_name("tether.py")
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_LEFT_OUT = re.compile(
    r"(HF_|HUGGING_FACE_|OPENAI_|TRANSFORMERS_|TORCHELASTIC_|MASTER_|LOCAL_|GROUP_|ROLE_)|SSL_CERT_|.*_proxy$", re.I
)
# glibc keeps freed memory in an arena for each thread; several processes at once cannot afford that.
_LEAN = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
_ERROR_LINE = re.compile(r"^(?:\[rank\d+\]: )?((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE)


class LaunchError(CourseError):
    """A program could not be started, failed, or did not finish in time."""


def free_port() -> int:
    """A port of the loopback interface that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def check_port(port: int) -> None:
    """Raises LaunchError where something listens on this port of the loopback interface already, or it cannot be had."""
    with socket.socket() as probe:
        # As servers do: a port that was closed a moment ago may be taken again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            raise LaunchError(
                f"Port {port} of {LOOPBACK} is in use or not allowed: stop what listens there, or leave the port out."
            ) from error


def child_environment(source: str) -> dict[str, str]:
    """This process's environment variables, as far as a program that loads `source` needs them.

    A folder needs no network, so nothing that names a token, a key or a proxy is handed on. A Hugging Face id
    does: there the environment stays as it is.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    if Path(source).is_dir():
        kept = {n: v for n, v in kept.items() if not _SECRET.search(n) and not _LEFT_OUT.match(n)}
        kept["HF_HUB_OFFLINE"] = "1"
    kept.setdefault("OMP_NUM_THREADS", "1")
    kept["PYTHONUNBUFFERED"] = "1"
    if sys.platform == "linux":
        kept["GLOO_SOCKET_IFNAME"] = "lo"
    return kept


def _start(
    module: str, arguments: list[str], source: str, log, folder: Path | None = None, **more: str
) -> subprocess.Popen:
    # -P: the folder of tether.py must not be searched for modules.
    command = [sys.executable, "-P", str(TETHER), module, *arguments]
    # What the program leaves in its folder for temporary files is removed with its log.
    variables = child_environment(source) | more | {"TMPDIR": str(Path(log.name).parent)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=variables, cwd=folder
    )


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started, politely at first."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdin.close()
    for member in psutil.wait_procs(family, timeout=3)[1]:
        member.kill()
    psutil.wait_procs(family, timeout=3)


def _why(log: Path) -> str:
    """The first error that a log names, else its last line; values of secret variables are blotted out."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = _ERROR_LINE.search(text)
    line = found[1] if found else (text.strip().splitlines() or ["it wrote nothing"])[-1]
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) > 3:
            line = line.replace(value, "***")
    return " ".join(line.split())[:200].rstrip(".")


def return_freed_memory() -> None:
    """Give the system what this process freed, since the processes to come need it; glibc would keep it."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def run_processes(script: Path, *arguments: str, processes: int = 2, timeout: float = 120) -> str:
    """Run a script in several processes that find each other through `torch.distributed`; wait for all.

    The same as `torchrun --nproc-per-node PROCESSES SCRIPT ARGUMENTS`, kept to the loopback interface.

    Args:
        script: a Python file; it reads its rank and the number of processes from the environment.
        arguments: handed to the script; the first one names the checkpoint.
        processes: how many.
        timeout: seconds after which all are stopped.

    Returns:
        what the processes printed, standard error included.

    Raises:
        LaunchError: a process failed, or they did not finish in time. None is left behind in either case.
    """
    return_freed_memory()
    source = arguments[0] if arguments else "."
    command = [f"--nproc-per-node={processes}", str(script), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with open(log, "wb") as stream:
            process = _start("llama4lab.loopback_torchrun", command, source, stream, **_LEAN)
        try:
            code = process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LaunchError(
                f"The {processes} processes of {Path(script).name} did not finish within {timeout:g} s and were "
                "stopped: raise `timeout`, or look for one that waits for another."
            ) from None
        finally:
            _end(process)
        if code != 0:
            raise LaunchError(
                f"{Path(script).name} failed in {processes} processes ({_why(log)}): fix it and run it again."
            )
        return log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Server:
    """A server that answers: address for a client, name under which the model is asked for, process id, key."""

    base_url: str
    model: str
    pid: int
    key: str = "unused"  # `transformers serve` asks for none, the official client for some


@contextmanager
def serve(
    checkpoint: str | None = None, port: int | None = None, timeout: float = 120, dtype: str = "auto"
) -> Iterator[Server]:
    """Serve a checkpoint to OpenAI clients on this machine, as `transformers serve` does, within a `with` block.

    Args:
        checkpoint: what `resolve_checkpoint` takes: a proxy, a folder, a Hugging Face id; default LLAMA4_CHECKPOINT
            or `scout-proxy`.
        port: of the loopback interface; default any free one.
        timeout: seconds within which the server must answer.
        dtype: of the weights, such as "float32"; default as stored.

    Raises:
        CheckpointError: the checkpoint is unknown, or its folder is not complete.
        LaunchError: the port is in use, or the server failed or did not answer in time.
    """
    source = resolve_checkpoint(checkpoint)
    is_folder = Path(source).is_dir()
    if is_folder:
        check_folder(Path(source), checkpoint or source)
    if port is None:
        port = free_port()
    else:
        check_port(port)
    # A folder is named relative to where the server runs: its answers repeat the name, and should tell no path.
    here, name = (Path(source).resolve().parent, Path(source).resolve().name) if is_folder else (None, source)
    arguments = ["serve", name, "--host", LOOPBACK, "--port", str(port), "--dtype", dtype, "--log-level", "error"]
    if is_folder:
        arguments += ["--device", "cpu"]
    with _running("transformers.cli.transformers", arguments, source, port, timeout, here) as pid:
        yield Server(f"http://{LOOPBACK}:{port}/v1", name, pid)


@contextmanager
def serve_llama_cpp(file: Path, name: str, timeout: float = 120) -> Iterator[Server]:
    """Serve a GGUF file with llama.cpp's own server, to callers who know its key, within a `with` block.

    Args:
        file: such as `gguf_file.write_gguf` writes.
        name: under which the model is asked for.
        timeout: seconds within which the server must answer.

    Raises:
        LaunchError: there is no such file, or the server failed or did not answer in time.
    """
    if not Path(file).is_file():
        raise LaunchError(f"There is no file {Path(file).name}: write it with write_gguf first.")
    port, key = free_port(), secrets.token_urlsafe()
    arguments = [str(file), str(port), name]
    with _running(
        "llama4lab.llama_cpp_server", arguments, str(Path(file).parent), port, timeout, LLAMA_CPP_KEY=key
    ) as pid:
        yield Server(f"http://{LOOPBACK}:{port}/v1", name, pid, key)


@contextmanager
def _running(
    module: str,
    arguments: list[str],
    source: str,
    port: int,
    timeout: float,
    here: Path | None = None,
    **variables: str,
) -> Iterator[int]:
    """The process id of a server that answers on this port, and that ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with open(log, "wb") as stream:
            process = _start(module, arguments, source, stream, here, **variables)
        try:
            _wait_until_healthy(process, port, timeout, log)
            yield process.pid
        finally:
            _end(process)


def _wait_until_healthy(process: subprocess.Popen, port: int, timeout: float, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LaunchError(f"The server ended before it answered ({_why(log)}): fix that and start it again.")
        try:
            direct.open(f"http://{LOOPBACK}:{port}/health", timeout=2).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise LaunchError(f"The server did not answer within {timeout:g} s and was stopped: raise `timeout`.")
