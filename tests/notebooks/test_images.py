"""What notebook 13 writes from scratch is held to the library; and its explorer."""

import random

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from transformers import Llama4ImageProcessor
from transformers.models.llama4 import image_processing_llama4 as library
from transformers.models.llama4.modeling_llama4 import pixel_shuffle, vision_apply_rotary_emb

from llama4lab.checkpoints import load_checkpoint
from llama4lab.errors import CourseError
from llama4lab.explore import explore_pictures
from llama4lab.parameters import real_config
from llama4lab.picture_exam import Exam, ask


@pytest.fixture(scope="module")
def proxy():
    return load_checkpoint("scout-proxy")


@pytest.mark.parametrize("tile, most", [(336, 16), (48, 16), (48, 4), (336, 1)])
def test_grids_and_fitted_sizes_equal_the_library(notebook, tile, most):
    """For pictures of 1 to 16384 pixels a side."""
    resolutions = torch.tensor(
        library.find_supported_resolutions(most, library.SizeDict(height=tile, width=tile)), dtype=torch.int64
    )
    rng = random.Random(tile)
    sizes = [tuple(round(2 ** rng.uniform(0, 14)) for _ in "hw") for _ in range(400)]
    sizes += [(tile, tile), (tile + 1, tile), (2 * tile, 3 * tile), (4 * tile, 4 * tile), (1, 10000), (10000, 1)]
    for height, width in sizes:
        canvas = library.get_best_fit((height, width), resolutions)
        grid = tuple((canvas // tile).tolist())
        assert notebook["choose_grid"](height, width, tile, most) == grid
        room = [min(max(side, tile), int(limit)) for side, limit in zip((height, width), canvas, strict=True)]
        fitted = tuple(max(int(n), 1) for n in library.get_max_res_without_distortion((height, width), room))
        assert notebook["fitted_size"](height, width, *grid, tile) == fitted


@pytest.mark.parametrize("size", [(48, 48), (20, 31), (50, 70), (97, 140), (30, 200), (1, 300)])
def test_tiles_equal_the_library(notebook, size):
    picture = notebook["noise_picture"](*size)
    expected = Llama4ImageProcessor(size={"height": 48, "width": 48})(picture, return_tensors="pt")["pixel_values"]
    assert_close(notebook["cut_tiles"](picture, 48), expected, atol=1e-5, rtol=1e-5)


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


def test_features_equal_the_library(notebook, proxy):
    _, model = proxy
    tiles = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(4)) * 2 - 1
    with torch.no_grad():
        expected = model.multi_modal_projector(model.get_image_features(tiles).last_hidden_state)
        assert_close(notebook["encode_tiles"](model, tiles), expected, atol=1e-5, rtol=1e-5)


def test_rotation_at_scouts_size(notebook, proxy):
    """At Scout's head_dim of 88 and 24 patches a side."""
    table = type(proxy[1].vision_model.rotary_embedding)._compute_freqs_ci(real_config("scout").vision_config)
    x = torch.rand(1, 577, 2, 88, generator=torch.Generator().manual_seed(5))
    expected, _ = vision_apply_rotary_emb(x, x, table)
    assert_close(notebook["rotate"](x, notebook["rotation_angles"](24, 88)), expected, atol=1e-5, rtol=1e-5)


def test_features_go_to_patch_tokens_in_order(notebook):
    embeddings = torch.zeros(1, 6, 2)
    ids = torch.tensor([[1, 9, 9, 2, 9, 9]])
    features = torch.arange(8.0).view(2, 2, 2)
    fused = notebook["put_features"](embeddings, ids, features, 9)
    assert fused[0].tolist() == [[0, 0], [0, 1], [2, 3], [0, 0], [4, 5], [6, 7]] and not embeddings.any()


def test_each_wrong_encoder_changes_features_and_only_them(notebook, proxy):
    """What section 6 breaks: lost sines and PyTorch's order leave shapes as they are, and change the numbers."""
    _, model = proxy
    tiles = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(6)) * 2 - 1
    with torch.no_grad():
        right = notebook["encode_tiles"](model, tiles)
        for wrong in ({"turn": lambda x, angles: x}, {"shuffle": notebook["shuffle_of_torch"]}):
            features = notebook["encode_tiles"](model, tiles, **wrong)
            assert features.shape == right.shape and (features - right).norm() > 0.01 * right.norm()


def test_answer_mask(notebook, proxy):
    processor, _ = proxy
    said = [("user", "Where is it?"), ("assistant", "top left."), ("user", "And now?"), ("assistant", "red.")]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
    ids = processor.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"][0]
    written = [token for token, asked in zip(ids, notebook["answer_mask"](ids), strict=True) if asked]
    assert processor.tokenizer.decode(written).split() == ["top", "left.<|eot|>", "red.<|eot|>"]


