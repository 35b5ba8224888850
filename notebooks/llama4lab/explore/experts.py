"""An explorer of experts: choose one, and see its load by domain, its most frequent tokens, and where it took them."""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from transformers import PreTrainedTokenizerBase

from llama4lab.explore.still import show_still
from llama4lab.figures.style import PALETTE


def in_context(
    tokenizer: PreTrainedTokenizerBase, ids: torch.Tensor, taken: torch.Tensor, count: int = 8, around: int = 6
) -> list[str]:
    """Lines that show tokens in brackets, with `around` tokens of their text on each side.

    Args:
        ids: token ids `[texts, seq]`.
        taken: True where a token is to be shown, `[texts, seq]`.
        count: at most so many places, spread evenly over all that are taken.
    """
    places = taken.nonzero()
    if not len(places):
        return []
    picked = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int))
    lines = []
    for text, place in places[torch.from_numpy(picked)].tolist():
        row = ids[text]
        start = max(0, place - around)
        parts = (row[start:place], row[place : place + 1], row[place + 1 : place + 1 + around])
        before, token, after = (tokenizer.decode(part.tolist()) for part in parts)
        lines.append(f"{before}[{token}]{after}".replace("\n", "\u21b5"))
    return lines


def explore_experts(
    tokenizer: PreTrainedTokenizerBase,
    texts: dict[str, torch.Tensor],
    layers: list[int],
    chosen: np.ndarray,
    experts: int,
) -> widgets.VBox:
    """Choose a layer and an expert: its load by domain, its most frequent tokens, and places where it took one.

    A still of the first three experts of the first layer is shown first.

    Args:
        texts: domain -> token ids `[texts, seq]`.
        layers: numbers of the layers with experts.
        chosen: the expert of each token, `[layers, tokens]`, in the order of `texts`.
        experts: how many experts a layer has.
    """
    ids = torch.cat(list(texts.values()))  # [texts, seq]
    domain_of_text = np.repeat(list(texts), [len(rows) for rows in texts.values()])

    def taken_by(place: int, number: int) -> torch.Tensor:
        return torch.from_numpy(chosen[place] == number).view(ids.shape)  # [texts, seq]

    def loads_of(taken: torch.Tensor) -> dict[str, float]:
        rows = {name: torch.from_numpy(domain_of_text == name) for name in texts}
        return {name: experts * taken[rows[name]].float().mean().item() for name in texts}

    def frequent(taken: torch.Tensor, most: int) -> tuple[list[tuple[str, int]], int]:
        kinds, times = ids[taken].unique(return_counts=True)
        order = times.argsort(descending=True, stable=True)[:most]
        pairs = zip(kinds[order].tolist(), times[order].tolist(), strict=True)
        return [(repr(tokenizer.decode([token])), count) for token, count in pairs], len(kinds)

    def drawer(number: int) -> Callable[[Axes], list]:
        def draw(ax: Axes) -> list:
            taken = taken_by(0, number)
            loads = loads_of(taken)
            ax.barh(list(loads), list(loads.values()), color=PALETTE[0])
            ax.axvline(1, color="black", linestyle=":", linewidth=1)
            ax.invert_yaxis()
            ax.tick_params(left=False, labelleft=number == 0)
            most = [token for token, _ in frequent(taken, 3)[0]]
            ax.set_xlabel("load (1 = even)\nmost often:\n" + "\n".join(most), fontsize=8)
            return [*(f"{name} {load:.2f}" for name, load in loads.items()), *most]

        return draw

    show_still(
        {f"layer {layers[0]}, expert {number}": drawer(number) for number in range(3)},
        "Three experts: how much of each domain they take, and the tokens that they take most often.",
        counts="load by domain and most frequent tokens",
        height=3.0,
    )
    layer = widgets.Dropdown(options=[(f"layer {n}", place) for place, n in enumerate(layers)], description="Show:")
    expert = widgets.BoundedIntText(value=0, min=0, max=experts - 1, description="Expert:")
    picture = widgets.HTML()

    def draw() -> None:
        taken = taken_by(layer.value, expert.value)
        loads = ", ".join(f"{escape(name)} {load:.2f}" for name, load in loads_of(taken).items())
        most, kinds = frequent(taken, 12)
        tokens = ", ".join(f"{escape(token)}&nbsp;{count}" for token, count in most)
        lines = "".join(f"<li>{escape(line)}</li>" for line in in_context(tokenizer, ids, taken, count=16))
        picture.value = (
            f"<p>Even shares: {loads}.</p><p>Most frequent of {kinds} tokens: {tokens}</p>"
            f'<ol style="font-family:monospace">{lines}</ol>'
        )

    layer.observe(lambda change: draw(), names="value")
    expert.observe(lambda change: draw(), names="value")
    draw()
    return widgets.VBox([layer, expert, picture])
