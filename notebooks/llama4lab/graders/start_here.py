"""Graders of notebook 00: active share, the chat template by hand, stop tokens, words from a stream."""

import re
from collections.abc import Iterable
from functools import partial
from itertools import accumulate, pairwise

from llama4lab.grading import Exercise, Sign

EXERCISES = {}

# ---- 1: the share of Scout's parameters that a token uses if it is sent to two routed experts ----

# As section 5 of notebook 00 and notebook 11 compute them.
TOTAL = 108_641_793_536
ACTIVE = 17_172_894_720
ROUTED_EXPERTS = 96_636_764_160
VISION = 871_932_416
ONE_EXPERT = ROUTED_EXPERTS / 16  # one in each layer

EXERCISES[1] = Exercise(
    right=(ACTIVE + ONE_EXPERT) / TOTAL,
    tolerance=5e-3,
    mistakes={
        "That is the right share, rounded too far; give three digits.": [0.21, 0.2],
        "That is the share in percent; give a number between 0 and 1.": 100 * (ACTIVE + ONE_EXPERT) / TOTAL,
        "That is the share with one expert; a second one adds a sixteenth of the routed experts.": ACTIVE / TOTAL,
        "Everything is counted twice; only the routed expert doubles, attention and the rest stay as they are.": (
            2 * ACTIVE / TOTAL
        ),
        "The total grew as well; all 16 experts were in it before, so it stays as it is.": (
            (ACTIVE + ONE_EXPERT) / (TOTAL + ONE_EXPERT)
        ),
        "Three routed experts are counted; the active parameters hold one of the two already.": (
            (ACTIVE + 2 * ONE_EXPERT) / TOTAL
        ),
        "The total lacks the vision part; no token of text uses it, but it is a part of Scout.": (
            (ACTIVE + ONE_EXPERT) / (TOTAL - VISION)
        ),
        "All routed experts are added; add one sixteenth of them.": (ACTIVE + ROUTED_EXPERTS) / TOTAL,
        "That is the number of parameters; divide it by the total.": ACTIVE + ONE_EXPERT,
        "Two of 16 experts are not an eighth of Scout: attention and the rest are used whole.": 2 / 16,
    },
    otherwise="It should be near 21%: active parameters plus one more routed expert a layer, by the total.",
)

# ---- 2: the conversation as the chat template renders it ----


def header(role, ends="\n\n"):
    return f"<|header_start|>{role}<|header_end|>{ends}"


def render_chat(messages, begin="<|begin_of_text|>", ends="\n\n", last="assistant"):
    turns = [header(message["role"], ends) + message["content"] + "<|eot|>" for message in messages]
    return begin + "".join(turns) + (header(last, ends) if last else "")


def changes_contents(result, right, arguments):
    places = [result.find(message["content"]) for message in arguments[0]]
    return -1 in places or places != sorted(places)


CONVERSATION = [
    {"role": "system", "content": "The key is red."},
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hello! How can I help you?"},
    {"role": "user", "content": "What color is the key?"},
]

EXERCISES[2] = Exercise(
    right=render_chat,
    cases=[(CONVERSATION,), ([{"role": "user", "content": "What is 2 + 3?"}],)],
    mistakes={
        "The generation prompt is missing: end with the header of the assistant.": partial(render_chat, last=None),
        "The last header is closed by <|eot|>; the assistant has yet to speak, so leave its turn open.": (
            lambda messages: render_chat(messages) + "<|eot|>"
        ),
        "One line end follows a header; there are two.": partial(render_chat, ends="\n"),
        "Nothing follows a header; there are two line ends.": partial(render_chat, ends=""),
        "<|begin_of_text|> is missing; it opens the conversation.": Sign(
            lambda result, right, _: "<|begin_of_text|>" not in result, partial(render_chat, begin="")
        ),
        "<|begin_of_text|> opens each message; it opens the conversation once.": Sign(
            lambda result, right, _: result.count("<|begin_of_text|>") > 1,
            lambda messages: "".join(render_chat([m], last=None) for m in messages) + header("assistant"),
        ),
        "Some turn is not closed: <|eot|> ends each message.": Sign(
            lambda result, right, _: result.count("<|eot|>") < right.count("<|eot|>"),
            lambda messages: render_chat(messages).replace("<|eot|>", "", 1),
        ),
        "A header should be <|header_start|>, the role, <|header_end|> and two line ends.": Sign(
            lambda result, right, _: any(one not in result for one in re.findall(r"<\|header_start.*?\n\n", right)),
            lambda messages: render_chat(messages).replace("<|header_end|>", "<|end_header|>"),
        ),
        "Some content is missing, changed or out of order; keep each message as it is.": Sign(
            changes_contents,
            [
                lambda messages: render_chat(messages[::-1]),
                lambda messages: render_chat([m | {"content": m["content"].upper()} for m in messages]),
            ],
        ),
    },
)

# ---- 3: the tokens before the first stop token ----


def cut_at_stop(tokens, stop_tokens, keep=0):
    for place, token in enumerate(tokens):
        if token in stop_tokens:
            return tokens[: place + keep]
    return tokens[:]


STOPS = [2049, 2055, 2056]

