"""Pictures of 05: four traps, what routers know about tokens and topics, and what an expert is missed for."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import TwoSlopeNorm

from llama4lab.figures import PALETTE, color_token_paths, show, text_color
from llama4lab.plots.marks import label_ends, plain_ticks
from llama4lab.routing import Routing

GRAY, LOUD = "#767676", PALETTE[1]
ABOUT = {"T": "About the token", "D": "About the topic", "D|T": "About the topic,\nbeyond the token"}
COLORS = {"T": PALETTE[0], "D": LOUD, "D|T": PALETTE[4]}


def sentence_paths(tokens: Sequence[str], routing: Routing, experts: int) -> None:
    """The expert that took each token of one sentence, in four layers at most."""
    layers = routing.layers
    places = sorted({round(n) for n in np.linspace(0, len(layers) - 1, 4)})
    paths, numbers = routing.chosen[places, 0].tolist(), [layers[n] for n in places]
    fig = color_token_paths(tokens, paths, numbers, experts, "The expert that took each token, by layer")
    show(fig, "The sentence's tokens, each above a column with the expert that took it in each layer.")


def luck(sizes: Sequence[int], about_token: Sequence[float], about_domain: Sequence[float]) -> None:
    """Bits that a router of dice seems to know, by the number of tokens counted."""
    fig, ax = plt.subplots()
    ax.plot(sizes, about_domain, marker="o", linestyle="-", color=GRAY)
    ax.plot(sizes, about_token, marker="o", color=LOUD, linewidth=2.4)
    ax.set(xscale="log", xlabel="tokens counted", ylabel="bits that dice seem to know", ylim=(-0.12, 3))
    ax.set_title("Trap one: dice seem to know the token")
    plain_ticks(ax, "x", sizes, [f"{size:,}" for size in sizes])
    ends = [("token, I(E;T)", about_token[-1], LOUD), ("domain, I(E;D)", about_domain[-1] + 0.05, GRAY)]
    label_ends(ax, ends, {"the truth: 0": 0})
    show(fig, "Bits that a router of dice seems to know: with few tokens almost three about the token, and never zero.")


def favorites(groups: Sequence[str], shares: Mapping[str, Sequence[float]]) -> None:
    """Share of a token that its favorite expert takes, in %, by how often the token was seen; dice come last."""
    fig, ax = plt.subplots()
    for (_, values), color in zip(shares.items(), (PALETTE[0], PALETTE[2], LOUD), strict=True):
        ax.plot(groups, [100 * value for value in values], marker="o", linestyle="-", color=color)
    ax.set(xlabel="times that a token occurs", ylabel="% that go to its favorite expert", ylim=(0, 105))
    ax.set_title("Trap two: seen once, every token is a specialist")
    colors = (PALETTE[0], PALETTE[2], LOUD)
    label_ends(ax, [(name, 100 * v[-1], color) for (name, v), color in zip(shares.items(), colors, strict=True)])
    show(fig, "A token seen once sends all of itself to one expert, under dice as under trained routers.")


def word_lists(about_domain: Sequence[float], shuffled: float) -> None:
    """I(E;D) of routers that know words only, a dot each, beside what shuffling all tokens leaves."""
    fig, ax = plt.subplots(figsize=(6, 1.7))
    heights = np.linspace(-0.25, 0.25, len(about_domain))
    ax.scatter(about_domain, heights, color=LOUD, s=22)
    ax.axvline(shuffled, color=GRAY, linewidth=1.6)
    ax.text(shuffled, 0.42, "  shuffled among all tokens", fontsize=8, va="center", color="#444444")
    ax.text(np.mean(about_domain), 0.42, "routers that know words only", fontsize=8, ha="center", va="center")
    ax.set(xlabel="I(E;D), bits", xlim=(-0.005, None), ylim=(-0.4, 0.55), yticks=[])
    ax.set_title("Trap three: no idea of topics, and yet bits about them")
    show(fig, "Each router that knows words only has many times the bits about the domain that a shuffle leaves.")


def nulls(layers: Sequence[int], bits: Mapping[str, Sequence[float]]) -> None:
    """I(E;D) of each layer and of its nulls, `bits` by name; the layers' own come last."""
    fig, ax = plt.subplots(figsize=(6, 2.6))
    for (name, values), color, marker in zip(bits.items(), (GRAY, LOUD, PALETTE[0]), "so^", strict=True):
        ax.scatter(values, layers, color=color, marker=marker, s=34, zorder=3)
        row, va = (layers[-1] + 0.3, "top") if marker == "s" else (layers[0] - 0.3, "bottom")
        ax.text(values[0 if va == "bottom" else -1], row, name, fontsize=8, ha="left", va=va, color="#333333")
    ax.set_yticks(layers)
    ax.set(xlabel="I(E;D), bits", ylabel="layer", xlim=(-0.03, None), ylim=(max(layers) + 0.9, min(layers) - 0.9))
    ax.set_title("Trap four: whole texts have more luck than tokens")
    show(
        fig,
        "For each layer, bits about the domain: the null by texts is many times that by tokens, the layer above both.",
    )


