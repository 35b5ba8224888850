"""llama4lab.explore_mask: what the explorer draws follows from what is chosen."""

import pytest
import torch

from llama4lab.explore_mask import KINDS, explore_mask, mask_of, mask_svg, seen_words
from llama4lab.notebook_functions import functions_of


@pytest.fixture(scope="module")
def visible():
    return functions_of("positions_and_walls")["visible"]


@pytest.fixture
def explorer(visible):
    kind, tokens, chunk, padding, query, picture = explore_mask(visible).children
    return {"kind": kind, "tokens": tokens, "chunk": chunk, "padding": padding, "query": query, "picture": picture}


COUNTS = {"chunks": [1, 2, 3, 1, 2, 3, 1], "sliding window": [1, 2, 3, 3, 3, 3, 3], "global": [1, 2, 3, 4, 5, 6, 7]}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_each_kind(visible, kind):
    seen = mask_of(kind, 7, 3, 0, visible)
    assert seen.sum(dim=1).tolist() == COUNTS[kind]
    assert not seen.triu(1).any()


def test_padding_is_seen_by_nobody_and_moves_the_walls(visible):
    for kind in KINDS:
        seen = mask_of(kind, 9, 3, 2, visible)
        assert not seen[:, :2].any() and not seen[:2].any()
        assert torch.equal(seen[2:, 2:], mask_of(kind, 7, 3, 0, visible))


def test_picture_has_a_square_for_each_pair_and_a_frame(visible):
    seen = mask_of("chunks", 10, 4, 0, visible)
    drawn = mask_svg(seen, 3)
    assert drawn.count("<rect") == int(seen.sum()) + 2
    assert 'y="26.5"' in drawn  # the frame of row 3


def test_words(visible):
    seen = mask_of("chunks", 10, 4, 1, visible)
    assert seen_words(seen, 0, 1) == "Row 0 is padding: it is no token, and sees none."
    assert seen_words(seen, 5, 1) == "Row 5, position 4, sees only itself."
    assert seen_words(seen, 8, 1) == "Row 8, position 7, sees 4 tokens: positions 4 to 7."


def test_starts_with_the_last_token(explorer):
    assert "Row 23, position 23, sees 8 tokens: positions 16 to 23. 108 pairs" in explorer["picture"].value


def test_dials_change_the_picture(explorer):
    explorer["kind"].value = "global"
    assert "sees 24 tokens" in explorer["picture"].value
    explorer["kind"].value = "sliding window"
    explorer["query"].value = 16
    assert "Row 16, position 16, sees 8 tokens: positions 9 to 16" in explorer["picture"].value
    explorer["kind"].value = "chunks"
    assert "sees only itself" in explorer["picture"].value
    explorer["padding"].value = 5
    assert "Row 16, position 11, sees 4 tokens: positions 8 to 11" in explorer["picture"].value
    explorer["chunk"].value = 1
    assert "sees only itself. 19 pairs" in explorer["picture"].value


@pytest.mark.parametrize("length", [1, 5, 48])
def test_another_length_keeps_query_and_padding_within(explorer, length):
    explorer["padding"].value = 10
    explorer["tokens"].value = length
    assert explorer["query"].value < length and explorer["padding"].value < length
    assert f"Mask of {length} queries" in explorer["picture"].value
