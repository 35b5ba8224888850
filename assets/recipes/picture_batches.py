"""Rows of tokens about pictures: conversations, what the processor writes for a picture, and rows of one fixed shape."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image
from transformers import ProcessorMixin

import conversations
from language_batches import PROMPT_WEIGHT, encode_chat
from llama4lab import drawn_pictures as pictures

SLOT = 128  # tokens: a conversation about pictures begins at a multiple of it
PICTURE_PROMPT_WEIGHT = 0.02  # most of a prompt with pictures is patches, which cannot be predicted
LAYOUTS = {"one tile": 0.5, "several tiles": 0.28, "two pictures": 0.22}


@dataclass(frozen=True)
class PictureConversation:
    """A conversation about pictures, all of one grid of tiles.

    Attributes:
        images: one picture or two.
        grid: rows and columns of the tiles of each.
        conversation: one to three questions with their answers.
        kinds: of the questions, in order.
    """

    images: list[Image.Image]
    grid: tuple[int, int]
    conversation: conversations.Conversation
    kinds: list[str]


def picture_conversation(
    rng: random.Random, layout: str, grid: tuple[int, int] = (1, 1), alike: bool = False
) -> PictureConversation:
    """A conversation about new pictures; of two pictures each question says which one it means.

    With `alike` it asks where shapes are that only color and form together tell apart.
    """
    which = ("first", "second") if layout == "two pictures" else ("",)
    drawn = [pictures.picture_with_questions(rng, grid, name, alike) for name in which]
    questions = [question for _, asked in drawn for question in asked if not alike or question[0] == "position"]
    chosen = rng.sample(questions, min(len(questions), rng.randrange(1, 4)))
    messages = []
    for turn, (_, question, answer) in enumerate(chosen):
        text = {"type": "text", "text": question}
        content = [{"type": "image"}] * len(drawn) + [text] if turn == 0 else [text]
        messages += [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    conversation = conversations.Conversation("picture", messages)
    return PictureConversation([image for image, _ in drawn], grid, conversation, [kind for kind, _, _ in chosen])


def picture_tokens(processor: ProcessorMixin, grid: tuple[int, int]) -> str:
    """What the processor writes for `<|image|>`: the tiles row by row, then the whole picture in one tile."""
    patches = "<|patch|>" * ((pictures.SIDE // processor.patch_size) ** 2 // processor.downsample_ratio)
    tiles = ""
    if grid != (1, 1):
        row = "<|tile_x_separator|>".join([patches] * grid[1]) + "<|tile_y_separator|>"
        tiles = row * grid[0]
    return f"<|image_start|>{tiles}<|image|>{patches}<|image_end|>"


def draw_layout(rng: random.Random, layouts: dict[str, float]) -> tuple[str, tuple[int, int]]:
    """One of `layouts`, by their shares, and a grid of tiles that fits it."""
    layout = rng.choices(list(layouts), list(layouts.values()))[0]
    return layout, rng.choice(pictures.GRIDS) if layout == "several tiles" else (1, 1)


def encode_picture_chat(one: PictureConversation, processor: ProcessorMixin) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and weights of a conversation, the tokens of its pictures among them."""
    ids, weights = encode_chat(one.conversation, processor.tokenizer, picture_tokens(processor, one.grid))
    return ids, np.where(weights == PROMPT_WEIGHT, PICTURE_PROMPT_WEIGHT, weights)


def encode_pictures(drawn: list[PictureConversation], processor: ProcessorMixin):
    """Token ids and weights of each conversation, and the tiles of all pictures, `[tiles, 3, side, side]`."""
    images = [image for one in drawn for image in one.images]
    tiles = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    return [encode_picture_chat(one, processor) for one in drawn], tiles


@dataclass(frozen=True)
class PictureRows:
    """Conversations about pictures in one shape, so that every step of a run can take the same way.

    Attributes:
        tokens, weights: `[rows, length]`; padding between conversations has weight 0.
        feature: for each token that is a patch, the index of its visual feature among those of all tiles, else -1.
        tiles: `[tiles, 3, side, side]`, bytes.
    """

    tokens: np.ndarray
    weights: np.ndarray
    feature: np.ndarray
    tiles: np.ndarray


def picture_rows(
    processor: ProcessorMixin, rng: random.Random, rows: int, length: int, tiles: int, layouts: dict[str, float]
) -> PictureRows:
    """New conversations, as many as fit in `rows` rows and `tiles` tiles, their layouts drawn by `layouts`.

    Each begins at a multiple of SLOT tokens, and one that is longer than a row is not drawn.
    """
    tokenizer = processor.tokenizer
    patch = tokenizer.convert_tokens_to_ids("<|patch|>")
    result = PictureRows(
        np.full((rows, length), tokenizer.pad_token_id, dtype=np.int16),
        np.zeros((rows, length), dtype=np.float16),
        np.full((rows, length), -1, dtype=np.int16),
        np.zeros((tiles, 3, pictures.SIDE, pictures.SIDE), dtype=np.uint8),
    )
    images, used, row, at = [], 0, 0, 0
    while True:
        layout, grid = draw_layout(rng, layouts)
        count = 2 if layout == "two pictures" else grid[0] * grid[1] + (grid != (1, 1))
        one = picture_conversation(rng, layout, grid)
        ids, weights = encode_picture_chat(one, processor)
        if len(ids) > length:
            continue
        if at + len(ids) > length:
            row, at = row + 1, 0
        if row == rows or used + count > tiles:
            break
        end = at + len(ids)
        result.tokens[row, at:end] = ids
        result.weights[row, at:end] = weights
        is_patch = ids == patch
        first = used * is_patch.sum() // count
        result.feature[row, at:end][is_patch] = first + np.arange(is_patch.sum())
        images += one.images
        used, at = used + count, -(-end // SLOT) * SLOT
    cut = processor.image_processor(images, return_tensors="pt", do_rescale=False, do_normalize=False)["pixel_values"]
    result.tiles[: len(cut)] = cut.round().byte().numpy()
    return result
