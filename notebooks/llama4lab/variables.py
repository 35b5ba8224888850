"""The environment variables with which the course's notebooks are stored and checked, whatever a reader has set."""

import re
from collections.abc import Mapping
from pathlib import Path

from llama4lab.progress import SWITCHED_OFF

ROOT = Path(__file__).resolve().parents[2]
_ELSEWHERE = re.compile(r".*_PROXY|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE", re.IGNORECASE)
# What would make a kernel run another model, or something of the reader's before the first cell.
_NOT_FOR_KERNELS = re.compile(r"PYTEST_.*|LLAMA4_CHECKPOINT|PYTHONSTARTUP")


def offline_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without proxies and certificates, which the loopback interface does not need."""
    kept = {name: value for name, value in variables.items() if not _ELSEWHERE.fullmatch(name)}
    return kept | {"HF_HUB_OFFLINE": "1"}


def kernel_environment(variables: Mapping[str, str], threads: str) -> dict[str, str]:
    """The environment in which kernels run, when notebooks are stored and when they are checked.

    Args:
        variables: the caller's. pytest's own are taken out: ipykernel behaves differently when it sees them (it does
            not capture what subprocesses print). IPython's folder is the course's own, because a reader's profile
            may show every expression of a cell, or run code.
        threads: OMP_NUM_THREADS where the caller's environment has none.
    """
    offline = offline_variables(variables)
    kept = {name: value for name, value in offline.items() if not _NOT_FOR_KERNELS.fullmatch(name)}
    own = {"IPYTHONDIR": str(ROOT / ".work" / "ipython"), SWITCHED_OFF: "1"}
    return {"OMP_NUM_THREADS": threads} | kept | own