EXERCISES[3] = Exercise(
    right=cut_at_stop,
    cases=[
        ([528, 1786, 13, 2055, 7, 2056, 8, 2049, 9], STOPS),
        ([5, 6, 7], STOPS),
        ([2049, 5, 2056], STOPS),
        ([5, 6, 9, 7], [9]),
    ],
    mistakes={
        "The stop token is still there; leave it out.": partial(cut_at_stop, keep=1),
        "Only the last token was cut; stop at the first token that is a stop token.": lambda tokens, stops: tokens[:-1],
        "The stop tokens are taken out, but what follows the first of them is still there.": (
            lambda tokens, stops: [token for token in tokens if token not in stops]
        ),
        "Another stop token comes first; whichever of them comes first ends the answer.": [
            lambda tokens, stops: cut_at_stop(tokens, stops[:1]),
            lambda tokens, stops: cut_at_stop(tokens, stops[-1:]),
            lambda tokens, stops: cut_at_stop(tokens, stops[1:2]),
            lambda tokens, stops: tokens[:],
        ],
        "Without a stop token the whole list should come back.": (
            lambda tokens, stops: cut_at_stop(tokens, stops) if set(tokens) & set(stops) else []
        ),
        "When the first token is a stop token, the answer is empty.": (
            lambda tokens, stops: tokens[:1] + cut_at_stop(tokens[1:], stops)
        ),
        "It is right for these stop tokens only; use the ones that it is given.": (
            lambda tokens, stops: cut_at_stop(tokens, STOPS)
        ),
        "It keeps the first token only.": lambda tokens, stops: tokens[:1],
    },
)

# ---- 4: whole words as soon as they are certain, from a stream of tokens ----


def words_as_they_come(tokens, decode, with_space_after=False, with_the_last=True):
    arrived, sent = [], 0
    for token in tokens:
        arrived.append(token)
        text = decode(arrived)
        whole = text.rfind(" ") + with_space_after
        if whole > sent:
            yield text[sent:whole]
            sent = whole
    if arrived and with_the_last:
        yield text[sent:]


def decode_english(tokens):
    pieces = (b"Hu", b"go", b" lives", b" in", b" L", b"is", b"bon", b".", b" Os", b"lo")
    return b"".join(pieces[token] for token in tokens).decode()


def decode_french(tokens):
    """Characters of two bytes are cut in two, as a tokenizer of bytes may cut them."""
    pieces = (b"Caf", b"\xc3", b"\xa9", b" ", b"\xc3\xa0", b" Gen", b"\xa8", b"ve", b" !")
    return b"".join(pieces[token] for token in tokens).decode(errors="replace")


def words_that_leave(answer, tokens, decode):
    """Each piece with the number of tokens that had arrived when it left."""
    arrived = 0

    def stream():
        nonlocal arrived
        for token in tokens:
            arrived += 1
            yield token

    pieces = answer(stream(), decode)
    return [[arrived, piece] for piece in pieces] if isinstance(pieces, Iterable) else pieces


def words_at_the_end(tokens, decode):
    yield from words_as_they_come(decode(list(tokens)), "".join)


def piece_for_each_token(tokens, decode):
    arrived = []
    for token in tokens:
        sent = len(decode(arrived))
        arrived.append(token)
        yield decode(arrived)[sent:]


def words_of_single_tokens(tokens, decode):
    yield from words_as_they_come((decode([token]) for token in tokens), "".join)


def words_and_an_empty_one(tokens, decode):
    arrived = False
    for word in words_as_they_come(tokens, decode):
        arrived = True
        yield word
    if not arrived:
        yield ""


EXERCISES[4] = Exercise(
    right=words_as_they_come,
    run=words_that_leave,
    returns="a generator of texts",
    cases=[
        ([0, 1, 2, 3, 4, 5, 6, 7], decode_english),
        ([8, 9, 7], decode_english),
        ([0, 1, 2, 3, 4, 5, 1, 6, 7, 8], decode_french),
        ([0, 1, 2, 3, 1, 2, 5, 1, 6, 7], decode_french),
        ([], decode_french),
    ],
    mistakes={
        "It waits for the last token; give a word as soon as the next one begins.": words_at_the_end,
        "It gives a piece for each token; hold a piece back until its word is whole.": [
            piece_for_each_token,
            lambda tokens, decode: (decode([token]) for token in tokens),
        ],
        "Each token is decoded alone, which breaks a character whose bytes come in two tokens.": words_of_single_tokens,
        "The last word is missing; no token follows it, so give it when the stream ends.": [
            lambda tokens, decode: (word for word, _ in pairwise(words_as_they_come(tokens, decode))),
            partial(words_as_they_come, with_the_last=False),
        ],
        "Where no token comes, there is no piece to give, not even an empty one.": words_and_an_empty_one,
        "Each piece repeats the text before it; give only what is new.": (
            lambda tokens, decode: accumulate(words_as_they_come(tokens, decode))
        ),
        "The space is at the end of the word before it; it belongs to the word after it.": partial(
            words_as_they_come, with_space_after=True
        ),
        "The spaces are lost; all pieces joined are the text.": (
            lambda tokens, decode: (word.strip() for word in words_as_they_come(tokens, decode))
        ),
    },
    otherwise="A word leaves with the space before it when the next space arrives, and the last one when the stream ends.",
)
