"""Held-out texts, the labels of their tokens, and the expert that took each token: of a model, or of each stored moment."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from llama4lab.assets import read_json
from llama4lab.dispatch import sorted_dispatch
from llama4lab.routing import record_routing


def held_out_texts(tokenizer) -> dict[str, torch.Tensor]:
    """Texts that the proxies were not trained on, cut to one length: domain -> token ids `[texts, seq]`."""
    samples = read_json("samples/held_out.json").items()
    ids = {name: tokenizer(sample["texts"], add_special_tokens=False).input_ids for name, sample in samples}
    length = min(len(row) for rows in ids.values() for row in rows)
    return {name: torch.tensor([row[:length] for row in rows]) for name, rows in ids.items()}


def label_tokens(texts: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three labels of each token, all `[tokens]`: token id, number of its domain, number of its text."""
    rows = torch.cat(list(texts.values()))  # [texts, seq]
    text = np.repeat(np.arange(len(rows)), rows.shape[1])
    domain = np.repeat(np.arange(len(texts)), [ids.numel() for ids in texts.values()])
    return rows.flatten().numpy(), domain, text


def route_texts(
    model: torch.nn.Module, texts: dict[str, torch.Tensor], batch: int = 24
) -> tuple[list[int], np.ndarray]:
    """Layers with experts, and the expert that took each token, `[layers, tokens]`, in the order of `label_tokens`."""
    rows = torch.cat(list(texts.values())).to(model.device)
    with sorted_dispatch(model):
        routings = [record_routing(model, part) for part in rows.split(batch)]
    chosen = torch.cat([part.chosen for part in routings], dim=1)  # [layers, texts, seq]
    return routings[0].layers, chosen.flatten(1).cpu().numpy()


def route_checkpoints(
    model: torch.nn.Module, folder: Path, texts: dict[str, torch.Tensor]
) -> tuple[list[int], dict[int, np.ndarray]]:
    """Layers, and step -> experts `[layers, tokens]`, of all stored moments of one training run, with the last."""
    log = (folder / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    files = {int(file.stem.split("-")[1]): file for file in sorted(folder.glob("step-*.safetensors"))}
    routed = {}
    for step, file in (files | {json.loads(log[-1])["step"]: folder / "model.safetensors"}).items():
        weights = {key: value.float() for key, value in load_file(file).items()}
        absent = model.load_state_dict(weights, strict=False)
        assert absent == (["lm_head.weight"], [])  # stored once, with the embeddings
        layers, routed[step] = route_texts(model, texts)
    return layers, routed
