"""The course's rules for checking notebooks, on top of nbval's strict mode, as a pytest plugin.

nbval runs the cells; these rules decide what counts as the same and what as a failure:

- floats agree within 0.1 %, everything else exactly; outputs must be as many, of the same kinds, in order;
- a cell may not write to stderr, be skipped, or be stored without having been executed;
- the first exception, timeout or death of the kernel ends its own notebook and no other;
- at the end of each notebook an item "budget" holds seconds and peak memory against the sentence in the title
  cell, and fails as well when some cell did not run, so that skipped cells never look like success.

Seconds are counted from the start of the kernel to the end of the last cell, less those in which other processes had
the cores, where the system tells them. The budgets are stated for two idle cores. On a slower machine
COURSE_TIME_SLACK=2 doubles the seconds allowed (memory stays as it is); without it, 1.
"""

import math
import os
import re
import subprocess
import time
from pathlib import Path
from queue import Empty

import psutil
import pytest
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel, start_new_kernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from llama4lab.course_notebooks import NOTEBOOKS, is_readers_own
from llama4lab.store import NotStored, read_notebook
from llama4lab.variables import kernel_environment, offline_variables
from tests.checking.comparison import output_difference, written_to_stderr
from tests.checking.resources import MemoryWatch, waited_for_a_core

MOST_SECONDS = 60.0  # for any notebook, whatever it states
MOST_GIB = 2.0
BUDGET = re.compile(r"\*\*Runs in\*\* at most (\d+(?:\.\d+)?) s and (\d+(?:\.\d+)?) GiB on two CPU cores\.")
BUDGET_EXAMPLE = "**Runs in** at most 40 s and 1.5 GiB on two CPU cores."

TERMINAL_COLORS = re.compile(r"\x1b\[[0-9;]*m")


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
            waited = waited_for_a_core(self.parent.kernel.process().pid) if self.parent.kernel.is_alive() else 0.0
            self.parent.seconds = time.monotonic() - self.parent.started - waited
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