def test_corner_tokens(notebook):
    assert notebook["corner_tokens"](0) == [0, 1, 4, 5] and notebook["corner_tokens"](3) == [10, 11, 14, 15]
    assert sorted(sum((notebook["corner_tokens"](c) for c in range(4)), [])) == list(range(16))


# ---- bad input ---------------------------------------------------------------------------------------------


def picture(mode: str = "RGB", size: tuple[int, int] = (400, 300)) -> Image.Image:
    return Image.new(mode, size)


@pytest.mark.parametrize(
    "text, given, sentence",
    [
        ("<|image|>?", [picture(size=(0, 7))], "Picture 1 is 0 x 7 pixels, it holds nothing; load it again."),
        ("<|image|>?", [picture(size=(1, 10000))], "1 x 10000, is a thin line that costs 2467 tokens; crop it."),
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


# What the library makes of bad input, as section 10 tells it.
@pytest.mark.parametrize(
    "text, given, error, words",
    [
        ("<|image|>?", [picture(size=(0, 0))], ZeroDivisionError, "division by zero"),
        (
            "What is it?",
            [picture()],
            ValueError,
            r"total number of <\|image\|> tokens in the prompts should be the same",
        ),
        ("<|image|>?", None, ValueError, r"Found 1 <\|image\|> tokens in the text but no images were passed"),
    ],
)
def test_what_the_library_refuses(proxy, text, given, error, words):
    with pytest.raises(error, match=words):
        proxy[0](text=text, images=given)


@pytest.mark.parametrize("given", [picture(size=(10000, 1)), picture("CMYK")])
def test_what_the_library_takes(proxy, given):
    assert proxy[0](text="<|image|>?", images=[given], return_tensors="pt")["pixel_values"].shape[0] > 1


def test_sound_and_film_are_dropped(proxy):
    processor, model = proxy
    sound, film = torch.zeros(16000), torch.zeros(2, 3, 48, 48)
    given = processor(text="What is heard?", audio=sound, videos=film, return_tensors="pt")
    assert set(given) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        assert torch.equal(model(**given).logits, model(**given, input_features=sound).logits)


def test_a_cast_after_loading_loses_the_sines():
    _, loaded = load_checkpoint("scout-proxy", dtype=torch.bfloat16)
    assert loaded.vision_model.rotary_embedding.freqs_ci.is_complex()
    with pytest.warns(UserWarning, match="discards the imaginary part"):
        cast = load_checkpoint("scout-proxy")[1].to(torch.bfloat16)
    assert not cast.vision_model.rotary_embedding.freqs_ci.is_complex()


def test_the_librarys_loss_leaves_out_minus_100_alone(notebook, proxy):
    ids = notebook["encode"]([picture(size=(48, 48))], "What color is it?")
    patches = ids["input_ids"] == notebook["PATCH"]
    with torch.no_grad():
        out = proxy[1](**ids, labels=ids["input_ids"])
        without = proxy[1](**ids, labels=ids["input_ids"].masked_fill(patches, -100)).loss
    losses = -out.logits[:, :-1].log_softmax(2).gather(2, ids["input_ids"][:, 1:, None])[..., 0]
    assert_close(out.loss, losses.mean(), atol=1e-5, rtol=1e-5)
    assert_close(without, losses[~patches[:, 1:]].mean(), atol=1e-5, rtol=1e-5)


# ---- explorer ----------------------------------------------------------------------------------------------


def test_explorer_shows_tiles_and_tokens(notebook):
    width, height, result = explore_pictures(notebook["count_tokens"], notebook["choose_grid"]).children
    assert "2 × 2 tiles, 5 with the global one: 720 patch tokens, 727 in all" in result.value
    width.value, height.value = 300, 200
    assert "1 × 1 tiles, 1 with the global one: 144 patch tokens, 147 in all" in result.value
    width.value, height.value = 1920, 1080
    assert "5 × 3 tiles" in result.value and result.value.count("&#9633;") == 15


def test_the_exam_sees_through_the_encoder_that_it_is_given(notebook):
    encode_tiles = notebook["encode_tiles"]
    exam = Exam(*(notebook[name] for name in ("model", "tokenizer", "encode", "encode_tiles", "read")))
    asked = [entry for entry in ask(4, seed=7, grids=((1, 1), (2, 1))) if entry[1] == "color"]
    right = exam.share_right(asked)["color"]
    assert right == 1 > exam.share_right(asked, lambda model, tiles: encode_tiles(model, tiles) * 0)["color"]
