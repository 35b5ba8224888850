"""Whatever a reader has set, the course's kernels run offline, with its own IPython settings and models."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from llama4lab.store import execute
from llama4lab.variables import kernel_environment

READERS_OWN = {
    "PYTEST_CURRENT_TEST": "a",
    "LLAMA4_CHECKPOINT": "maverick-proxy",
    "PYTHONSTARTUP": "mine.py",
    "HTTP_PROXY": "http://proxy:3128",
    "all_proxy": "socks5://proxy:1080",
    "SSL_CERT_FILE": "/no/such/file",
    "HF_HUB_OFFLINE": "0",
    "IPYTHONDIR": "/mine",
}


def test_variables_of_a_kernel():
    made = kernel_environment(READERS_OWN, "2")
    folder = made.pop("IPYTHONDIR")
    assert made == {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", "COURSE_NOTES_NO_PROGRESS": "1"} and Path(
        folder
    ).match(".work/ipython")
    assert kernel_environment({"OMP_NUM_THREADS": "1"}, "2")["OMP_NUM_THREADS"] == "1"


def test_a_readers_ipython_profile_changes_no_output(tmp_path, monkeypatch):
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text('get_config().InteractiveShell.ast_node_interactivity = "all"\n')
    monkeypatch.setenv("IPYTHONDIR", str(profile.parent))
    notebook = nbformat.from_dict(new_notebook(cells=[new_code_cell("1 + 1\n2 + 2")]))
    execute(notebook, tmp_path, "a.ipynb")
    assert [output.data["text/plain"] for output in notebook.cells[0].outputs] == ["4"]
