"""notebooks/llama4.py against transformers: prompts, caches, padding, pictures, sampling, shards, Scout's own shapes."""

import json
import subprocess
import sys
from itertools import islice

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.llama4.modeling_llama4 import Llama4TextRotaryEmbedding

import llama4
from llama4lab.assets import ASSETS
from llama4lab.checkpoints import MODELS, load_checkpoint, quiet_transformers
from llama4lab.course_notebooks import NOTEBOOKS
from llama4lab.peak_memory import peak_tensor_bytes

PROXIES = ("scout-proxy", "maverick-proxy", "behemoth-proxy")
CLEAR = 3e-5  # a margin of the router that rounding does not reach


def chunk_of(ours: llama4.Llama4) -> int:
    return ours.config.attention_chunk_size


def padding_of(ours: llama4.Llama4) -> torch.Tensor:
    """For four rows; the third is padding beyond its first wall."""
    return torch.tensor([0, chunk_of(ours) // 2 - 2, chunk_of(ours) + 36, 7])


@pytest.fixture(scope="module", params=PROXIES)
def pair(request):
    """The library's processor and model, and ours."""
    processor, library = load_checkpoint(request.param)
    return processor, library.requires_grad_(False), llama4.Llama4.from_pretrained(MODELS / request.param)


@pytest.fixture(scope="module")
def scout():
    return llama4.Llama4.from_pretrained(MODELS / "scout-proxy")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert_close(found, expected, atol=1e-4, rtol=0)


def clear_ids(library, rows: int, tokens: int, padding: torch.Tensor | None = None) -> torch.Tensor:
    """Random ids for which every router is decided.

    Where two experts are equal within rounding, another order of additions picks the other one: right, and far away.
    """
    starts = torch.zeros(rows, dtype=torch.long) if padding is None else padding
    for seed in range(30):
        ids = torch.randint(0, 2048, (rows, tokens), generator=torch.Generator().manual_seed(seed))
        scores = [
            logits.topk(2, dim=-1).values
            for row, start in zip(ids, starts, strict=True)
            for logits in library(input_ids=row[None, start:], output_router_logits=True).router_logits
        ]
        if min((score[:, 0] - score[:, 1]).min() for score in scores) > CLEAR:
            return ids
    raise AssertionError("No text of 30 leaves every router decided: take shorter ones.")


@pytest.mark.parametrize(("chunks", "more"), [(0, 1), (1, -1), (1, 0), (1, 1), (3, 8)])
def test_a_prompt_of_any_length(pair, chunks, more):
    _, library, ours = pair
    ids = clear_ids(library, rows=2, tokens=chunks * chunk_of(ours) + more)
    close(ours(ids), library(input_ids=ids).logits)
    close(ours(ids, last_only=True), library(input_ids=ids, logits_to_keep=1).logits)


@pytest.mark.parametrize("kind", ["one by one", "over a wall", "up to a wall", "from before a wall"])
def test_in_pieces_across_walls(pair, kind):
    _, library, ours = pair
    chunk = chunk_of(ours)
    pieces = {
        "one by one": [1] * (2 * chunk + 8),
        "over a wall": [chunk + 6, 1, 1, 1, chunk - 4, 3],
        "up to a wall": [2 * chunk, 8],
        "from before a wall": [chunk - 1, 1, 1, chunk + 7],
    }[kind]
    ids, cache = clear_ids(library, rows=2, tokens=2 * chunk + 8), ours.new_cache()
    logits = torch.cat([ours(piece, cache=cache) for piece in ids.split(pieces, dim=1)], dim=1)
    close(logits, library(input_ids=ids).logits)


def test_files_that_leave_keys_out(tmp_path):
    """Base Scout's RoPE, a ramp and no cut, in the keys of April 2025."""
    values = json.loads((ASSETS / "configs" / "scout-instruct.json").read_text(encoding="utf-8"))
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    values["text_config"]["rope_scaling"] = rope | {"original_max_position_embeddings": 8192}
    values["text_config"]["no_rope_layers"] = []
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    config, library = llama4.read_config(tmp_path / "config.json"), AutoConfig.from_pretrained(tmp_path).text_config
    assert list(map(bool, config.rotates)) == list(map(bool, library.no_rope_layers))
    assert [chunk == 8192 for chunk in config.chunks] == [kind == "chunked_attention" for kind in library.layer_types]
    assert_close(llama4.frequencies(config), Llama4TextRotaryEmbedding(library).inv_freq)


def test_the_cache_is_emptied_at_a_wall(scout):
    chunk, cache, lengths = chunk_of(scout), scout.new_cache(), []
    for piece in torch.arange(2 * chunk + 2)[None].split([chunk - 1, 1, 1, chunk - 2, 1, 2], dim=1):
        scout(piece, cache=cache)
        lengths.append([shelf.kept[0].shape[2] for shelf in cache])
    assert [kept[0] for kept in lengths] == [chunk - 1, 0, 1, chunk - 1, 0, 2]
    assert [kept[3] for kept in lengths] == [chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 2]


def test_padding_on_the_left(pair):
    """A row of a batch is what the library computes for that row alone, in the prompt and after it."""
    _, library, ours = pair
    padding, prompt = padding_of(ours), 2 * chunk_of(ours) + 20
    ids, cache = clear_ids(library, 4, prompt + 50, padding), ours.new_cache()
    steps = [ours(ids[:, :prompt], padding_B=padding, cache=cache)]
    steps += [ours(piece, cache=cache) for piece in ids[:, prompt:].split([1] * 45 + [5], dim=1)]
    last = ours(ids, padding_B=padding, last_only=True)
    for row, start in enumerate(padding):
        alone = library(input_ids=ids[row : row + 1, start:]).logits[0]
        close(torch.cat(steps, dim=1)[row, start:], alone)
        close(last[row], alone[-1:])


@pytest.mark.parametrize("tuning", [False, True])
def test_padding_as_the_library_masks_it(pair, tuning, monkeypatch):
    """The library's temperature counts padding as text: with it, its batch equals ours up to floor_scale alone."""
    _, library, ours = pair
    for layer in library.get_decoder().model.layers:
        monkeypatch.setattr(layer.self_attn, "attn_temperature_tuning", tuning)
    monkeypatch.setattr(ours.config, "attn_temperature_tuning", tuning)
    tokens = ours.config.floor_scale - 2 if tuning else 3 * chunk_of(ours)
    padding = padding_of(ours).clamp(max=tokens - 1)
    ids = clear_ids(library, 4, tokens, padding)
    mask = torch.arange(tokens) >= padding[:, None]
    expected = library(input_ids=ids, attention_mask=mask.long()).logits
    # Maverick's queries and keys have no norm: its largest logits round a little more than 1e-4 apart.
    assert_close(ours(ids, padding_B=padding)[mask], expected[mask], atol=2e-4, rtol=0)


@pytest.mark.parametrize("size", [(48, 48), (96, 48), (130, 100), (20, 30), (200, 300), (7, 200), (640, 480), (49, 49)])
def test_a_picture_from_file_to_logits(pair, size):
    processor, library, ours = pair
    noise = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    picture = Image.fromarray(noise.numpy())
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "What do you see?"}]
    chat = [{"role": "user", "content": content}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    tiles, *grid = llama4.cut_into_tiles(picture, ours.config.vision)
    assert torch.equal(tiles, inputs["pixel_values"])
    prompt = llama4.chat_prompt("What do you see?", *grid)
    ids = torch.tensor([processor.tokenizer(prompt, add_special_tokens=False).input_ids])
    assert torch.equal(ids, inputs["input_ids"])
    features = llama4.look(tiles, ours.weights, ours.config.vision)
    expected = library.multi_modal_projector(library.vision_model(tiles.float()).last_hidden_state)
    close(features, expected.flatten(0, 1))
    close(
        ours(ids, tiles, last_only=True), library(**inputs | {"pixel_values": tiles.float()}, logits_to_keep=1).logits
    )


def test_a_photo_taken_sideways(scout):
    upright = Image.open(ASSETS / "samples" / "pictures" / "00.png").convert("RGB").resize((96, 48))
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6  # the camera's note: turn me a quarter to the right
    tiles = [llama4.cut_into_tiles(picture, scout.config.vision)[0] for picture in (sideways, upright)]
    assert torch.equal(*tiles)


def test_a_picture_that_does_not_fit_its_prompt(scout):
    with pytest.raises(ValueError, match=r"^16 pieces of pictures do not fit 0 <\|patch\|> tokens\.$"):
        scout(torch.tensor([[1, 2, 3]]), torch.zeros(1, 3, 48, 48))


@pytest.mark.parametrize("name", PROXIES)
def test_the_chat_template_in_python(name):
    tokenizer = load_checkpoint(name)[0].tokenizer
    chat = [{"role": "user", "content": "Where does Hugo live?"}]
    expected = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert llama4.chat_prompt("Where does Hugo live?") == expected


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "top_p": 0.9}, {"temperature": 2.0, "top_p": 0.5}])
def test_generates_what_the_library_generates(pair, options):
    processor, library, ours = pair
    tokenizer = processor.tokenizer
    ids = tokenizer(llama4.chat_prompt("Tell me a story."), add_special_tokens=False, return_tensors="pt").input_ids
    stop = set(tokenizer.convert_tokens_to_ids(list(llama4.STOP)))
    assert stop == set(library.generation_config.eos_token_id)
    torch.manual_seed(5)
    found = list(islice(llama4.generate(ours, ids, None, stop, **options), 30))
    torch.manual_seed(5)
    sampling = {"do_sample": bool(options), "top_k": 0} | options
    expected = library.generate(ids, max_new_tokens=30, **(sampling if options else {"do_sample": False}))
    expected = [token for token in expected[0, ids.shape[1] :].tolist() if token not in stop]
    assert found == expected


