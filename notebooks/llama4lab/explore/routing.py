"""An explorer of routing: type a sentence, and see which expert takes each of its tokens."""

from html import escape

import ipywidgets as widgets
import torch
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from llama4lab.figures import color_token_paths, expert_color, show, text_color
from llama4lab.routing import Routing, record_routing

MOST_TOKENS = 256  # the length that the proxies were trained on; beyond it the picture would not fit either

STILL_TITLE = "Layer by layer, the expert of each token"


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

    A still of all layers is shown first. The routers run again when Enter is pressed or the field is left. Beyond 256
    tokens the text is cut.

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
    number_of_experts = routing.router_logits.shape[-1]
    show(
        color_token_paths(tokens, routing.chosen[:, 0].tolist(), routing.layers, number_of_experts, STILL_TITLE),
        "A sentence in tokens; below each token the expert that took it, layer by layer. The explorer shows one layer.",
    )
    field = widgets.Text(value=text, description="Text:", continuous_update=False)
    field.layout.width = "95%"
    layer = widgets.Dropdown(options=[(f"layer {n}", i) for i, n in enumerate(routing.layers)], description="Show:")
    picture = widgets.HTML()

    def draw() -> None:
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
