"""Pictures of 04: how busy the busiest expert is, and what balances it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, plain_ticks

Loads = Sequence[np.ndarray]  # the busiest expert's load at each step, in even shares, a run for each seed
BAR, HERO = "#c9c9c9", PALETTE[1]


def one_throw(counts: np.ndarray) -> None:
    """Tokens of each expert under one throw of dice; counts: `[experts]`."""
    fig, ax = plt.subplots(figsize=(6, 2.4))
    colors = [HERO if count == counts.max() else BAR for count in counts]
    bars = ax.bar(range(len(counts)), counts, color=colors)
    ax.bar_label(bars, fontsize=8)
    label_ends(ax, [], {"even share": counts.mean()})
    ax.set(xticks=range(len(counts)), xlabel="expert", ylabel="tokens", ylim=(0, counts.max() * 1.15))
    ax.grid(visible=False)
    ax.set_title(f"Dice alone give one expert {counts.max()} of {counts.sum()} tokens")
    show(fig, "Tokens of 16 experts chosen by dice: some have half as many again as their even share, some half.")


def noise_floor(per_expert: np.ndarray, floors: Mapping[int, Sequence[float]]) -> None:
    """MaxVio of dice by tokens per expert; floors: by number of experts."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    ends = []
    for (experts, floor), marker, color in zip(floors.items(), "os^", PALETTE, strict=False):
        ax.plot(per_expert, floor, marker=marker, markersize=4)
        ends.append((f"{experts} experts", floor[-1], color))
    ax.plot(per_expert, 2 / np.sqrt(per_expert), color="gray", linestyle=":")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    plain_ticks(ax, "x", per_expert)
    plain_ticks(ax, "y", [0.03, 0.1, 0.3, 1, 3])
    ax.text(per_expert[2], 3 / np.sqrt(per_expert[2]), "2 / √(tokens per expert)", fontsize=8, color=GRAY)
    label_ends(ax, ends)
    ax.set(xlabel="tokens per expert", ylabel="MaxVio of dice", title="Four times the tokens halve the luck of a load")
    show(
        fig, "MaxVio of a dice router against tokens per expert for 8, 16 and 64 experts, falling as one over the root."
    )


def draw_busiest(ax: Axes, runs: Loads, color: str, dash: str = "-") -> None:
    """A line for each seed."""
    for loads in runs:
        ax.plot(loads, color=color, linestyle=dash, linewidth=1.2)
    ax.set_ylim(0, 8.3)


def trained_and_frozen(arms: Mapping[str, Loads], dice: float) -> None:
    """The busiest expert by step, for routers that learn and for routers that do not."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ends = []
    for (name, runs), color, dash in zip(arms.items(), (HERO, PALETTE[0]), ("-", "--"), strict=True):
        draw_busiest(ax, runs, color, dash)
        ends.append((name, np.mean([loads[-20:] for loads in runs]), color))
    label_ends(ax, ends, {"dice": dice})
    ax.set(xlabel="training step (256 tokens each)", ylabel="busiest expert, even shares")
    ax.set_title("Training the router is what breaks it (three seeds each)")
    show(
        fig,
        "Load of the busiest expert by step: three trained routers rise from 2 to 8, three untrained ones stay at 2.",
    )


def mean_logits(lean: np.ndarray, winner: int) -> None:
    """The mean logit of each expert over the batch by step; lean: `[steps, experts]`."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    for expert in [*(e for e in range(lean.shape[1]) if e != winner), winner]:
        won = expert == winner
        ax.plot(lean[:, expert], color=HERO if won else "#8a8a8a", linewidth=2.6 if won else 1, linestyle="-")
    others = np.delete(lean[-1], winner).mean()
    label_ends(ax, [(f"expert {winner},\nthe winner", lean[-1, winner], HERO), ("the other seven", others, GRAY)])
    ax.set(xlabel="training step", ylabel="mean logit over all tokens")
    ax.set_title("First the losers sink, then the winner climbs")
    show(
        fig,
        "Mean logit of eight experts by step: all start near zero and three rise; then seven fall and level off, and one climbs alone.",
    )


def arms(ends: Mapping[str, Mapping[str, Sequence[float]]], dice: float, title: str) -> None:
    """Load of the busiest expert and loss at the end, a row for each arm and a dot for each seed.

    ends: by arm, the values of its seeds under "busiest" and "loss".
    """
    fig, axes = plt.subplots(1, 2, figsize=(6, 0.9 + 0.3 * len(ends)), sharey=True)
    names = list(ends)
    for ax, what, label in zip(axes, ("busiest", "loss"), ("busiest, even shares", "loss, nats"), strict=True):
        for place, name in enumerate(names):
            color = HERO if place == 0 else PALETTE[0]
            ax.plot(ends[name][what], [name] * len(ends[name][what]), "o", color=color, markersize=5, alpha=0.7)
        ax.set(xlabel=label, ylim=(len(names) - 0.5, -0.5), xlim=(0, 8.3 if what == "busiest" else None))
    axes[0].axvline(dice, color=GRAY, linewidth=1, linestyle=":", zorder=1)
    axes[0].text(dice + 0.1, -0.45, "dice", fontsize=8, color=GRAY, va="top")
    fig.suptitle(title, x=0.01, ha="left")
    show(fig, f"{title}. Busiest expert and loss at the end of training, a dot for each of three seeds.")


