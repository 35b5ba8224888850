"""Questions about drawn pictures, and the share that a model answers right when it sees them through some encoder."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from llama4lab.dispatch import sorted_dispatch
from llama4lab.drawn_pictures import picture_with_questions

Question = tuple[list, str, str]  # pictures, question, answer


def ask(
    count: int, seed: int, grids: Sequence[tuple[int, int]] = ((1, 1),), names: Sequence[str] = ("",)
) -> list[tuple[int, str, Question]]:
    """Questions about `count` prompts, each with its prompt's number and its kind.

    names: "first", "second" where a prompt has several pictures.
    """
    rng, asked = random.Random(seed), []
    for number in range(count):
        drawn = [picture_with_questions(rng, rng.choice(grids), name) for name in names]
        pictures = [picture for picture, _ in drawn]
        asked += [(number, kind, (pictures, *question)) for _, some in drawn for kind, *question in some]
    return asked


class Exam:
    """Examines a model without generating: an answer is right if greedy decoding would take each of its tokens.

    Args:
        encode: pictures and a question to the inputs of a prompt.
        features_of: the encoder: model and tiles `[tiles, 3, side, side]` to features `[tiles, tokens, hidden]`.
        read: model, ids `[batch, seq]` and features to logits `[batch, seq, vocabulary]`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        encode: Callable,
        features_of: Callable,
        read: Callable,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.encode, self.features_of, self.read = encode, features_of, read

    def right_answers(self, asked: Sequence[Question], encoder: Callable | None = None) -> list[bool]:
        """Whether each question is answered right, seen through `encoder` (the exam's own where none is given)."""
        groups, right = defaultdict(list), {}
        for place, (pictures, question, answer) in enumerate(asked):
            inputs = self.encode(pictures, question)
            wanted = self.tokenizer(answer, add_special_tokens=False, return_tensors="pt").input_ids
            # Prompts of one shape run together, so that nothing is padded.
            shape = (inputs["input_ids"].shape, wanted.shape, len(inputs["pixel_values"]))
            groups[shape].append((place, inputs, wanted))
        with torch.no_grad(), sorted_dispatch(self.model):
            for group in groups.values():
                places, inputs, wanted = zip(*group, strict=True)
                greedy = self._greedy_gives(inputs, torch.cat(wanted), encoder or self.features_of)
                right |= dict(zip(places, greedy, strict=True))
        return [right[place] for place in range(len(asked))]

    def _greedy_gives(self, inputs: Sequence, wanted: torch.Tensor, encoder: Callable) -> list[bool]:
        ids = torch.cat([torch.cat([prompt["input_ids"] for prompt in inputs]), wanted.to(self.model.device)], dim=1)
        features = encoder(self.model, torch.cat([prompt["pixel_values"] for prompt in inputs]))
        logits = self.read(self.model, ids, features)[:, -wanted.shape[1] - 1 : -1]
        return (logits.argmax(dim=2).cpu() == wanted).all(dim=1).tolist()

    def share_right(
        self, asked: Sequence[tuple[int, str, Question]], encoder: Callable | None = None
    ) -> dict[str, float]:
        """Share of right answers by kind of question, for what `ask` gives."""
        by_kind = defaultdict(list)
        for (_, kind, _), right in zip(asked, self.right_answers([entry[2] for entry in asked], encoder), strict=True):
            by_kind[kind].append(right)
        return {kind: sum(got) / len(got) for kind, got in by_kind.items()}
