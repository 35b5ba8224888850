"""Rows of tokens for the language proxies: one domain a row, a held-out set of the same form."""

import hashlib
import itertools
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

import conversations
import corpus
import documentation
import facts
from tokenizer import train_tokenizer
from training_batch import Batch, weighted_nll

ROW = 512  # tokens a row: the training length of the language proxies
PROMPT_WEIGHT, ANSWER_WEIGHT = 0.3, 2.0  # what a prompt states cannot be predicted; what it answers can
MIX = {"prose": 0.24, "code": 0.14, "languages": 0.07, "arithmetic": 0.08, "recall": 0.19, "chat": 0.28}
ASSISTANT = "<|header_start|>assistant<|header_end|>\n\n"


@dataclass
class Rows:
    """Token ids and loss weights, both `[rows, ROW]`; row i of the held-out set belongs to one domain."""

    tokens: np.ndarray
    weights: np.ndarray


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, trained on a sample in which every domain has its part.

    Words of the facts are in it often, with and without a space before them: a chat's answer begins with its word, and
    a word in several pieces would have to be spelled.
    """
    text = documentation.prose_and_code(held_out=False)
    rng = random.Random(0)
    sample = rng.sample(text["prose"], 1500) + [code[:8000] for code in rng.sample(text["code"], 120)]
    sample += itertools.islice(corpus.languages(rng), 3000)
    for conversation in itertools.islice(conversations.chat(rng, False, says_steps=False), 6000):
        sample += [message["content"] for message in conversation.messages]
    for words in (facts.PEOPLE, facts.CITIES, facts.COUNTRY_OF.values(), facts.THINGS, facts.COLORS, facts.FRUIT):
        sample += [text for word in words for text in (word, f" {word}")] * 300
    sample += [f'"{argument}": ' for tool in conversations.TOOLS for argument in tool.arguments] * 300
    return train_tokenizer(sample)


def _spans(text: str, tokenizer: PreTrainedTokenizerFast, answers: list[tuple[int, int]]):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    weights = np.full(len(encoded["input_ids"]), PROMPT_WEIGHT, dtype=np.float16)
    for index, (start, end) in enumerate(encoded["offset_mapping"]):
        if any(begin <= start and end <= stop for begin, stop in answers):
            weights[index] = ANSWER_WEIGHT
    return np.array(encoded["input_ids"], dtype=np.int16), weights


def encode_recall(pieces: list[tuple[str, bool]], tokenizer: PreTrainedTokenizerFast):
    """Token ids and weights of one recall document."""
    text, answers = "<|begin_of_text|>", []
    for piece, is_answer in pieces:
        if is_answer:
            answers.append((len(text), len(text) + len(piece)))
        text += piece
    return _spans(text, tokenizer, answers)


def encode_chat(conversation: conversations.Conversation, tokenizer: PreTrainedTokenizerFast, picture_tokens: str = ""):
    """Token ids and weights of one conversation; the assistant's turns and their `<|eot|>` are what is learned."""
    text = tokenizer.apply_chat_template(conversation.messages, tools=conversation.tools, tokenize=False)
    if picture_tokens:
        text = text.replace("<|image|>", picture_tokens)
    answers, at = [], text.find(ASSISTANT)
    while at >= 0:
        end = text.index("<|eot|>", at) + len("<|eot|>")
        answers.append((at + len(ASSISTANT), end))
        at = text.find(ASSISTANT, end)
    return _spans(text, tokenizer, answers)


@dataclass(frozen=True)
class Sources:
    """What rows of one split are cut from: token streams of prose and code, and the sentences between facts."""

    held_out: bool
    streams: dict[str, np.ndarray]
    filler: list[str]


def sources_of(tokenizer: PreTrainedTokenizerFast, held_out: bool) -> Sources:
    """The split's prose and code as one stream of token ids each, documents end with `<|end_of_text|>`."""
    text = documentation.prose_and_code(held_out)
    streams = {
        domain: np.concatenate(
            [np.array(ids, dtype=np.int16) for ids in tokenizer([t + "<|end_of_text|>" for t in texts])["input_ids"]]
        )
        for domain, texts in text.items()
    }
    lines = [line.strip() for document in text["prose"] for line in document.split(". ")]
    filler = {line.replace("\n", " ").rstrip(".") + "." for line in lines if 20 < len(line) < 80 and "  " not in line}
    return Sources(held_out, streams, sorted(filler))


def _pack(documents, rows: int, length: int) -> Rows:
    """Whole documents one after the other; the last of a row is cut."""
    tokens = np.zeros((rows, length), dtype=np.int16)
    weights = np.zeros((rows, length), dtype=np.float16)
    for row in range(rows):
        filled = 0
        while filled < length:
            ids, weight = next(documents)
            end = min(length, filled + len(ids))
            tokens[row, filled:end], weights[row, filled:end] = ids[: end - filled], weight[: end - filled]
            filled = end
    return Rows(tokens, weights)


