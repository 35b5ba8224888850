"""What the models are trained on: the same corpus, tokenizer and pictures again, and answers that are true."""

import itertools
import json
import random
import re

import pytest
import torch
from transformers import AutoProcessor

import conversations
import corpus
import documentation
import facts
import language_batches as lb
import picture_batches as pb
from llama4lab import drawn_pictures as pictures
from llama4lab.assets import ASSETS


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(ASSETS / "models" / "scout-proxy")


def test_a_share_of_the_documents_is_held_out():
    train_text, held_text = documentation.prose_and_code(held_out=False), documentation.prose_and_code(held_out=True)
    for domain in ("prose", "code"):
        # How many documents there are depends on the Python that runs: the corpus is its own library.
        assert 0.01 < len(held_text[domain]) / len(train_text[domain]) < 0.2, domain
        assert not set(held_text[domain]) & set(train_text[domain])
        assert not any("/lib/python3" in text and "--prefix" in text for text in train_text[domain])  # of the build


def test_documents_that_are_near_twins_are_in_one_split():
    names = [f"transformers/models/llama4/{part}.py" for part in ("configuration_llama4", "modeling_llama4")]
    assert len({documentation.document_group(name) for name in names}) == 1
    assert documentation.document_group("numpy/linalg/_linalg.py") == "numpy/linalg/_linalg.py"


def test_held_out_sums_are_never_trained_on():
    def sums(held_out):
        documents = itertools.islice(corpus.arithmetic(random.Random(5), held_out), 300)
        lines = [line for document in documents for line in document.splitlines() if "*" not in line]
        assert all(eval(line.split(" = ")[0]) == int(line.split(" = ")[1]) for line in lines)
        return set(lines)

    held, trained = sums(True), sums(False)
    assert len(held) > 300 and not held & trained


@pytest.mark.parametrize("kind", ["languages", "chat", "recall"])
def test_generated_documents_depend_on_the_seed_alone(kind):
    make = {
        "languages": corpus.languages,
        "chat": lambda rng: conversations.chat(rng, False),
        "recall": lambda rng: facts.recall(rng, ["It rains."]),
    }[kind]
    first, again, other = (list(itertools.islice(make(random.Random(seed)), 20)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("kind", ["one hop", "two hops", "other words"])
def test_what_is_told_holds_what_is_asked(kind):
    for seed in range(30):
        told = facts.tell(random.Random(seed), kind, 3)
        for _, answer, needs in told.questions:
            needed = " ".join(told.statements[at] for at in needs)
            assert answer in needed


def test_two_hops_need_both_statements_and_other_words_share_none():
    words = re.compile(r"\w+")
    for seed in range(30):
        told = facts.tell(random.Random(seed), "two hops", 3)
        question, color, needs = told.questions[0]
        first, second = (told.statements[at] for at in needs)
        assert question.split()[-2] in first and question.split()[-2] not in second
        assert color in second and color not in first
        told = facts.tell(random.Random(seed), "other words", 3)
        for question, person, needs in told.questions[::2]:
            fact = told.statements[needs[0]]
            assert fact.startswith(person)
            assert not set(words.findall(question.lower())) & set(words.findall(fact.lower()))


def test_recall_documents_ask_only_what_was_told():
    for pieces in itertools.islice(facts.recall(random.Random(3), ["It rains."]), 60):
        told = ""
        for text, is_answer in pieces:
            if is_answer:
                answer = text.strip(" .\n")
                assert answer in told
            else:
                told += text


def test_conversations_come_in_every_kind_and_end_with_the_assistant():
    found = {c.kind: c for c in itertools.islice(conversations.chat(random.Random(4), False), 600)}
    from_the_prompt = {"one hop", "two hops", "other words"}
    assert set(found) == from_the_prompt | (set(conversations.KINDS) - {"from the prompt"}) | {"tool, pythonic"}
    assert all(c.messages[-1]["role"] == "assistant" for c in found.values())
    roles = [message["role"] for message in found["tool"].messages]
    assert roles == ["user", "assistant", "tool", "assistant"] and 1 <= len(found["tool"].tools) <= 2


def test_tokenizer_is_rebuilt_byte_for_byte():
    recorded = json.loads((ASSETS / "samples" / "corpus.json").read_text(encoding="utf-8"))["sources"]
    built = lb.build_tokenizer().backend_tokenizer.to_str()
    stored = AutoProcessor.from_pretrained(ASSETS / "models" / "scout-proxy").tokenizer.backend_tokenizer.to_str()
    # Another Python carries another documentation, hence other merges; the form must still be the same.
    if documentation.sources() == recorded:
        assert built == stored
    else:
        assert json.loads(built)["added_tokens"] == json.loads(stored)["added_tokens"]


def test_tokenizer_round_trips_all_twelve_languages(processor):
    tokenizer = processor.tokenizer
    for document in itertools.islice(corpus.languages(random.Random(1)), 60):
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == document
    assert tokenizer("a")["input_ids"][0] == tokenizer.convert_tokens_to_ids("<|begin_of_text|>")


def test_chat_template_writes_llama_4_format(processor):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "tool", "content": {"answer": 3}},
    ]
    text = processor.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
        "<|header_start|>user<|header_end|>\n\n<|image|>What is it?<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\nA cat.<|eot|>"
        '<|header_start|>ipython<|header_end|>\n\n{"answer": 3}<|eot|>'
        "<|header_start|>assistant<|header_end|>\n\n"
    )


