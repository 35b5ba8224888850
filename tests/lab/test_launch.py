"""llama4lab.launch keeps its processes on the loopback interface and cleans up what they leave."""

import tempfile

from llama4lab.launch import run_processes

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


def test_processes_meet_on_the_loopback_interface_and_leave_no_files(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(SCRIPT)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    lines = [line.split() for line in run_processes(tmp_path / "script.py", str(tmp_path)).splitlines()]
    listening = [words[1] for words in lines if words[0] == "LISTENS"]
    assert ["TOTAL", "2"] in lines
    assert len(listening) >= 3 and set(listening) == {"127.0.0.1"}  # the meeting point, and one of each process
    assert not list(temporary.iterdir())
