"""What a running process takes: memory, and the seconds that count."""

import re
import runpy
import threading
from importlib.util import find_spec
from pathlib import Path

import psutil


def cuda_build_bytes() -> int:
    """What torch's CUDA build takes more than the CPU build in each process: budgets are stated for the latter."""
    version = Path(find_spec("torch").origin).with_name("version.py")  # read, because importing torch takes seconds
    return int(0.4 * 2**30) if runpy.run_path(str(version))["cuda"] else 0


class MemoryWatch(threading.Thread):
    """Follows the resident memory of a process and its children, ten times a second, without `cuda_build_bytes`."""

    def __init__(self, process: psutil.Process):
        super().__init__(daemon=True)
        self.watched = process
        self.left_out = cuda_build_bytes()
        self.peak = 0
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.1):
            self.look()

    def look(self):
        total = 0
        try:
            family = [self.watched, *self.watched.children(recursive=True)]
            commands = {process.pid: process.cmdline() for process in family}
            for process in family:
                # A child that still has its parent's command has not begun its own program: its pages are the parent's.
                if process is self.watched or commands[process.pid] != commands.get(process.ppid()):
                    total += max(process.memory_info().rss - self.left_out, 0)
        except psutil.NoSuchProcess:
            pass  # one ended meanwhile; what was counted until then still counts
        self.peak = max(self.peak, total, high_water(self.watched.pid) - self.left_out)

    def finish(self) -> int:
        """The peak in bytes. The kernel must still be running, so that Linux can tell its own high water."""
        self.stopped.set()
        self.look()
        return self.peak


def high_water(pid: int) -> int:
    """Peak resident memory of one process in bytes as Linux counts it (VmHWM); 0 where that is not known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def waited_for_a_core(pid: int) -> float:
    """Seconds in which the main thread of a process was ready to run, but other processes had the cores.

    Linux tells them (`/proc/PID/schedstat`); 0 where it does not, or where the process has ended.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
