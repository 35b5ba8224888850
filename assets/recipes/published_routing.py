"""Recompute what OLMoE's and Mixtral's published routing counts say:  python assets/recipes/published_routing.py CLONE

CLONE is a checkout of https://github.com/allenai/OLMoE (Apache-2.0), whose `scripts/routing_output` holds counts of
experts by domain, and of experts by token and domain, for three layers of each model. The figures go to
assets/measurements/published_routing.json.
"""

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np

import samples
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.routing_bits import entropy_in_bits
from olmoe_loads import COMMIT, DOMAINS, CountsUnpickler

SOURCE = f"https://github.com/allenai/OLMoE/tree/{COMMIT}/scripts/routing_output"
MODELS = {
    "Mixtral 8x7B": {"folder": "mistral", "experts": 8, "top_k": 2, "layers": [0, 7, 15], "layers_in_all": 32},
    "OLMoE 1B-7B": {"folder": "olmoe", "experts": 64, "top_k": 8, "layers": [0, 7, 15], "layers_in_all": 16},
}
FREQUENT = 10  # occurrences below which a token, or a token in a domain, is left out
SHUFFLES = 5


class TokenCountsUnpickler(CountsUnpickler):
    """Reads the counts by token, too, which are dictionaries of counters."""

    ALLOWED = CountsUnpickler.ALLOWED | {("collections", "defaultdict")}


def read_counts(path: Path) -> list[dict] | None:
    """The counts of each layer; None for a file whose content git does not hold (one is too large)."""
    if not path.exists() or not path.stat().st_size:
        return None
    with open(path, "rb") as stream:
        return TokenCountsUnpickler(stream).load()


def table_information(table: np.ndarray) -> float:
    """Mutual information in bits of the rows and columns of a table of counts (plug-in estimate, biased up)."""
    return entropy_in_bits(table.sum(0)) + entropy_in_bits(table.sum(1)) - entropy_in_bits(table.ravel())


def shuffled(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The table of a router that has the same row and column sums and knows nothing."""
    rows, columns = table.shape
    row, column = np.repeat(np.arange(rows), table.sum(1)), np.repeat(np.arange(columns), table.sum(0))
    return np.bincount(row * columns + rng.permutation(column), minlength=table.size).reshape(table.shape)


def with_null(table: np.ndarray, rng: np.random.Generator) -> list[float]:
    null = [table_information(shuffled(table, rng)) for _ in range(SHUFFLES)]
    return [round(table_information(table), 5), round(float(np.mean(null)), 5)]


def total_variation(table: np.ndarray) -> float:
    """Mean over pairs of rows of half the sum of absolute differences of their shares."""
    share = table / table.sum(1, keepdims=True)
    pairs = [(a, b) for a in range(len(share)) for b in range(a)]
    return float(np.mean([np.abs(share[a] - share[b]).sum() / 2 for a, b in pairs]))


def layer_figures(by_domain: np.ndarray, by_token: np.ndarray, top_k: int) -> dict:
    """Figures of one layer from counts of routes: `[domains, experts]` and `[domains, tokens, experts]`."""
    rng = np.random.default_rng(0)
    share = top_k * by_domain / by_domain.sum(1, keepdims=True)
    domain, expert = np.unravel_index(share.argmax(), share.shape)
    times = by_token.sum(2) // top_k  # [domains, tokens]
    frequent = times.sum(0) >= FREQUENT
    # A token in a domain counts when it is frequent there, and a token when that is so in two domains or more.
    kept = by_token * (times >= FREQUENT)[:, :, None]
    shared = (times >= FREQUENT).sum(0) >= 2
    tables = [kept[:, token] for token in np.flatnonzero(shared)]
    weights = np.array([table.sum() for table in tables]) / kept[:, shared].sum()
    given = np.array([with_null(table, rng) for table in tables])
    return {
        "expert_entropy": round(entropy_in_bits(by_domain.sum(0)), 4),
        "bits_about_domain": with_null(by_token.sum(1), rng),
        "bits_about_token": with_null(by_token.sum(0)[frequent], rng),
        "bits_about_domain_given_token": [round(float(value), 5) for value in weights @ given],
        "frequent_tokens": int(frequent.sum()),
        "shared_tokens": int(shared.sum()),
        "largest_share": [DOMAINS[domain], int(expert), round(float(share[domain, expert]), 4)],
        "total_variation_of_domains": round(total_variation(by_domain), 4),
    }


def model_figures(folder: Path, experts: int, top_k: int, layers: list[int], layers_in_all: int) -> dict:
    by_domain = [read_counts(folder / "expert_counts" / f"{domain}.pkl") for domain in DOMAINS]
    by_token = {d: read_counts(folder / "eid2token" / f"{d}.pkl") for d in DOMAINS}
    by_token = {domain: counts for domain, counts in by_token.items() if counts is not None}
    figures = []
    for place in range(len(layers)):
        domain_table = np.array([[counts[place][e] for e in range(experts)] for counts in by_domain], dtype=np.int64)
        tokens = sorted({t for counts in by_token.values() for taken in counts[place].values() for t in taken})
        row_of = {token: row for row, token in enumerate(tokens)}
        token_table = np.zeros((len(by_token), len(tokens), experts), dtype=np.int64)
        for d, counts in enumerate(by_token.values()):
            for expert, taken in counts[place].items():
                for token, times in taken.items():
                    token_table[d, row_of[token], int(expert)] += times
        figures.append({"layer": layers[place], **layer_figures(domain_table, token_table, top_k)})
    return {
        "experts": experts,
        "top_k": top_k,
        "layers_in_all": layers_in_all,
        "tokens_per_domain": int(domain_table[0].sum() // top_k),
        "domains_of_loads": list(DOMAINS),
        "domains_of_bits": list(by_token),
        "layers": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    counts = parser.parse_args().clone / "scripts" / "routing_output"
    if not counts.is_dir():
        sys.exit(f"There is no {counts.name} in this folder; clone https://github.com/allenai/OLMoE and give its path.")
    models = {}
    for name, about in MODELS.items():
        sizes = {key: value for key, value in about.items() if key != "folder"}
        models[name] = model_figures(counts / about["folder"], **sizes)
    result = {
        "provenance": {"source": SOURCE, "license": "Apache-2.0", "recomputed": date.today().isoformat()},
        "frequent": FREQUENT,
        "models": models,
    }
    samples.write_json(ASSETS / "measurements" / "published_routing.json", result)
    write_manifest()


if __name__ == "__main__":
    main()
