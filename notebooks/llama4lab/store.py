"""Execute notebooks from the top and store them in one canonical form.

    python -m llama4lab.store notebooks/02_moe_routing.ipynb ...

A notebook is written only when every cell ran and none wrote to stderr, and then at once, as a whole. The
same notebook stored twice has the same bytes, so a diff shows what changed and nothing else.
"""

import copy
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

from llama4lab.folds import fold_solutions
from llama4lab.variables import kernel_environment

CELL_SECONDS = 120
KEPT_CELL_METADATA = ("tags", "jupyter", "mystnb", "course")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
IMAGE_TYPES = ("image/png", "image/jpeg", "image/svg+xml")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TERMINAL_COLORS = re.compile(r"\x1b\[[0-9;]*m")


class NotStored(Exception):
    """One sentence: why a notebook was left as it was."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file, each cell with an id. Raises NotStored if it is no notebook of format 4."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotStored(f"{path.name}: there is no such notebook") from None
    except ValueError as error:
        raise NotStored(f"{path.name}: not a notebook ({error}); take it from git again") from None
    if not isinstance(raw, dict) or raw.get("nbformat") != 4 or "cells" not in raw:
        raise NotStored(f"{path.name}: not a notebook of format 4; save it with a current JupyterLab")
    raw["nbformat_minor"] = 5
    taken = set()
    for place, cell in enumerate(raw["cells"]):
        # nbformat would invent a random id, and two runs would differ.
        if not cell.get("id") or cell["id"] in taken:
            text = f"{place}:{''.join(cell['source'])}"
            cell["id"] = hashlib.sha256(text.encode()).hexdigest()[:8]
        taken.add(cell["id"])
    notebook = nbformat.from_dict(raw)
    for cell in notebook.cells:
        cell.source = joined(cell.source)
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = joined(output.text)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, list) and not kind.endswith("json"):
                    output.data[kind] = joined(value)
    return notebook


def joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def canonical_text(notebook: nbformat.NotebookNode) -> str:
    """The one way in which a notebook is written, as JSON text; the notebook given stays as it is.

    Metadata that depend on who ran it are dropped, widget views too (their ids are random; readers run those
    cells). The alt text of a cell's figures is copied to where myst-nb looks for it.
    """
    result = copy.deepcopy(notebook)
    result.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    result.nbformat, result.nbformat_minor = 4, 5
    for cell in result.cells:
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        if cell.cell_type == "code":
            cell.outputs = [clean for output in cell.outputs if (clean := clean_output(output)) is not None]
            if alt := alt_of(cell):
                kept["mystnb"] = kept.get("mystnb", {}) | {"image": {"alt": alt}}
        cell.metadata = nbformat.from_dict(kept)
    nbformat.validate(result)
    return nbformat.writes(result).rstrip("\n") + "\n"  # sorted keys, indent 1, texts as lists of lines


def clean_output(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The output without what changes from run to run, or None when nothing would be left."""
    if WIDGET_VIEW in output.get("data", {}):
        return None
    output.pop("transient", None)
    if "metadata" in output:
        # What a picture says without being seen, and the width at which it is shown.
        kept = {
            kind: {key: value for key, value in output.metadata[kind].items() if key in ("alt", "width") and value}
            for kind in output.data
            if kind in IMAGE_TYPES and output.metadata.get(kind)
        }
        output.metadata = nbformat.from_dict(kept)
    return output


def alt_of(cell: nbformat.NotebookNode) -> str:
    """The alt texts of all figures of a code cell, in order."""
    alts = [
        described["alt"]
        for output in cell.outputs
        for kind, described in output.get("metadata", {}).items()
        if kind in IMAGE_TYPES and described.get("alt")
    ]
    return " ".join(alts)


def execute(notebook: nbformat.NotebookNode, folder: Path, name: str) -> None:
    """Run every code cell from the top, in place. Raises NotStored at the first one that fails."""
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    # The interpreter that runs this, whatever kernels the user has installed. nbclient's own class of manager:
    # with a blocking one it would wait forever for a kernel that died.
    client.km = client.kernel_manager_class(
        kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager()
    )
    client.reset_execution_trackers()
    with client.setup_kernel(
        env=kernel_environment(os.environ, "2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ):
        number = 0
        for place, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            number += 1
            cell.outputs, cell.execution_count = [], None
            try:
                client.execute_cell(cell, place)
            except CellExecutionError as error:
                raise NotStored(f"{name}: cell {number} failed with {last_line(error)}") from None
            except CellTimeoutError:
                raise NotStored(f"{name}: cell {number} ran longer than {CELL_SECONDS} s") from None
            except DeadKernelError:
                raise NotStored(f"{name}: the kernel died in cell {number}, perhaps out of memory") from None
            for output in cell.outputs:
                if output.output_type == "stream" and output.name == "stderr":
                    line = output.text.strip().splitlines()[-1:] or [""]
                    raise NotStored(f"{name}: cell {number} wrote to stderr: {line[0].strip()}")


def last_line(error: CellExecutionError) -> str:
    first = TERMINAL_COLORS.sub("", error.evalue).strip().splitlines()[:1]
    return f"{error.ename}: {first[0]}" if first else error.ename


def write_whole(path: Path, text: str) -> None:
    """Replace a file's content at once: an interruption leaves the old content."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def store(path: Path) -> str:
    """Execute and rewrite one notebook. Returns one line about it; raises NotStored, the file untouched."""
    started = time.monotonic()
    notebook = read_notebook(path)
    fold_solutions(notebook)
    execute(notebook, path.parent, path.name)
    write_whole(path, canonical_text(notebook))
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    return f"{path.name}: {cells} code cells, {time.monotonic() - started:.0f} s"


def main(arguments: list[str]) -> int:
    if not arguments:
        print("Name the notebooks to store: python -m llama4lab.store PATH ...", file=sys.stderr)
        return 2
    failed = 0
    for argument in arguments:
        try:
            print(store(Path(argument)), flush=True)
        except NotStored as reason:
            print(f"{reason}; nothing was written.", file=sys.stderr, flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
