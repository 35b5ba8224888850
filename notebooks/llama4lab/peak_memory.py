"""How much memory the tensors of one call take at most."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    # The profiler announces start and stop from C++, with process ids; no Python stream sees it.
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def peak_tensor_bytes(call: Callable[[], object]) -> int:
    """Bytes that PyTorch's CPU allocator holds at most during `call`, beyond what it held before.

    Counted exactly from the profiler's list of allocations and releases: results, intermediate tensors and the scratch
    memory of kernels, but not Python's own objects, nor tensors that existed before.
    """
    with _quiet_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        peak = max(peak, held)
    return peak
