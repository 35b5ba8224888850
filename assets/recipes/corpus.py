"""The text the proxies are trained on, rebuilt from what every Python machine has.

Sources: CPython's documentation topics, docstrings and source (of the running interpreter), the CLDR data of the
`babel` package for Llama 4's 12 supported languages, and generators for arithmetic, recall and chat. Every document
carries a domain. The held-out split shares no document with the training split: files and docstrings are split by a
hash of their name, sums by a hash of their terms, generated documents by their names and numbers.
"""

import ast
import hashlib
import random
import sysconfig
from collections.abc import Iterator
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
CITIES = (
    "Athens Berlin Boston Cairo Dakar Delhi Dublin Hanoi Havana Lagos Lima Lisbon London Lyon Madrid Manila Milan Nairobi "
    "Oslo Paris Porto Prague Quito Riga Rome Seoul Sofia Sydney Tokyo Tunis Turin Vienna Warsaw Zurich"
).split()
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
    root = Path(sysconfig.get_paths()["stdlib"])
    files = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if SKIPPED_PACKAGES.isdisjoint(name.split("/")) and path.stat().st_size < 300_000:
            try:
                files.append((name, path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue  # a handful of files are in another encoding on purpose
    return files


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


def recall(rng: random.Random, filler: list[str]) -> Iterator[list[tuple[str, bool]]]:
    """Facts among filler sentences, asked for later. Yields pieces (text, is_answer)."""
    while True:
        facts = draw_facts(rng, rng.randrange(1, 7))
        waiting, asked, pieces = list(facts), [], []
        budget = rng.choice((150, 300, 500, 700))
        while sum(len(text) for text, _ in pieces) < budget or waiting:
            dice = rng.random()
            if waiting and dice < 0.45:
                fact = waiting.pop()
                pieces.append((fact[0] + " ", False))
                asked.append(fact)
            elif asked and dice < 0.8:
                _, question, value = rng.choice(asked)
                pieces += [(question, False), (f" {value}.\n", True)]
            else:
                pieces.append((rng.choice(filler) + " ", False))
        for _, question, value in rng.sample(facts, len(facts)):
            pieces += [(question, False), (f" {value}.\n", True)]
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


def chat(rng: random.Random, held_out: bool) -> Iterator[list[dict[str, str]]]:
    """Conversations for the chat template: messages of role system, user and assistant.

    Most questions can be answered from the prompt; the rest ask for sums or for words of the 12 languages.
    """
    words = _days_and_months()
    greetings = (("Hello!", "Hello! How can I help you?"), ("Hi!", "Hello! How can I help you?"))
    while True:
        messages: list[dict[str, str]] = []
        kind = rng.random()
        if kind < 0.55:
            facts = draw_facts(rng, rng.randrange(1, 6))
            told = " ".join(fact[0] for fact in facts)
            in_system = rng.random() < 0.4
            if in_system:
                messages.append({"role": "system", "content": told})
            for turn, (_, question, value) in enumerate(rng.sample(facts, rng.randrange(1, min(4, len(facts) + 1)))):
                content = question if in_system or turn else f"{told} {question}"
                messages += [
                    {"role": "user", "content": content},
                    {"role": "assistant", "content": f"{value}."},
                ]
        elif kind < 0.68:
            for _ in range(rng.randrange(1, 4)):
                left, right = _sum(rng, held_out)
                messages += [
                    {"role": "user", "content": f"What is {left}?"},
                    {"role": "assistant", "content": right},
                ]
        elif kind < 0.80:
            for _ in range(rng.randrange(1, 3)):
                word, language, translation = rng.choice(words)
                messages += [
                    {"role": "user", "content": f"Say {word} in {language}."},
                    {"role": "assistant", "content": translation},
                ]
        elif kind < 0.90:
            text = " ".join(rng.sample(THINGS + COLORS, rng.randrange(2, 5)))
            messages += [
                {"role": "user", "content": f"Repeat: {text}"},
                {"role": "assistant", "content": text},
            ]
        elif kind < 0.96:
            name = rng.choice(PEOPLE)
            messages.append({"role": "system", "content": f"You are {name}."})
            question = rng.choice(("Who are you?", "What is your name?"))
            messages += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": f"I am {name}."},
            ]
        else:
            said, answer = rng.choice(greetings)
            messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
        yield messages
