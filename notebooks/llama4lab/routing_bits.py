"""What is done with bits that were counted: a router whose truth is known, verdicts over layers, published counts."""

import numpy as np

from llama4lab.assets import read_json

KEYS = {
    "H": "expert_entropy",
    "D": "bits_about_domain",
    "T": "bits_about_token",
    "D|T": "bits_about_domain_given_token",
}


def loyal_router(token_ids: np.ndarray, loyalty: float, experts: int = 16, seed: int = 0) -> tuple[np.ndarray, float]:
    """The expert of each token, and the true I(E;T), of a router that follows a favorite with probability `loyalty`."""
    rng = np.random.default_rng(seed)
    favorite = rng.integers(0, experts, token_ids.max() + 1)
    is_loyal = rng.random(len(token_ids)) < loyalty
    chosen = np.where(is_loyal, favorite[token_ids], rng.integers(0, experts, len(token_ids)))
    row = np.full((len(favorite), experts), (1 - loyalty) / experts)  # P(expert | token)
    row[np.arange(len(favorite)), favorite] += loyalty
    weight = np.bincount(token_ids) / len(token_ids)
    truth = entropy_in_bits(weight @ row) - sum(w * entropy_in_bits(p) for w, p in zip(weight, row, strict=True))
    return chosen, max(truth, 0.0)  # rounding may leave -1e-15


def entropy_in_bits(counts: np.ndarray) -> float:
    """The entropy of what was counted, or of its shares."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def net(bits: dict, key: str) -> float:
    """Bits above the null."""
    return bits[key][0] - bits[key][1]


def verdicts(bits: list[dict]) -> tuple[int, int, int]:
    """Number of layers: token tells more than domain; domain less than half of H; domain adds to token."""
    token_first = sum(net(row, "T") > net(row, "D") for row in bits)
    domain_is_little = sum(net(row, "D") < row["H"] / 2 for row in bits)
    domain_adds = sum(row["D|T"][0] > 2 * row["D|T"][1] for row in bits)
    return token_first, domain_is_little, domain_adds


def published_bits() -> dict[str, list[dict]]:
    """Our numbers from the published counts, by model: for each counted layer `H` and (counted, null) of the others."""
    models = read_json("measurements/published_routing.json")["models"]
    return {name: [{key: row[long] for key, long in KEYS.items()} for row in m["layers"]] for name, m in models.items()}
