"""A corpus of a few thousand tokens, where a test needs one to draw rows from."""

import json
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast


def write_sources(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """What `herd_data.load_sources` reads, much smaller."""
    tokenizer.save_pretrained(folder)
    numbers = np.random.default_rng(0)
    streams = {domain: numbers.integers(300, 2000, 9000, dtype=np.int16) for domain in ("prose", "code")}
    np.savez(folder / "streams.npz", **streams)
    (folder / "filler.json").write_text(json.dumps(["It rains.", "The sun shines."]), encoding="utf-8")
