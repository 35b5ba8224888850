"""What the proxies read beside prose and code: phrases of 12 languages and sums; and which documents are held out.

The held-out split shares no document with the training split: files are split by a hash of their name, sums by a hash
of their terms, generated documents by their names and numbers.
"""

import hashlib
import random
from collections.abc import Iterator
from datetime import date

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


def is_held_out(name: str) -> bool:
    """True for one document name in sixteen, by hash, the same on every machine."""
    return hashlib.sha256(name.encode()).digest()[0] % 16 == 0


def _language_line(rng: random.Random, locale: Locale) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return format_date(date(rng.randrange(1990, 2030), rng.randrange(1, 13), rng.randrange(1, 29)), "full", locale)
    if kind == 1:
        return ", ".join(locale.territories[code] for code in rng.sample(TERRITORIES, 4))
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


TERRITORIES = (
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


def draw_sum(rng: random.Random, held_out: bool) -> tuple[str, str]:
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
            f"{left} = {right}" for left, right in (draw_sum(rng, held_out) for _ in range(rng.randrange(8, 20)))
        )
