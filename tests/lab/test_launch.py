"""llama4lab.launch: processes and a server on the loopback interface, none left behind, errors in one sentence."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from llama4lab import launch
from llama4lab.checkpoints import MODELS
from llama4lab.launch import LaunchError, check_port, child_environment, free_port, run_processes, serve

PLANTED = "hf_plantedsecretplantedsecret"
SCRIPT = """
import os
import psutil
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
if dist.get_rank() == 0:
    torchrun = psutil.Process(os.getppid())
    for process in (torchrun, *torchrun.children(recursive=True)):
        for connection in process.net_connections():
            if connection.status == psutil.CONN_LISTEN:
                print("LISTENS", connection.laddr.ip)
    print("TOTAL", int(total))
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) == before


# ---- processes ----


def write(folder: Path, text: str) -> Path:
    script = folder / "script.py"
    script.write_text(text)
    return script


def test_processes_get_their_ranks_and_none_is_left(tmp_path):
    script = write(tmp_path, "import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])")
    printed = run_processes(script, str(tmp_path))
    assert "rank 0 of 2" in printed and "rank 1 of 2" in printed


def test_a_process_that_fails_is_one_sentence_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    script = write(tmp_path, f"raise ValueError('no such layer {PLANTED}')")
    with pytest.raises(LaunchError) as caught:
        run_processes(script, str(tmp_path))
    assert "ValueError: no such layer ***" in str(caught.value)
    assert "\n" not in str(caught.value) and PLANTED not in str(caught.value)


def test_processes_that_hang_are_stopped(tmp_path):
    script = write(tmp_path, "import time; time.sleep(300)")
    with pytest.raises(LaunchError, match="did not finish within 8 s and were stopped"):
        run_processes(script, str(tmp_path), timeout=8)


def test_a_child_ends_with_the_process_that_started_it(tmp_path):
    (tmp_path / "waits.py").write_text("import time\ntime.sleep(300)\n")
    starter = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-P', {str(launch.TETHER)!r}, 'waits'], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\ntime.sleep(300)"
    )
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(1)
        os.kill(parent.pid, signal.SIGKILL)
    child.wait(timeout=30)
    assert not child.is_running()


def test_processes_meet_on_the_loopback_interface_and_leave_no_files(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    lines = [line.split() for line in run_processes(write(tmp_path, SCRIPT), str(tmp_path)).splitlines()]
    listening = [words[1] for words in lines if words[0] == "LISTENS"]
    assert ["TOTAL", "2"] in lines
    assert len(listening) >= 3 and set(listening) == {"127.0.0.1"}  # the meeting point, and one of each process
    assert not list(temporary.iterdir())


# ---- the server ----


def test_secrets_and_proxies_reach_no_program_that_loads_a_folder(monkeypatch):
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "https_proxy", "HTTP_PROXY", "RANK"):
        monkeypatch.setenv(name, PLANTED)
    assert PLANTED not in child_environment(str(MODELS / "scout-proxy")).values()
    assert child_environment(str(MODELS / "scout-proxy"))["HF_HUB_OFFLINE"] == "1"
    assert child_environment("meta-llama/some-model")["HF_TOKEN"] == PLANTED


def start(*arguments, **options):
    with serve(*arguments, **options):
        raise AssertionError("it runs")


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"^Port {port} of 127.0.0.1 is in use[^\n]*leave the port out\\.$"):
            start("scout-proxy", port=port)
    check_port(free_port())
    with pytest.raises(LaunchError):
        check_port(99999)


def test_a_server_that_ends_at_once_is_one_sentence():
    with pytest.raises(LaunchError, match=r"^The server ended before it answered \([^\n]*\): fix that"):
        start("scout-proxy", dtype="float9")
