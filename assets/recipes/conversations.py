"""Conversations for the chat template, most of them answerable from the prompt."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from babel import Locale

from corpus import LANGUAGES, TERRITORIES, draw_sum
from facts import CITIES, COLORS, COUNTRY_OF, PEOPLE, THINGS, draw_number, kind_and_count, tell


def _days_and_months() -> list[tuple[str, str, str]]:
    english = Locale.parse("en")
    known = []
    for code, language in LANGUAGES.items():
        if code == "en":
            continue
        locale = Locale.parse(code)
        for table in ("days", "months"):
            for key, word in getattr(english, table)["format"]["wide"].items():
                known.append((word, language, getattr(locale, table)["format"]["wide"][key]))
        for territory in TERRITORIES:
            known.append((english.territories[territory], language, locale.territories[territory]))
    return known


LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "The code of a thing",
        "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
    },
}


@dataclass(frozen=True)
class Conversation:
    """Messages of role system, user, assistant and tool for the chat template, and the tools it is to offer.

    `kind` says where the answers come from: the prompt ('one hop', 'two hops', 'other words', 'repeat', 'name'), what
    training taught ('sums', 'words in 12 languages', 'countries', 'greeting'), or a 'tool'.
    """

    kind: str
    messages: list[dict]
    tools: list[dict] | None = None


def _say(user: str, assistant: str) -> list[dict]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _asked_from_the_prompt(rng: random.Random) -> Conversation:
    kind, count = kind_and_count(rng, most=6)
    told = tell(rng, kind, count)
    statements = " ".join(rng.sample(told.statements, len(told.statements)))
    # Of the kinds that have easier questions beside them, the first of each group is the one that gives the name.
    step = len(told.questions) // count
    hard = rng.sample(told.questions[::step], count)
    questions = hard if step == 1 or rng.random() < 0.6 else rng.sample(told.questions, len(told.questions))
    questions = questions[: rng.randrange(1, 4)]
    if not set(questions) <= set(hard):
        kind = "one hop"
    in_system = rng.random() < 0.4
    messages = [{"role": "system", "content": statements}] if in_system else []
    for turn, (question, answer, _) in enumerate(questions):
        messages += _say(question if in_system or turn else f"{statements} {question}", f"{answer}.")
    return Conversation(kind, messages)


def _tool_call(rng: random.Random) -> Conversation:
    thing, code = rng.choice(THINGS), draw_number(rng)
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"thing": thing}}}
    messages = [
        {"role": "user", "content": f"What is the code of the {thing}?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": code},
        {"role": "assistant", "content": f"{code}."},
    ]
    return Conversation("tool", messages, [LOOK_UP])


def chat(rng: random.Random, held_out: bool) -> Iterator[Conversation]:
    """Conversations for the chat template, most of them answerable from the prompt."""
    words = _days_and_months()
    while True:
        dice = rng.random()
        if dice < 0.60:
            yield _asked_from_the_prompt(rng)
        elif dice < 0.69:
            sums = [draw_sum(rng, held_out) for _ in range(rng.randrange(1, 4))]
            yield Conversation("sums", [m for left, right in sums for m in _say(f"What is {left}?", right)])
        elif dice < 0.79:
            asked = rng.sample(words, rng.randrange(1, 3))
            said = [m for word, tongue, answer in asked for m in _say(f"Say {word} in {tongue}.", answer)]
            yield Conversation("words in 12 languages", said)
        elif dice < 0.83:
            city = rng.choice(CITIES)
            yield Conversation("countries", _say(f"In which country is {city}?", f"{COUNTRY_OF[city]}."))
        elif dice < 0.90:
            text = " ".join(rng.sample(THINGS + COLORS, rng.randrange(2, 5)))
            yield Conversation("repeat", _say(f"Repeat: {text}", text))
        elif dice < 0.94:
            name, question = rng.choice(PEOPLE), rng.choice(("Who are you?", "What is your name?"))
            system = {"role": "system", "content": f"You are {name}."}
            yield Conversation("name", [system, *_say(question, f"I am {name}.")])
        elif dice < 0.98:
            yield _tool_call(rng)
        else:
            yield Conversation("greeting", _say(rng.choice(("Hello!", "Hi!")), "Hello! How can I help you?"))
