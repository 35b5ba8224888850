"""The course's rules for checking notebooks, on top of nbval's strict mode, as a pytest plugin.

nbval runs the cells; these rules decide what counts as the same and what as a failure:

- floats agree within 0.1 %, everything else exactly; outputs must be as many, of the same kinds, in order;
- a cell may not write to stderr, be skipped, or be stored without having been executed;
- the first exception, timeout or death of the kernel ends its own notebook and no other;
- at the end of each notebook an item "budget" holds seconds and peak memory against the sentence in the title
  cell, and fails as well when some cell did not run, so that skipped cells never look like success.

Seconds are counted from the start of the kernel to the end of the last cell. The budgets are stated for two
idle cores. Where a machine is slower or shares its cores, COURSE_TIME_SLACK=2 doubles the seconds allowed
(memory stays as it is); without it, 1.
"""

import difflib
import math
import os
import re
import runpy
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from queue import Empty

import psutil
import pytest
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel, start_new_kernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from llama4lab.course_notebooks import NOTEBOOKS, is_readers_own
from llama4lab.store import WIDGET_VIEW, NotStored, read_notebook
from llama4lab.variables import kernel_environment, offline_variables

RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-6
# A figure's plotted values have one scale, the largest of the line: noise far below it is not visible.
FIGURE_TOLERANCE = 1e-4
PLOTTED_LINE = "    "  # llama4lab.figures indents lines of plotted values by four spaces

MOST_SECONDS = 60.0  # for any notebook, whatever it states
MOST_GIB = 2.0
BUDGET = re.compile(r"\*\*Runs in\*\* at most (\d+(?:\.\d+)?) s and (\d+(?:\.\d+)?) GiB on two CPU cores\.")
BUDGET_EXAMPLE = "**Runs in** at most 40 s and 1.5 GiB on two CPU cores."

# A float has a decimal point with digits behind it, or an exponent. "2.13.0" holds none, nor does "108,641".
# Spaces before it belong to it: columns are padded to the width of the number.
FLOAT = re.compile(r" *(?<![\w.])([-+]?(?:\d*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+))(?!\.?\d)")
TERMINAL_COLORS = re.compile(r"\x1b\[[0-9;]*m")
PICTURES = ("image/png", "image/jpeg")  # compared by the text beside them


# ---- what counts as the same -------------------------------------------------------------------------------


def same_line(stored: str, now: str, scale: float = 0.0) -> bool:
    """Whether two lines agree: words and integers exactly, floats within 0.1 % (and 1e-6).

    scale: the share of the line's largest float by which floats may differ as well.
    """
    if stored == now:
        return True
    if FLOAT.sub("#", stored) != FLOAT.sub("#", now):
        return False
    pairs = [(float(a[1]), float(b[1])) for a, b in zip(FLOAT.finditer(stored), FLOAT.finditer(now), strict=True)]
    largest = max((abs(value) for pair in pairs for value in pair if math.isfinite(value)), default=0.0)
    allowed = max(ABSOLUTE_TOLERANCE, scale * largest)
    return all(math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=allowed) for a, b in pairs)


def text_difference(stored: str, now: str, figure: bool = False) -> list[str]:
    """The lines that differ, as a diff from stored to now; empty when the texts agree."""
    before, after = stored.splitlines(), now.splitlines()
    if len(before) == len(after):
        scales = [FIGURE_TOLERANCE if figure and line.startswith(PLOTTED_LINE) else 0.0 for line in before]
        # Lines within tolerance are no difference: show them alike.
        after = [a if same_line(a, b, scale) else b for a, b, scale in zip(before, after, scales, strict=True)]
    diff = difflib.unified_diff(before, after, "stored", "now", lineterm="", n=0)
    return [line for line in diff if not line.startswith("@@")]


def output_difference(stored: list, now: list) -> list[str]:
    """Why two lists of outputs of one cell differ, as lines; empty when they agree."""
    if written := written_to_stderr(stored):
        return [f"the stored output holds text written to stderr: {written}"]
    if written := written_to_stderr(now):
        return [f"the cell wrote to stderr: {written}"]
    # Widgets are live: their ids are random, and they are not stored. What an explorer shows without them is compared.
    stored, now = ([o for o in outputs if WIDGET_VIEW not in o.get("data", {})] for outputs in (stored, now))
    kinds_before, kinds_after = [kind_of(output) for output in stored], [kind_of(output) for output in now]
    if kinds_before != kinds_after:
        listed = [f"stored {len(stored)} outputs ({', '.join(kinds_before) or 'none'})"]
        listed += [f"now    {len(now)} outputs ({', '.join(kinds_after) or 'none'})"]
        return ["the number or the kinds of outputs differ", *listed]
    problems = []
    for before, after in zip(stored, now, strict=True):
        if before.output_type == "stream":
            problems += text_difference(before.text, after.text)
            continue
        figure = any(kind in before.data for kind in PICTURES)
        for kind in before.data:
            if kind in PICTURES:
                continue
            a, b = before.data[kind], after.data[kind]
            if isinstance(a, str) and isinstance(b, str):
                problems += text_difference(a, b, figure)
            elif a != b:
                problems += text_difference(repr(a), repr(b))
    return problems


