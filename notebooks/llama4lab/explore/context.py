"""An explorer of context: choose model, tokens, sequences and formats, see cache, weights and machines that hold both."""

from collections.abc import Callable, Mapping

from transformers import Llama4TextConfig

from llama4lab.explore.page import Pairs, choice, fixed, publish_table_explorer

CONTEXTS = tuple(1024 * 2**power for power in range(13)) + (10_485_760,)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
NUMBERS = (("bfloat16", 2), ("8 bits", 1), ("float32", 4))
WAYS = ("cached everywhere", "chunk-aware")


def context_settings(
    kv_bytes: Callable[..., int],
    texts: Mapping[str, Llama4TextConfig],
    weight_bytes: Mapping[str, Callable[[float], float]],
    formats: Mapping[str, float],
    machines: Mapping[str, float],
    free: float = 0.1,
) -> dict:
    """The numbers from which the explorer computes, and its controls; arguments as for `explore_context`."""
    first = next(iter(texts))
    return {
        # bytes of the cache of one sequence with one byte a number: [everywhere, chunk-aware] by model and tokens
        "cache": {
            name: {str(tokens): [kv_bytes(text, tokens, 1, 1, aware) for aware in (False, True)] for tokens in CONTEXTS}
            for name, text in texts.items()
        },
        "weights": {name: {label: count(formats[label]) for label in formats} for name, count in weight_bytes.items()},
        "longest": {name: text.max_position_embeddings for name, text in texts.items()},
        "machines": list(machines.items()),
        "free": free,
        "controls": [
            choice("model", "Model", list(texts), first),
            choice("tokens", "Context, in tokens", [(f"{tokens:,}", tokens) for tokens in CONTEXTS], 131_072),
            choice("batch", "Sequences", BATCHES, 1),
            choice("format", "Weights", list(formats), next(iter(formats))),
            choice("number", "Cache", NUMBERS, 2),
        ],
    }


def context_pairs(settings: Mapping, model: str, tokens: int, batch: int, format: str, number: int) -> Pairs:
    """What the explorer shows of one state: cache, cache with weights, and machines, for both ways of caching."""
    caches = [size * batch * number for size in settings["cache"][model][str(tokens)]]
    both = [size + settings["weights"][model][format] for size in caches]
    pairs = [(f"KV cache, {way}", f"{fixed(size / 2**30, 2)} GiB") for way, size in zip(WAYS, caches, strict=True)]
    pairs += [(f"with the weights, {way}", f"{fixed(size / 1e9, 1)} GB") for way, size in zip(WAYS, both, strict=True)]
    for way, size in zip(WAYS, both, strict=True):
        usable = ((name, memory * 1e9 * (1 - settings["free"])) for name, memory in settings["machines"])
        holding = ", ".join(name for name, memory in usable if size <= memory)
        label = f"machines with {100 * settings['free']:.0f} % to spare, {way}"
        pairs.append((label, holding or "none of these"))
    longest = settings["longest"][model]
    return [*pairs, ("declared for", f"{longest:,} tokens at most" + ("" if tokens <= longest else ": too long"))]


def explore_context(
    kv_bytes: Callable[..., int],
    texts: Mapping[str, Llama4TextConfig],
    weight_bytes: Mapping[str, Callable[[float], float]],
    formats: Mapping[str, float],
    machines: Mapping[str, float],
    free: float = 0.1,
) -> None:
    """Choices of model, context, sequences and formats above cache, weights and machines.

    Args:
        kv_bytes: called as (text configuration, tokens, bytes a number, batch, chunk_aware), returns bytes.
        texts: text configurations by name of the model.
        weight_bytes: by name of the model, what returns the bytes of its weights from bytes a parameter.
        formats: bytes a parameter by name of the format of the weights.
        machines: gigabytes of memory by name of the machine.
        free: the share of each machine's memory that is kept for activations.
    """
    settings = context_settings(kv_bytes, texts, weight_bytes, formats, machines, free)
    model, format = next(iter(texts)), next(iter(formats))
    states = {
        f"{model}, {tokens:,} tokens, {format}": context_pairs(settings, model, tokens, 1, format, 2)
        for tokens in (8192, 131_072, 10_485_760)
    }
    publish_table_explorer("context", settings, states)
