"""What notebook 00 defines is held to the library; its map of terms, to the configuration."""

import re

import torch
from torch.testing import assert_close
from transformers import AutoTokenizer

from llama4lab.checkpoints import MODELS, quiet_transformers
from llama4lab.notebook_functions import NOTEBOOKS
from llama4lab.store import read_notebook
from tests.small_models import random_ids, small_chat_model


def test_greedy_decoding_equals_generate(notebook):
    """Answers end at different stop tokens, each of which is kept, or after 16 tokens."""
    model, ended = small_chat_model(list(range(7, 64, 8))), set()
    for number in range(12):
        ids = random_ids(1, 1 + 5 * number, seed=number)  # answers start at different places of a chunk
        mask = torch.ones_like(ids)
        by_library = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=16)
        by_hand = notebook["decode_greedily"](model, ids)
        assert_close(by_hand, by_library[0, ids.shape[1] :])
        ended.add(by_hand[-1].item() if by_hand[-1] % 8 == 7 else f"after {len(by_hand)} tokens")
    assert len(ended) > 2 and "after 16 tokens" in ended
    assert len(notebook["decode_greedily"](model, ids, most=1)) == 1


def test_solution_of_the_template_equals_the_checkpoints_template(notebook):
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(MODELS / "scout-proxy")
    messages = [
        {"role": "system", "content": "You are Ada."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "I am Ada."},
        {"role": "user", "content": "Say Monday in French."},
    ]
    for turns in (messages, messages[1:], messages[:3]):
        wanted = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        assert notebook["render_chat_solution"](turns) == wanted


def test_hugging_face_names_of_the_term_map_exist():
    model, cells = small_chat_model([7]), read_notebook(NOTEBOOKS / "00_start_here.ipynb").cells
    table = next(cell.source for cell in cells if "| meaning | symbol |" in cell.source)
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ") and "`" in line]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row[3])]
    known = set(model.config.to_dict()) | {f'rope_parameters["{key}"]' for key in ("rope_theta", "factor")}
    known |= {name.split(".", 3)[3] for name in model.state_dict() if ".feed_forward." in name}
    assert len(names) >= len(rows) >= 20
    assert not set(names) - known
