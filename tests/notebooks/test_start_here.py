"""What notebook 00 defines, taken out of it and held to the library; its map of terms held to the configuration."""

import re
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoTokenizer, Llama4ForCausalLM

from llama4lab.checkpoints import MODELS, quiet_transformers
from llama4lab.notebook_functions import functions_of
from llama4lab.store import read_notebook
from tests.small_models import small_chat_model

CELLS = read_notebook(Path(__file__).resolve().parents[2] / "notebooks" / "00_start_here.ipynb").cells
CHUNK = 8


@pytest.fixture(scope="module")
def notebook() -> dict:
    return functions_of("start_here")


@pytest.fixture(scope="module")
def model() -> Llama4ForCausalLM:
    """Every eighth token of 64 is a stop token."""
    return small_chat_model(list(range(7, 64, 8)), CHUNK)


def prompts(count: int) -> list[torch.Tensor]:
    """Prompts `[1, seq]` of 1, 6, 11, ... tokens, so that answers start before and behind walls of chunks."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, 64, (1, 1 + 5 * number), generator=generator) for number in range(count)]


def test_greedy_decoding_equals_generate(notebook, model):
    lengths = set()
    for ids in prompts(12):
        by_library = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
        )
        by_hand = notebook["decode_greedily"](model, ids)
        assert_close(by_hand, by_library[0, ids.shape[1] :])
        lengths.add(len(by_hand))
    assert len(lengths) > 2  # some answers ended at a stop token, at different places


@pytest.mark.parametrize(
    "change",
    [
        ("logits[:, -1:].argmax", "logits[:, -2:-1].argmax"),
        ("in stops:", "in stops[:1]:"),
        ("argmax(dim=-1)", "argmin(dim=-1)"),
    ],
)
def test_a_wrong_decoding_is_noticed(model, change):
    wrong = functions_of("start_here", change)["decode_greedily"]
    with pytest.raises(AssertionError):
        for ids in prompts(12)[1:]:
            by_library = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
            )
            assert_close(wrong(model, ids), by_library[0, ids.shape[1] :])


def test_decoding_stops_at_the_most_tokens_asked_for(notebook, model):
    assert len(notebook["decode_greedily"](model, prompts(2)[1], most=1)) == 1


def test_solution_of_the_template_equals_the_checkpoints_template(notebook):
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(MODELS / "scout-proxy")
    messages = [
        {"role": "system", "content": "You are Ada."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "I am Ada."},
        {"role": "user", "content": "Say Monday in French."},
    ]
    wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert notebook["render_chat_solution"](messages) == wanted


def test_probability_is_the_softmax_at_the_generation_prompt(notebook):
    class Processor:
        """A processor whose prompt is tokens 1, 2 and whose every answer starts with token 3."""

        tokenizer = staticmethod(lambda answer, add_special_tokens: {"input_ids": [3, 4]})

        def apply_chat_template(self, messages, **options):
            assert options["add_generation_prompt"] and messages[-1]["role"] == "user"
            return type("Inputs", (dict,), {"to": lambda self, device: self})(input_ids=torch.tensor([[1, 2]]))

    class Model:
        device = "cpu"

        def __call__(self, input_ids):
            logits = torch.zeros(1, 2, 5)
            logits[0, 1, 3] = torch.tensor(4.0).log()  # weights 1, 1, 1, 4, 1
            return type("Output", (), {"logits": logits})

    assert notebook["first_token_probability"](Processor(), Model(), "?", "x") == pytest.approx(0.5)


def test_drawing_is_of_the_proxys_size_and_in_the_colors_asked_for(notebook):
    picture = notebook["draw_shapes"]((220, 30, 30), (40, 70, 220))
    assert (picture.size, picture.mode) == ((48, 48), "RGB")
    assert [picture.getpixel(at) for at in ((12, 12), (36, 36), (36, 12))] == [
        (220, 30, 30),
        (40, 70, 220),
        (200, 200, 200),
    ]


def test_hugging_face_names_of_the_term_map_exist(model):
    table = next(cell.source for cell in CELLS if cell.source.startswith("## 10."))
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ") and "`" in line]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row[3])]
    known = set(model.config.to_dict()) | {f'rope_parameters["{key}"]' for key in ("rope_theta", "factor")}
    known |= {name.split(".", 3)[3] for name in model.state_dict() if ".feed_forward." in name}
    assert len(rows) >= 20 and len(names) >= 20
    assert not set(names) - known
