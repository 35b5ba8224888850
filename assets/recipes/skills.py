"""What a language model of the course can do: exact answers in chat, about pictures and about facts in prose."""

import random
from functools import partial
from itertools import islice

import numpy as np
import torch

import conversations
import language_batches as lb
import picture_batches as pb
import samples
from llama4lab import drawn_pictures as pictures
from llama4lab.dispatch import sorted_dispatch


def exact_answers(model: torch.nn.Module, rows: list[tuple[np.ndarray, np.ndarray]], pad: int, **inputs) -> list[bool]:
    """For each answer in `rows` of (token ids, weights): would greedy decoding have written exactly it?

    Greedy decoding writes an answer if and only if every one of its tokens, `<|eot|>` included, is the most probable
    after the tokens before it, so one pass over the right text decides.
    """
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), longest), pad)
    for row, (ids, _) in enumerate(rows):
        tokens[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad(), sorted_dispatch(model):
        guesses = model(input_ids=tokens, use_cache=False, **inputs).logits.argmax(dim=-1)
    verdicts = []
    for row, (ids, weights) in enumerate(rows):
        right, inside = True, False
        for index in range(1, len(ids) + 1):
            is_answer = index < len(ids) and weights[index] == lb.ANSWER_WEIGHT
            if is_answer:
                right = (right if inside else True) and guesses[row, index - 1].item() == ids[index]
            elif inside:
                verdicts.append(right)
            inside = is_answer
    return verdicts


def chat_accuracy(model, tokenizer, of_a_kind: int = 256) -> dict[str, float]:
    """Exact answers in unseen conversations, by where the answers come from (`conversations.Conversation.kind`).

    Of a conversation with a tool the call and the reading of its result count apart.
    """
    rng = random.Random(20_000)
    kinds: dict[str, list] = {}
    for conversation in islice(conversations.chat(rng, held_out=True), of_a_kind * 40):
        rows = kinds.setdefault(conversation.kind, [])
        if len(rows) < of_a_kind:
            rows.append(lb.encode_chat(conversation, tokenizer))
    shares = {}
    for kind, rows in sorted(kinds.items()):
        verdicts = exact_answers(model, rows, tokenizer.pad_token_id)
        if kind.startswith("tool"):
            shares[f"{kind}: the call"] = float(np.mean(verdicts[::2]))
            shares[f"{kind}: its result"] = float(np.mean(verdicts[1::2]))
        else:
            shares[kind] = float(np.mean(verdicts))
    return shares


def picture_accuracy(model, processor, conversations_each: int = 300) -> dict[str, float]:
    """Exact answers about unseen pictures: by kind of question for one tile, and for several tiles and two pictures."""
    rng = random.Random(30_000)
    shares = {}
    for layout in pb.LAYOUTS:
        verdicts, kinds = [], []
        grids = pictures.GRIDS if layout == "several tiles" else ((1, 1),)
        for grid in grids:
            drawn = [pb.picture_conversation(rng, layout, grid) for _ in range(conversations_each // len(grids))]
            rows, tiles = pb.encode_pictures(drawn, processor)
            verdicts += exact_answers(model, rows, processor.tokenizer.pad_token_id, pixel_values=tiles.to(model.dtype))
            kinds += [kind for one in drawn for kind in one.kinds]
        if layout == "one tile":
            for kind in sorted(set(kinds)):
                right = [verdict for verdict, other in zip(verdicts, kinds, strict=True) if other == kind]
                shares[kind] = float(np.mean(right))
        else:
            shares[layout] = float(np.mean(verdicts))
    return shares


def prompt_recall(model, tokenizer, filler: list[int], length: int, rows: int, **needle) -> float:
    """Share of exact answers to `rows` prompts of `needle_prompt`, among the tokens of `filler`."""
    rng = random.Random(f"{length}-{needle}")
    prompts = [samples.needle_prompt(rng, tokenizer, filler, length, **needle) for _ in range(rows)]
    size = max(1, 8192 // length)
    return float(np.mean([v for at in range(0, rows, size) for v in exact_answers(model, prompts[at : at + size], 0)]))


RECALL_LENGTHS = (128, 256, 512, 1024, 2048)
RECALL_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def recall_in_prose(model, tokenizer, rows: int = 40) -> dict[str, dict]:
    """One needle in held-out prose, by length and depth; harder questions by length, their facts anywhere."""
    ask = partial(prompt_recall, model, tokenizer, samples.held_out_prose(tokenizer))
    one = {
        str(length): {str(depth): ask(length, rows, depth=depth, kind="one hop", count=1) for depth in RECALL_DEPTHS}
        for length in RECALL_LENGTHS
    }
    harder = {
        name: {str(length): ask(length, 2 * rows, depth=None, kind=kind, count=count) for length in RECALL_LENGTHS}
        for name, (kind, count) in samples.NEEDLE_KINDS.items()
        if count > 1
    }
    # The first chunk of 128 tokens ends here: what happens to a fact that the wall cuts in two?
    around_a_wall = {
        str(place): ask(256, rows, depth=place / 234, kind="one hop", count=1) for place in range(100, 145, 3)
    }
    return {
        "one needle, by length and depth": one,
        "by length": harder,
        "one needle in 256 tokens, by about where it begins": around_a_wall,
    }


def skills(model, processor, held: dict[str, lb.Rows]) -> dict[str, dict[str, float]]:
    """Held-out NLL, exact answers in chat and about pictures."""
    with sorted_dispatch(model):
        nll = lb.held_out_nll(model, held)
    chat, seen = chat_accuracy(model, processor.tokenizer), picture_accuracy(model, processor)
    return {"nll": nll, "chat": chat, "pictures": seen}