def _windows(stream: np.ndarray, begin: int, rows: int, length: int, rng: np.random.Generator) -> Rows:
    """Random windows of a stream, each opened by the token `begin`."""
    starts = rng.integers(0, len(stream) - length, rows)
    tokens = np.stack([stream[start : start + length] for start in starts])
    tokens[:, 0] = begin
    return Rows(tokens, np.ones(tokens.shape, dtype=np.float16))


def build_rows(
    tokenizer: PreTrainedTokenizerFast,
    sources: Sources,
    rows: dict[str, int],
    length: int = ROW,
    seed: int = 0,
    says_steps: bool = True,
) -> dict[str, Rows]:
    """Rows for every domain of MIX; `rows` says how many of each, `says_steps` how chat answers two hops."""
    rng, numbers = random.Random(f"{seed}-{sources.held_out}"), np.random.default_rng((seed, sources.held_out))

    def plain(documents):
        for document in documents:
            ids = np.array(tokenizer(document + "<|end_of_text|>")["input_ids"], dtype=np.int16)
            yield ids, np.ones(len(ids), dtype=np.float16)

    documents = {
        "languages": plain(corpus.languages(rng)),
        "arithmetic": plain(corpus.arithmetic(rng, sources.held_out)),
        "recall": (encode_recall(d, tokenizer) for d in facts.recall(rng, sources.filler, 4 * length)),
        "chat": (encode_chat(c, tokenizer) for c in conversations.chat(rng, sources.held_out, says_steps)),
    }
    return {
        domain: _windows(sources.streams[domain], tokenizer.bos_token_id, rows[domain], length, numbers)
        if domain in sources.streams
        else _pack(documents[domain], rows[domain], length)
        for domain in MIX
    }


def held_out_rows(tokenizer: PreTrainedTokenizerFast, says_steps: bool = True) -> dict[str, Rows]:
    """64 rows of each domain that no model learned from."""
    return build_rows(tokenizer, sources_of(tokenizer, held_out=True), dict.fromkeys(MIX, 64), says_steps=says_steps)


def load_or_build_rows(tokenizer: PreTrainedTokenizerFast, work: Path, scale: int = 1) -> tuple[dict, dict]:
    """Training and held-out rows, kept in `work` for the next run.

    The cache's name holds a hash of this recipe and of the interpreter, whose source is part of the corpus.
    """
    recipe = b"".join(
        Path(module.__file__).read_bytes()
        for module in (conversations, corpus, documentation, facts, sys.modules[__name__])
    )
    key = hashlib.sha256(recipe + sys.version.encode() + tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:12]
    path = work / f"rows-{scale}-{key}.npz"
    if not path.exists():
        train = {domain: 12_000 // scale for domain in MIX} | {
            "languages": 3000 // scale,
            "arithmetic": 3000 // scale,
        }
        sets = {
            "train": build_rows(tokenizer, sources_of(tokenizer, held_out=False), train, says_steps=False),
            "held": held_out_rows(tokenizer, says_steps=False),
        }
        work.mkdir(parents=True, exist_ok=True)
        flat = {
            f"{name}/{d}/{part}": getattr(r, part)
            for name, s in sets.items()
            for d, r in s.items()
            for part in ("tokens", "weights")
        }
        np.savez(path, **flat)
    stored = np.load(path)
    return tuple(
        {d: Rows(stored[f"{name}/{d}/tokens"], stored[f"{name}/{d}/weights"]) for d in MIX}
        for name in ("train", "held")
    )


def text_batch(rows: dict[str, Rows], step: int, seed: int, batch: int, length: int) -> Batch:
    """`batch` rows of `length` tokens, their domains drawn by MIX; depends on seed and step alone."""
    rng = np.random.default_rng((seed, step))
    domains = rng.choice(list(MIX), size=batch, p=list(MIX.values()))
    picks = [(rows[domain], rng.integers(len(rows[domain].tokens))) for domain in domains]
    return Batch(
        torch.from_numpy(np.stack([r.tokens[i, :length] for r, i in picks]).astype(np.int64)),
        torch.from_numpy(np.stack([r.weights[i, :length] for r, i in picks]).astype(np.float32)),
    )


def held_out_nll(model, rows: dict, length: int = 256) -> dict[str, float]:
    """Mean nats a token on the held-out rows of each domain, by the training weights."""
    result = {}
    with torch.no_grad():
        for domain, held in rows.items():
            batch = Batch(
                torch.from_numpy(held.tokens[:, :length].astype("int64")),
                torch.from_numpy(held.weights[:, :length].astype("float32")),
            )
            output = model(input_ids=batch.input_ids.to(model.device), use_cache=False)
            result[domain] = round(weighted_nll(output.logits.cpu(), batch).item(), 4)
    return result
