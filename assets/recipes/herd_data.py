"""What the herd learns from, drawn while it learns: blocks of steps, each from its own seed.

Processes beside the training make the blocks, of text and pictures, and all models read them, so that none waits.
"""

import json
import random
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

import language_batches as lb
import picture_batches
import proxies

STEPS_OF_BLOCK = 100
TILES = 40  # of a step


@dataclass(frozen=True)
class Phase:
    """Until which share of the time, rows of text and of pictures a step, tokens a row, and the pictures' layouts."""

    until: float
    rows: int
    picture_rows: int
    length: int
    layouts: dict[str, float]


# Rows of one chunk come first, because copying from the prompt appears sooner on short rows.
PHASES = (
    Phase(0.25, 32, 24, 128, {"one tile": 0.7, "several tiles": 0.15, "two pictures": 0.15}),
    Phase(0.75, 8, 6, 512, picture_batches.LAYOUTS),
    Phase(1.0, 3, 2, 2048, picture_batches.LAYOUTS),
)


def save_sources(folder: Path) -> None:
    """Write what blocks are drawn from, so that a machine with other packages draws the same."""
    tokenizer = lb.build_tokenizer()
    sources = lb.sources_of(tokenizer, held_out=False)
    tokenizer.save_pretrained(folder)
    np.savez_compressed(folder / "streams.npz", **sources.streams)
    (folder / "filler.json").write_text(json.dumps(sources.filler), encoding="utf-8")


def sources_in(work: Path) -> tuple[lb.Sources, PreTrainedTokenizerFast]:
    """What a run in `work` reads; written there at first use, and read again by what continues the run."""
    if not (work / "sources").exists():
        save_sources(work / "sources")
    return load_sources(work / "sources")


def load_sources(folder: Path) -> tuple[lb.Sources, PreTrainedTokenizerFast]:
    """What `save_sources` wrote."""
    streams = np.load(folder / "streams.npz")
    filler = json.loads((folder / "filler.json").read_text(encoding="utf-8"))
    sources = lb.Sources(False, {domain: streams[domain] for domain in streams}, filler)
    return sources, PreTrainedTokenizerFast.from_pretrained(folder)


def draw_text(
    sources: lb.Sources, tokenizer: PreTrainedTokenizerFast, phase: Phase, seed: int, says_steps: bool = False
) -> lb.Rows:
    """Tokens and weights `[steps, rows, length]`, domains mixed as MIX says."""
    total = STEPS_OF_BLOCK * phase.rows
    counts = {domain: round(total * share) for domain, share in lb.MIX.items()}
    counts["chat"] += total - sum(counts.values())
    drawn = lb.build_rows(tokenizer, sources, counts, phase.length, seed, says_steps)
    order = np.random.default_rng(seed).permutation(total)
    shape = (STEPS_OF_BLOCK, phase.rows, phase.length)
    tokens, weights = (
        np.concatenate([getattr(rows, part) for rows in drawn.values()])[order].reshape(shape)
        for part in ("tokens", "weights")
    )
    return lb.Rows(tokens, weights)


def draw_block(sources: lb.Sources, processor, phase_index: int, index: int) -> dict[str, np.ndarray]:
    """All arrays of one block, the first dimension being the step."""
    phase, seed = PHASES[phase_index], 1_000_000 * (phase_index + 1) + index
    text = draw_text(sources, processor.tokenizer, phase, seed)
    rng = random.Random(seed)
    shape = {"rows": phase.picture_rows, "length": phase.length, "tiles": TILES}
    seen = [picture_batches.picture_rows(processor, rng, layouts=phase.layouts, **shape) for _ in range(STEPS_OF_BLOCK)]
    # Rows with pictures come after those without, in one batch.
    block = {"tiles": np.stack([rows.tiles for rows in seen]), "feature": np.stack([rows.feature for rows in seen])}
    for part in ("tokens", "weights"):
        block[part] = np.concatenate([getattr(text, part), np.stack([getattr(rows, part) for rows in seen])], axis=1)
    return block


def _work(folder: Path, out: Path, worker: int, workers: int, blocks: tuple[int, ...]) -> None:
    torch.set_num_threads(1)
    sources, tokenizer = load_sources(folder)
    processor = proxies.build_processor(tokenizer)
    # The first block of every phase comes first: a phase that begins early then has one to read again.
    wanted = [(phase, index) for phase, count in enumerate(blocks) for index in range(count)]
    wanted.sort(key=lambda block: block[1] > 0)
    for phase, index in wanted[worker::workers]:
        fresh = out / f"{phase}-{index}.new.npz"
        np.savez(fresh, **draw_block(sources, processor, phase, index))
        fresh.rename(out / f"{phase}-{index}.npz")


class Blocks:
    """Blocks that processes are drawing, each read once and kept on the device.

    Args:
        folder: of `save_sources`.
        out: an empty folder where the processes leave the blocks, best in memory.
        blocks: how many of each phase.
    """

    def __init__(self, folder: Path, out: Path, workers: int, blocks: tuple[int, ...], device: str) -> None:
        self.out, self.blocks, self.device = out, blocks, device
        self.loaded: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
        self.lock = Lock()
        context = get_context("spawn")
        self.processes = [
            context.Process(target=_work, args=(folder, out, worker, workers, blocks), daemon=True)
            for worker in range(workers)
        ]
        for process in self.processes:
            process.start()

    def get(self, phase: int, index: int) -> dict[str, torch.Tensor]:
        """The block `index` of `phase`; where it is not drawn yet, an earlier one again."""
        index %= self.blocks[phase]
        while True:
            for known in (index, *range(min(index, self.blocks[phase]) - 1, -1, -1)):
                if (phase, known) in self.loaded or (self.out / f"{phase}-{known}.npz").exists():
                    return self._load(phase, known)
            time.sleep(0.2)

    def _load(self, phase: int, index: int) -> dict[str, torch.Tensor]:
        with self.lock:
            if (phase, index) not in self.loaded:
                path = self.out / f"{phase}-{index}.npz"
                with np.load(path) as arrays:
                    self.loaded[phase, index] = {
                        name: torch.from_numpy(arrays[name]).to(self.device) for name in arrays
                    }
                path.unlink()
            return self.loaded[phase, index]

    def close(self) -> None:
        """Stop drawing."""
        for process in self.processes:
            process.terminate()
            process.join()
