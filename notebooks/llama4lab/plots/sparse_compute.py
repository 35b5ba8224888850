"""Pictures of 06: what sparsity gains, and what an uneven load costs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show


def stragglers(factors: Mapping[str, Sequence[float]]) -> None:
    """Straggler factor by kind of text, for experts placed in order, for the mix, and for the text itself."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    placements = ("in order", "for the mix of texts", "for this text")
    for place, (name, marker, color) in enumerate(zip(placements, "os^", PALETTE, strict=False)):
        values = [row[place] for row in factors.values()]
        ax.plot(np.arange(len(factors)) + 0.12 * (place - 1), values, marker, color=color, label=f"placed {name}")
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(factors)), factors)
    ax.set(ylim=(0.95, None), xlabel="text that is served", ylabel="straggler factor (1: no device waits)")
    ax.set_title("64 experts of OLMoE's last layer on 8 devices")
    fig.legend(loc="outside lower center", ncols=3)
    show(
        fig,
        "Straggler factor by kind of text for three placements: contiguous, by the load of the mix, and by the text's own load.",
    )
