"""Pictures of 14: error against bytes, calibration, what the loss hides, llama.cpp's walls, speed from a bus."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch

from llama4lab.figures import PALETTE, show
from llama4lab.plots.marks import GRAY, label_ends, plain_ticks

HERO, LOUD, GREEN, QUIET = PALETTE[0], PALETTE[1], PALETTE[2], "#b0b0b0"
MARKS = {8: "o", 4: "s", 3: "^", 2: "v"}
COLORS = {"experts": HERO, "usual part": LOUD, "both": GREEN, "everything": "#555555"}


def levels(groups: Mapping[str, torch.Tensor], rounded: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Each group of weights on a number line, with the levels of its scale, and each weight's way to its level."""
    fig, axes = plt.subplots(len(groups), 1, figsize=(6, 2.6))
    for ax, (name, group) in zip(axes, groups.items(), strict=True):
        back, step = rounded(group), float(group.abs().max()) / 7
        for level in range(-7, 8):
            ax.plot([level * step] * 2, [-0.3, 0.3], color=QUIET, linewidth=1, linestyle="-")
        for before, after in zip(group.tolist(), back.tolist(), strict=True):
            ax.annotate("", (after, 0.02), (before, 0.72), arrowprops={"arrowstyle": "->", "color": LOUD, "lw": 1})
        ax.plot(group, [0.75] * len(group), "o", color=HERO, markersize=5)
        error = float((back - group).norm() / group.norm())
        small = group.abs() < 0.39
        lost = float((back - group)[small].norm() / group[small].norm())
        ax.set_title(f"{name}: error {error:.0%}, of the seven small weights {lost:.0%}", fontsize=9)
        ax.set(ylim=(-0.4, 1), yticks=[], xlim=(-2.2, 2.2))
        ax.grid(visible=False)
    fig.supxlabel("weights (dots), and the levels of their group (gray)")
    show(
        fig,
        "Two groups of eight weights: with one large weight the levels move apart and the small ones share a few.",
        {name: [f"{value:.3f}" for value in rounded(group).tolist()] for name, group in groups.items()},
    )


def error_against_bytes(results: Mapping, floors: Mapping, whole: Mapping[str, float]) -> None:
    """KL by size, one axes a model: a line for each group of parts, from 8 to 2 bits."""
    fig, axes = plt.subplots(2, 1, figsize=(6, 6), sharex=True)
    for ax, (model, groups) in zip(axes, results.items(), strict=True):
        for name, runs in groups.items():
            share = [100 * run["mb"] / whole[model] for run in runs.values()]
            errors = [max(run["kl"], 1e-5) for run in runs.values()]
            wide = 2.8 if name == "experts" else 1.6
            ax.plot(share, errors, color=COLORS[name], linestyle="-", linewidth=wide, zorder=3)
            for x, y, bits in zip(share, errors, runs, strict=True):
                ax.plot(x, y, marker=MARKS[bits], color=COLORS[name], markersize=6, zorder=4)
                if name in ("experts", "usual part"):
                    ax.annotate(f"{bits}", (x, y), (5, 3), textcoords="offset points", fontsize=8, color=COLORS[name])
            at = 0 if name in ("usual part", "experts") else -1
            side = {"usual part": (-8, -4, "right"), "experts": (-8, -14, "right"), "both": (8, 2, "left")}.get(
                name, (-4, 7, "right")
            )
            words = {"usual part": "what the usual\nloading reaches", "experts": "experts only"}.get(name, name)
            ax.annotate(
                words,
                (share[at], errors[at]),
                side[:2],
                textcoords="offset points",
                fontsize=8,
                ha=side[2],
                color=COLORS[name],
            )
        ax.axhline(floors[model]["kl"], color=GRAY, linewidth=1, linestyle=":")
        ax.text(1, floors[model]["kl"] * 1.15, "floor: bfloat16 arithmetic", fontsize=8, color=GRAY)
        ax.set(yscale="log", ylim=(1e-5, 6), xlim=(0, 105), ylabel="KL, nats a token")
        plain_ticks(ax, "y", (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1), ("10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"))
        ax.set_title(f"{model}: numbers at the points are bits" if ax is axes[0] else model, fontsize=9)
    axes[1].set_xlabel("size of the model, % of bfloat16")
    fig.suptitle("Begin with the experts, never with the usual part alone")
    values = {
        f"{model}, {name}, at {', '.join(map(str, runs))} bits": [
            f"{run['kl']:.2g} at {100 * run['mb'] / whole[model]:.0f} %" for run in runs.values()
        ]
        for model, groups in results.items()
        for name, runs in groups.items()
    }
    alt = "Error against size for two proxies: the line of the experts is far below and left of the usual part's."
    show(fig, alt, values)


