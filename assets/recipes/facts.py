"""Facts about people, cities and things, the questions that they answer, and recall: facts told in prose, asked later."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llama4lab.people_and_cities import COUNTRY_OF, PEOPLE

CITIES = tuple(COUNTRY_OF)
THINGS = (
    "apple arrow basket bell book boat bottle box bread bridge brush camera candle card chair clock coin cup door drum "
    "flag flower glass guitar hammer hat key kite knife lamp leaf map mirror needle paper pen piano ring rope ship shoe "
    "spoon star stone table train tree violin wheel window"
).split()
COLORS = "red green blue yellow purple orange white black".split()
FRUIT = "apples bananas cherries dates figs grapes lemons limes mangos olives oranges peaches pears plums".split()


def draw_number(rng: random.Random) -> str:
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
        value = rng.choice(values) if values else draw_number(rng)
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


def kind_and_count(rng: random.Random, most: int) -> tuple[str, int]:
    kind = rng.choices(("one hop", "two hops", "other words"), (0.5, 0.27, 0.23))[0]
    return kind, rng.randrange(1, most if kind == "one hop" else 4)


LENGTHS = (150, 300, 500, 700, 1200, 1800, 3500, 6500)  # characters of a recall document, before its last questions


def recall(rng: random.Random, filler: list[str], longest: int = 1800) -> Iterator[list[tuple[str, bool]]]:
    """Facts among filler sentences, asked for later, at any distance. Yields pieces (text, is_answer).

    Documents have about the characters of one of LENGTHS up to `longest`.
    """
    lengths = [length for length in LENGTHS if length <= longest]
    while True:
        told = tell(rng, *kind_and_count(rng, most=7))
        waiting, known, pieces = rng.sample(range(len(told.statements)), len(told.statements)), set(), []
        budget, times_asked = rng.choice(lengths), Counter()
        told_early = rng.choice((0.45, min(0.45, 300 / budget)))  # the chance that the next piece is a fact
        while sum(len(text) for text, _ in pieces) < budget or waiting:
            dice = rng.random()
            can_be_asked = [
                (question, answer)
                for question, answer, needs in told.questions
                if known.issuperset(needs) and times_asked[question] < max(4, budget // 300)
            ]
            if waiting and dice < told_early:
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