def kind_of(output) -> str:
    if output.output_type == "stream":
        return output.name
    return f"{output.output_type} of {' + '.join(sorted(output.get('data', {})))}"


def written_to_stderr(outputs: list) -> str:
    """The last line written to stderr, or an empty string."""
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            return (output.text.strip().splitlines() or ["(an empty line)"])[-1].strip()
    return ""


# ---- the kernel --------------------------------------------------------------------------------------------


class CourseKernel(RunningKernel):
    """A kernel that counts cells, so that `;` and `_` work, and whose death is noticed at once."""

    def __init__(self, folder: Path, startup_seconds: float):
        threads = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
        self.km, self.kc = start_new_kernel(
            startup_timeout=startup_seconds,
            kernel_name=CURRENT_ENV_KERNEL_NAME,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=str(folder),
            env=kernel_environment(os.environ, threads),
        )
        self._ensure_iopub_up()

    def execute_cell_input(self, cell_input, allow_stdin=None):
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id, timeout=None):
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        while time.monotonic() < deadline:
            try:
                return super().await_reply(msg_id, timeout=1)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died, perhaps out of memory") from None
        raise Empty

    def process(self) -> psutil.Process:
        return psutil.Process(self.km.provisioner.pid)


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
            for process in (self.watched, *self.watched.children(recursive=True)):
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


# ---- what pytest collects ----------------------------------------------------------------------------------


class NotebookFile(IPyNbFile):
    """One notebook: its code cells, in order and in one kernel, then its budget."""

    def collect(self):
        try:
            read_notebook(self.path)
        except NotStored as reason:
            raise self.CollectError(str(reason)) from None
        self.cells = [
            NotebookCell.from_parent(
                self,
                name=f"Cell {found.cell_num + 1}",
                cell_num=found.cell_num,
                cell=found.cell,
                options=found.options,
            )
            for found in super().collect()
        ]
        self.stopped_at = None
        self.seconds = 0.0
        yield from self.cells
        yield Budget.from_parent(self, name="budget")

    def setup(self):
        self.started = time.monotonic()
        self.kernel = CourseKernel(self.path.parent, self.config.option.nbval_kernel_startup_timeout)
        self.memory = MemoryWatch(self.kernel.process())
        self.memory.start()

    def teardown(self):
        if self.kernel is not None:
            self.memory.finish()
        super().teardown()


