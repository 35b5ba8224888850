"""Explorers of routing: which expert takes each token of a sentence, and which tokens an expert takes."""

from html import escape

import ipywidgets as widgets
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from llama4lab.figures import expert_color, text_color
from llama4lab.routing import Routing, record_routing

MOST_TOKENS = 256  # the length that the proxies were trained on; beyond it the picture would not fit either


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: torch.Tensor) -> list[str]:
    """Each token of `ids` `[seq]` as text of its own; a part of a character shows as a replacement mark."""
    return [tokenizer.decode([token]) for token in ids.tolist()]


def routing_html(tokens: list[str], experts: list[int], number_of_experts: int) -> str:
    """Tokens as colored spans, each with the number of its expert below; safe to show as HTML."""
    spans = []
    for token, expert in zip(tokens, experts, strict=True):
        color = expert_color(expert, number_of_experts)
        shown = escape(token).replace(" ", "&middot;").replace("\n", "&#8629;")
        spans.append(
            f'<span style="display:inline-block;margin:2px 1px;padding:0 4px;border-radius:3px;text-align:center;'
            f'font-family:monospace;background:{color};color:{text_color(color)}">'
            f'{shown}<br><span style="font-size:75%">{expert}</span></span>'
        )
    return "".join(spans)


def explore_routing(
    processor: ProcessorMixin | PreTrainedTokenizerBase,
    model: torch.nn.Module,
    text: str = "A router sees one token at a time.",
) -> widgets.VBox:
    """A text field and a choice of layer above the text's tokens, colored by the expert that took each.

    The routers run again when Enter is pressed or the field is left. Beyond 256 tokens the text is cut.

    Raises:
        CourseError: the model has no Llama 4 router.
    """
    tokenizer = getattr(processor, "tokenizer", processor)

    def route(typed: str) -> tuple[list[str], Routing, bool]:
        ids = tokenizer(typed, return_tensors="pt").input_ids.to(model.device)
        routing = record_routing(model, ids[:, :MOST_TOKENS])
        return token_texts(tokenizer, ids[0, :MOST_TOKENS]), routing, ids.shape[1] > MOST_TOKENS

    # A change of layer does not run the model again.
    tokens, routing, is_cut = route(text)
    field = widgets.Text(value=text, description="Text:", continuous_update=False)
    field.layout.width = "95%"
    layer = widgets.Dropdown(options=[(f"layer {n}", i) for i, n in enumerate(routing.layers)], description="Show:")
    picture = widgets.HTML()

    def draw() -> None:
        number_of_experts = routing.router_logits.shape[-1]
        experts = routing.chosen[layer.value, 0].tolist()
        note = f"<p>Only the first {MOST_TOKENS} tokens are shown.</p>" if is_cut else ""
        picture.value = (
            f"<p>Tokens: {len(tokens)}. Experts used: {len(set(experts))} of {number_of_experts}.</p>"
            + routing_html(tokens, experts, number_of_experts)
            + note
        )

    def on_text(change: dict) -> None:
        nonlocal tokens, routing, is_cut
        tokens, routing, is_cut = route(change["new"])
        draw()

    field.observe(on_text, names="value")
    layer.observe(lambda change: draw(), names="value")
    draw()
    return widgets.VBox([field, layer, picture])


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

    Args:
        texts: domain -> token ids `[texts, seq]`.
        layers: numbers of the layers with experts.
        chosen: the expert of each token, `[layers, tokens]`, in the order of `texts`.
        experts: how many experts a layer has.
    """
    ids = torch.cat(list(texts.values()))  # [texts, seq]
    domain_of_text = np.repeat(list(texts), [len(rows) for rows in texts.values()])
    layer = widgets.Dropdown(options=[(f"layer {n}", place) for place, n in enumerate(layers)], description="Show:")
    expert = widgets.BoundedIntText(value=0, min=0, max=experts - 1, description="Expert:")
    picture = widgets.HTML()

    def draw() -> None:
        taken = torch.from_numpy(chosen[layer.value] == expert.value).view(ids.shape)
        loads = []
        for name in texts:
            share = taken[torch.from_numpy(domain_of_text == name)].float().mean().item()
            loads.append(f"{escape(name)} {experts * share:.2f}")
        found, times = ids[taken].unique(return_counts=True)
        most = times.argsort(descending=True, stable=True)[:12]
        tokens = ", ".join(
            f"{escape(repr(tokenizer.decode([token])))}&nbsp;{n}"
            for token, n in zip(found[most].tolist(), times[most].tolist(), strict=True)
        )
        lines = "".join(f"<li>{escape(line)}</li>" for line in in_context(tokenizer, ids, taken, count=16))
        picture.value = (
            f"<p>Even shares: {', '.join(loads)}.</p><p>Most frequent of {len(found)} tokens: {tokens}</p>"
            f'<ol style="font-family:monospace">{lines}</ol>'
        )

    layer.observe(lambda change: draw(), names="value")
    expert.observe(lambda change: draw(), names="value")
    draw()
    return widgets.VBox([layer, expert, picture])
