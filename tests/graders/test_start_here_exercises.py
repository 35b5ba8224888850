"""The graders of notebook 00 against right answers and a catalog of plausible wrong ones."""

import pytest
from transformers import AutoTokenizer

from llama4lab.checkpoints import MODELS, quiet_transformers
from llama4lab.graders import start_here
from llama4lab.grading import verdict
from llama4lab.parameters import build_on_meta, count_active, count_by_part, real_config


def untried(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", ["00.1", "00.2", "00.3"])
@pytest.mark.parametrize("stub", [..., untried])
def test_stubs_are_not_tried_yet(exercise, stub):
    if exercise == "00.1" and stub is untried:
        stub = ...  # this exercise asks for a number
    assert verdict(exercise, stub) == f"Exercise {exercise}: not tried yet."


def assert_verdict(exercise, answer, mistake):
    expected = f"Exercise {exercise}: correct." if mistake is None else f"Exercise {exercise}: not yet. "
    found = verdict(exercise, answer)
    assert found.startswith(expected)
    assert mistake is None or mistake in found


# ---- 00.1: share of two experts ----


def test_the_numbers_of_scout_are_those_of_its_configuration():
    scout = build_on_meta(real_config("scout"))
    parts = count_by_part(scout)
    assert (sum(parts.values()), count_active(scout)) == (start_here.TOTAL, start_here.ACTIVE)
    assert (parts["routed experts"], scout.config.text_config.num_local_experts) == (
        start_here.ROUTED_EXPERTS,
        start_here.EXPERTS,
    )


ONE_MORE = 17_172_894_720 + 96_636_764_160 / 16
WHOLE = 108_641_793_536


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        (ONE_MORE / WHOLE, None),
        (0.214, None),
        (21.4, "in percent"),
        (0.158, "share with one expert"),
        (2 * 17_172_894_720 / WHOLE, "counted twice"),
        (ONE_MORE / (WHOLE + 96_636_764_160 / 16), "The total grew"),
        ((ONE_MORE + 96_636_764_160 / 16) / WHOLE, "Three routed experts"),
        ((17_172_894_720 + 96_636_764_160) / WHOLE, "All routed experts"),
        (ONE_MORE, "divide it by the total"),
        (2 / 16, "It should be near 21%"),
        (0, "It should be near 21%"),
        (float("nan"), "It should be near 21%"),
        ("21.4 %", "of type str"),
        (True, "of type bool"),
    ],
)
def test_share(answer, mistake):
    assert_verdict("00.1", answer, mistake)


# ---- 00.2: the chat template ----


def header(role, ends="\n\n"):
    return f"<|header_start|>{role}<|header_end|>{ends}"


def turn(message, ends="\n\n"):
    return header(message["role"], ends) + message["content"] + "<|eot|>"


def right_chat(messages, ends="\n\n", begin="<|begin_of_text|>", last=None):
    last = header("assistant", ends) if last is None else last
    return begin + "".join(turn(message, ends) for message in messages) + last


def emptied(messages):
    text = right_chat(messages)
    messages.clear()
    return text


def unclosed(messages):
    return right_chat(messages).replace("<|eot|>", "", 1)


def wrong_brackets(messages):
    return right_chat(messages).replace("<|header_end|>", "<|end_header|>")


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        (right_chat, None),
        (lambda messages: right_chat(messages, begin=""), "<|begin_of_text|> is missing"),
        (
            lambda messages: "".join(right_chat([message], last="") for message in messages) + header("assistant"),
            "stands there 4 times",
        ),
        (lambda messages: right_chat(messages, last=""), "generation prompt is missing"),
        (lambda messages: right_chat(messages) + "<|eot|>", "leave its turn open"),
        (lambda messages: right_chat(messages, ends="\n"), "there are two"),
        (lambda messages: right_chat(messages, ends=""), "Nothing follows a header"),
        (unclosed, "3 turns are closed"),
        (wrong_brackets, "A header should be"),
        (lambda messages: right_chat(messages[::-1]), "out of order"),
        (lambda messages: right_chat([m | {"content": m["content"].upper()} for m in messages]), "changed"),
        (lambda messages: right_chat(messages) + " ", "differs from the template"),
        (lambda messages: right_chat(start_here.CONVERSATION), "right for one conversation only"),
        (emptied, "changes the messages"),
        (lambda messages: [turn(message) for message in messages], "It returned list"),
        (lambda messages: None, "It returned NoneType"),
        ("<|begin_of_text|>", "of type str"),
        (lambda messages: messages[0]["text"], "Your code raised KeyError"),
    ],
)
def test_template(answer, mistake):
    assert_verdict("00.2", answer, mistake)


def test_the_template_is_that_of_the_proxy():
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(MODELS / "scout-proxy")
    text = tokenizer.apply_chat_template(start_here.CONVERSATION, add_generation_prompt=True, tokenize=False)
    assert text == start_here.rendered(start_here.CONVERSATION) == right_chat(start_here.CONVERSATION)


# ---- 00.3: stop tokens ----


def cut(tokens, stop_tokens):
    for place, token in enumerate(tokens):
        if token in stop_tokens:
            return tokens[:place]
    return tokens[:]


def with_stop(tokens, stop_tokens):
    kept = cut(tokens, stop_tokens)
    return tokens[: len(kept) + 1]


def cut_in_place(tokens, stop_tokens):
    del tokens[len(cut(tokens, stop_tokens)) :]
    return tokens


def empty_without_stop(tokens, stop_tokens):
    found = cut(tokens, stop_tokens)
    return found if len(found) < len(tokens) else []


def looks_from_the_second(tokens, stop_tokens):
    return tokens[:1] + cut(tokens[1:], stop_tokens)


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        (cut, None),
        (lambda tokens, stops: tuple(cut(tokens, stops)), None),
        (with_stop, "The stop token is still there"),
        (lambda tokens, stops: cut(tokens, stops[:1]), "Another stop token comes first"),
        (lambda tokens, stops: cut(tokens, stops[1:2]), "Another stop token comes first"),
        (lambda tokens, stops: [t for t in tokens if t not in stops], "what follows the first of them"),
        (lambda tokens, stops: tokens[:-1], "Only the last token was cut"),
        (lambda tokens, stops: cut(tokens, stops[:0]), "Another stop token comes first"),
        (lambda tokens, stops: tokens[:1], "it returned [528]"),
        (cut_in_place, "changes the list"),
        (empty_without_stop, "Without a stop token"),
        (looks_from_the_second, "the answer is empty"),
        (lambda tokens, stops: cut(tokens, [2049, 2055, 2056]), "for these stop tokens only"),
        (lambda tokens, stops: None, "It returned None"),
        ([528, 1786, 13], "of type list"),
        (lambda tokens, stops: tokens.index(stops), "Your code raised ValueError"),
    ],
)
def test_cut(answer, mistake):
    assert_verdict("00.3", answer, mistake)
