"""Store what notebooks and tests read of the corpus:  python assets/recipes/samples.py

The corpus is built from the running Python, so another Python has another one. Notebooks read these files instead:
assets/samples/held_out.json (texts by domain), needles.json (facts in prose with a question), pictures.json and
pictures/ (drawings with questions), and corpus.json, which tells whether a rebuilt corpus is the recorded one.
"""

import hashlib
import json
import random
from itertools import islice
from pathlib import Path

import numpy as np

import conversations
import corpus
import documentation
import facts
import language_batches as lb
from llama4lab import drawn_pictures as pictures
from llama4lab.assets import ASSETS, write_manifest

ROOT = Path(__file__).resolve().parents[2]

SAMPLES = ASSETS / "samples"
ROWS, PICTURES = 24, 24
NEEDLE_LENGTHS = (128, 256, 512)  # tokens
NEEDLE_KINDS = {"one needle": ("one hop", 1), "one of six": ("one hop", 6), "two hops": ("two hops", 3)} | {
    "other words": ("other words", 3)
}


def corpus_record() -> dict:
    """How much there is of each domain, and a hash of it all, for this Python.

    Generated domains have no end: their first 500 documents stand for them.
    """
    record = {"sources": documentation.sources()}
    for split, held_out in (("train", False), ("held_out", True)):
        text = documentation.prose_and_code(held_out)
        documents = {
            "prose": text["prose"],
            "code": text["code"],
            "languages": list(islice(corpus.languages(random.Random(0)), 500)),
            "arithmetic": list(islice(corpus.arithmetic(random.Random(0), held_out), 500)),
            "recall": [
                "".join(piece for piece, _ in pieces)
                for pieces in islice(facts.recall(random.Random(0), ["It rains."]), 500)
            ],
            "chat": [json.dumps(c.messages) for c in islice(conversations.chat(random.Random(0), held_out), 500)],
        }
        record[split] = {
            domain: {
                "documents": len(texts),
                "characters": sum(map(len, texts)),
                "sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
            }
            for domain, texts in documents.items()
        }
    return record


def unigram_nll(train: lb.Rows, held: lb.Rows, vocabulary: int) -> float:
    """Nats a held-out token under the training tokens' frequencies (add one), by the same weights as the model's."""
    counts = np.bincount(train.tokens.ravel(), weights=train.weights.ravel().astype(float), minlength=vocabulary) + 1
    surprise = -np.log(counts / counts.sum())[held.tokens[:, 1:]]
    weights = held.weights[:, 1:].astype(float)
    return float((surprise * weights).sum() / weights.sum())


def held_out_texts(tokenizer, train: dict[str, lb.Rows], held: dict[str, lb.Rows]) -> dict[str, dict]:
    """Held-out rows of each domain as text, and their unigram NLL."""
    samples = {}
    for domain, rows in held.items():
        texts = [tokenizer.decode(row.astype(np.int64)).strip("\ufffd") for row in rows.tokens[:ROWS]]
        ids = [np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int16) for text in texts]
        flat = lb.Rows(np.concatenate(ids)[None], np.ones((1, sum(map(len, ids))), dtype=np.float16))
        samples[domain] = {"unigram_nll": round(unigram_nll(train[domain], flat, len(tokenizer)), 4), "texts": texts}
    return samples


def needle_prompt(rng, tokenizer, filler: list[int], length: int, depth: float | None, kind: str, count: int):
    """Token ids and weights of `length` tokens: facts in prose, then a question.

    Args:
        filler: token ids of prose.
        depth: where the needed fact stands, 0 at the start and 1 right before the question; None for anywhere, as are
            the other facts.
        kind: of `facts.tell`; the question is the one that gives the kind its name.
        count: facts, one of which is asked for.
    """
    told = facts.tell(rng, kind, count)
    question, answer, needs = rng.choice(told.questions[:: len(told.questions) // count])
    ask = tokenizer(f"\n{question}", add_special_tokens=False)["input_ids"]
    reply = tokenizer(f" {answer}.", add_special_tokens=False)["input_ids"]
    told_ids = [tokenizer(f" {statement} ", add_special_tokens=False)["input_ids"] for statement in told.statements]
    room = length - 1 - len(ask) - len(reply) - sum(map(len, told_ids))
    start = rng.randrange(len(filler) - room)
    places = [
        round(depth * room) if at in needs and depth is not None else rng.randrange(room) for at in range(len(told_ids))
    ]
    ids, done = [tokenizer.bos_token_id], 0
    for at in sorted(range(len(told_ids)), key=places.__getitem__):
        ids += [*filler[start + done : start + places[at]], *told_ids[at]]
        done = places[at]
    ids += [*filler[start + done : start + room], *ask, *reply]
    weights = np.zeros(len(ids))
    weights[-len(reply) :] = lb.ANSWER_WEIGHT
    return np.array(ids), weights


def held_out_prose(tokenizer) -> list[int]:
    """Token ids of all held-out prose, what needles are hidden in."""
    return tokenizer("\n\n".join(documentation.prose_and_code(held_out=True)["prose"]), add_special_tokens=False)[
        "input_ids"
    ]


def needles(tokenizer, each: int = 8) -> list[dict]:
    """Prompts that end in a question, with the answer that should follow: `each` of every kind and length."""
    filler, rng, found = held_out_prose(tokenizer), random.Random(7), []
    for name, (kind, count) in NEEDLE_KINDS.items():
        for length in NEEDLE_LENGTHS:
            for _ in range(each):
                depth = round(rng.random(), 2)
                ids, weights = needle_prompt(rng, tokenizer, filler, length, depth, kind, count)
                is_answer = weights == lb.ANSWER_WEIGHT
                found.append(
                    {"kind": name, "tokens": length, "depth": depth}
                    | {"prompt": tokenizer.decode(ids[~is_answer]), "answer": tokenizer.decode(ids[is_answer])}
                )
    return found


def write_pictures(folder: Path) -> list[dict]:
    """Draw pictures into `folder`, first PICTURES of one tile, then two of each grid; their file names and questions."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, grid in enumerate([(1, 1)] * PICTURES + [grid for grid in pictures.GRIDS for _ in range(2)]):
        image, questions = pictures.picture_with_questions(random.Random(f"sample-{number}"), grid)
        image.save(folder / f"{number:02d}.png")
        asked = [{"kind": kind, "question": question, "answer": answer} for kind, question, answer in questions]
        entries.append({"file": f"pictures/{number:02d}.png", "grid": list(grid), "questions": asked})
    return entries


def write_json(path: Path, content) -> None:
    """Write `content` as indented JSON, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    tokenizer = lb.build_tokenizer()
    (train, _), held = lb.load_or_build_rows(tokenizer, ROOT / ".work"), lb.held_out_rows(tokenizer)
    write_json(SAMPLES / "corpus.json", corpus_record())
    write_json(SAMPLES / "held_out.json", held_out_texts(tokenizer, train, held))
    write_json(SAMPLES / "needles.json", needles(tokenizer))
    write_json(SAMPLES / "pictures.json", write_pictures(SAMPLES / "pictures"))
    write_manifest()


if __name__ == "__main__":
    main()
