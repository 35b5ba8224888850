"""Pictures of 04: how busy the busiest expert is, and what balances it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import label_ends, plain_ticks

Loads = Sequence[np.ndarray]  # the busiest expert's load at each step, in even shares, a run for each seed


def noise_floor(per_expert: np.ndarray, floors: Mapping[int, Sequence[float]]) -> None:
    """MaxVio of dice by tokens per expert; floors: by number of experts."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    for (experts, floor), marker in zip(floors.items(), "os^", strict=True):
        ax.plot(per_expert, floor, marker=marker, markersize=4, label=f"{experts} experts")
    ax.plot(per_expert, 2 / np.sqrt(per_expert), color="gray", linestyle=":", label="2 / √(tokens per expert)")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    plain_ticks(ax, "x", per_expert)
    plain_ticks(ax, "y", [0.03, 0.1, 0.3, 1, 3])
    ax.set(xlabel="tokens per expert", ylabel="MaxVio of dice", title="Four times the tokens halve the luck of a load")
    ax.legend()
    show(
        fig, "MaxVio of a dice router against tokens per expert for 8, 16 and 64 experts, falling as one over the root."
    )


def draw_busiest(ax: Axes, arms: Mapping[str, Loads], colors: Sequence[str]) -> None:
    """Lines, one for each seed, in the color and dash of their arm."""
    for (name, runs), color, dash in zip(arms.items(), colors, ("-", "--", ":"), strict=False):
        for seed, loads in enumerate(runs):
            ax.plot(loads, color=color, linestyle=dash, linewidth=1.2, label=name if seed == 0 else None)
    ax.set_ylim(0, 8.3)


def trained_and_frozen(arms: Mapping[str, Loads], dice: float) -> None:
    """The busiest expert by step, for routers that learn and for routers that do not."""
    fig, ax = plt.subplots(figsize=(6, 3))
    draw_busiest(ax, arms, PALETTE)
    ends = [
        (name, np.mean([r[-20:] for r in runs]), color)
        for (name, runs), color in zip(arms.items(), PALETTE, strict=False)
    ]
    label_ends(ax, ends, {"dice": dice})
    ax.set(xlabel="training step (256 tokens each)", ylabel="busiest expert, even shares")
    ax.set_title("A router that learns sends everything to one expert (three seeds each)")
    show(
        fig,
        "Load of the busiest expert by step: three trained routers rise from 2 to 8, three untrained ones stay at 2.",
    )


def remedies(arms: Mapping[str, Loads], dice: float) -> None:
    """The busiest expert by step, a panel for each remedy."""
    fig, axes = plt.subplots(1, len(arms), figsize=(6, 2.7), sharex=True, sharey=True)
    for ax, (name, runs) in zip(axes, arms.items(), strict=True):
        draw_busiest(ax, {name: runs}, PALETTE[2:])
        label_ends(ax, [], {"dice" if ax is axes[-1] else "": dice})
        ax.set_title(name)
    fig.supxlabel("training step")
    fig.supylabel("busiest, even shares")
    show(
        fig,
        "Busiest expert by step with balance loss, bias, and z-loss alone: the first two come down, z-loss does not.",
    )


def recorded_runs(runs: Mapping[str, Mapping], methods: Sequence[str], dice: float) -> None:
    """Four layers of the recorded runs: for each method the mean of its three seeds, in a band from least to most."""
    fig, axes = plt.subplots(2, 2, figsize=(6, 4.2), sharex=True, sharey=True)
    for layer, ax in enumerate(axes.flat):
        ends = []
        for method, color, dash in zip(methods, PALETTE, ("-", "--", "-."), strict=False):
            steps = runs[f"{method}-0"]["step"]
            loads = np.array([np.array(runs[f"{method}-{seed}"]["busiest"])[:, layer] for seed in range(3)])
            ax.fill_between(steps, loads.min(axis=0), loads.max(axis=0), color=color, alpha=0.2, linewidth=0)
            ax.plot(steps, loads.mean(axis=0), dash, color=color)
            ends.append((method, loads[:, -8:].mean(), color))
        ax.set(title=f"Layer {layer}", ylim=(0, 5))
        if layer % 2:
            label_ends(ax, ends, {"dice": dice})
        else:
            label_ends(ax, [], {"": dice})
    fig.supxlabel("training step (2048 tokens each)")
    fig.supylabel("busiest expert, even shares (more than 5 is cut off)")
    show(
        fig,
        "Busiest expert by step in four layers, mean and spread of three seeds: without balancing high at first in the last layer, lowest with balancing.",
    )


def common_part(steps: Sequence[int], shares: Sequence[Sequence[float]]) -> None:
    """The share of the router's input that all tokens have in common, by layer; shares: `[steps, layers]`."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    layers = np.array(shares).T
    for values, marker in zip(layers, "os^D", strict=True):
        ax.plot(steps, values, marker=marker, markersize=4)
    ax.set_xscale("log")
    plain_ticks(ax, "x", [20, 40, 100, 200, 400, 1000])
    ax.set(ylim=(0, 1), xlabel="training steps", ylabel="share in the common part")
    ax.set_title("Routers soon stop reading what all tokens share")
    ends = [(f"layer {n}", values[-1], PALETTE[n]) for n, values in enumerate(layers)]
    label_ends(ax, ends, {"toy, section 5": 0.5})
    show(
        fig,
        "Share of the router's input common to all tokens, by layer over training: high early in late layers, then low.",
    )


def dropped_by_position(within: Mapping[float, Sequence[float]], over_batch: Sequence[float]) -> None:
    """Dropped tokens in % by position in the text, means of 16; within: by capacity factor, counted within each text."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    position = np.arange(8) * 16 + 8
    ends = []
    for (factor, values), marker, color in zip(within.items(), "os^", PALETTE, strict=False):
        ax.plot(position, values, marker=marker, markersize=4)
        ends.append((f"within texts, {factor:g}", values[-1], color))
    ax.plot(position, over_batch, marker="x", color="gray")
    ax.set(xlabel="position in the text, tokens (means of 16)", ylabel="dropped, %")
    ax.set_ylim(bottom=0)
    label_ends(ax, [*ends, ("over the batch, 1.25", over_batch[-1], "#666666")])
    ax.set_title("Capacity within a text drops its end")
    show(fig, "Share of dropped tokens by position: within texts it climbs toward the end, over the batch it is flat.")
