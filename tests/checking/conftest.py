from pathlib import Path

import nbformat
import pytest

from llama4lab.store import store
from tests.checking.small_notebooks import full_notebook, light_notebook
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
