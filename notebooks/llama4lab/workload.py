"""What a forward pass of transformers takes beside the weights: KV cache, masks, and tensors in between, in bytes."""

from dataclasses import dataclass

from llama4lab.errors import CourseError


@dataclass(frozen=True)
class Workload:
    """What the model is to do: text, sequences of equal length. Pictures and padding need more.

    Attributes:
        tokens: length of a sequence, prompt and answer together.
        batch: sequences at a time.
        piece: tokens of the prompt read in one forward pass (`prefill_chunk_size` of `generate`); None: the whole prompt.
    """

    tokens: int
    batch: int = 1
    piece: int | None = None

    def __post_init__(self):
        for name, value in (("tokens", self.tokens), ("batch", self.batch), ("piece", self.piece)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise CourseError(f"A workload needs a whole number of {name}, 1 or more, not {value!r}.")

    @property
    def step(self) -> int:
        """Tokens of one sequence in the largest forward pass."""
        return min(self.piece or self.tokens, self.tokens)


def cache_bytes_of_layer(text, layer_type: str, work: Workload, bytes_per_number: int) -> int:
    """Bytes of keys and values that transformers' cache holds in one layer once all tokens are read.

    A global layer keeps every token. A chunked one keeps the last piece that was read and chunk - 1 tokens before it:
    the cache shows only chunk - 1, but as a slice, which keeps the memory of the whole (notebook 10).
    """
    kept = work.tokens
    if layer_type == "chunked_attention":
        kept = min(work.tokens, text.attention_chunk_size - 1 + work.step)
    return 2 * work.batch * kept * text.num_key_value_heads * text.head_dim * bytes_per_number


def all_experts_bytes(text, work: Workload, bytes_per_number: int) -> int:
    """Bytes of the tensors that one MoE block of transformers 5.23 holds at its peak: every expert runs on every token.

    Per expert and token: the scaled input (hidden), gate and up (2 x width), the activated gate (width), its product
    with up (width); or, a moment later, the output in place of the activated gate.
    """
    hidden, width = text.hidden_size, text.intermediate_size
    per_token = max(hidden + 4 * width, 2 * hidden + 3 * width)
    return text.num_local_experts * work.batch * work.step * per_token * bytes_per_number


def mask_bytes(text, work: Workload) -> tuple[int, int]:
    """Bytes of the boolean masks of a forward pass, both kinds together, and number of entries of the larger one.

    None for a prompt in one piece within one chunk; the chunked one beyond; both for a later piece of several tokens.
    """
    in_chunked = min(work.tokens, text.attention_chunk_size - 1 + work.step)
    if work.step == work.tokens:
        keys = [work.tokens] if work.tokens > text.attention_chunk_size else []
    else:
        keys = [in_chunked, work.tokens] if work.step > 1 else []
    return work.batch * work.step * sum(keys), work.batch * work.step * max(keys, default=0)


def temporary_bytes(text, work: Workload, bytes_per_number: int) -> int:
    """Bytes that a forward pass of transformers 5.23 takes at its peak, beside weights and cache.

    The masks, which stay through the pass, and the largest of: an MoE block; attention under a mask, which turns it into
    numbers and copies keys and values for all query heads; a layer's keys, copied when a cache grows. Queries, the
    residual stream and the logits of the last token are left out: together a few vectors a token.
    """
    masks, largest_mask = mask_bytes(text, work)
    keys = work.batch * work.tokens * text.head_dim
    attention = largest_mask + 2 * keys * text.num_attention_heads if masks else 0
    grown = keys * text.num_key_value_heads if work.step < work.tokens else 0
    return masks + max(all_experts_bytes(text, work, bytes_per_number), max(attention, grown) * bytes_per_number)
