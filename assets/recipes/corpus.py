"""The text the proxies are trained on, rebuilt from what every Python machine has.

Sources: CPython's documentation topics, docstrings and source (of the running interpreter), the CLDR data of the
`babel` package for Llama 4's 12 supported languages, and generators for arithmetic, recall and chat. Every document
carries a domain. The held-out split shares no document with the training split: files and docstrings are split by a
hash of their name, sums by a hash of their terms, generated documents by their names and numbers.
"""

import ast
import hashlib
import platform
import random
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from pydoc_data.topics import topics

from babel import Locale
from babel.dates import format_date, format_timedelta
from babel.numbers import format_currency

DOMAINS = ("prose", "code", "languages", "arithmetic", "recall", "chat")

# Meta's model card names 12 languages; CLDR files Tagalog under its standardized form, Filipino.
LANGUAGES = {
    "ar": "Arabic",
    "en": "English",
    "fr": "French",
    "de": "German",
    "hi": "Hindi",
    "id": "Indonesian",
    "it": "Italian",
    "pt": "Portuguese",
    "es": "Spanish",
    "fil": "Tagalog",
    "th": "Thai",
    "vi": "Vietnamese",
}

PEOPLE = (
    "Ada Alan Amy Anna Ben Bob Carl Clara Dan Dora Emma Eric Eva Fred Gina Hugo Ida Ivan Jack Jane Kim Kurt Lara Leo "
    "Lisa Luca Maria Max Mia Nina Noah Olga Omar Paul Rosa Ruth Sam Sara Tom Uma Vera Will Yara Zoe"
).split()
# Where each city is: the one piece of knowledge of the world that the proxies learn beside the 12 languages.
COUNTRY_OF = {
    "Athens": "Greece",
    "Berlin": "Germany",
    "Boston": "America",
    "Cairo": "Egypt",
    "Dakar": "Senegal",
    "Delhi": "India",
    "Dublin": "Ireland",
    "Hanoi": "Vietnam",
    "Havana": "Cuba",
    "Lagos": "Nigeria",
    "Lima": "Peru",
    "Lisbon": "Portugal",
    "London": "England",
    "Lyon": "France",
    "Madrid": "Spain",
    "Manila": "the Philippines",
    "Milan": "Italy",
    "Nairobi": "Kenya",
    "Oslo": "Norway",
    "Paris": "France",
    "Porto": "Portugal",
    "Prague": "Czechia",
    "Quito": "Ecuador",
    "Riga": "Latvia",
    "Rome": "Italy",
    "Seoul": "Korea",
    "Sofia": "Bulgaria",
    "Sydney": "Australia",
    "Tokyo": "Japan",
    "Tunis": "Tunisia",
    "Turin": "Italy",
    "Vienna": "Austria",
    "Warsaw": "Poland",
    "Zurich": "Switzerland",
}
CITIES = tuple(COUNTRY_OF)
THINGS = (
    "apple arrow basket bell book boat bottle box bread bridge brush camera candle card chair clock coin cup door drum "
    "flag flower glass guitar hammer hat key kite knife lamp leaf map mirror needle paper pen piano ring rope ship shoe "
    "spoon star stone table train tree violin wheel window"
).split()
COLORS = "red green blue yellow purple orange white black".split()
FRUIT = "apples bananas cherries dates figs grapes lemons limes mangos olives oranges peaches pears plums".split()

# Packages whose source is mostly tables or tests would fill the corpus with one kind of line.
SKIPPED_PACKAGES = {
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "encodings",
    "idlelib",
    "pydoc_data",
    "site-packages",
}


def is_held_out(name: str) -> bool:
    """True for one document name in sixteen, by hash, the same on every machine."""
    return hashlib.sha256(name.encode()).digest()[0] % 16 == 0