def cuts(kinds: Mapping[float, tuple[tuple, float]]) -> None:
    """KL of rounded experts by bits a weight: symmetric levels and levels with a zero point."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    for zero_point, color in ((False, LOUD), (True, HERO)):
        points = sorted((bits, way, kl) for bits, (way, kl) in kinds.items() if way[2] == zero_point)
        ax.plot([p[0] for p in points], [p[2] for p in points], "o-", color=color)
        for bits, way, kl in points:
            named = {(4, 64): "groups of 64", (2, 16): "groups of 16"}.get(
                way[:2], "" if zero_point else f"{way[0]} bits"
            )
            below = way[:2] == (4, 64)
            at, side = ((-4, -12), "right") if below else ((6, 4), "left")
            ax.annotate(named, (bits, kl), at, textcoords="offset points", fontsize=8, ha=side, color=color)
        bits, _, kl = points[0]
        words = "with a zero point" if zero_point else "symmetric"
        ax.annotate(words, (bits, kl), (-6, -3), textcoords="offset points", fontsize=8, ha="right", color=color)
    ax.set(
        yscale="log",
        xlim=(1.6, 5.6),
        ylim=(4e-3, 1),
        xlabel="bits a weight, scale and zero point counted",
        ylabel="KL, nats a token",
    )
    plain_ticks(ax, "y", (0.01, 0.1, 1))
    ax.set_title("At 2 bits a zero point is worth half a bit, at 4 nothing")
    values = {f"{way[0]} bits, {way[1]} a group{', zero point' * way[2]}": f"{kl:.2g}" for way, kl in kinds.values()}
    show(fig, "KL by bits a weight: the fewer the bits, the more a zero point gains.", values)


def loss_and_changes(runs: Mapping[str, tuple[float, float]]) -> None:
    """Rise of the loss beside changed predictions, both in percent, on one scale."""
    fig, ax = plt.subplots(figsize=(6, 2.2))
    for place, (rise, changed) in enumerate(runs.values()):
        for offset, value, color, words in (
            (-0.18, rise, QUIET, "rise of the loss"),
            (0.18, changed, LOUD, "predictions that change"),
        ):
            ax.barh(place + offset, value, height=0.32, color=color)
            ax.text(
                max(value, 0) + 0.15,
                place + offset,
                f"{value:.1f} %  {words if place == 2 else ''}",
                fontsize=8,
                va="center",
            )
    ax.set_yticks(range(len(runs)), list(runs))
    ax.set(
        xlabel="%",
        ylabel="both parts at",
        ylim=(len(runs) - 0.4, -0.6),
        xlim=(min(0, *(r for r, _ in runs.values())), 1.5 * max(c for _, c in runs.values())),
    )
    ax.grid(axis="y")
    ax.set_title("Predictions change far more than the loss rises")
    values = {name: f"loss {rise:+.1f} %, predictions {changed:.0f} %" for name, (rise, changed) in runs.items()}
    show(fig, "By bits, the loss rises little while many more of the predictions change.", values)


def moved(shares: Mapping[tuple[str, int], Sequence[float]]) -> None:
    """Tokens that go to another expert, by layer: rounded routers and rounded experts."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 2.9), sharey=True)
    for ax, part, color in zip(axes, ("routers", "routed experts"), (LOUD, HERO), strict=True):
        for (name, bits), values in shares.items():
            if name == part:
                ax.plot(
                    range(len(values)),
                    values,
                    marker=MARKS[bits],
                    color=color,
                    linewidth={8: 1, 4: 2.4, 3: 1.2}[bits],
                    linestyle="-",
                )
                ax.annotate(
                    f"{bits} bits",
                    (len(values) - 1, values[-1]),
                    (6, -3),
                    textcoords="offset points",
                    fontsize=8,
                    color=color,
                )
        ax.set(
            xlabel="layer",
            xlim=(-0.2, 3.9),
            xticks=range(4),
            title=f"rounded {'router' if part == 'routers' else 'experts'}",
        )
    axes[0].set(ylabel="tokens sent elsewhere, %", ylim=(-2, None))
    fig.suptitle("A rounded router moves tokens to other experts, first of all in layer 0")
    values = {f"{part} at {bits} bits": [f"{share:.0f} %" for share in row] for (part, bits), row in shares.items()}
    alt = "Share of tokens that go to another expert by layer, with a rounded router and with rounded experts."
    show(fig, alt, values)


