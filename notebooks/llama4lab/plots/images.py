"""Pictures of 13: what a picture costs, how it is cut, where its tokens are, and what a model makes of them."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from llama4lab.figures import PALETTE, show, text_color
from llama4lab.plots.marks import GRAY

LOUD, HERO = PALETTE[1], PALETTE[0]
CUT = {"color": LOUD, "linewidth": 1.8, "linestyle": "--"}


def staircase(sides: Sequence[int], tokens: Sequence[int], guess: Sequence[float], tile: int) -> None:
    """Tokens of square pictures by their side in pixels, beside a guess from their area."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    ax.plot(sides, guess, "--", color=GRAY)
    ax.step(sides, tokens, where="post", color=HERO, linewidth=2.4)
    ax.set(xlabel="side of a square picture (pixels)", ylabel="tokens", ylim=(0, 3300), xlim=(0, max(sides)))
    ax.set_xticks(range(0, max(sides), tile))
    ax.text(520, 900, "what you pay", color=HERO, ha="right", fontsize=9)
    ax.text(1090, 1080, "a guess from the area", color=GRAY, fontsize=9)
    ax.set_title("One pixel past a tile, and you pay for a whole row of tiles")
    show(
        fig,
        "Tokens of a square picture by its side: a staircase with steps after 336, 672 and 1008 pixels that ends at "
        "2467; a guess from the area grows smoothly and crosses it.",
    )


def cut_picture(picture: np.ndarray, tiles: Sequence[np.ndarray], grid: tuple[int, int], tile: int) -> None:
    """A picture with its cut lines, its tiles in their places, and the global tile, which is the last of `tiles`.

    grid: rows and columns of tiles. tile: pixels of the picture from one cut to the next.
    """
    rows, columns = grid
    fig, (whole, cut, shrunk) = plt.subplots(1, 3, figsize=(6, 2.2), width_ratios=(80, 100, 48))
    whole.imshow(picture)
    for place in range(1, columns):
        whole.axvline(place * tile - 0.5, **CUT)
    for place in range(1, rows):
        whole.axhline(place * tile - 0.5, **CUT)
    whole.set_title(f"{picture.shape[1]} × {picture.shape[0]} pixels", fontsize=9)
    step = 1.06 * tile
    for place, pixels in enumerate(tiles[:-1]):
        row, column = divmod(place, columns)
        cut.imshow(pixels, extent=(column * step, column * step + tile, row * step + tile, row * step))
    cut.set(xlim=(-1, columns * step), ylim=(rows * step, -1))
    cut.set_title(f"{rows} × {columns} tiles of {tile}", fontsize=9)
    shrunk.imshow(tiles[-1])
    shrunk.set_title("global tile", fontsize=9)
    for ax in (whole, cut, shrunk):
        ax.set_axis_off()
    show(
        fig,
        "A picture of four shapes with dashed cut lines; its tiles in their places, with black padding at the right and "
        "below; and the global tile, in which the whole picture is squeezed into a square.",
    )


def strip(kinds: Sequence[str], title: str) -> None:
    """The tokens of a prompt as one colored strip, `kinds` naming what each token is; a run of one kind is one box."""
    colors = {"text": "#f2f2f2", "mark": "#777777", "global tile": PALETTE[4]}
    runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
    fig, ax = plt.subplots(figsize=(6, 1.35))
    at = 0
    for kind, count in runs:
        color = colors.get(kind, LOUD)
        ax.add_patch(Rectangle((at, 0), count, 1, facecolor=color, edgecolor="white", linewidth=0.8))
        if kind != "mark":
            words = kind.replace(" ", "\n")
            ax.text(at + count / 2, 0.5, words, ha="center", va="center", fontsize=8, color=text_color(color))
            ax.text(at + count / 2, -0.22, str(count), ha="center", va="center", fontsize=8, color="#444444")
        at += count
    ax.set(xlim=(0, at), ylim=(-0.45, 1))
    ax.set_axis_off()
    ax.set_title(title)
    show(
        fig,
        "The tokens of a prompt as a strip: text, then each tile's patch tokens with one mark after each, the global "
        "tile, and the question.",
        {"runs": [f"{kind} {count}" for kind, count in runs]},
    )


def scores_by_place(scores: Mapping[str, np.ndarray]) -> None:
    """Scores `[side, side]` of one patch's query with the same vector at every patch, a panel for each querying patch."""
    fig, axes = plt.subplots(1, len(scores), figsize=(6, 2.7), sharey=True)
    for ax, (name, values) in zip(axes, scores.items(), strict=True):
        drawn = ax.imshow(values, vmin=min(v.min() for v in scores.values()), vmax=values.max())
        row, column = np.unravel_index(values.argmax(), values.shape)
        ax.plot(column, row, "o", color="white", markeredgecolor="black", markersize=7)
        ax.set(title=name, xlabel="column of the key", xticks=range(0, 8, 2), yticks=range(0, 8, 2))
    axes[0].set_ylabel("row of the key")
    fig.colorbar(drawn, ax=axes, label="score", shrink=0.85)
    show(
        fig,
        "Scores of one vector with itself at every place: the same landscape, moved with the patch that asks, and "
        "falling differently along rows and columns.",
    )


def as_shown(pictures: Mapping[str, np.ndarray]) -> None:
    """Pictures `[side, side, 3]`, 0 to 1, side by side with their names."""
    fig, axes = plt.subplots(1, len(pictures), figsize=(6, 1.8))
    for ax, (name, pixels) in zip(axes, pictures.items(), strict=True):
        ax.imshow(pixels)
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    show(fig, "One picture four times: as it is, pale, with red and blue exchanged, and turned over its diagonal.")


