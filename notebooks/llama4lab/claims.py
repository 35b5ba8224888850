"""The ledger of claims: what is said about Llama 4, who says it, and what the course found.

`assets/claims.yml` lists every claim with its evidence: `computed` from a real configuration, `measured` on a model,
or `published` with a source. A notebook that settles a claim calls `check`, which fails where value and ledger
disagree. `model` names the checkpoint that a claim is about, where its cell runs on whatever LLAMA4_CHECKPOINT names.
"""

import math
from pathlib import Path

import yaml

from llama4lab.assets import ASSETS, restore_sentence
from llama4lab.checkpoints import chosen_checkpoint
from llama4lab.errors import CourseError

LEDGER = ASSETS / "claims.yml"
EVIDENCE = ("computed", "measured", "published")
REQUIRED = ("id", "claim", "by", "verdict", "evidence", "checked")


class ClaimError(CourseError):
    """A claim is missing from the ledger, or a value disagrees with it."""


def read_ledger(path: Path = LEDGER) -> dict[str, dict]:
    """The claims by id.

    Raises:
        ClaimError: the file is damaged, an entry lacks a field or has an unknown kind of evidence, or an id occurs twice.
    """
    ledger: dict[str, dict] = {}
    for entry in _read_entries(path):
        name = entry.get("id", "?")
        missing = [field for field in REQUIRED if not entry.get(field)]
        if entry.get("evidence") == "published":
            missing += [] if entry.get("source") else ["source"]
        else:
            missing += [field for field in ("value", "notebook") if field not in entry]
        if missing:
            raise ClaimError(f"Claim {name!r} in claims.yml lacks {', '.join(missing)}; add it.")
        if entry["evidence"] not in EVIDENCE:
            raise ClaimError(f"Claim {name!r} has evidence {entry['evidence']!r}; use one of {', '.join(EVIDENCE)}.")
        if name in ledger:
            raise ClaimError(f"Claim {name!r} occurs twice in claims.yml; rename one.")
        ledger[name] = entry
    return ledger


def _read_entries(path: Path) -> list[dict]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClaimError(f"assets/claims.yml cannot be read: {restore_sentence('claims.yml')}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ClaimError(f"assets/claims.yml is not a list of claims: {restore_sentence('claims.yml')}")
    return entries


def agrees(value: object, expected: object, tolerance: float) -> bool:
    """Equal, or for floats within the relative `tolerance`; lists element by element."""
    if isinstance(expected, list) and isinstance(value, list | tuple):
        return len(value) == len(expected) and all(map(agrees, value, expected, [tolerance] * len(expected)))
    if isinstance(expected, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return math.isclose(value, expected, rel_tol=tolerance)
    return type(value) is type(expected) and value == expected


def check(claim: str, value: object, path: Path = LEDGER) -> None:
    """Compare `value` with the ledger's entry for `claim`; silent where they agree.

    A claim about one `model` is compared where that model is the loaded one. On another checkpoint, a value that
    differs is printed beside the ledger's: it is a finding, not a mistake.

    Raises:
        ClaimError: no such claim, a published one (nothing to compute), or a value that disagrees.
    """
    ledger = read_ledger(path)
    if claim not in ledger:
        raise ClaimError(f"There is no claim {claim!r} in claims.yml; known are {', '.join(sorted(ledger))}.")
    entry = ledger[claim]
    if entry["evidence"] == "published":
        raise ClaimError(f"Claim {claim!r} rests on a publication, so there is no value to check; cite its source.")
    if agrees(value, entry["value"], entry.get("tolerance", 1e-3)):
        return
    model, loaded = entry.get("model"), chosen_checkpoint()
    if model in (None, loaded):
        raise ClaimError(
            f"Claim {claim!r}: this cell found {value!r}, the ledger says {entry['value']!r}; one of them is wrong."
        )
    print(f"{claim} on {loaded}: found {value}, {model}: {entry['value']}.")
