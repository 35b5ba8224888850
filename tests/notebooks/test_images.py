"""The functions that notebook 13 defines, taken out of it and held to the library; and its explorer."""

import random

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from transformers import Llama4ImageProcessor
from transformers.models.llama4 import image_processing_llama4 as library
from transformers.models.llama4.modeling_llama4 import pixel_shuffle, vision_apply_rotary_emb

import pictures
from llama4lab.checkpoints import load_checkpoint
from llama4lab.errors import CourseError
from llama4lab.explore_pictures import explore_pictures
from llama4lab.notebook_functions import functions_of

WITHOUT = ("exercise", "solution")


@pytest.fixture(scope="module")
def notebook() -> dict:
    return functions_of("images", without=WITHOUT)


@pytest.fixture(scope="module")
def proxy():
    return load_checkpoint("scout-proxy")


def same_grids(functions: dict, tile: int, most: int) -> bool:
    """Whether grids and fitted sizes are the library's for pictures of 1 to 16384 pixels a side."""
    resolutions = torch.tensor(
        library.find_supported_resolutions(most, library.SizeDict(height=tile, width=tile)), dtype=torch.int64
    )
    rng = random.Random(tile)
    sizes = [tuple(round(2 ** rng.uniform(0, 14)) for _ in "hw") for _ in range(400)]
    sizes += [(tile, tile), (tile + 1, tile), (2 * tile, 3 * tile), (4 * tile, 4 * tile), (1, 10000), (10000, 1)]
    for height, width in sizes:
        canvas = library.get_best_fit((height, width), resolutions)
        grid = tuple((canvas // tile).tolist())
        if functions["choose_grid"](height, width, tile, most) != grid:
            return False
        room = [min(max(side, tile), int(limit)) for side, limit in zip((height, width), canvas, strict=True)]
        fitted = tuple(max(int(n), 1) for n in library.get_max_res_without_distortion((height, width), room))
        if functions["fitted_size"](height, width, *grid, tile) != fitted:
            return False
    return True


@pytest.mark.parametrize("tile, most", [(336, 16), (48, 16), (48, 4), (336, 1)])
def test_grids_equal_the_library(notebook, tile, most):
    assert same_grids(notebook, tile, most)


@pytest.mark.parametrize(
    "change",
    [
        ("min(enough) if enough", "max(enough) if enough"),
        ("if scale >= 1]", "if scale > 1]"),
        ("room_w * height < room_h * width", "room_w * height > room_h * width"),
        ("min(max(height, tile), rows * tile)", "rows * tile"),
    ],
)
def test_a_wrong_grid_is_caught(change):
    assert not same_grids(functions_of("images", change, without=WITHOUT), 336, 16)


def same_tiles(functions: dict) -> bool:
    processor = Llama4ImageProcessor(size={"height": 48, "width": 48})
    for height, width in ((48, 48), (20, 31), (50, 70), (97, 140), (30, 200), (1, 300)):
        picture = functions["noise_picture"](height, width)
        expected = processor(picture, return_tensors="pt")["pixel_values"]
        found = functions["cut_tiles"](picture, 48)
        if found.shape != expected.shape or not torch.allclose(found, expected, atol=1e-5, rtol=1e-5):
            return False
    return True


def test_tiles_equal_the_library(notebook):
    assert same_tiles(notebook)


@pytest.mark.parametrize("change", [("permute(1, 3, 0, 2, 4)", "permute(3, 1, 0, 2, 4)"), ("* (1 / 255)", "/ 256")])
def test_wrong_tiles_are_caught(change):
    assert not same_tiles(functions_of("images", change, without=WITHOUT))


def test_text_and_count_equal_the_processor(notebook, proxy):
    processor, _ = proxy
    for height, width in ((48, 48), (60, 80), (700, 20), (20, 700), (150, 150)):
        ids = processor(text="<|image|>", images=Image.new("RGB", (width, height)), add_special_tokens=False)
        text = notebook["picture_text"](*notebook["choose_grid"](height, width, 48), 16)
        assert ids["input_ids"][0] == processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids["input_ids"][0]) == notebook["count_tokens"](height, width, 48, 6)[2]


@pytest.mark.parametrize("side", [2, 4, 24])
@pytest.mark.parametrize("width", [1, 5])
def test_pixel_shuffle(notebook, side, width):
    x = torch.rand(2, side * side, width, generator=torch.Generator().manual_seed(side))
    assert torch.equal(notebook["shuffle_pixels"](x), pixel_shuffle(x, 0.5))


def same_features(functions: dict, model) -> bool:
    tiles = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(4)) * 2 - 1
    with torch.no_grad():
        expected = model.multi_modal_projector(model.get_image_features(tiles).last_hidden_state)
        return torch.allclose(functions["encode_tiles"](model, tiles), expected, atol=1e-5, rtol=1e-5)


def test_features_equal_the_library(notebook, proxy):
    assert same_features(notebook, proxy[1])