def calibration(runs: Sequence[Mapping], plain: Mapping[str, float]) -> None:
    """KL after GPTQ by calibration tokens, every seed, for each damping; plain rounding as the null. One axes a width."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 3.2))
    colors = {0.01: LOUD, 0.1: GREEN, 1.0: HERO}
    for ax, bits in zip(axes, (2, 4), strict=True):
        ends = []
        for damping, color in colors.items():
            points = [(run["tokens"], run["kl"]) for run in runs if run["bits"] == bits and run["damping"] == damping]
            sizes = sorted({tokens for tokens, _ in points})
            means = [np.mean([kl for tokens, kl in points if tokens == size]) for size in sizes]
            ax.plot(*zip(*points, strict=True), "o", color=color, markersize=2.5, alpha=0.6)
            ax.plot(sizes, means, color=color, linestyle="-", linewidth=2)
            ends.append((f"{damping:g}", means[-1], color))
        ax.set(xscale="log", yscale="log", xlabel="calibration tokens", title=f"{bits} bits")
        ax.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        plain_ticks(ax, "x", sizes[::2], [f"{round(size / 1000)}k" for size in sizes[::2]])
        plain_ticks(ax, "y", *(((0.1, 0.15, 0.2, 0.3),) if bits == 2 else ((0.006, 0.008, 0.01, 0.012),)))
        label_ends(ax, ends, {"plain\nrounding": plain[str(bits)]})
    fig.supylabel("KL, nats a token")
    fig.suptitle("Too few tokens and little damping make GPTQ worse than no data")
    show(
        fig,
        "KL after calibration by tokens: with damping 0.01 it starts above plain rounding and falls, with 1 it is below from the start.",
    )


def worth(experts: Sequence[Mapping]) -> None:
    """KL of rounding one expert, by the share of tokens that it serves, colored by layer."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for layer, mark in zip(range(4), ("o", "s", "^", "D"), strict=True):
        points = [(100 * e["load"], e["kl"]) for e in experts if e["layer"] == layer]
        ax.plot(*zip(*points, strict=True), mark, color=PALETTE[layer], markersize=5, label=f"layer {layer}")
    ax.axvline(100 / 16, color=GRAY, linewidth=1, linestyle=":")
    ax.text(100 / 16, 0.0115, "even load ", fontsize=8, color=GRAY, ha="right")
    ax.set(xlabel="tokens that the expert serves, %", ylabel="KL, nats a token", ylim=(0, None))
    ax.legend(fontsize=8, loc="upper right")
    ax.set_title("What an expert costs depends on its load, and on more")
    show(fig, "Each of 64 experts as a point: the error of rounding it alone against its load.")


def eight_bits(errors: Mapping[str, float]) -> None:
    """KL of ways to spend eight bits."""
    fig, ax = plt.subplots(figsize=(6, 2.3))
    ax.barh(list(errors), list(errors.values()), color=[HERO, HERO, LOUD, QUIET])
    for place, value in enumerate(errors.values()):
        ax.text(value, place, f" {value:.6f}", fontsize=8, va="center")
    ax.set(xlabel="KL of the median token, nats", xlim=(0, 1.14 * max(errors.values())), ylim=(len(errors) - 0.4, -0.6))
    ax.set_xticks((0, 5e-5, 1e-4), ("0", "0.00005", "0.0001"))
    ax.grid(axis="y")
    ax.set_title("What eight bits cost, and what bfloat16 arithmetic costs")
    alt = "Bars of the error of three ways to use eight bits for experts, beside the floor of bfloat16 arithmetic."
    show(fig, alt, {name.replace("\n", " "): f"{value:.1g}" for name, value in errors.items()})