def test_each_stop_token_ends_the_answer(scout, monkeypatch):
    for stop in (2049, 2055, 2056):
        answer = iter([7, 8, stop, 9])
        monkeypatch.setattr(llama4, "choose", lambda logits, answer=answer: next(answer))
        assert list(llama4.generate(scout, torch.tensor([[1]]), None, {2049, 2055, 2056})) == [7, 8]


def test_shards_in_bfloat16(tmp_path):
    with quiet_transformers():
        library = AutoModelForImageTextToText.from_pretrained(MODELS / "scout-proxy", dtype=torch.bfloat16).eval()
        library.save_pretrained(tmp_path, max_shard_size="2MB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    ours = llama4.Llama4.from_pretrained(tmp_path, torch.bfloat16)
    assert {tensor.dtype for tensor in ours.weights.values()} == {torch.bfloat16}
    whole = llama4.Llama4.from_pretrained(MODELS / "scout-proxy")
    assert ours.weights.keys() == whole.weights.keys()
    ids = torch.randint(0, 2048, (1, 100), generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        drift, library_drift = (
            (model - whole(ids)).abs().mean() for model in (ours(ids), library(input_ids=ids).logits)
        )
    assert drift < 1.5 * library_drift


@pytest.mark.parametrize("name", ["scout", "maverick"])
def test_the_shapes_of_the_released_models(name, monkeypatch):
    """A prompt beyond the wall, a token after it and a picture, computed without numbers."""
    path = ASSETS / "configs" / f"{name}-instruct.json"
    with quiet_transformers(), torch.device("meta"):
        library = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path), dtype=torch.bfloat16)
    weights = llama4.Weights({name.removeprefix("language_model."): w for name, w in library.state_dict().items()})
    ours = llama4.Llama4(llama4.read_config(path), weights)
    everyone_to_expert_3 = lambda sorted_N, return_counts: (torch.tensor([3]), torch.tensor([len(sorted_N)]))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "unique_consecutive", everyone_to_expert_3)
    ids, cache = torch.zeros(1, 8192 + 200, dtype=torch.long), ours.new_cache()
    ids[0, 10 : 10 + 144] = ours.config.image_token_index
    assert ours(ids, torch.zeros(1, 3, 336, 336), cache, last_only=True).shape == (1, 1, 202_048)
    assert ours(ids[:, :1], cache=cache).shape == (1, 1, 202_048)
    lengths = [shelf.kept[0].shape[2] for shelf in cache]
    assert lengths == 12 * [201, 201, 201, 8393]


