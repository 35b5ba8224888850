"""What notebook 15 teaches scout-proxy: to say in which country a person of the prompt lives.

The model can do both halves. Told "Eva lives in Lisbon." it answers "Where does Eva live?", and it knows that Lisbon is
in Portugal. `lesson` asks for both at once; `known` asks the first half alone, as the model was trained to answer it.
A quarter of the people and of the countries are held out: no lesson of the training split names them.
"""

import random

PEOPLE = (
    "Ada Alan Amy Anna Ben Bob Carl Clara Dan Dora Emma Eric Eva Fred Gina Hugo Ida Ivan Jack Jane Kim Kurt Lara Leo "
    "Lisa Luca Maria Max Mia Nina Noah Olga Omar Paul Rosa Ruth Sam Sara Tom Uma Vera Will Yara Zoe"
).split()
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
    "Milan": "Italy",
    "Nairobi": "Kenya",
    "Oslo": "Norway",
    "Prague": "Czechia",
    "Quito": "Ecuador",
    "Seoul": "Korea",
    "Sofia": "Bulgaria",
    "Sydney": "Australia",
    "Tokyo": "Japan",
    "Tunis": "Tunisia",
    "Vienna": "Austria",
    "Warsaw": "Poland",
    "Zurich": "Switzerland",
}
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
