"""What a model's experts tell of a token and of its domain, on held-out text."""

import numpy as np
import torch

import language_batches as lb
from llama4lab.dispatch import sorted_dispatch
from llama4lab.routing import record_routing


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """I(X;Y) in bits of two arrays of labels, from their joint counts (plug-in estimate, biased up)."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1)
    joint /= joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / product[seen])).sum())


def routing_figures(model, held: dict[str, lb.Rows], shuffles: int = 20) -> list[dict[str, float]]:
    """Per MoE layer: load, its entropy, dead experts, I(E;D) and I(E;T) with their shuffled nulls (mean and std)."""
    domains, tokens, chosen = [], [], []
    with sorted_dispatch(model):
        for index, rows in enumerate(held.values()):
            ids = torch.from_numpy(rows.tokens.astype(np.int64))
            chosen.append(record_routing(model, ids).chosen.flatten(1).numpy())
            tokens.append(rows.tokens.ravel().astype(np.int64))
            domains.append(np.full(rows.tokens.size, index))
    chosen, tokens, domains = np.concatenate(chosen, axis=1), np.concatenate(tokens), np.concatenate(domains)
    frequent = np.bincount(tokens)[tokens] >= 10  # a token seen once would be 'explained' perfectly
    experts = model.config.text_config.num_local_experts
    rng = np.random.default_rng(0)
    layers = []
    for experts_of_layer in chosen:
        load = np.bincount(experts_of_layer, minlength=experts) / len(experts_of_layer)
        figures = {
            "load": [round(float(share), 4) for share in load],
            "load_entropy": float(-(load[load > 0] * np.log(load[load > 0])).sum() / np.log(experts)),
            "dead_experts": int((load < 0.1 / experts).sum()),
        }
        for name, labels, mask in (("domain", domains, np.ones_like(frequent)), ("token", tokens, frequent)):
            picked, labels = experts_of_layer[mask], labels[mask]
            null = [mutual_information(rng.permutation(picked), labels) for _ in range(shuffles)]
            figures[f"bits_about_{name}"] = mutual_information(picked, labels)
            figures[f"null_about_{name}"] = [float(np.mean(null)), float(np.std(null))]
        layers.append(figures)
    return layers
