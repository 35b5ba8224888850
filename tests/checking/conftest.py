import os
from pathlib import Path

import nbformat
import pytest

from llama4lab.store import store
from tests.checking.small_notebooks import full_notebook, light_notebook
from tests.checking.stand_in_course import make_wheel
from tests.checking.stored_notebooks import ROOT


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    """A folder with the two good notebooks, stored by the course's own script."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "notebooks"))
        for name, notebook in (("42_full", full_notebook()), ("43_light", light_notebook())):
            nbformat.write(notebook, folder / f"{name}.ipynb")
            store(folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="session")
def variables(tmp_path_factory) -> dict[str, str]:
    """Environment variables with which pip finds the small wheel and nothing else."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder / "links")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "HF_", "OMP_"))}
    links = (folder / "links").as_uri()  # as a URI, because pip splits this variable at spaces
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": links}