class NotebookCell(IPyNbCell):
    """One code cell. Its number is the one that JupyterLab shows when the notebook is run from the top."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.output_timeout = 15  # a busy machine may take longer than nbval's 5 s to deliver an output
        self.differs = False
        self.ran = False

    @property
    def compared(self) -> bool:
        return self.ran and bool(self.cell.outputs) and self.options["check"]

    def setup(self):
        if self.parent.stopped_at is not None:
            pytest.skip(f"cell {self.parent.stopped_at} ended this notebook")

    def runtest(self):
        if self.options["skip"]:
            self.raise_cell_error("the cell is marked to be skipped; the course allows no skip, remove the mark")
        if self.options["check_exception"]:
            self.raise_cell_error("the cell is marked to raise; catch the exception and print it instead")
        if self.cell.execution_count is None:
            self.raise_cell_error("the cell was stored without having been executed; store the notebook again")
        try:
            super().runtest()
        except Exception:
            if not self.differs:
                self.parent.stopped_at = self.cell_num + 1
            raise
        finally:
            self.ran = True
            self.parent.seconds = time.monotonic() - self.parent.started
        # Ignored outputs are not compared, but a warning is a warning there too.
        if written := written_to_stderr(self.test_outputs):
            self.raise_cell_error("the cell wrote to stderr", written)

    def compare_outputs(self, test, ref, skip_compare=None):
        self.comparison_traceback = output_difference(ref, test)
        self.differs = bool(self.comparison_traceback)
        return not self.differs

    def repr_failure(self, excinfo):
        error = excinfo.value
        details = getattr(error, "inner_traceback", None) or ""
        source = "\n".join(f"    {line}" for line in self.cell.source.splitlines())
        text = f"{self.path.name}, cell {self.cell_num + 1}: {error}\n{details}\nin the cell\n{source}"
        return TERMINAL_COLORS.sub("", text) if isinstance(error, NbCellError | RuntimeError) else str(error)

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}::{self.name}"


class OverBudget(Exception):
    """What a notebook took, and what it was allowed."""


class Budget(pytest.Item):
    """Holds seconds and peak memory of a notebook against what its title cell states."""

    def runtest(self):
        notebook = self.parent
        seconds, mib = notebook.seconds, notebook.memory.finish() / 2**20
        first = notebook.nb.cells[0] if notebook.nb.cells else None
        stated = BUDGET.search(first.source) if first is not None and first.cell_type == "markdown" else None
        allowed_seconds, allowed_gib = map(float, stated.groups()) if stated else (MOST_SECONDS, MOST_GIB)
        ran = sum(cell.ran for cell in notebook.cells)
        compared = sum(cell.compared for cell in notebook.cells)
        figures = [
            self.path.name,
            len(notebook.cells),
            compared,
            seconds,
            allowed_seconds,
            mib,
            allowed_gib * 1024,
        ]
        self.user_properties.append(("notebook", figures))
        problems = []
        if ran < len(notebook.cells):
            problems.append(f"only {ran} of {len(notebook.cells)} code cells ran; run the whole notebook")
        if stated is None:
            problems.append(f"the title cell states no budget; write: {BUDGET_EXAMPLE}")
        elif allowed_seconds > MOST_SECONDS or allowed_gib > MOST_GIB:
            problems.append(f"the title cell allows more than {MOST_SECONDS:g} s and {MOST_GIB:g} GiB")
        slack = time_slack()
        if seconds > allowed_seconds * slack:
            times = "" if slack == 1 else f" times {slack:g}"
            problems.append(f"took {seconds:.1f} s, over its budget of {allowed_seconds:g} s{times}")
        if mib > allowed_gib * 1024:
            problems.append(f"took {mib:.0f} MiB, over its budget of {allowed_gib * 1024:.0f} MiB")
        if problems:
            raise OverBudget("; ".join(problems))

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, OverBudget):
            return f"{self.path.name}: {excinfo.value}."
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}::{self.name}"


def time_slack() -> float:
    """The factor COURSE_TIME_SLACK, 1 where it is not set. Raises pytest.UsageError unless it is positive."""
    text = os.environ.get("COURSE_TIME_SLACK", "1")
    try:
        slack = float(text)
    except ValueError:
        slack = math.nan
    if not 0 < slack < math.inf:
        raise pytest.UsageError(f"COURSE_TIME_SLACK is {text!r}; give a positive number such as 2.")
    return slack


# ---- hooks -------------------------------------------------------------------------------------------------


class Summary:
    """Collects what each notebook took, in the process that reports (xdist's workers send it along)."""

    def __init__(self):
        self.rows = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.rows += [value for name, value in report.user_properties if name == "notebook"]

    def pytest_terminal_summary(self, terminalreporter):
        for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
            if is_readers_own(path):
                terminalreporter.write_line(
                    f"{path.relative_to(NOTEBOOKS.parent)} was not checked: only notebooks named NN_name.ipynb are."
                )
        if not self.rows:
            return
        terminalreporter.section("notebooks")
        terminalreporter.write_line(f"{'':32}{'cells':>6}{'compared':>10}{'seconds':>14}{'peak MiB':>16}")
        for name, cells, compared, seconds, allowed, mib, allowed_mib in sorted(self.rows):
            time_part, memory_part = f"{seconds:.1f} of {allowed:g}", f"{mib:.0f} of {allowed_mib:.0f}"
            terminalreporter.write_line(f"{name:32}{cells:6}{compared:10}{time_part:>14}{memory_part:>16}")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    time_slack()  # a wrong value is told before anything runs
    # The tests ask the loopback interface only, and are about the course's own models.
    for name in os.environ.keys() - offline_variables(os.environ).keys() | {"LLAMA4_CHECKPOINT"}:
        os.environ.pop(name, None)
    # nbval would collect every notebook once more, by its own rules.
    config.option.nbval = config.option.nbval_lax = False
    # The cells of a notebook share a kernel: one worker must take them all.
    if getattr(config.option, "dist", "no") in ("load", "worksteal"):
        config.option.dist = "loadfile"
    config.pluginmanager.register(Summary(), "notebook-summary")


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".ipynb" and ".ipynb_checkpoints" not in file_path.parts and not is_readers_own(file_path):
        return NotebookFile.from_parent(parent, path=file_path)
    return None
