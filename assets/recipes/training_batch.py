"""One micro-batch of a training run, and its loss."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy


@dataclass
class Batch:
    """One micro-batch: token ids `[batch, seq]`, the weight of each token in the loss, maybe pictures."""

    input_ids: torch.Tensor
    weights: torch.Tensor
    pixel_values: torch.Tensor | None = None
    share: float = 1.0  # its weight in the step's loss

    def to(self, device: torch.device) -> "Batch":
        pixels = None if self.pixel_values is None else self.pixel_values.to(device)
        return Batch(self.input_ids.to(device), self.weights.to(device), pixels, self.share)


def weighted_nll(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean negative log-likelihood in nats of the next token, by the batch's weights. `logits` [batch, seq, vocabulary]."""
    losses = cross_entropy(logits[:, :-1].flatten(0, 1), batch.input_ids[:, 1:].flatten(), reduction="none")
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()