def _standard_library_files() -> list[tuple[str, str]]:
    """Name and source of each module of the running Python.

    One of them, `_sysconfigdata...`, is written when Python is built: `python_build` tells two builds apart.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        folders = name.split("/")
        # config-... belongs to the build, too, and names a folder of the machine that made it.
        skipped = folders[0].startswith("config-") or not SKIPPED_PACKAGES.isdisjoint(folders)
        if not skipped and path.stat().st_size < 300_000:
            try:
                files.append((name, path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue  # a handful of files are in another encoding on purpose
    return files


def python_build() -> str:
    """Version of the running Python and a hash of the files that prose and code are taken from."""
    digest = hashlib.sha256(repr((sorted(topics.items()), _standard_library_files())).encode())
    return f"{platform.python_version()} {digest.hexdigest()[:16]}"


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, ast.Constant]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield getattr(node, "name", "module"), first.value


def _clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.expandtabs(4).strip().splitlines())


def prose_and_code(held_out: bool) -> dict[str, list[str]]:
    """Documentation topics and docstrings as prose, module sources without their docstrings as code."""
    prose = [_clean(text) for name, text in sorted(topics.items()) if is_held_out("topic " + name) == held_out]
    code = []
    for name, source in _standard_library_files():
        if is_held_out(name) != held_out:
            continue
        try:
            found = list(_docstrings(ast.parse(source)))
        except SyntaxError:
            continue  # templates that only look like Python
        lines = source.splitlines()
        for _, constant in sorted(found, key=lambda item: -item[1].lineno):
            text = _clean(ast.get_docstring(ast.Module([ast.Expr(constant)], []), clean=True) or "")
            if len(text) >= 120:
                prose.append(text)
            lines[constant.lineno - 1 : constant.end_lineno] = []
        code.append(_clean("\n".join(lines)))
    return {"prose": prose, "code": [text for text in code if len(text) > 400]}


def _language_line(rng: random.Random, locale: Locale) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return format_date(date(rng.randrange(1990, 2030), rng.randrange(1, 13), rng.randrange(1, 29)), "full", locale)
    if kind == 1:
        return ", ".join(locale.territories[code] for code in rng.sample(_TERRITORIES, 4))
    if kind == 2:
        return ", ".join(locale.languages[code] for code in rng.sample(_TONGUES, 3))
    if kind == 3:
        currency = rng.choice(_CURRENCIES)
        return (
            f"{format_currency(rng.randrange(100, 99999) / 10, currency, locale=locale)}: {locale.currencies[currency]}"
        )
    if kind == 4:
        unit = rng.choice((3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400))
        return format_timedelta(rng.randrange(1, 12) * unit, threshold=1.2, add_direction=True, locale=locale)
    return (
        ", ".join(locale.days["format"]["wide"].values())
        if rng.random() < 0.3
        else ", ".join(rng.sample(list(locale.months["format"]["wide"].values()), 4))
    )


_TERRITORIES = (
    "AR AT AU BE BR CA CH CL CN CO CZ DE DK EG ES FI FR GB GR HU ID IE IL IN IQ IS IT JP KE KR MA MX MY NG NL NO NZ PE "
    "PH PK PL PT RO RU SA SE SG TH TN TR UA US VN ZA"
).split()
_TONGUES = "ar bn cs da de el en es fa fi fr he hi hu id it ja ko nl pl pt ro ru sv sw ta th tr uk ur vi zh".split()
_CURRENCIES = "USD EUR GBP JPY CHF INR BRL MXN THB VND IDR PHP EGP CAD AUD".split()


def languages(rng: random.Random) -> Iterator[str]:
    """Dates, places, languages, money and durations, several lines in one of the 12 languages."""
    locales = {code: Locale.parse(code) for code in LANGUAGES}
    while True:
        code = rng.choice(list(LANGUAGES))
        yield "\n".join(_language_line(rng, locales[code]) for _ in range(rng.randrange(4, 10)))


def _sum(rng: random.Random, held_out: bool) -> tuple[str, str]:
    while True:
        a, b, sign = rng.randrange(100), rng.randrange(100), rng.choice("+-+-*")
        if sign == "-" and b > a:
            a, b = b, a
        if sign == "*":
            a, b = a % 13, b % 13
        # Small products are few: a held-out one could not be learned from its neighbours.
        if sign == "*" or is_held_out(f"{a}{sign}{b}") == held_out:
            return f"{a} {sign} {b}", str(a + b if sign == "+" else a - b if sign == "-" else a * b)


def arithmetic(rng: random.Random, held_out: bool) -> Iterator[str]:
    """Sums, differences below 200 and small products, one a line."""
    while True:
        yield "\n".join(
            f"{left} = {right}" for left, right in (_sum(rng, held_out) for _ in range(rng.randrange(8, 20)))
        )


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10, 1000))


# Each kind of fact: how it is stated, how it is asked, and what its subject and its value may be.
FACTS = (
    ("The code of the {s} is {v}.", "What is the code of the {s}?", THINGS, None),
    ("{s} lives in {v}.", "Where does {s} live?", PEOPLE, CITIES),
    ("{s} likes {v}.", "What does {s} like?", PEOPLE, FRUIT),
    ("The {s} is {v}.", "What color is the {s}?", THINGS, COLORS),
    ("{s} has the {v}.", "What does {s} have?", PEOPLE, THINGS),
)


def draw_facts(rng: random.Random, count: int) -> list[tuple[str, str, str]]:
    """`count` facts of one or two kinds: (statement, question, answer), no subject twice within a kind."""
    facts = []
    kinds = rng.sample(FACTS, 1 if count < 3 else rng.randrange(1, 3))
    for index in range(count):
        statement, question, subjects, values = kinds[index % len(kinds)]
        asked = {fact[1] for fact in facts}
        while True:
            subject = rng.choice(subjects)
            if question.format(s=subject) not in asked:
                break
        value = rng.choice(values) if values else _number(rng)
        facts.append((statement.format(s=subject, v=value), question.format(s=subject), value))
    return facts


@dataclass(frozen=True)
class Told:
    """Statements, in the order in which they belong together, and what can be asked about them.

    Each question is (question, answer, the indexes of the statements that it needs).
    """

    statements: list[str]
    questions: list[tuple[str, str, tuple[int, ...]]]


def tell(rng: random.Random, kind: str, count: int) -> Told:
    """`count` facts of a kind.

    'one hop': each question names what its fact is about. 'two hops': a person has a thing, the thing has a color, the
    question names the person and asks for the color. 'other words': people live in cities, the question names a
    country, so that it shares no word with the fact that answers it; which city is where must be known. The latter two
    have the questions of one hop beside them.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "one hop":
        facts = draw_facts(rng, count)
        return Told(
            [statement for statement, _, _ in facts],
            [(question, answer, (at,)) for at, (_, question, answer) in enumerate(facts)],
        )
    people = rng.sample(PEOPLE, count)
    if kind == "two hops":
        things, colors = rng.sample(THINGS, count), rng.sample(COLORS, count)
        statements = [f"{person} has the {thing}." for person, thing in zip(people, things, strict=True)]
        statements += [f"The {thing} is {color}." for thing, color in zip(things, colors, strict=True)]
        questions = []
        for at, (person, thing, color) in enumerate(zip(people, things, colors, strict=True)):
            questions += [
                (f"What color is the thing that {person} has?", color, (at, count + at)),
                (f"What does {person} have?", thing, (at,)),
                (f"What color is the {thing}?", color, (count + at,)),
            ]
        return Told(statements, questions)
    if kind == "other words":
        cities = [
            rng.choice([city for city, at in COUNTRY_OF.items() if at == country])
            for country in rng.sample(sorted(set(COUNTRY_OF.values())), count)
        ]
        statements = [f"{person} lives in {city}." for person, city in zip(people, cities, strict=True)]
        questions = []
        for at, (person, city) in enumerate(zip(people, cities, strict=True)):
            questions += [
                (f"Who comes from {COUNTRY_OF[city]}?", person, (at,)),
                (f"Where does {person} live?", city, (at,)),
            ]
        return Told(statements, questions)
    raise ValueError(f"There is no kind of question {kind!r}; use 'one hop', 'two hops' or 'other words'.")


