"""Pictures of 02: which rows of the router learn, and where tokens go."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends

QUIET, LOUD = "#b0b0b0", PALETTE[1]


def gradients(rows: Mapping[str, Sequence[float]]) -> None:
    """Length of each router row's gradient, a panel for each gate; rows that get one are filled."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(6, 4.4), sharex=True, sharey=True)
    for ax, (name, lengths) in zip(axes, rows.items(), strict=True):
        ax.bar(range(len(lengths)), lengths, color=LOUD)
        ax.set_title(f"{name}: {np.count_nonzero(lengths)} of {len(lengths)} rows")
    ax.set_xticks(range(0, len(lengths), max(1, len(lengths) // 16)))
    fig.supxlabel("row of the router")
    fig.supylabel("length of the gradient, first block")
    show(
        fig,
        "Length of the gradient of each router row of the first block, one panel a gate: sigmoid, softmax, detached.",
    )


def neighbors(
    here: Mapping[str, Sequence[float]], layers: Sequence[int], mixtral: Mapping[str, Sequence[float]]
) -> None:
    """How often neighbors share an expert, in units of chance, by layer: this model, and Mixtral as published, in gray."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.6), sharey=True, width_ratios=(1.25, 1))
    most = max(max(values) for values in (*here.values(), *mixtral.values()))
    for ax, title in ((left, "This model"), (right, "Mixtral (published)")):
        ax.set(title=title, xlabel="layer", ylim=(0, 1.1 * most))
    for values, color in zip(here.values(), PALETTE, strict=False):
        left.plot(layers, values, marker=".", color=color)
    for values in mixtral.values():
        right.plot((0, 15, 31), values, marker=".", color="#666666")
    left.set_xticks(layers)
    right.set_xticks((0, 15, 31))
    ends = [(name, values[-1], color) for (name, values), color in zip(here.items(), PALETTE, strict=False)]
    label_ends(left, ends, {"chance, dice": 1})
    label_ends(right, [(name, values[-1], "#666666") for name, values in mixtral.items()], {"chance": 1})
    left.set_ylabel("neighbors with one expert, in units of chance")
    show(
        fig,
        "Share of neighbors with one expert, in units of chance, by layer: this model on six domains, Mixtral on three.",
    )


def loads(shares: Mapping[int, Sequence[float]], ceiling: float) -> None:
    """Share of tokens that each expert took, by layer; bars above what dice reach are filled in orange."""
    fig, axes = plt.subplots(2, 2, figsize=(6, 4.2), sharex=True, sharey=True)
    for ax, (layer, load) in zip(axes.flat, shares.items(), strict=True):
        ax.bar(range(len(load)), load, color=[LOUD if share > ceiling else QUIET for share in load])
        ax.set_title(f"Layer {layer}")
        # Two levels so near each other are named once, at the right.
        levels = {f"even: 1/{len(load)}": 1 / len(load), "dice, 95 %": ceiling}
        label_ends(ax, [], levels if ax in axes[:, 1] else dict(zip(("", " "), levels.values(), strict=True)))
    fig.supxlabel("expert")
    fig.supylabel("share of tokens")
    show(
        fig,
        "Share of the 960 tokens that each of 16 experts took, one panel a layer, with lines at 1/16 and at what dice reach.",
    )
