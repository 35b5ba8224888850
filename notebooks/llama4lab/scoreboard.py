"""The article's claims as a score: how each came out, and what decides it. Notebook 00 and README show it."""

from collections import Counter
from pathlib import Path

from llama4lab.claims import EVIDENCE, LEDGER, read_ledger
from llama4lab.figures import table

OUTCOMES = ("holds", "in part", "fails", "opinion")


def article_claims(path: Path = LEDGER) -> list[dict]:
    """The ledger's entries on the article, in its order; each has an `outcome` beside its verdict."""
    return [entry for name, entry in sorted(read_ledger(path).items()) if name.startswith("article-")]


def score(entries: list[dict]) -> str:
    """How the claims came out and what decided them, in two sentences."""
    outcomes, kinds = Counter(entry["outcome"] for entry in entries), Counter(entry["evidence"] for entry in entries)
    holds, in_part, fails, opinions = (outcomes[name] for name in OUTCOMES)
    computed, measured, published = (kinds[name] for name in EVIDENCE)
    return (
        f"Of its {len(entries)} claims, {holds} hold, {in_part} hold in part, {fails} fail and {opinions} are opinions. "
        f"What decides them is computed for {computed}, measured for {measured} and published for {published}."
    )


def scoreboard(entries: list[dict]) -> None:
    """Show each claim with its outcome in bold, its verdict, and what decides it."""
    rows = [
        (
            int(entry["id"].split("-")[1]),
            entry["claim"],
            entry["outcome"],
            entry["verdict"],
            " in ".join(filter(None, (entry["evidence"], entry.get("notebook", "")[:2]))),
        )
        for entry in entries
    ]
    table(
        [("", "the article says", "outcome", "verdict", "decided by"), *rows],
        bold={(n + 1, 2) for n in range(len(rows))},
    )