def neighbors(near: Mapping[str, float], any_two: Mapping[str, float], published: Mapping[str, float]) -> None:
    """How often neighbors share an expert, in units of chance, with any two tokens of a text beside it, by domain."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    names = [*near, *published]
    rows = {name: row for row, name in enumerate(names)}
    for name, value in near.items():
        ax.plot([any_two[name], value], [rows[name]] * 2, color="#bbbbbb", linestyle="-", linewidth=2, zorder=1)
    ax.scatter(any_two.values(), [rows[name] for name in near], marker="|", s=110, color="black")
    ax.scatter(near.values(), [rows[name] for name in near], s=40, color=LOUD)
    ax.scatter(published.values(), [rows[name] for name in published], s=40, color=GRAY)
    ax.axvline(1, color=GRAY, linewidth=1, linestyle=":")
    ax.text(1, -0.75, "dice ", fontsize=8, ha="right", color="#444444")
    first = names[0]
    ax.text(any_two[first], -0.45, "any two tokens", fontsize=8, ha="center", color="#333333")
    ax.text(near[first] + 0.06, -0.45, "neighbors", fontsize=8, color="#a04600")
    ax.set_yticks(range(len(names)), names)
    ax.set(
        xlabel="share that have one expert, in units of chance",
        ylabel="text",
        xlim=(0, None),
        ylim=(len(names) - 0.5, -1),
    )
    ax.set_title("Neighbors share an expert more often than chance")
    show(
        fig,
        "Neighbors and any two tokens of a text that share an expert, in units of chance, by domain; Mixtral in gray.",
    )


def known_bits(layers: Sequence[int], entropy: Sequence[float], bits: Mapping[str, Sequence[float]]) -> None:
    """Bits above the null by layer, `bits` by key of `ABOUT`, each in a bar as long as the layer's entropy."""
    fig, ax = plt.subplots(figsize=(6, 3.6))
    offsets = {"T": -0.26, "D": 0.0, "D|T": 0.26}
    words = {"T": "the token tells", "D": "the topic tells", "D|T": "the topic adds to the token"}
    for row, whole in enumerate(entropy):
        for key, offset in offsets.items():
            known = bits[key][row]
            ax.barh(row + offset, whole, height=0.24, color="#f2f2f2", edgecolor="#bbbbbb", linewidth=0.6)
            ax.barh(row + offset, known, height=0.24, color=COLORS[key])
            ax.text(known, row + offset, f"  {words[key]} {known:.2f}", fontsize=8, va="center")
    ax.set_yticks(range(len(layers)), layers)
    ax.invert_yaxis()
    ax.grid(False)
    ax.set(xlabel="bits above the null, of those there are to know about the expert", ylabel="layer")
    ax.set_title("Token before topic")
    show(
        fig, "For each layer a long bar of bits about the token, short ones about the topic alone and beyond the token."
    )


def guesses(right: Mapping[str, Sequence[float]], chance: float) -> None:
    """Right guesses in %, a value a layer, by what the guesser was told."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    for row, (clue, shares) in enumerate(right.items()):
        ax.plot([min(shares), max(shares)], [row, row], color="#bbbbbb", linestyle="-", linewidth=2, zorder=1)
        ax.scatter(shares, [row] * len(shares), s=40, color=LOUD if "token" in clue else GRAY)
    ax.axvline(chance, color=GRAY, linewidth=1, linestyle=":")
    ax.text(chance, len(right) - 0.55, " dice", fontsize=8, va="center", color="#444444")
    ax.set_yticks(range(len(right)), list(right))
    ax.set(xlabel="right guesses of the expert, %, a dot for each layer", ylabel="told", xlim=(0, None))
    ax.set_ylim(len(right) - 0.3, -0.7)
    ax.set_title("Told the topic, you are mostly wrong")
    show(
        fig,
        "Right guesses by what the guesser is told: with the domain alone few, with the token about half, with both more.",
    )


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
    fig, axes = plt.subplots(len(loads), 1, figsize=(6, 1.8 * len(loads) + 0.6), sharex=True)
    for (layer, load), ax in zip(loads.items(), np.atleast_1d(axes), strict=True):
        image = ax.imshow(load, norm=TwoSlopeNorm(1, 0, 4), cmap="PuOr_r", aspect="auto")
        for row, column in np.argwhere(load >= 2.5):
            ink = text_color(image.cmap(image.norm(load[row, column])))
            ax.text(column, row, f"{load[row, column]:.1f}", ha="center", va="center", fontsize=7, color=ink)
        ax.set_title(f"Layer {layer}", fontsize=9)
        ax.set_yticks(range(len(domains)), domains, fontsize=8)
    fig.supylabel("domain", fontsize=9)
    ax.set_xticks(range(load.shape[1]))
    ax.set_xlabel("expert")
    bar = fig.colorbar(image, ax=axes, label="even shares (white: an even share)", shrink=0.6, extend="max")
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
    for column in columns:
        for expert in {used[column], missed[column]}:
            dot = column + spread[expert], cost[expert, column]
            ax.annotate(str(expert), dot, (0, 5), textcoords="offset points", fontsize=8, ha="center")
    ax.axhline(0, color="#666666", linewidth=1, linestyle=":")
    ax.set_xticks(columns, domains)
    ax.set(
        xlabel="domain (numbers: the expert most missed and the one most used)",
        ylabel="rise of the loss, nats",
        title="Few experts are missed, and not always the most used",
    )
    ax.set_ylim(top=1.12 * cost.max())
    ax.legend(loc="upper right")
    show(
        fig,
        "Rise of the loss by domain for each removed expert: a dot each, the most used one framed, the mean as a line.",
    )
