"""What notebook 05 writes from scratch is held to independent formulas and to the library."""

import json
import pickle
from itertools import combinations, product
from math import log, log2

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoTokenizer

import published_routing
import routing_information
from llama4lab.checkpoints import MODELS, load_checkpoint
from llama4lab.routing import record_routing
from tests.small_models import random_block, random_hidden, random_ids, small_model


def random_labels(seed=0, count=400, tokens=7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Experts, domains and tokens with ties among all three."""
    rng = np.random.default_rng(seed)
    token_ids = rng.integers(0, tokens, count)
    domain = (rng.integers(0, 3, count) + token_ids // 3) % 3
    experts = np.where(rng.random(count) < 0.5, (domain + token_ids) % 4, rng.integers(0, 4, count))
    return experts, domain, token_ids


def information_by_hand(first, second) -> float:
    """The textbook's double sum, with Python's own numbers."""
    pairs, n = list(zip(first.tolist(), second.tolist(), strict=True)), len(first)
    total = 0.0
    for a, b in product(set(first.tolist()), set(second.tolist())):
        both, one, other = pairs.count((a, b)) / n, (first == a).sum() / n, (second == b).sum() / n
        total += both * log2(both / (one * other)) if both else 0.0
    return total


# ---- bits ----


def test_mutual_information_is_that_of_the_textbook_and_of_the_recipes(notebook):
    experts, domain, token_ids = random_labels()
    for labels in (domain, token_ids):
        found = notebook["mutual_information"](experts, labels)
        assert found == pytest.approx(information_by_hand(experts, labels), abs=1e-12)
        assert found == pytest.approx(routing_information.mutual_information(experts, labels), abs=1e-12)
        table = notebook["joint_counts"](experts, labels)
        assert found == pytest.approx(published_routing.table_information(table), abs=1e-12)


def test_entropy(notebook):
    assert notebook["entropy"](np.ones(16)) == pytest.approx(4)
    assert notebook["entropy"](np.array([[3, 0], [0, 0]])) == 0
    assert notebook["entropy"](np.array([3, 1])) == pytest.approx(-(0.75 * log2(0.75) + 0.25 * log2(0.25)))


def test_information_beyond_is_the_mean_over_tokens(notebook):
    experts, domain, token_ids = random_labels()
    by_token = [
        (token_ids == t).mean() * information_by_hand(experts[token_ids == t], domain[token_ids == t])
        for t in np.unique(token_ids)
    ]
    assert notebook["information_beyond"](experts, domain, token_ids) == pytest.approx(sum(by_token), abs=1e-12)


# ---- nulls ----


def test_shuffling_within_tokens_keeps_what_each_token_has(notebook):
    experts, _, token_ids = random_labels()
    shuffled = notebook["shuffle_within"](experts, token_ids, np.random.default_rng(0))
    assert (shuffled != experts).any()
    joint = notebook["joint_counts"]
    assert np.array_equal(joint(shuffled, token_ids), joint(experts, token_ids))


def test_nulls_are_what_finite_counts_give_a_router_that_knows_nothing(notebook):
    experts, domain, token_ids = random_labels(count=4000)
    bias = 3 * 6 / (2 * 4000 * log(2))  # (rows - 1)(columns - 1) / (2 N ln 2)
    assert notebook["null_bits"](experts, token_ids, shuffles=40).mean() == pytest.approx(bias, rel=0.25)
    assert notebook["mutual_information"](experts, token_ids) > 10 * bias
    beyond = notebook["null_beyond"](experts, domain, token_ids, shuffles=40)
    assert beyond.mean() == pytest.approx(7 * 3 * 2 / (2 * 4000 * log(2)), rel=0.25)
    assert notebook["information_beyond"](experts, domain, token_ids) > 10 * beyond.mean()


def test_a_router_that_knows_words_only_has_nothing_beyond_the_token(notebook):
    _, domain, token_ids = random_labels()
    for routed in notebook["word_routers"](token_ids, 4, draws=3):
        assert notebook["information_beyond"](routed, domain, token_ids) == pytest.approx(0, abs=1e-12)
        assert notebook["null_beyond"](routed, domain, token_ids) == pytest.approx(0, abs=1e-12)
    assert all(len(set(routed[token_ids == 3])) == 1 for routed in notebook["word_routers"](token_ids, 4, draws=3))


@pytest.mark.parametrize("loyalty", [0.0, 0.4, 1.0])
def test_the_loyal_routers_truth_is_what_many_tokens_show(notebook, loyalty):
    token_ids = np.random.default_rng(1).integers(0, 5, 200_000)
    routed, truth = notebook["loyal_router"](token_ids, loyalty, experts=4)
    assert notebook["mutual_information"](routed, token_ids) == pytest.approx(truth, abs=0.005)


# ---- which tokens count ----


def test_frequent_and_shared_tokens(notebook):
    token_ids = np.array([0] * 10 + [1] * 9 + [2] * 25 + [3] * 11)
    domain = np.array([0] * 10 + [0] * 5 + [1] * 4 + [0] * 10 + [1] * 10 + [2] * 5 + [0] * 10 + [1] * 1)
    assert set(token_ids[notebook["is_frequent"](token_ids)]) == {0, 2, 3}
    shared = notebook["is_shared"](token_ids, domain)
    # Token 2 is frequent in domains 0 and 1; its five places in domain 2 are left out.
    assert set(zip(token_ids[shared], domain[shared], strict=True)) == {(2, 0), (2, 1)}
    assert shared.sum() == 20


def test_favorite_share(notebook):
    token_ids, experts = np.array([4, 4, 4, 6, 6, 7]), np.array([1, 1, 0, 2, 2, 0])
    assert notebook["favorite_share"](experts, token_ids, 2, 3) == pytest.approx((2 / 3 + 1) / 2)
    assert notebook["favorite_share"](experts, token_ids, 1, 1) == 1.0


def test_same_expert_share(notebook):
    labels, experts = np.array([7, 7, 8, 8, 8]), np.array([0, 0, 1, 1, 0])
    pairs = list(combinations(range(5), 2))
    equal = [(a, b) for a, b in pairs if labels[a] == labels[b]]
    shares = [np.mean([experts[a] == experts[b] for a, b in some]) for some in (equal, pairs)]
    assert notebook["same_expert_share"](experts, labels) == pytest.approx(shares)


def test_layer_bits_and_verdicts(notebook):
    experts, domain, token_ids = random_labels(count=3000)
    token_ids[:100] = np.arange(100, 200)  # these occur once: too rare to count
    e, d, t = experts[100:], domain[100:], token_ids[100:]
    found = notebook["layer_bits"](experts, token_ids, domain)
    assert found["H"] == pytest.approx(information_by_hand(experts, experts))
    assert found["D"][0] == pytest.approx(information_by_hand(experts, domain))
    assert found["T"][0] == pytest.approx(information_by_hand(e, t))
    assert found["D|T"][0] == pytest.approx(information_by_hand(e, 3 * t + d) - information_by_hand(e, t))
    assert notebook["net"](found, "D") == pytest.approx(found["D"][0] - found["D"][1])
    by_topic = {"H": 2.0, "D": (1.9, 0.0), "T": (0.3, 0.1), "D|T": (1.7, 0.0)}
    by_word = {"H": 2.0, "D": (0.3, 0.0), "T": (1.9, 0.1), "D|T": (0.1, 0.09)}
    assert notebook["verdicts"]([by_topic, by_word]) == (1, 1, 1)
    assert notebook["verdicts"]([by_word]) == (1, 1, 0)


# ---- guesses ----


def test_guesses_are_made_from_counted_tokens_only(notebook):
    clues = np.array([0, 0, 0, 1, 1, 0, 0, 1, 2])
    experts = np.array([3, 3, 1, 2, 2, 3, 1, 1, 3])
    is_counted = np.array([True] * 5 + [False] * 4)
    guess = notebook["best_guess"](experts, clues, is_counted)
    # Clue 2 was never counted: the busiest counted expert, the lower number among equals.
    assert guess[~is_counted].tolist() == [3, 3, 2, 2]
    changed = experts.copy()
    changed[~is_counted] = 0
    assert np.array_equal(notebook["best_guess"](changed, clues, is_counted)[:5], guess[:5])


def test_guesses_right(notebook):
    experts, domain, token_ids = random_labels(count=6000)
    right = notebook["guesses_right"]((domain + token_ids) % 4, token_ids, domain, np.arange(6000) < 3000)
    assert right["token, domain"] == 1.0
    assert right["no clue"] < right["token"] < 1
    dice = np.random.default_rng(9).integers(0, 4, 6000)
    right = notebook["guesses_right"](dice, token_ids, domain, np.arange(6000) < 3000)
    assert all(share == pytest.approx(0.25, abs=0.04) for share in right.values())


# ---- loads ----


def test_load_by_domain(notebook):
    load = notebook["load_by_domain"](np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1]), 4)
    assert load.tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3), 0, 0], [0, 0, 1, 0]]


# ---- saturation ----


def test_saturation(notebook):
    rng = np.random.default_rng(0)
    draw = [np.array([rng.permutation(8)[:3] for _ in range(50)]) for _ in range(2)]
    sets = [len(set(a) & set(b)) / 3 for a, b in zip(*(rows.tolist() for rows in draw), strict=True)]
    assert notebook["saturation"](*draw) == pytest.approx(np.mean(sets))
    assert notebook["saturation"](draw[0], draw[0][:, ::-1]) == 1.0


def test_checkpoints_are_those_of_one_run_and_end_in_the_stored_model(notebook):
    folder = MODELS / "ablations" / "small-moe"
    tokenizer, model = load_checkpoint("ablations/small-moe")
    ids = tokenizer("def f(x):\n    return x + 1\n" * 3, return_tensors="pt").input_ids
    expected = record_routing(model, ids).chosen.flatten(1).numpy()
    layers, routed = notebook["route_checkpoints"](model, folder, {"code": ids})
    steps = list(routed)
    assert layers == [0, 1, 2, 3] and len(steps) == 10 and steps == sorted(steps)
    assert steps[-1] == json.loads((folder / "training_log.jsonl").read_text().splitlines()[-1])["step"]
    assert np.array_equal(routed[steps[-1]], expected)
    assert (routed[steps[0]] != expected).any()


# ---- texts ----


def test_texts_and_labels(notebook):
    texts = notebook["held_out_texts"](AutoTokenizer.from_pretrained(MODELS / "scout-proxy"))
    assert list(texts) == ["prose", "code", "languages", "arithmetic", "recall", "chat"]
    assert len({ids.shape for ids in texts.values()}) == 1
    token_ids, domain, text = notebook["label_tokens"](texts)
    seq = texts["prose"].shape[1]
    assert seq >= 240 and len(token_ids) == len(domain) == len(text) == 144 * seq
    assert np.array_equal(token_ids[domain == 1], texts["code"].flatten().numpy())
    assert np.array_equal(domain, text // 24)


def test_routes_and_losses_are_in_the_order_of_the_labels(notebook):
    model, texts = small_model(), {"one": random_ids(3, 21), "two": random_ids(3, 21, seed=2)}
    expected = record_routing(model, torch.cat(list(texts.values())))
    layers, chosen = notebook["route_texts"](model, texts, batch=2)
    assert layers == expected.layers
    assert np.array_equal(chosen, expected.chosen.flatten(1).numpy())
    for found, ids in zip(notebook["next_token_nll"](model, texts, batch=4), texts.values(), strict=True):
        with torch.no_grad():
            assert_close(found.mean(), model(ids, labels=ids).loss, atol=1e-5, rtol=1e-5)


# ---- removal ----


def test_a_masked_expert_is_one_that_is_not_there(notebook):
    block, tokens = random_block(experts=5), random_hidden(40, 24)
    with torch.no_grad():
        whole, logits = block(tokens)
        for expert in range(5):
            with notebook["without_expert"](block.router, expert):
                masked, seen = block(tokens)
            assert_close(masked, notebook["smaller_block"](block, expert)(tokens)[0], atol=1e-5, rtol=1e-5)
            lost = logits.argmax(dim=1) == expert
            assert torch.equal((masked != whole).any(dim=1), lost)
            assert torch.equal(seen.argmax(dim=1)[lost], logits.topk(2, dim=1).indices[lost, 1])
            with notebook["without_expert"](block.router, expert, reroute=False):
                dropped, _ = block(tokens)
            assert_close(dropped[lost], block.shared_expert(tokens)[lost], atol=1e-5, rtol=1e-5)
            assert_close(dropped[~lost], whole[~lost])
        assert torch.equal(block(tokens)[0], whole)
    with pytest.raises(ZeroDivisionError), notebook["without_expert"](block.router, 0):
        1 / 0  # noqa: B018
    assert not block.router._forward_hooks


# ---- published counts ----


def test_published_layer_figures_by_hand():
    rng = np.random.default_rng(0)
    by_token = rng.integers(15, 40, (2, 3, 4))  # [domains, tokens, experts], every cell frequent
    figures = published_routing.layer_figures(by_token.sum(1), by_token, top_k=1)
    rows = [(d, t, e) for d, t, e in product(range(2), range(3), range(4)) for _ in range(by_token[d, t, e])]
    domain, tokens, experts = np.array(rows).T
    assert figures["bits_about_domain"][0] == pytest.approx(information_by_hand(experts, domain), abs=1e-5)
    assert figures["bits_about_token"][0] == pytest.approx(information_by_hand(experts, tokens), abs=1e-5)
    beyond = information_by_hand(experts, tokens * 2 + domain) - information_by_hand(experts, tokens)
    assert figures["bits_about_domain_given_token"][0] == pytest.approx(beyond, abs=1e-5)
    assert figures["shared_tokens"] == figures["frequent_tokens"] == 3


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ("run",)

    (tmp_path / "harmful.pkl").write_bytes(pickle.dumps([Harmful()]))
    with pytest.raises(pickle.UnpicklingError, match="print"):
        published_routing.read_counts(tmp_path / "harmful.pkl")
