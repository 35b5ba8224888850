"""An explorer of context: sliders for tokens, precision and GPUs, above weights and cache packed into their memory."""

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from transformers import Llama4TextConfig

from llama4lab.explore.page import NO_SCRIPT, Pairs, choice, fixed, publish_explorer, slider
from llama4lab.explore.still import show_still
from llama4lab.figures import PALETTE

CHUNK = 8192  # tokens; the context is chosen in chunks, so that a slider's own number says something
WAYS = ("cached everywhere", "chunk-aware")
WEIGHTS, CACHE, FRAME = PALETTE[4], PALETTE[5], "#333333"
STILLS = {
    "128 k, 4 GPUs": {"chunks": 16, "gpus": 4},
    "10 M, 8 GPUs": {"chunks": 1280, "gpus": 8},
    "10 M, cache in 8 bits": {"chunks": 1280, "gpus": 8, "cache_bits": 8},
}


def context_settings(
    kv_bytes: Callable[..., int],
    texts: Mapping[str, Llama4TextConfig],
    parameters: Mapping[str, int],
    gpus: Mapping[str, float],
    free: float = 0.1,
) -> dict:
    """The numbers from which the explorer computes, and its controls; arguments as for `explore_context`."""
    models = {}
    for name, text in texts.items():
        # From one chunk on the cache grows by as much for each token: [bytes a token, bytes beside that], one byte a number.
        one, two = ([kv_bytes(text, chunks * CHUNK, 1, 1, aware) for aware in (False, True)] for chunks in (1, 2))
        growth = [(more - less) // CHUNK for less, more in zip(one, two, strict=True)]
        models[name] = {
            "parameters": parameters[name],
            "cache": [[a_token, size - a_token * CHUNK] for a_token, size in zip(growth, one, strict=True)],
            "declared": text.max_position_embeddings,
        }
    return {
        "models": models,
        "chunk": CHUNK,
        "free": free,
        "colors": [WEIGHTS, CACHE, FRAME],
        "controls": [
            choice("model", "Model", list(texts), next(iter(texts))),
            slider("chunks", f"Context, in chunks of {CHUNK} tokens", 1, 1280, 16),
            slider("batch", "Sequences at once", 1, 64, 1),
            slider("weight_bits", "Bits of a weight", 2, 16, 16),
            slider("cache_bits", "Bits of a number in the cache", 2, 16, 16),
            slider("gpus", "GPUs", 1, 16, 8),
            choice("size", "of", [(f"{size:g} GB ({name})", size) for name, size in gpus.items()], min(gpus.values())),
        ],
    }


def memory_of(settings: Mapping, state: Mapping) -> tuple[float, list[float], float]:
    """Bytes of the weights, of the cache in both `WAYS`, and of the memory that may be used."""
    model = settings["models"][state["model"]]
    tokens = state["chunks"] * settings["chunk"]
    caches = [
        (a_token * tokens + beside) * state["batch"] * state["cache_bits"] / 8 for a_token, beside in model["cache"]
    ]
    usable = state["gpus"] * state["size"] * 1e9 * (1 - settings["free"])
    return model["parameters"] * state["weight_bits"] / 8, caches, usable


def context_pairs(settings: Mapping, state: Mapping) -> Pairs:
    """What the explorer says of one state: tokens, weights, cache in both ways, memory, and whether they fit."""
    weights, caches, usable = memory_of(settings, state)
    tokens, declared = state["chunks"] * settings["chunk"], settings["models"][state["model"]]["declared"]
    pairs = [
        ("tokens of context", f"{tokens:,}" + ("" if tokens <= declared else f"; declared for {declared:,} at most")),
        ("weights", f"{fixed(weights / 1e9, 1)} GB"),
    ]
    pairs += [(f"KV cache, {way}", f"{fixed(cache / 1e9, 1)} GB") for way, cache in zip(WAYS, caches, strict=True)]
    pairs.append((f"memory, {100 * settings['free']:.0f} % kept free", f"{fixed(usable / 1e9, 1)} GB"))
    for way, cache in zip(WAYS, caches, strict=True):
        left = usable - weights - cache
        much = fixed(abs(left) / 1e9, 1)
        pairs.append((way, f"fits, {much} GB to spare" if left >= 0 else f"does not fit: {much} GB too much"))
    return pairs


def explore_context(
    kv_bytes: Callable[..., int],
    texts: Mapping[str, Llama4TextConfig],
    parameters: Mapping[str, int],
    gpus: Mapping[str, float],
    free: float = 0.1,
) -> None:
    """Three states as a picture, then sliders of context, precision and GPUs above what follows from them.

    Args:
        kv_bytes: called as (text configuration, tokens, bytes a number, batch, chunk_aware), returns bytes.
        texts: text configurations by name of the model, with chunks of `CHUNK` tokens.
        parameters: number of parameters by name of the model.
        gpus: gigabytes of memory by name of the GPU.
        free: the share of memory that is kept for activations.
    """
    settings = context_settings(kv_bytes, texts, parameters, gpus, free)
    start = {control["name"]: control["value"] for control in settings["controls"]}

    def drawer(state: Mapping) -> Callable[[Axes], list[str]]:
        def draw(ax: Axes) -> list[str]:
            weights, caches, usable = memory_of(settings, state)
            ax.barh(WAYS, weights / 1e9, color=WEIGHTS, edgecolor=FRAME)
            ax.barh(WAYS, [cache / 1e9 for cache in caches], left=weights / 1e9, color=CACHE, edgecolor=FRAME)
            ax.axvline(usable / 1e9, color="black", linewidth=1.8)
            ax.invert_yaxis()
            ax.set(xlabel=f"GB; line: {usable / 1e9:.0f} usable", xlim=(0, 2400), xticks=(0, 1000, 2000))
            ax.tick_params(axis="y", labelleft=ax.get_subplotspec().is_first_col())
            pairs = dict(context_pairs(settings, state))
            return [f"{way}: {pairs[way]}" for way in WAYS]

        return draw

    show_still(
        {title: drawer(start | changes) for title, changes in STILLS.items()},
        "Three states of the explorer: bars of weights and cache against a line at the usable memory. Ten million tokens "
        "do not fit on eight GPUs of 80 GB, chunk-aware or not; with the cache in 8 bits the chunk-aware one fits.",
        counts="whether it fits",
        height=1.9,
    )
    publish_explorer("context", settings, f"<p>{NO_SCRIPT}</p>", NO_SCRIPT)