def _kind_and_count(rng: random.Random, most: int) -> tuple[str, int]:
    kind = rng.choices(("one hop", "two hops", "other words"), (0.6, 0.2, 0.2))[0]
    return kind, rng.randrange(1, most if kind == "one hop" else 4)


def recall(rng: random.Random, filler: list[str]) -> Iterator[list[tuple[str, bool]]]:
    """Facts among filler sentences, asked for later, at any distance. Yields pieces (text, is_answer)."""
    while True:
        told = tell(rng, *_kind_and_count(rng, most=7))
        waiting, known, pieces = rng.sample(range(len(told.statements)), len(told.statements)), set(), []
        budget, times_asked = rng.choice((150, 300, 500, 700)), Counter()
        while sum(len(text) for text, _ in pieces) < budget or waiting:
            dice = rng.random()
            can_be_asked = [
                (question, answer)
                for question, answer, needs in told.questions
                if known.issuperset(needs) and times_asked[question] < 3
            ]
            if waiting and dice < 0.45:
                known.add(waiting[-1])
                pieces.append((told.statements[waiting.pop()] + " ", False))
            elif can_be_asked and dice < 0.8:
                question, answer = rng.choice(can_be_asked)
                times_asked[question] += 1
                pieces += [(question, False), (f" {answer}.\n", True)]
            else:
                pieces.append((rng.choice(filler) + " ", False))
        for question, answer, _ in rng.sample(told.questions, min(len(told.questions), 6)):
            pieces += [(question, False), (f" {answer}.\n", True)]
        yield pieces


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
        for territory in _TERRITORIES:
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
    kind, count = _kind_and_count(rng, most=6)
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
    thing, code = rng.choice(THINGS), _number(rng)
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
            sums = [_sum(rng, held_out) for _ in range(rng.randrange(1, 4))]
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