@pytest.mark.parametrize(
    "change",
    [
        ("torch.cat([column[:, None] * frequency, row", "torch.cat([row[:, None] * frequency, column"),
        ("place % patches_a_side + 1", "place % patches_a_side"),
        ("squares.permute(0, 1, 3, 2, 4, 5)", "squares.permute(0, 1, 3, 4, 2, 5)"),
        ("squares.permute(0, 2, 4, 1, 3, 5)", "squares.permute(0, 2, 4, 3, 5, 1)"),
        ("vision.layernorm_post.bias, eps)[:, :-1]", "vision.layernorm_post.bias, eps)[:, 1:]"),
        ("even * sin + odd * cos", "odd * cos - even * sin"),
    ],
)
def test_wrong_features_are_caught(proxy, change):
    assert not same_features(functions_of("images", change, without=WITHOUT), proxy[1])


def test_rotation_at_scouts_size(notebook):
    """At Scout's head_dim of 88 and 24 patches a side."""
    from llama4lab.parameters import real_config

    model = load_checkpoint("scout-proxy")[1]
    table = type(model.vision_model.rotary_embedding)._compute_freqs_ci(real_config("scout").vision_config)
    x = torch.rand(1, 577, 2, 88, generator=torch.Generator().manual_seed(5))
    expected, _ = vision_apply_rotary_emb(x, x, table)
    assert_close(notebook["rotate"](x, notebook["rotation_angles"](24, 88)), expected, atol=1e-5, rtol=1e-5)


def test_features_go_to_patch_tokens_in_order(notebook):
    embeddings = torch.zeros(1, 6, 2)
    ids = torch.tensor([[1, 9, 9, 2, 9, 9]])
    features = torch.arange(8.0).view(2, 2, 2)
    fused = notebook["put_features"](embeddings, ids, features, 9)
    assert fused[0].tolist() == [[0, 0], [0, 1], [2, 3], [0, 0], [4, 5], [6, 7]] and not embeddings.any()


def test_drawings_are_those_of_the_recipe(notebook):
    notebook |= {"COLORS": pictures.COLORS, "GROUNDS": pictures.BACKGROUNDS, "CORNERS": pictures.CORNERS}
    for seed, shape in enumerate(pictures.SHAPES):
        shapes = [pictures.Drawn(shape, "red", 0), pictures.Drawn("circle", "blue", 3)]
        ours = notebook["draw"]([(s.shape, s.color, s.corner) for s in shapes], random.Random(seed))
        assert ours.tobytes() == pictures.draw(shapes, random.Random(seed)).tobytes()


def test_corner_tokens(notebook):
    assert notebook["corner_tokens"](0) == [0, 1, 4, 5] and notebook["corner_tokens"](3) == [10, 11, 14, 15]
    assert sorted(sum((notebook["corner_tokens"](c) for c in range(4)), [])) == list(range(16))


# ---- bad input ---------------------------------------------------------------------------------------------


def picture(mode: str = "RGB", size: tuple[int, int] = (400, 300)) -> Image.Image:
    return Image.new(mode, size)


@pytest.mark.parametrize(
    "text, given, sentence",
    [
        ("<|image|>?", [picture(size=(0, 0))], "Picture 1 is 0 x 0 pixels, it holds nothing; load it again."),
        ("<|image|>?", [picture(size=(0, 7))], "Picture 1 is 0 x 7 pixels, it holds nothing; load it again."),
        ("<|image|>?", [picture(size=(1, 10000))], "1 x 10000, is a thin line that costs 2467 tokens; crop it."),
        ("<|image|>?", [picture(size=(10000, 1))], "10000 x 1, is a thin line that costs 2467 tokens; crop it."),
        ("<|image|><|image|>?", [picture(), picture("CMYK")], "Picture 2 is CMYK; look at picture.convert"),
        ("What is it?", [picture()], "The text has 0 <|image|> for 1 pictures; write one where each picture belongs."),
        ("<|image|>?", [], "The text has 1 <|image|> for 0 pictures; write one where each picture belongs."),
        ("<|image|><|patch|>?", [picture()], "The text holds <|patch|>; leave it out"),
    ],
)
def test_bad_input_is_told_in_one_sentence(notebook, text, given, sentence):
    with pytest.raises(CourseError) as problem:
        notebook["check_prompt"](text, given)
    assert sentence in str(problem.value) and "\n" not in str(problem.value)


def test_good_input_passes(notebook):
    notebook["check_prompt"]("What is it?", [])
    notebook["check_prompt"]("<|image|><|image|>?", [picture(), picture("L", (3000, 200))])


# ---- explorer ----------------------------------------------------------------------------------------------


def test_explorer_shows_tiles_and_tokens(notebook):
    width, height, result = explore_pictures(notebook["count_tokens"], notebook["choose_grid"]).children
    assert "2 × 2 tiles, 5 with the global one: 720 patch tokens, 727 in all" in result.value
    width.value, height.value = 300, 200
    assert "1 × 1 tiles, 1 with the global one: 144 patch tokens, 147 in all" in result.value
    width.value, height.value = 1920, 1080
    assert "5 × 3 tiles" in result.value and result.value.count("&#9633;") == 15
