"""Rows of tokens for the language proxies: one domain a row, a held-out set of the same form."""

import hashlib
import itertools
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, ProcessorMixin

import conversations
import corpus
import documentation
import facts
import pictures
from tokenizer import train_tokenizer
from trainer import Batch, weighted_nll

ROW = 256  # tokens a row: the training length of the language proxies
PROMPT_WEIGHT, ANSWER_WEIGHT = 0.3, 2.0  # what a prompt states cannot be predicted; what it answers can
MIX = {"prose": 0.27, "code": 0.17, "languages": 0.10, "arithmetic": 0.06, "recall": 0.19, "chat": 0.21}
ASSISTANT = "<|header_start|>assistant<|header_end|>\n\n"


@dataclass
class Rows:
    """Token ids and loss weights, both `[rows, ROW]`; row i of the held-out set belongs to one domain."""

    tokens: np.ndarray
    weights: np.ndarray


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, trained on a sample in which every domain has its part."""
    text = documentation.prose_and_code(held_out=False)
    rng = random.Random(0)
    sample = rng.sample(text["prose"], 1500) + [code[:8000] for code in rng.sample(text["code"], 120)]
    sample += itertools.islice(corpus.languages(rng), 3000)
    for conversation in itertools.islice(conversations.chat(rng, False), 6000):
        sample += [message["content"] for message in conversation.messages]
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


def _pack(documents, rows: int) -> Rows:
    """Whole documents one after the other; the last of a row is cut."""
    tokens = np.zeros((rows, ROW), dtype=np.int16)
    weights = np.zeros((rows, ROW), dtype=np.float16)
    for row in range(rows):
        filled = 0
        while filled < ROW:
            ids, weight = next(documents)
            take = min(ROW - filled, len(ids))
            tokens[row, filled : filled + take], weights[row, filled : filled + take] = (
                ids[:take],
                weight[:take],
            )
            filled += take
    return Rows(tokens, weights)


def _windows(texts: list[str], tokenizer: PreTrainedTokenizerFast, rows: int, rng: np.random.Generator) -> Rows:
    """Random windows of a domain's documents, each row opened by `<|begin_of_text|>`."""
    ids = tokenizer([text + "<|end_of_text|>" for text in texts])["input_ids"]
    stream = np.concatenate([np.array(document, dtype=np.int16) for document in ids])
    starts = rng.integers(0, len(stream) - ROW, rows)
    tokens = np.stack([stream[start : start + ROW] for start in starts])
    tokens[:, 0] = tokenizer.bos_token_id
    return Rows(tokens, np.ones(tokens.shape, dtype=np.float16))


def build_rows(tokenizer: PreTrainedTokenizerFast, held_out: bool, rows: dict[str, int]) -> dict[str, Rows]:
    """Rows for every domain of MIX; `rows` says how many of each."""
    rng = random.Random(1 if held_out else 2)
    numbers = np.random.default_rng(3 if held_out else 4)
    text = documentation.prose_and_code(held_out)
    filler = [line.strip() for document in text["prose"] for line in document.split(". ")]
    filler = sorted(
        {line.replace("\n", " ").rstrip(".") + "." for line in filler if 20 < len(line) < 80 and "  " not in line}
    )

    def plain(documents):
        for document in documents:
            ids = np.array(tokenizer(document + "<|end_of_text|>")["input_ids"], dtype=np.int16)
            yield ids, np.ones(len(ids), dtype=np.float16)

    return {
        "prose": _windows(text["prose"], tokenizer, rows["prose"], numbers),
        "code": _windows(text["code"], tokenizer, rows["code"], numbers),
        "languages": _pack(plain(corpus.languages(rng)), rows["languages"]),
        "arithmetic": _pack(plain(corpus.arithmetic(rng, held_out)), rows["arithmetic"]),
        "recall": _pack((encode_recall(d, tokenizer) for d in facts.recall(rng, filler)), rows["recall"]),
        "chat": _pack((encode_chat(c, tokenizer) for c in conversations.chat(rng, held_out)), rows["chat"]),
    }


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
        train = {domain: 16_000 // scale for domain in MIX} | {
            "languages": 6000 // scale,
            "arithmetic": 4000 // scale,
        }
        sets = {
            "train": build_rows(tokenizer, False, train),
            "held": build_rows(tokenizer, True, dict.fromkeys(MIX, 64)),
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


def picture_conversation(rng: random.Random):
    """A picture, a conversation of one to three questions about it, and the kinds of the questions in order."""
    image, questions = pictures.picture_with_questions(rng)
    chosen = rng.sample(questions, min(len(questions), rng.randrange(1, 4)))
    messages = []
    for turn, (_, question, answer) in enumerate(chosen):
        text = {"type": "text", "text": question}
        content = [{"type": "image"}, text] if turn == 0 else [text]
        messages += [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    return image, conversations.Conversation("picture", messages), [kind for kind, _, _ in chosen]


def one_tile_tokens(processor: ProcessorMixin) -> str:
    """What the processor writes for `<|image|>` when the picture is one tile."""
    patches = (pictures.SIDE // processor.patch_size) ** 2 // processor.downsample_ratio
    return "<|image_start|><|image|>" + "<|patch|>" * patches + "<|image_end|>"


def picture_batch(processor: ProcessorMixin, step: int, seed: int, batch: int, share: float) -> Batch:
    """`batch` drawn pictures with their conversations, padded on the right."""
    rng = random.Random(f"pictures-{seed}-{step}")
    drawn = [picture_conversation(rng) for _ in range(batch)]
    tiles = processor.image_processor([image for image, _, _ in drawn], return_tensors="pt")["pixel_values"]
    expanded = one_tile_tokens(processor)
    rows = [encode_chat(conversation, processor.tokenizer, expanded) for _, conversation, _ in drawn]
    length = max(len(ids) for ids, _ in rows)
    tokens = np.full((batch, length), processor.tokenizer.pad_token_id, dtype=np.int64)
    weights = np.zeros((batch, length), dtype=np.float32)
    for row, (ids, weight) in enumerate(rows):
        tokens[row, : len(ids)], weights[row, : len(ids)] = (
            ids,
            np.where(weight == PROMPT_WEIGHT, 0.02, weight),
        )
    return Batch(torch.from_numpy(tokens), torch.from_numpy(weights), tiles.float(), share)
