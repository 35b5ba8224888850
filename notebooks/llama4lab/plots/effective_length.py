"""Pictures of 09: what dilution takes, two definitions of effective length, and where published evidence ends."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, moment, plain_ticks


def short(tokens: float) -> str:
    """A number of tokens as it is spoken of: 8K, 1M."""
    return f"{tokens / 2**20:g}M" if tokens >= 2**20 else f"{tokens / 1024:g}K" if tokens >= 1024 else f"{tokens:g}"


def growth(lengths: Sequence[int], asked: Sequence[float], given: Sequence[float]) -> None:
    """How much the lead of one key must grow from the first length on, and how much temperature gives."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    ax.plot(lengths, asked, "--", marker=".", color=PALETTE[1])
    ax.plot(lengths, given, "-", marker=".", color=PALETTE[0], linewidth=2.6)
    ax.set_xscale("log", base=2)
    plain_ticks(ax, "x", lengths, [short(length) for length in lengths])
    ax.set(ylim=(0.9, 1.9), xlabel="tokens", ylabel="factor, 8K tokens = 1")
    label_ends(
        ax, [("what dilution\nasks for", asked[-1], PALETTE[1]), ("what temperature\ngives", given[-1], PALETTE[0])]
    )
    ax.set_title("From one chunk to ten million tokens, temperature nearly keeps up")
    show(
        fig,
        "Growth of the lead that dilution asks for and of the temperature factor, from 8K to 10M tokens: nearly equal.",
    )


def two_bars(scores: Mapping[str, Mapping[int, float]], bases: Mapping[str, float], fixed: float) -> None:
    """Published scores by length, a panel for each model, with the fixed bar and 85 % of the model's own base."""
    fig, axes = plt.subplots(1, len(scores), figsize=(6, 2.9), sharey=True)
    for ax, (model, points) in zip(axes, scores.items(), strict=True):
        ax.plot(list(points), list(points.values()), marker=".", color=PALETTE[0])
        ax.axhline(fixed, color=GRAY, linewidth=1.2, linestyle=":")
        ax.axhline(0.85 * bases[model], color=PALETTE[1], linewidth=1.2, linestyle="--")
        ax.set_xscale("log", base=2)
        plain_ticks(ax, "x", [1024, 4096, 32768], ["1K", "4K", "32K"])
        ax.set(ylim=(0, 100), title=model, xlim=(800, 40_000))
    axes[0].text(1000, fixed + 2, "fixed bar", fontsize=7.5, color="#444444")
    axes[0].text(5000, 0.85 * bases[next(iter(bases))] + 2, "0.85 of its base", fontsize=7.5, color=PALETTE[1])
    axes[0].set_ylabel("NoLiMa score")
    fig.supxlabel("tokens")
    show(fig, "NoLiMa scores of three models by length, with a fixed bar of 85.6 and the bar of each model's own base.")


def evidence(curves: Mapping[str, Mapping[int, float]], marks: Mapping[str, int]) -> None:
    """Published scores of long-context tasks by length, out to the window that is sold; marks: length by its name."""
    fig, ax = plt.subplots(figsize=(6, 3.4))
    ax.set_xscale("log", base=2)
    for (name, points), style, color in zip(curves.items(), ("-", "--", "-."), PALETTE, strict=False):
        ax.plot(list(points), list(points.values()), style, marker=".", color=color)
        last = list(points)[-1]
        ax.annotate(name, (last, points[last]), (5, 3), textcoords="offset points", fontsize=8, color=color)
    for name, length in marks.items():
        moment(ax, length, name, at=0.9, side="right")
    ticks = [1024 * 4**step for step in range(7)]
    plain_ticks(ax, "x", ticks, [short(tick) for tick in ticks])
    ax.set(xlim=(900, 14_000_000), ylim=(0, 100), xlabel="tokens", ylabel="score, %")
    ax.set_title("The published scores of tasks end long before the window that is sold")
    show(fig, "Published scores of Scout and Maverick by length: NoLiMa ends at 32K, MRCR at 1M, the window at 10M.")
