"""An explorer of context: choose model, tokens, batch and formats, see cache, weights and the machines that hold them."""

from collections.abc import Callable, Mapping

import ipywidgets as widgets
from transformers import Llama4TextConfig

CONTEXTS = tuple(1024 * 2**power for power in range(13)) + (10_485_760,)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
NUMBERS = (("bfloat16", 2), ("8 bits", 1), ("float32", 4))


def explore_context(
    kv_bytes: Callable[..., int],
    texts: Mapping[str, Llama4TextConfig],
    weight_bytes: Mapping[str, Callable[[float], float]],
    formats: Mapping[str, float],
    machines: Mapping[str, float],
    free: float = 0.1,
) -> widgets.VBox:
    """Choices of model, context, sequences and formats above cache, weights and machines.

    Args:
        kv_bytes: called as (text configuration, tokens, bytes a number, batch, chunk_aware), returns bytes.
        texts: text configurations by name of the model.
        weight_bytes: by name of the model, what returns the bytes of its weights from bytes a parameter.
        formats: bytes a parameter by name of the format of the weights.
        machines: gigabytes of memory by name of the machine.
        free: the share of each machine's memory that is kept for activations.
    """
    model = widgets.Dropdown(options=list(texts), description="Model:")
    tokens = widgets.SelectionSlider(
        options=[(f"{count:,}", count) for count in CONTEXTS], value=131_072, description="Context:"
    )
    batch = widgets.SelectionSlider(options=BATCHES, value=1, description="Sequences:")
    weights = widgets.Dropdown(options=list(formats), description="Weights:")
    numbers = widgets.Dropdown(options=NUMBERS, description="Cache:")
    result = widgets.HTML()

    def draw() -> None:
        of_weights = weight_bytes[model.value](formats[weights.value])
        rows = [("", "cached everywhere", "chunk-aware")]
        sizes = [
            kv_bytes(texts[model.value], tokens.value, numbers.value, batch.value, aware) for aware in (False, True)
        ]
        rows.append(("KV cache", *(f"{size / 2**30:,.2f} GiB" for size in sizes)))
        rows.append(("with the weights", *(f"{(size + of_weights) / 1e9:,.1f} GB" for size in sizes)))
        holding = [
            ", ".join(name for name, memory in machines.items() if size + of_weights <= (1 - free) * memory * 1e9)
            for size in sizes
        ]
        rows.append((f"held, with {free:.0%} kept free, by", *(names or "none of these" for names in holding)))
        longest = texts[model.value].max_position_embeddings
        note = "" if tokens.value <= longest else f"<p>{model.value} is declared for {longest:,} tokens at most.</p>"
        cells = "".join(
            "<tr>" + "".join(f"<td style='padding-right:1em'>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        result.value = f"<table>{cells}</table>{note}"

    for choice in (model, tokens, batch, weights, numbers):
        choice.observe(lambda change: draw(), names="value")
    draw()
    return widgets.VBox([model, tokens, batch, weights, numbers, result])