def remedies(arms: Mapping[str, Loads], dice: float) -> None:
    """The busiest expert by step, a panel for each remedy."""
    fig, axes = plt.subplots(1, len(arms), figsize=(6, 2.7), sharex=True, sharey=True)
    for ax, (name, runs) in zip(axes, arms.items(), strict=True):
        draw_busiest(ax, runs, PALETTE[2])
        label_ends(ax, [], {"dice" if ax is axes[-1] else "": dice})
        ax.set_title(name)
    fig.supxlabel("training step")
    fig.supylabel("busiest, even shares")
    show(
        fig,
        "Busiest expert by step with balance loss, bias, and z-loss alone: the first two come down, z-loss does not.",
    )


def recorded_runs(runs: Mapping[str, Mapping], methods: Mapping[str, str], dice: float) -> None:
    """Four layers of the recorded runs: for each method the mean of its three seeds, in a band from least to most.

    methods: names in the record and in the picture.
    """
    fig, axes = plt.subplots(2, 2, figsize=(6, 4.2), sharex=True, sharey=True)
    for layer, ax in enumerate(axes.flat):
        ends = []
        for (method, name), color, dash in zip(
            methods.items(), (HERO, PALETTE[0], PALETTE[2]), ("-", "--", "-."), strict=True
        ):
            steps = runs[f"{method}-0"]["step"]
            loads = np.array([np.array(runs[f"{method}-{seed}"]["busiest"])[:, layer] for seed in range(3)])
            ax.fill_between(steps, loads.min(axis=0), loads.max(axis=0), color=color, alpha=0.2, linewidth=0)
            ax.plot(steps, loads.mean(axis=0), dash, color=color)
            ends.append((name, loads[:, -8:].mean(), color))
            if loads[0, 0] > 5 and method == "none":
                ax.text(150, 4.55, f"up to {loads[:, 0].max():.1f} at step {steps[0]}", fontsize=8, color=color)
        ax.set(title=f"Layer {layer}", ylim=(0, 5))
        if layer % 2:
            label_ends(ax, ends, {"dice": dice})
        else:
            label_ends(ax, [], {"": dice})
    fig.supxlabel("training step (2048 tokens each)")
    fig.supylabel("busiest expert, even shares")
    show(
        fig,
        "Busiest expert by step in four layers, mean and spread of three seeds: without balancing high at first in the last layer, lowest with balancing.",
    )


def common_part(steps: Sequence[int], shares: Sequence[Sequence[float]], toy: float) -> None:
    """The share of the router's input that all tokens have in common, by layer; shares: `[steps, layers]`."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    layers = np.array(shares).T
    for values, marker in zip(layers, "os^D", strict=True):
        ax.plot(steps, values, marker=marker, markersize=4)
    ax.set_xscale("log")
    plain_ticks(ax, "x", [20, 40, 100, 200, 400, 1000])
    ax.set(ylim=(0, 1), xlabel="training steps", ylabel="share in the common part")
    ax.set_title("The common part of what routers read soon shrinks")
    ends = [(f"layer {n}", values[-1], PALETTE[n]) for n, values in enumerate(layers)]
    label_ends(ax, ends, {"the toy": toy})
    show(
        fig,
        "Share of the router's input common to all tokens, by layer over training: high early in late layers, then low.",
    )


def bits_and_loss(arms: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """What experts know of the topic against the loss, a point for each seed; arms: (bits, loss) by name."""
    fig, ax = plt.subplots(figsize=(6, 3))
    colors = (PALETTE[0], HERO, PALETTE[2], GRAY)
    for (name, points), color, marker in zip(arms.items(), colors, "o^sD", strict=True):
        bits, losses = np.array(points).T
        ax.plot(bits, losses, marker, color=color, markersize=7)
        at = (bits + losses).argmax()  # where the label has room
        ax.text(bits[at] + 0.05, losses[at], name, fontsize=8, color=color, va="center")
    ax.set(xlim=(0, 3), ylim=(0, 0.8), xlabel="I(E; D): bits that the expert tells about the topic, of 3")
    ax.set(ylabel="loss, nats", title="Balancing within each sequence costs knowledge and loss")
    show(
        fig,
        "Bits about the topic against loss for three ways to balance and an untrained router, three seeds each: balanced per sequence has the fewest bits and the highest loss.",
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


def dropped_by_domain(domains: Sequence[str], within: Sequence[float], over_batch: Sequence[float]) -> None:
    """Dropped tokens in % by domain in the order of the batch, counted in two ways."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 2.6), sharey=True)
    for ax, shares, title in zip(
        axes, (within, over_batch), ("Within texts: everyone pays", "Over the batch: the late ones pay"), strict=True
    ):
        ax.bar_label(ax.barh(domains, shares, color=[BAR] * (len(shares) - 1) + [HERO]), fmt="%.1f", fontsize=8)
        ax.set(title=title, xlabel="dropped, %", xlim=(0, 45))
        ax.grid(visible=False)
    axes[0].invert_yaxis()
    show(
        fig,
        "Dropped tokens by domain: within texts all six lose some, over the batch only the last three lose, the last one most.",
    )


def loss_by_capacity(factors: Sequence[float], losses: Sequence[float]) -> None:
    """The loss by capacity factor; the first one drops nothing, the last one everything."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    ax.plot(range(len(factors)), losses, "o-", color=HERO)
    for place, loss in enumerate(losses):
        ax.text(place, loss + 0.12, f"{loss:.2f}", fontsize=8, ha="center")
    words = [f"{factor:g}" for factor in factors]
    words[0], words[-1] = "8\n(none dropped)", "0\n(all dropped)"
    ax.set_xticks(range(len(factors)), words)
    ax.set(xlabel="capacity factor, within texts", ylabel="loss, nats", ylim=(2, 4.2), xlim=(-0.5, len(factors) - 0.5))
    ax.set_title("The less capacity, the higher the loss")
    show(fig, "Loss by capacity factor: it climbs steadily from nothing dropped to everything dropped.")
