"""llama4lab.explore_context: what the explorer shows follows from what is chosen."""

import pytest

from llama4lab.explore_context import explore_context
from llama4lab.parameters import real_config

MACHINES = {"card": 80, "node": 640, "big node": 1128}


def kv_bytes(text, tokens, bytes_per_number, batch, chunk_aware):
    kept = 12 * tokens + 36 * (min(tokens, 8191) if chunk_aware else tokens)
    return batch * kept * 2 * 8 * 128 * bytes_per_number


@pytest.fixture
def explorer():
    texts = {"Scout": real_config("scout").text_config, "Maverick": real_config("maverick").text_config}
    weights = {"Scout": lambda width: 108_641_793_536 * width, "Maverick": lambda width: 401_583_781_376 * width}
    box = explore_context(kv_bytes, texts, weights, {"bfloat16": 2, "4 bits": 0.5}, MACHINES)
    return dict(zip(("model", "tokens", "batch", "weights", "numbers", "result"), box.children, strict=True))


def test_starts_with_the_first_model(explorer):
    shown = explorer["result"].value
    assert "24.00 GiB" in shown and "7.12 GiB" in shown
    assert "243.1 GB" in shown and "224.9 GB" in shown
    assert shown.count("node, big node") == 2 and "card" not in shown


def test_ten_million_tokens(explorer):
    explorer["tokens"].value = 10_485_760
    shown = explorer["result"].value
    assert "1,920.00 GiB" in shown and "481.12 GiB" in shown
    assert "none of these" in shown and ">big node<" in shown and "declared" not in shown
    explorer["model"].value = "Maverick"
    assert "Maverick is declared for 1,048,576 tokens at most" in explorer["result"].value


def test_batch_weights_and_numbers_change_the_sizes(explorer):
    explorer["weights"].value = "4 bits"
    assert "card, node" in explorer["result"].value
    explorer["batch"].value = 8
    assert "192.00 GiB" in explorer["result"].value and "57.0" in explorer["result"].value
    explorer["numbers"].value = 1
    assert "96.00 GiB" in explorer["result"].value