def mistakes(shares: Mapping[str, Mapping[str, float]], chance: Mapping[str, float]) -> None:
    """Share of right answers for each mistake, a dot for each kind of question, with the chance of each kind."""
    fig, ax = plt.subplots(figsize=(6, 2.9))
    styles = {kind: style for kind, style in zip(chance, ((HERO, "o"), (LOUD, "s")), strict=True)}
    for row, by_kind in enumerate(shares.values()):
        ax.plot(sorted(by_kind.values()), [row] * len(by_kind), "-", color="#cccccc", linewidth=1, zorder=1)
        for kind, share in by_kind.items():
            color, marker = styles[kind]
            ax.plot([share], [row], marker, color=color, markersize=8 if marker == "o" else 6)
    for kind, value in chance.items():
        ax.axvline(value, color=styles[kind][0], linewidth=1, linestyle=":")
        ax.text(value, -0.85, f" chance,\n {kind}", color=styles[kind][0], fontsize=7.5, va="bottom", ha="left")
    ax.set_yticks(range(len(shares)), list(shares))
    ax.set(xlim=(0, 1.03), ylim=(len(shares) - 0.4, -0.9), ylabel="encoder")
    ax.set_xlabel("share of right answers (● color, ■ shape)")
    ax.set_title("Of five mistakes, one leaves no trace in the answers", pad=20)
    show(
        fig,
        "Share of right answers about color and shape for the right encoder and five wrong ones, with the chance of each.",
        {name: [f"{kind} {share:.2f}" for kind, share in by_kind.items()] for name, by_kind in shares.items()},
    )


def rates(shares: Mapping[str, Mapping[str, float]], chance: Mapping[str, float], title: str) -> None:
    """Share of right answers by kind of question, a panel for each way to show pictures, with a tick at chance."""
    fig, axes = plt.subplots(1, len(shares), figsize=(6, 2.7), sharey=True)
    for ax, (name, by_kind) in zip(axes, shares.items(), strict=True):
        ax.bar(range(len(by_kind)), by_kind.values(), color=[HERO if kind != "position" else LOUD for kind in by_kind])
        for place, (kind, share) in enumerate(by_kind.items()):
            ax.plot([place - 0.4, place + 0.4], [chance[kind]] * 2, "-", color="black", linewidth=1.6)
            hidden = chance[kind] - 0.12 < share < chance[kind]  # the line of chance would run through the number
            ax.text(place, (chance[kind] if hidden else share) + 0.02, f"{100 * share:.0f}", ha="center", fontsize=7.5)
        ax.set_xticks(range(len(by_kind)), list(by_kind), rotation=60, fontsize=8)
        ax.set_title(name, fontsize=9)
        ax.set(ylim=(0, 1.12), yticks=(0, 0.5, 1))
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("share of right answers")
    fig.supxlabel("kind of question (numbers: percent; black: chance)")
    fig.suptitle(title, x=0.01, ha="left")
    show(
        fig,
        f"{title}: share of right answers by kind of question for {', '.join(shares)}, with the chance of each kind.",
        {name: [f"{kind} {share:.2f}" for kind, share in by_kind.items()] for name, by_kind in shares.items()},
    )


def attention(pictures: Sequence[np.ndarray], maps: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Attention over a picture's tokens, `[side, side]` each, as brightness over the picture, a panel for each question."""
    fig, axes = plt.subplots(1, len(maps), figsize=(6, 1.9))
    for ax, picture, weights, name in zip(axes, pictures, maps, names, strict=True):
        step = picture.shape[0] / weights.shape[0]
        light = np.kron(weights / weights.max(), np.ones((int(step), int(step))))[..., None]
        ax.imshow(picture * (0.3 + 0.7 * light))
        ax.set_title(f"“{name}?”", fontsize=9)
        ax.set_axis_off()
    show(
        fig,
        "One picture four times, lit where attention looks: each time the corner that the question asks for.",
        {name: np.round(weights / weights.sum(), 2).tolist() for name, weights in zip(names, maps, strict=True)},
    )


def losses(values: Sequence[float], kinds: Sequence[str]) -> None:
    """Loss of each token of one conversation, in order, in the color of its kind: text, patch, answer or pad."""
    colors = {"text": GRAY, "patch": PALETTE[4], "answer": HERO, "pad": LOUD}
    fig, ax = plt.subplots(figsize=(6, 2.6))
    ax.bar(range(len(values)), values, color=[colors[kind] for kind in kinds])
    top, at = 1.2 * max(values), 0
    for kind, run in groupby(kinds):
        count = len(list(run))
        if kind != "text" and count > 1:
            ax.axvspan(at - 0.5, at + count - 0.5, color=colors[kind], alpha=0.18, linewidth=0, gid="decoration")
            ax.text(at + count / 2 - 0.5, top * 0.91, kind, ha="center", fontsize=8)
        at += count
    ax.set(xlabel="token of the conversation (not shaded: template and questions)", ylabel="loss (nats)", ylim=(0, top))
    ax.set_xlim(-1, len(values))
    ax.grid(axis="x", visible=False)
    ax.set_title("Nothing is left out: pads tower over everything")
    show(
        fig,
        "Loss of each token of a conversation about a picture: near zero for patches and answers, very high for pads.",
    )
