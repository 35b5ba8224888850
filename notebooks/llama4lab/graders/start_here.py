"""Graders of notebook 00: active share, the chat template by hand, stop tokens."""

import math
from collections.abc import Callable
from itertools import pairwise

from llama4lab.grading import grader

# Scout's parameters, as section 6 of notebook 00 and notebook 11 compute them.
TOTAL = 108_641_793_536
ACTIVE = 17_172_894_720
ROUTED_EXPERTS = 96_636_764_160
EXPERTS = 16
SHARE = (ACTIVE + ROUTED_EXPERTS / EXPERTS) / TOTAL


@grader(1)
def grade_share(answer: object) -> str | None:
    """The share of Scout's parameters that a token uses if it is sent to two routed experts."""
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return f"The answer is of type {type(answer).__name__}; give a number between 0 and 1."

    def near(value: float) -> bool:
        return math.isclose(answer, value, rel_tol=5e-3)

    if near(SHARE):
        return None
    if near(100 * SHARE):
        return "That is the share in percent; give a number between 0 and 1."
    if near(ACTIVE / TOTAL):
        return "That is the share with one expert; a second one adds a sixteenth of the routed experts."
    if near(2 * ACTIVE / TOTAL):
        return "Everything is counted twice; only the routed expert doubles, attention and the rest stay as they are."
    if near((ACTIVE + ROUTED_EXPERTS / EXPERTS) / (TOTAL + ROUTED_EXPERTS / EXPERTS)):
        return "The total grew as well; all 16 experts were in it before, so it stays as it is."
    if near((ACTIVE + 2 * ROUTED_EXPERTS / EXPERTS) / TOTAL):
        return "Three routed experts are counted; the active parameters hold one of the two already."
    if near((ACTIVE + ROUTED_EXPERTS) / TOTAL):
        return "All routed experts are added; add one sixteenth of them."
    if near(ACTIVE + ROUTED_EXPERTS / EXPERTS):
        return "That is the number of parameters; divide it by the total."
    return f"It should be near {SHARE:.0%}: active parameters plus one more routed expert a layer, by the total."


def header(role: str) -> str:
    return f"<|header_start|>{role}<|header_end|>\n\n"


def rendered(messages: list[dict[str, str]]) -> str:
    """What the chat template makes of messages with plain text, generation prompt included."""
    turns = [header(message["role"]) + message["content"] + "<|eot|>" for message in messages]
    return "<|begin_of_text|>" + "".join(turns) + header("assistant")


CONVERSATION = [
    {"role": "system", "content": "The key is red."},
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hello! How can I help you?"},
    {"role": "user", "content": "What color is the key?"},
]


@grader(2)
def grade_template(answer: Callable) -> str | None:
    """render_chat(messages) -> the rendered conversation with its generation prompt."""
    if not callable(answer):
        return f"The answer is of type {type(answer).__name__}; give the function."
    messages = [dict(message) for message in CONVERSATION]
    found, wanted = answer(messages), rendered(CONVERSATION)
    if messages != CONVERSATION:
        return "It changes the messages that it was given; leave them as they are."
    if not isinstance(found, str):
        return f"It returned {type(found).__name__}; return a string."
    if found == wanted:
        alone = [{"role": "user", "content": "What is 2 + 3?"}]
        return None if answer(alone) == rendered(alone) else "It is right for one conversation only."
    begins = found.count("<|begin_of_text|>")
    if begins == 0:
        return "<|begin_of_text|> is missing; it opens the conversation."
    if begins > 1:
        return f"<|begin_of_text|> stands there {begins} times; it opens the conversation once."
    if found == wanted.removesuffix(header("assistant")):
        return "The generation prompt is missing: end with the header of the assistant."
    if found == wanted + "<|eot|>":
        return "The last header is closed by <|eot|>; the assistant has yet to speak, so leave its turn open."
    if "\n\n" not in found and found.replace("\n", "\n\n") == wanted:
        return "One line end follows a header; there are two."
    if "\n" not in found and found == wanted.replace("\n\n", ""):
        return "Nothing follows a header; there are two line ends."
    if found.count("<|eot|>") < len(CONVERSATION):
        return f"{found.count('<|eot|>')} turns are closed by <|eot|>; there are {len(CONVERSATION)}, one a message."
    if any(header(role) not in found for role in ("system", "user", "assistant")):
        return "A header should be <|header_start|>, the role, <|header_end|> and two line ends."
    places = [found.find(message["content"]) for message in CONVERSATION]
    if -1 in places or any(first > second for first, second in pairwise(places)):
        return "Some content is missing, changed or out of order; keep each message as it is."
    same = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
    )
    return f"It differs from the template at character {same}: {found[same : same + 20]!r}, not {wanted[same : same + 20]!r}."


@grader(3)
def grade_cut(answer: Callable) -> str | None:
    """cut_at_stop(tokens, stop_tokens) -> the tokens before the first stop token."""
    if not callable(answer):
        return f"The answer is of type {type(answer).__name__}; give the function."
    stops = [2049, 2055, 2056]
    tokens = [528, 1786, 13, 2056, 7, 2055, 8, 2049, 9]
    given = list(tokens)
    found = answer(given, list(stops))
    if given != tokens:
        return "It changes the list that it was given; build a new one."
    if found is None:
        return "It returned None; return the list of tokens."
    found = list(found)
    if found == tokens[:4]:
        return "The stop token is still there; leave it out."
    if found == tokens[:-1]:
        return "Only the last token was cut; stop at the first token that is a stop token."
    if found == [token for token in tokens if token not in stops]:
        return "The stop tokens are taken out, but what follows the first of them is still there."
    if found in (tokens[:5], tokens[:7], tokens):
        return "Another stop token comes first; whichever of them comes first ends the answer."
    if found != tokens[:3]:
        return f"For {tokens} and stop tokens {stops} it returned {found}, not {tokens[:3]}."
    if list(answer([5, 6, 7], stops) or []) != [5, 6, 7]:
        return "Without a stop token the whole list should come back."
    if list(answer([2049, 5, 2056], stops)) != []:
        return "When the first token is a stop token, the answer is empty."
    if list(answer([5, 6, 9, 7], [9])) != [5, 6]:
        return "It is right for these stop tokens only; use the ones that it is given."
    return None