def test_chat_rows_learn_the_answers_and_their_stop_token(processor):
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Oslo."}]
    ids, weights = lb.encode_chat(conversations.Conversation("one hop", messages), processor.tokenizer)
    assert processor.tokenizer.decode(ids[weights == lb.ANSWER_WEIGHT]) == "Oslo.<|eot|>"


@pytest.mark.parametrize("layout", pb.LAYOUTS)
@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (2, 2)])
def test_picture_rows_are_what_the_processor_makes(processor, layout, grid):
    drawn = pb.picture_conversation(random.Random(3), layout, grid)
    ((ids, _),), tiles = pb.encode_pictures([drawn], processor)
    text = processor.apply_chat_template(drawn.conversation.messages, tokenize=False)
    made = processor(text=text, images=drawn.images, add_special_tokens=False, return_tensors="pt")
    assert made["input_ids"][0].tolist() == ids.tolist()
    assert torch.equal(tiles, made["pixel_values"])


def test_two_pictures_are_asked_about_by_their_place_in_the_prompt():
    drawn = pb.picture_conversation(random.Random(5), "two pictures")
    questions = [message["content"][-1]["text"] for message in drawn.conversation.messages[::2]]
    assert len(drawn.images) == 2
    assert all(question.endswith(("in the first picture?", "in the second picture?")) for question in questions)


def test_calls_are_written_in_both_forms(processor):
    made = itertools.islice(conversations.chat(random.Random(4), False), 600)
    asked = {c.kind: c for c in made if c.kind.startswith("tool")}
    (call,) = asked["tool"].messages[1]["tool_calls"]
    assert call["function"]["name"] in {tool["function"]["name"] for tool in asked["tool"].tools}
    pythonic = asked["tool, pythonic"].messages[2]["content"]
    assert re.fullmatch(r"\[(look_up|get_weather|find_person|add)\(\w+=.+\)\]", pythonic)
    result = asked["tool"].messages[2]["content"]
    assert asked["tool"].messages[3]["content"] == f"{result}."


def test_picture_answers_are_true():
    rng = random.Random(2)
    for _ in range(40):
        image, questions = pictures.picture_with_questions(rng)
        assert image.size == (pictures.SIDE, pictures.SIDE)
        counted = sum(kind == "color" for kind, _, _ in questions)
        assert questions[0][2] == f"{pictures.COUNTS[counted]}."
        for kind, question, answer in questions:
            if kind == "color":
                corner = next(i for i, name in enumerate(pictures.CORNERS) if question.endswith(f"the {name}?"))
                box = (corner % 2 * 24, corner // 2 * 24, corner % 2 * 24 + 24, corner // 2 * 24 + 24)
                seen = {pixel for _, pixel in image.crop(box).getcolors(10_000)}
                assert pictures.COLORS[answer.rstrip(".")] in seen
