"""What a language model of the herd learns last, on one core: to say the step between two hops, and where a shape is.

Its rows are those of the herd, and beside them conversations about facts of the harder kinds and pictures.
"""

import random

import numpy as np
import torch
from transformers import ProcessorMixin

import conversations
import herd_data
import language_batches as lb
import picture_batches as pb
from training_batch import Batch

MIXED = herd_data.Phase(until=1, rows=4, picture_rows=0, length=512, layouts={})
STEPS = 500
KINDS = {"two hops": 0.5, "other words": 0.3, "one hop": 0.2}
MOSTLY_OTHER_WORDS = {"two hops": 0.2, "other words": 0.7, "one hop": 0.1}
CONVERSATIONS = 16  # a step
PICTURES = {"one tile": 16, "several tiles": 6, "two pictures": 8}  # conversations of a step, by layout
PICTURE_SHARES = {"one tile": 0.6, "several tiles": 0.2, "two pictures": 0.2}
ALIKE = 0.7  # of the conversations about one tile are about shapes that only color and form together tell apart


def _padded(rows: list[tuple[np.ndarray, np.ndarray]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and weights `[rows, longest]`, padded on the right with weight 0."""
    longest = max(len(ids) for ids, _ in rows)
    tokens, weights = np.full((len(rows), longest), pad, dtype=np.int64), np.zeros((len(rows), longest), np.float32)
    for row, (ids, weight) in enumerate(rows):
        tokens[row, : len(ids)], weights[row, : len(ids)] = ids, weight
    return torch.from_numpy(tokens), torch.from_numpy(weights)


class Lesson:
    """The batches of each step, which depend on its number alone."""

    def __init__(
        self, processor: ProcessorMixin, sources: lb.Sources, with_pictures: bool, kinds: dict[str, float]
    ) -> None:
        self.processor, self.sources, self.with_pictures, self.kinds = processor, sources, with_pictures, kinds
        self.block, self.rows = -1, None

    def mixed(self, step: int) -> Batch:
        """Rows of all domains, as the herd reads them."""
        block, at = divmod(step, herd_data.STEPS_OF_BLOCK)
        if block != self.block:
            self.block = block
            self.rows = herd_data.draw_text(self.sources, self.processor.tokenizer, MIXED, 9_000_000 + block, True)
        tokens, weights = self.rows.tokens[at].astype(np.int64), self.rows.weights[at].astype(np.float32)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(weights), share=0.6)

    def harder(self, step: int) -> Batch:
        """Conversations about facts in the prompt, by `kinds`."""
        rng, tokenizer = random.Random(f"harder-{step}"), self.processor.tokenizer
        kinds = rng.choices(list(self.kinds), list(self.kinds.values()), k=CONVERSATIONS)
        rows = [lb.encode_chat(conversations.from_the_prompt(rng, kind), tokenizer) for kind in kinds]
        return Batch(*_padded(rows, tokenizer.pad_token_id), share=0.3)

    def pictures(self, step: int) -> Batch:
        """Conversations about pictures of one layout."""
        rng = random.Random(f"pictures-{step}")
        layout, grid = pb.draw_layout(rng, PICTURE_SHARES)
        alike = ALIKE if layout == "one tile" else 0.0
        drawn = [pb.picture_conversation(rng, layout, grid, rng.random() < alike) for _ in range(PICTURES[layout])]
        rows, tiles = pb.encode_pictures(drawn, self.processor)
        return Batch(*_padded(rows, self.processor.tokenizer.pad_token_id), tiles.float(), 0.4)

    def batches(self, step: int) -> list[Batch]:
        """All of a step; pictures in every second one."""
        batches = [self.mixed(step), self.harder(step)]
        return [*batches, self.pictures(step)] if self.with_pictures and step % 2 == 0 else batches
