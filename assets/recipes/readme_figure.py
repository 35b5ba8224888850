"""Draw the figure that opens README.md:  python assets/recipes/readme_figure.py

A sentence's tokens, colored by the expert of scout-proxy that took them. The picture carries its routing as text,
so that tests can tell when the model has changed and the picture has not.
"""

import sys

from matplotlib.figure import Figure

from llama4lab.assets import ASSETS
from llama4lab.checkpoints import load_checkpoint
from llama4lab.errors import CourseError
from llama4lab.explore import token_texts
from llama4lab.figures import color_tokens, use_style
from llama4lab.figures.publish import png
from llama4lab.routing import record_routing

PICTURE = ASSETS / "figures" / "routing_sentence.png"
SENTENCE = (
    "Each token of this sentence is sent to one of 16 experts, and the next token may be sent to another: "
    "for i in range(10): print(i * i)  # 3 + 4 = 7"
)
LAYER = 1  # the second of the proxy's four layers


def route_sentence(sentence: str = SENTENCE) -> tuple[list[str], list[int]]:
    """The sentence's tokens as text, and the expert that took each in LAYER; `<|begin_of_text|>` is left out.

    Raises:
        CourseError: scout-proxy cannot be loaded.
    """
    processor, model = load_checkpoint("scout-proxy")
    ids = processor.tokenizer(sentence, return_tensors="pt").input_ids  # [1, seq]
    chosen = record_routing(model, ids).chosen[LAYER, 0]  # [seq]
    return token_texts(processor.tokenizer, ids[0])[1:], chosen.tolist()[1:]


def draw(tokens: list[str], experts: list[int]) -> Figure:
    """The figure of `tokens` and the experts that took them."""
    use_style()
    return color_tokens(tokens, experts, title="Which of 16 experts took each token (second layer of scout-proxy)")


def routing_as_text(tokens: list[str], experts: list[int]) -> str:
    """One line a token: the token as Python writes it, a space, its expert."""
    return "\n".join(f"{token!a} {expert}" for token, expert in zip(tokens, experts, strict=True))


def main() -> int:
    """Write PICTURE; return the exit code."""
    try:
        tokens, experts = route_sentence()
    except CourseError as problem:
        print(problem, file=sys.stderr)
        return 1
    PICTURE.write_bytes(png(draw(tokens, experts), Description=routing_as_text(tokens, experts)))
    print(f"assets/figures/{PICTURE.name}: {len(tokens)} tokens, {len(set(experts))} experts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
