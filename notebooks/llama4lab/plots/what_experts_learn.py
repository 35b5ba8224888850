"""Pictures of 05: what routers know about tokens and topics, and what an expert is missed for."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import TwoSlopeNorm

from llama4lab.figures import PALETTE, show, text_color

ABOUT = {"T": "About the token", "D": "About the topic", "D|T": "About the topic,\nbeyond the token"}


def bits_by_depth(shares: Mapping[str, Mapping[str, Sequence[float]]], depth: Mapping[str, Sequence[float]]) -> None:
    """Share of the load's entropy that a router knows, in %; shares: by model and by key of `ABOUT`, a value a layer."""
    fig, axes = plt.subplots(1, 3, figsize=(6, 3.5))
    for ax, (key, title) in zip(axes, ABOUT.items(), strict=True):
        for (name, known), marker in zip(shares.items(), "os^D", strict=True):
            ax.plot(depth[name], known[key], marker=marker, label=name)
        ax.set_title(f"{title}\nI(E;{key})" if key != "D|T" else f"{title} I(E;{key})", fontsize=9)
        ax.set(xlabel="depth of the layer", xlim=(0, 1.05))
        ax.set_ylim(bottom=0)
    fig.supylabel("% of the load's entropy", fontsize=9)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    show(fig, "Share of the bits there are to know, by depth, for four models: token, domain, and domain beyond token.")


def load_maps(loads: Mapping[int, np.ndarray], domains: Sequence[str]) -> None:
    """Loads in even shares, `[domain, expert]` by layer, on a scale whose middle is the even share, 1."""
    fig, axes = plt.subplots(len(loads), 1, figsize=(6, 6.4), sharex=True)
    for (layer, load), ax in zip(loads.items(), axes, strict=True):
        image = ax.imshow(load, norm=TwoSlopeNorm(1, 0, 4), cmap="PuOr_r", aspect="auto")
        for row, column in np.argwhere(load >= 2.5):
            ink = text_color(image.cmap(image.norm(load[row, column])))
            ax.text(column, row, f"{load[row, column]:.1f}", ha="center", va="center", fontsize=7, color=ink)
        ax.set_title(f"Layer {layer}", fontsize=9)
        ax.set_yticks(range(len(domains)), domains, fontsize=8)
        ax.set_ylabel("domain")
    axes[-1].set_xticks(range(load.shape[1]))
    axes[-1].set_xlabel("expert")
    bar = fig.colorbar(image, ax=axes, label="even shares (white: an even share)", shrink=0.5, extend="max")
    bar.set_ticks([0, 0.5, 1, 2, 3, 4])
    show(fig, "Load of each expert by domain in even shares, one panel a layer; values of 2.5 and more are written.")


def over_training(
    steps: Sequence[int],
    settled: Mapping[int, Sequence[float]],
    shuffled: Sequence[float],
    bits: Mapping[int, Mapping[str, Sequence[float]]],
) -> None:
    """Share of final choices (in %), and bits about token and topic (by key of `ABOUT`), by layer and training step."""
    fig, axes = plt.subplots(1, 3, figsize=(6, 3.6), sharex=True)
    for layer, shares in settled.items():
        axes[0].plot(steps, shares, marker=".", label=f"layer {layer}")
        for ax, key in zip(axes[1:], ("T", "D"), strict=True):
            ax.plot(steps, bits[layer][key], marker=".")
    axes[0].plot(steps, shuffled, color="black", linewidth=0.8, linestyle=":", label="shuffled")
    titles = ("Choices settled", "About the token, I(E;T)", "About the topic, I(E;D)")
    for ax, title, label in zip(
        axes, titles, ("% of final choices", "bits above null", "bits above null"), strict=True
    ):
        ax.set(xscale="log", xlabel="training step", ylabel=label)
        ax.set_title(title, fontsize=9)
        ax.set_ylim(bottom=0)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, handlelength=2.4)
    show(
        fig,
        "Over the training of a small model, by layer: share of final choices, bits about token, bits about domain.",
    )


def removed_experts(cost: np.ndarray, share: np.ndarray, domains: Sequence[str]) -> None:
    """What removing each expert costs each domain, in nats; cost and share (of its tokens): `[experts, domains]`."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    spread, columns = np.linspace(-0.25, 0.25, len(cost)), np.arange(len(domains))
    used, missed = share.argmax(axis=0), cost.argmax(axis=0)
    for column in columns:
        ax.scatter(
            column + spread, cost[:, column], s=14, color="#888888", label="_" if column else "one expert removed"
        )
    framed = {"s": 60, "marker": "s", "facecolor": "none", "edgecolor": PALETTE[0]}
    ax.scatter(columns + spread[used], cost[used, columns], label="most used", **framed)
    ax.hlines(cost.mean(axis=0), columns - 0.35, columns + 0.35, color="black", linewidth=1, label="mean")
    for column, expert in enumerate(missed):
        ax.text(column + spread[expert], cost[expert, column], f" {expert}", fontsize=8, va="bottom")
    ax.axhline(0, color="#666666", linewidth=1, linestyle=":")
    ax.set_xticks(columns, domains)
    ax.set(
        xlabel="domain", ylabel="rise of the loss, nats", title="First layer with experts, one expert removed at a time"
    )
    ax.set_ylim(top=1.12 * cost.max())
    ax.legend(loc="upper right")
    show(
        fig,
        "Rise of the loss by domain for each removed expert: a dot each, the most used one framed, the mean as a line.",
    )
