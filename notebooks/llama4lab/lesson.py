"""What notebook 15 teaches scout-proxy: to say in which country a person of the prompt lives.

The model can do both halves. Told "Eva lives in Lisbon." it answers "Where does Eva live?", and it knows that Lisbon is
in Portugal. `lesson` asks for both at once; `known` asks the first half alone, as the model was trained to answer it.
A quarter of the people and of the countries are held out: no lesson of the training split names them.
"""

import random

from llama4lab import people_and_cities
from llama4lab.people_and_cities import PEOPLE

# As in the recorded runs: not asked are cities of a country that has another, a country of two tokens, and Riga.
LEFT_OUT = ("Manila", "Paris", "Porto", "Riga", "Rome", "Turin")
COUNTRY_OF = {city: land for city, land in people_and_cities.COUNTRY_OF.items() if city not in LEFT_OUT}
HELD_OUT_EVERY = 4


def of_split(words: list[str], held_out: bool) -> list[str]:
    """Every fourth word is held out."""
    return [word for place, word in enumerate(words) if (place % HELD_OUT_EVERY == 0) == held_out]


def _tell(rng: random.Random, held_out: bool) -> tuple[str, str, str]:
    """Two or three statements, and the person and city of one of them."""
    count = rng.randrange(2, 4)
    people = rng.sample(of_split(PEOPLE, held_out), count)
    cities = rng.sample(of_split(list(COUNTRY_OF), held_out), count)
    asked = rng.randrange(count)
    told = " ".join(f"{person} lives in {city}." for person, city in zip(people, cities, strict=True))
    return told, people[asked], cities[asked]


def _messages(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def lesson(rng: random.Random, held_out: bool) -> list[dict]:
    """The new kind of question: messages whose last is the answer, city first and then its country."""
    told, person, city = _tell(rng, held_out)
    return _messages(f"{told} In which country does {person} live?", f"{city}, {COUNTRY_OF[city]}.")


def known(rng: random.Random, held_out: bool) -> list[dict]:
    """The question that the model can answer already, about the same kind of facts."""
    told, person, city = _tell(rng, held_out)
    return _messages(f"{told} Where does {person} live?", f"{city}.")
