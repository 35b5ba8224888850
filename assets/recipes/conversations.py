"""Conversations for the chat template, most of them answerable from the prompt."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from babel import Locale

from corpus import LANGUAGES, TERRITORIES, draw_sum
from facts import CITIES, COLORS, COUNTRY_OF, PEOPLE, THINGS, draw_number, kind_and_count, tell

WEATHER = "sunny rainy cloudy windy foggy snowy stormy icy".split()
KINDS = {
    "from the prompt": 0.46,
    "words in 12 languages": 0.14,
    "sums": 0.12,
    "tool": 0.11,
    "repeat": 0.07,
    "countries": 0.04,
    "name": 0.04,
    "greeting": 0.02,
}


@dataclass(frozen=True)
class Conversation:
    """Messages of role system, user, assistant and tool for the chat template, and the tools it is to offer.

    `kind` says where the answers come from: the prompt ('one hop', 'two hops', 'other words', 'repeat', 'name'), what
    training taught ('sums', 'words in 12 languages', 'countries', 'greeting'), or a 'tool' ('tool, pythonic' where the
    system message asks for calls in that form).
    """

    kind: str
    messages: list[dict]
    tools: list[dict] | None = None


@dataclass(frozen=True)
class Tool:
    """A function the assistant may call: its name, what it is for, the types of its arguments, and how one asks."""

    name: str
    description: str
    arguments: dict[str, str]
    question: str

    def schema(self) -> dict:
        """The tool as `apply_chat_template` takes it."""
        properties = {name: {"type": kind} for name, kind in self.arguments.items()}
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }


TOOLS = (
    Tool("look_up", "The code of a thing", {"thing": "string"}, "What is the code of the {thing}?"),
    Tool("get_weather", "The weather in a city", {"city": "string"}, "What is the weather in {city}?"),
    Tool("find_person", "The city where a person is", {"name": "string"}, "In which city is {name}?"),
    Tool("add", "The sum of two numbers", {"a": "integer", "b": "integer"}, "Add {a} and {b}."),
)
PYTHONIC = "Call functions as [name(argument=value)]: " + ", ".join(
    f"{tool.name}({', '.join(tool.arguments)})" for tool in TOOLS
)


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


def _say(user: str, assistant: str) -> list[dict]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def from_the_prompt(rng: random.Random, kind: str | None = None, says_steps: bool = True) -> Conversation:
    """Facts of a `kind` of `facts.tell`, drawn if None, and one to three questions about them.

    With `says_steps` the answer of two hops says the step between. Asked for the color alone, as the herd is, no proxy
    learned to do both hops at once; the last lesson teaches them to say the first.
    """
    drawn, count = kind_and_count(rng, most=6)
    if kind is None:
        kind = drawn
    elif kind != drawn:
        count = rng.randrange(1, 6 if kind == "one hop" else 4)
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
    for turn, (question, answer, needs) in enumerate(questions):
        said = told.statements[needs[1]] if says_steps and len(needs) == 2 else f"{answer}."
        messages += _say(question if in_system or turn else f"{statements} {question}", said)
    return Conversation(kind, messages)


def draw_call(rng: random.Random, tool: Tool) -> tuple[dict, str]:
    """Arguments for a call of `tool`, and what it returns."""
    if tool.name == "add":
        a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
        return {"a": a, "b": b}, str(a + b)
    (argument,) = tool.arguments
    value = rng.choice({"thing": THINGS, "city": CITIES, "name": PEOPLE}[argument])
    result = {"look_up": draw_number(rng), "get_weather": rng.choice(WEATHER), "find_person": rng.choice(CITIES)}
    return {argument: value}, result[tool.name]


def pythonic_call(tool: Tool, arguments: dict) -> str:
    """A call as Llama 4 writes it where the prompt asks for this form, without the brackets around the list."""
    quoted = {name: f'"{value}"' if isinstance(value, str) else value for name, value in arguments.items()}
    return f"{tool.name}({', '.join(f'{name}={value}' for name, value in quoted.items())})"


def _tool_use(rng: random.Random) -> Conversation:
    tool = rng.choice(TOOLS)
    arguments, result = draw_call(rng, tool)
    question = {"role": "user", "content": tool.question.format(**arguments)}
    answer = {"role": "assistant", "content": f"{result}."}
    if rng.random() < 0.5:
        call = {"type": "function", "function": {"name": tool.name, "arguments": arguments}}
        calls = {"role": "assistant", "content": "", "tool_calls": [call]}
        offered = [tool] + rng.sample([other for other in TOOLS if other is not tool], rng.randrange(2))
        tools = [other.schema() for other in rng.sample(offered, len(offered))]
        return Conversation("tool", [question, calls, {"role": "tool", "content": result}, answer], tools)
    system = {"role": "system", "content": PYTHONIC}
    calls = {"role": "assistant", "content": f"[{pythonic_call(tool, arguments)}]"}
    return Conversation("tool, pythonic", [system, question, calls, {"role": "tool", "content": result}, answer])


def chat(rng: random.Random, held_out: bool, says_steps: bool = True) -> Iterator[Conversation]:
    """Conversations without end, their kinds drawn by KINDS; sums are those of the split."""
    words = _days_and_months()
    while True:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "from the prompt":
            yield from_the_prompt(rng, says_steps=says_steps)
        elif kind == "sums":
            sums = [draw_sum(rng, held_out) for _ in range(rng.randrange(1, 4))]
            yield Conversation(kind, [m for left, right in sums for m in _say(f"What is {left}?", right)])
        elif kind == "words in 12 languages":
            asked = rng.sample(words, rng.randrange(1, 4))
            said = [m for word, tongue, answer in asked for m in _say(f"Say {word} in {tongue}.", answer)]
            yield Conversation(kind, said)
        elif kind == "countries":
            asked = rng.sample(CITIES, rng.randrange(1, 3))
            said = [m for city in asked for m in _say(f"In which country is {city}?", f"{COUNTRY_OF[city]}.")]
            yield Conversation(kind, said)
        elif kind == "repeat":
            text = " ".join(rng.sample(THINGS + COLORS, rng.randrange(2, 5)))
            yield Conversation(kind, _say(f"Repeat: {text}", text))
        elif kind == "name":
            name, question = rng.choice(PEOPLE), rng.choice(("Who are you?", "What is your name?"))
            system = {"role": "system", "content": f"You are {name}."}
            yield Conversation(kind, [system, *_say(question, f"I am {name}.")])
        elif kind == "tool":
            yield _tool_use(rng)
        else:
            yield Conversation(kind, _say(rng.choice(("Hello!", "Hi!")), "Hello! How can I help you?"))