def apart(runs: Mapping[str, Mapping[int, tuple[float, float]]]) -> None:
    """Largest difference between two programs by length of the prompt."""
    fig, ax = plt.subplots(figsize=(6, 2.7))
    ends = []
    for (name, points), color in zip(runs.items(), (LOUD, HERO), strict=False):
        lengths = list(points)
        ax.plot(range(len(lengths)), [points[n][0] for n in lengths], "o-", color=color, linewidth=2.4)
        ends.append((name, points[lengths[-1]][0], color))
    ax.set(
        yscale="log", ylim=(1e-6, 100), xlabel="tokens in the prompt", ylabel="largest difference\nof a log-probability"
    )
    ax.set_xticks(range(len(lengths)), lengths)
    plain_ticks(ax, "y", (1e-6, 1e-4, 1e-2, 1, 100), ("10⁻⁶", "10⁻⁴", "0.01", "1", "100"))
    ax.set_title(
        "llama.cpp and transformers agree, until they don't"
        if len(runs) == 1
        else "8192 written into the program explains every token"
    )
    label_ends(ax, ends)
    values = {
        f"{name}, {length} tokens": "equal" if d < 1e-3 else f"differs, same token {same:.0%}"
        for name, points in runs.items()
        for length, (d, same) in points.items()
    }
    show(fig, "Difference of two programs by length of the prompt, none below the wall.", values)


def ceilings(speeds: Mapping[str, Mapping[str, float]]) -> None:
    """Tokens a second at most, by where the experts are read from."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    for row, (name, values) in enumerate(speeds.items()):
        places = np.arange(len(values)) + 0.38 * (row - 0.5)
        ax.barh(places, list(values.values()), height=0.34, color=(HERO, LOUD)[row])
        for place, value in zip(places, values.values(), strict=True):
            ax.text(value + 0.5, place, f"{value:.1f}  {name}", fontsize=8, va="center")
    ax.set_yticks(range(len(values)), list(values))
    ax.set(xlabel="tokens a second at most", ylabel="experts are in", ylim=(len(values) - 0.4, -0.6), xlim=(0, 70))
    ax.grid(axis="y")
    ax.set_title("The larger model is the faster one")
    show(
        fig,
        "Ceilings of speed by bus: Maverick reads half as many expert bytes a token as Scout and may be twice as fast.",
    )


def hit_rates(rates: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
    """Hit rate by the share of experts in memory: even routing, least recently used, and with foresight."""
    fig, axes = plt.subplots(1, 2, figsize=(6, 3.2), sharey=True)
    for ax, (name, points) in zip(axes, rates.items(), strict=True):
        shares = [100 * share for share in points]
        for place, color, style, wide in ((0, GRAY, ":", 1), (2, GREEN, "--", 1.6), (1, HERO, "-", 2.8)):
            ax.plot(
                shares,
                [values[place] for values in points.values()],
                color=color,
                linestyle=style,
                linewidth=wide,
                marker="o",
                markersize=3,
            )
        ax.set(xlabel="experts in memory, %", title=name, ylim=(0, 1), xlim=(0, 80))
        plain_ticks(ax, "x", (25, 50, 75))
    last = list(rates["maverick-proxy"].values())[-1]
    words = ("even, random", "least recently\nused", "knows the\nfuture")
    label_ends(axes[1], list(zip(words, last, (GRAY, HERO, GREEN), strict=True)))
    axes[0].set_ylabel("hit rate")
    fig.suptitle("Neighboring tokens share experts, so a small memory serves many")
    values = {
        f"{name}, {share:.0%} in memory": [f"{value:.2f}" for value in row]
        for name, points in rates.items()
        for share, row in points.items()
    }
    alt = "Hit rate by experts in memory: least recently used is above even random routing and below foresight."
    show(fig, alt, values)
