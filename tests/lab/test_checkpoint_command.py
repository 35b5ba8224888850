"""`python -m llama4lab.checkpoints NAME`: a gated repository with and without access, then offline."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.loopback_hub import serve_gated

SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
# Put together here, so that no file of the course looks as if it held a token.
PLANTED_TOKEN = "hf_" + "Planted0" * 4


def run_command(name: str, home: Path, **variables: str) -> subprocess.CompletedProcess:
    """The command as a program of its own: hub settings are read at its start."""
    foreign = ("HF_", "HUGGING_FACE_", "TRANSFORMERS_", "LLAMA4_")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    own = {"HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "llama4lab.checkpoints", name],
        cwd=NOTEBOOKS,
        env=environ | own | variables,
        capture_output=True,
        text=True,
    )


def assert_one_sentence(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert PLANTED_TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [
        (SCOUT, None, ["is gated", "accept its license", "HF_TOKEN"]),
        (SCOUT, PLANTED_TOKEN, ["your token has no access", "ask for access"]),
        ("meta-llama/none", PLANTED_TOKEN, ["check the spelling"]),
    ],
)
def test_without_access(tmp_path, tiny_checkpoint, name, token, words):
    with serve_gated(tiny_checkpoint, SCOUT, granted_token="other") as hub:
        done = run_command(name, tmp_path, HF_ENDPOINT=hub.endpoint, **({"HF_TOKEN": token} if token else {}))
        assert (hub.requests_with_token > 0) == (token is not None)
    assert_one_sentence(done, repr(name), *words)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_granted_then_offline(tmp_path, tiny_checkpoint):
    with serve_gated(tiny_checkpoint, SCOUT, granted_token=PLANTED_TOKEN) as hub:
        done = run_command(SCOUT, tmp_path, HF_ENDPOINT=hub.endpoint, HF_TOKEN=PLANTED_TOKEN)
    assert done.returncode == 0 and done.stdout.startswith("Llama4ForCausalLM, ")
    assert PLANTED_TOKEN not in done.stdout + done.stderr
    # From the cache, although the hub is gone.
    done = run_command(SCOUT, tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 0 and done.stdout.startswith("Llama4ForCausalLM, ")


def test_id_while_offline(tmp_path):
    done = run_command(SCOUT, tmp_path, HF_HUB_OFFLINE="1", HF_TOKEN=PLANTED_TOKEN)
    assert_one_sentence(done, SCOUT, "not on this machine", "HF_HUB_OFFLINE")
