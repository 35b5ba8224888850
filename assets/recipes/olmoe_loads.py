"""Take expert loads of a real, trained model from its authors' counts:  python assets/recipes/olmoe_loads.py CHECKOUT

CHECKOUT is a clone of https://github.com/allenai/OLMoE (Apache-2.0) that holds commit 357454f4; the script reads its
`scripts/routing_output/olmoe/expert_counts/*.pkl` (how often each of 64 experts was among the 8 chosen, 208,896
tokens a domain) and writes assets/measurements/olmoe_loads.json.
"""

import argparse
import importlib
import io
import pickle
import subprocess
import sys
from pathlib import Path

import samples
from llama4lab.assets import ASSETS, write_manifest

COMMIT = "357454f4f647385839c0ff6b99a688dc7cd9c13f"
FOLDER = "scripts/routing_output/olmoe/expert_counts"
DOMAINS = ("arxiv", "book", "c4", "github", "wikipedia")
LAYERS = (0, 7, 15)  # the three of 16 that the files hold, in order
EXPERTS, TOP_K = 64, 8
OUTPUT = ASSETS / "measurements" / "olmoe_loads.json"


class CountsUnpickler(pickle.Unpickler):
    """Reads counters of integers and nothing else: a pickle may name any function and have it called."""

    ALLOWED = {("collections", "Counter"), ("numpy", "dtype")} | {
        (f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"The file names {module}.{name}, which counts do not need; do not trust it.")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def read_counts(data: bytes) -> list[list[int]]:
    """How often each expert was chosen, `[layers][experts]`, from the bytes of one domain's file."""
    layers = CountsUnpickler(io.BytesIO(data)).load()
    return [[int(counter.get(expert, 0)) for expert in range(EXPERTS)] for counter in layers]


def file_of(checkout: Path, domain: str) -> bytes:
    """The bytes of one domain's file at COMMIT; exits with one sentence where there is none."""
    command = ["git", "-C", str(checkout), "show", f"{COMMIT}:{FOLDER}/{domain}.pkl"]
    shown = subprocess.run(command, capture_output=True)
    if shown.returncode:
        sys.exit(f"There is no {FOLDER}/{domain}.pkl at {COMMIT[:8]} in {checkout}; give a clone of allenai/OLMoE.")
    return shown.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    checkout = parser.parse_args().checkout
    counts = {domain: read_counts(file_of(checkout, domain)) for domain in DOMAINS}
    result = {
        "provenance": {
            "what": "routes that each expert of OLMoE-1B-7B took, counted by its authors",
            "source": f"https://github.com/allenai/OLMoE/tree/{COMMIT}/{FOLDER}",
            "license": "Apache-2.0",
            "made by": "assets/recipes/olmoe_loads.py",
        },
        "experts": EXPERTS,
        "top_k": TOP_K,
        "tokens_per_domain": sum(counts["arxiv"][0]) // TOP_K,
        "counts": {d: {str(n): row for n, row in zip(LAYERS, counts[d], strict=True)} for d in DOMAINS},
    }
    samples.write_json(OUTPUT, result)
    write_manifest()


if __name__ == "__main__":
    main()