def test_memory_of_a_prompt_is_a_quarter_of_the_librarys(pair):
    _, library, ours = pair
    ids = torch.randint(0, 2048, (1, 1024), generator=torch.Generator().manual_seed(7))
    library_bytes = peak_tensor_bytes(lambda: library(input_ids=ids, use_cache=True, logits_to_keep=1))
    assert 4 * peak_tensor_bytes(lambda: ours(ids, last_only=True)) < library_bytes


PICTURE = str(ASSETS / "samples" / "pictures" / "00.png")


def test_the_command_answers():
    command = [sys.executable, NOTEBOOKS / "llama4.py", MODELS / "scout-proxy", "What do you see?", "--image", PICTURE]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0 and answer.stdout.strip() and not answer.stderr
    assert "<|" not in answer.stdout


def test_readers_mistakes_get_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    scout, text_only = str(MODELS / "scout-proxy"), str(MODELS / "ablations" / "hybrid-0")
    mistakes = {
        "No such file or directory: 'nowhere/config.json': give": ["nowhere", "Hi"],
        "is not of a Llama 4": [str(tmp_path), "Hi"],
        "No such file or directory: 'no.png': give": [scout, "Hi", "--image", "no.png"],
        "cannot identify image file": [scout, "Hi", "--image", str(tmp_path / "config.json")],
        "This model reads no pictures": [text_only, "Hi", "--image", PICTURE],
    }
    for sentence, arguments in mistakes.items():
        monkeypatch.setattr(sys, "argv", ["llama4.py", *arguments])
        with pytest.raises(SystemExit, match=sentence) as stopped:
            llama4.main()
        assert stopped.value.code.count("\n") == 0 and stopped.value.code.endswith(".")


def test_the_file_is_short_enough_to_read():
    assert len((NOTEBOOKS / "llama4.py").read_text(encoding="utf-8").splitlines()) <= 300
