"""Model cards, generated from a model's log and measurements."""

import json
from pathlib import Path

import numpy as np
from babel import Locale
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedTokenizerFast

import corpus
import herd_data
from llama4lab.checkpoints import quiet_transformers

GPU = "one NVIDIA H200 (26 November 2026, torch 2.11)"
TOKENS_OF_STEP = [(phase.rows + phase.picture_rows) * phase.length for phase in herd_data.PHASES]

LICENSE = (
    "Weights and recipe: Apache-2.0. The training text is rebuilt from CPython (PSF License), the documentation of the "
    "pinned packages (their licenses) and the Unicode CLDR data of Babel (Unicode License); none of it is stored here."
)


def fertility(tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Tokens a character-run between spaces, for country names in each of the 12 languages."""
    result = {}
    for code, language in corpus.LANGUAGES.items():
        names = list(Locale.parse(code).territories.values())
        words = sum(len(name.split()) for name in names)
        tokens = sum(len(tokenizer(name, add_special_tokens=False)["input_ids"]) for name in names)
        result[language] = round(tokens / words, 2)
    return result


def read_log(folder: Path) -> list[dict]:
    """The lines of `training_log.jsonl`, one for every 25 steps."""
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text(encoding="utf-8").splitlines()]


def table(header: tuple[str, ...], rows: list[tuple]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def training_figures(folder: Path) -> dict[str, float]:
    """Steps, minutes, and the loss of the text batches at step 25 and over the last 500 steps, from a run's log."""
    log = read_log(folder)
    last_lines = [line["loss"][0] for line in log if line["step"] > log[-1]["step"] - 500]
    return {
        "steps": log[-1]["step"],
        "minutes": round(log[-1]["seconds"] / 60),
        "first_loss": log[0]["loss"][0],
        "last_loss": round(float(np.mean(last_lines)), 4),
    }


def describe_training(folder: Path, command: str, provenance: dict) -> str:
    figures = training_figures(folder)
    return (
        f"`{command}` made it: {figures['steps']:,} optimizer steps, {figures['minutes']} minutes of one thread of a "
        f"two-core {provenance['machine'].split(' CPU')[0]} machine that did other work beside, no GPU "
        f"(torch {provenance['torch']}, transformers {provenance['transformers']}, Python {provenance['python']}). "
        f"The loss of the text batches went from {figures['first_loss']:.2f} at step 25 to {figures['last_loss']:.2f}, "
        "the mean of the last 500 steps. "
        "`training_log.jsonl` is the log. The sha256 of every file is in `assets/SHA256SUMS`."
    )


def describe_herd_training(folder: Path, name: str, provenance: dict) -> str:
    """How a language model was made: with the herd on a GPU, then alone on one core."""
    log = read_log(folder)
    herd = [line for line in log if "share_of_time" in line]
    lesson = log[len(herd) :]
    tokens = sum(
        (after["step"] - before["step"]) * TOKENS_OF_STEP[after["phase"]]
        for before, after in zip([{"step": 0}, *herd], herd, strict=False)
    )
    return (
        f"`python assets/recipes/herd.py --minutes 9` made it on {GPU}, with five other models at the same time: {herd[-1]['step']:,} "
        f"optimizer steps, {tokens / 1e6:.0f} million tokens of text and pictures. It read rows of 128 tokens in the first "
        "quarter of the time, of 512 until three quarters, then of 2,048. The last lesson, `python assets/recipes/train.py "
        f"{name}`, was {lesson[-1]['step']:,} optimizer steps and {round(lesson[-1]['seconds'] / 60)} minutes of one thread "
        f"of a two-core {provenance['machine'].split(' CPU')[0]} machine that did other work beside (torch "
        f"{provenance['torch']}, transformers {provenance['transformers']}, Python {provenance['python']}): in it the model "
        "learned to say the step between two hops. `training_log.jsonl` is the log of both. The sha256 of every file is in "
        "`assets/SHA256SUMS`."
    )


INTRODUCTIONS = {
    "scout-proxy": (
        "A small Llama 4 Scout: the same classes, keys and calls. It is for learning how Scout works, not for use.",
        "the multimodal class, 16 experts of which each token takes one, a shared expert, an expert layer in every block, "
        "the pattern of three chunked RoPE layers and one global NoPE layer, QK-norm, temperature tuning, Scout's "
        "`llama3` rope scaling with factor 16, the chat format, the special tokens by name, the processor with its tiles",
    ),
    "maverick-proxy": (
        "A small Llama 4 Maverick: the same classes, keys and calls. It is for learning how Maverick differs from Scout, "
        "not for use.",
        "the multimodal class, 128 experts of which each token takes one, a shared expert, an expert layer in every "
        "second block and a dense one between, no QK-norm, no rope scaling, the pattern of three chunked RoPE layers and "
        "one global NoPE layer, temperature tuning, the chat format, the special tokens, the processor",
    ),
    "behemoth-proxy": (
        "The largest of the proxies, after the one thing that is published of Behemoth's inside: 16 experts. It is the "
        "teacher of the course's distillation, not a picture of Behemoth.",
        "the classes and keys of Scout, 16 experts of which each token takes one, a shared expert. Where Behemoth has its "
        "expert layers is not published; here every fourth block has one",
    ),
}


def _baseline(figures: dict, name: str, domain: str) -> str:
    return f"{figures[name][domain]:.2f}" if figures.get(name) else "not measured"


def write_language_card(folder: Path, figures: dict) -> None:
    """Write `folder/README.md` for scout-, maverick- or behemoth-proxy from its measurements."""
    name = folder.name
    introduction, keeps = INTRODUCTIONS[name]
    config = read_config(folder)
    text, vision = config.text_config, config.vision_config
    quality = table(
        ("domain", "NLL, nats a token", "unigram", "below unigram by", "dense twin of scout-proxy"),
        [
            (
                domain,
                f"{nll:.2f}",
                f"{figures['unigram_nll'][domain]:.2f}",
                percent(1 - nll / figures["unigram_nll"][domain]),
                _baseline(figures, "dense_twin_nll", domain),
            )
            for domain, nll in figures["nll"].items()
        ],
    )
    skills = table(
        ("asked", "exact answers, stop token included"),
        [(f"chat: {kind}", percent(share)) for kind, share in figures["chat"].items()]
        + [(f"picture: {kind}", percent(share)) for kind, share in figures["pictures"].items()],
    )
    one_needle = figures["recall"]["one needle, by length and depth"]
    depths = list(next(iter(one_needle.values())))
    recall = table(
        ("tokens", *(f"depth {depth}" for depth in depths)),
        [(length, *(percent(row[depth]) for depth in depths)) for length, row in one_needle.items()],
    )
    harder = figures["recall"]["by length"]
    lengths = list(next(iter(harder.values())))
    harder_recall = table(
        ("question", *(f"{length} tokens" for length in lengths)),
        [(kind, *(percent(row[length]) for length in lengths)) for kind, row in harder.items()],
    )
    walls = figures["recall"]["one needle in 256 tokens, by about where it begins"]
    around_a_wall = table(
        ("begins at about token", *walls),
        [("right", *(percent(share) for share in walls.values()))],
    )
    routing = table(
        (
            "expert layer",
            "load entropy",
            "busiest expert",
            "dead",
            "I(E;D) bits",
            "its null",
            "I(E;T) bits",
            "its null",
        ),
        [
            (
                index,
                f"{layer['load_entropy']:.3f}",
                percent(max(layer["load"])),
                layer["dead_experts"],
                f"{layer['bits_about_domain']:.2f}",
                f"{layer['null_about_domain'][0]:.4f}",
                f"{layer['bits_about_token']:.2f}",
                f"{layer['null_about_token'][0]:.2f}",
            )
            for index, layer in enumerate(figures["routing"])
        ],
    )
    fertility = ", ".join(f"{language} {tokens}" for language, tokens in figures["tokens_per_word"].items())
    card = f"""# {name}

{introduction} {count_parameters(folder):,} parameters.

**Keeps** {keeps}.

**Shrinks** layers to {text.num_hidden_layers} (48 in Scout and Maverick), hidden size to {text.hidden_size} (5120), heads
to {text.num_attention_heads} with {text.num_key_value_heads} key-value heads (40 and 8), head_dim to {text.head_dim}
(128), expert width to {text.intermediate_size} (8192), dense blocks' width to {text.intermediate_size_mlp} (16384),
vocabulary to {text.vocab_size:,} (202,048), chunk and floor_scale together to {text.attention_chunk_size} (8192), tiles to
{vision.image_size} pixels with patches of {vision.patch_size} (336 and 14), the vision encoder to
{vision.num_hidden_layers} layers of {vision.hidden_size} (34 of 1408). Digits are single tokens; Llama 4 groups up to
three. Trained on rows of up to 2,048 tokens, sixteen chunks.

## Quality on held-out text

No document of the held-out split was trained on. The unigram model knows the frequencies of the training split; the dense
twin is scout-proxy with dense blocks of its active size, trained beside it on the same text for the same time, without
pictures: its steps are cheaper, so it took twice as many.

{quality}

Exact means that greedy decoding writes the whole answer and stops by itself. The conversations and pictures are new
draws; sums whose terms the training never showed. One hop: the question names what its fact is about. Two hops: Eva has
the key, the key is red, what color is the thing that Eva has? The answer is `The key is red.`: it says the step between.
Asked for the color alone, no proxy learned to do both hops at once (62 to 66 % after the same training, what a guess
among the colors in the prompt gives). Other words: Eva lives in Lisbon, who comes from Portugal? A guess between the
eight colors would be right in 12 %, between the four shapes in 25 %, between the corners that hold something in about
38 % (notebook 13). Several tiles: a picture of two to four tiles and the whole in one more.

{skills}

One fact among held-out prose, at a depth between the start (0) and the question (1):

{recall}

A fact takes about ten tokens. Where the end of a chunk cuts it in two (here the one after token 127), it may be lost,
whatever the length: the two halves meet in no chunked layer.

{around_a_wall}

Harder: one of six facts, two hops through three people (the color alone), one of three people by other words; the facts
anywhere:

{harder_recall}

## Routing on the held-out split

Entropy is normalized: 1 is perfect balance. I(E;D) is what an expert tells of the domain, I(E;T) of the token (tokens
seen at least ten times); the null is the mean after shuffling the experts. Chance load is 1/{text.num_local_experts}.

{routing}

## Tokenizer

Tokens for each word of a country name: {fertility}.

## What it cannot do

Anything beyond the kinds of questions above, and those only as often as the tables say. It holds no knowledge of the
world but in which country a few cities are and some words of 12 languages, does not reason, writes no sensible prose or
code of its own, and sees only plain shapes on plain ground. Its balance loss (Switch, weight 0.01) is this course's
choice: Meta's recipe is not published.

## How it was made

{describe_herd_training(folder, name, figures["provenance"])}

{LICENSE}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def read_config(folder: Path):
    with quiet_transformers():
        return AutoConfig.from_pretrained(folder)


def count_parameters(folder: Path) -> int:
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return sum(int(np.prod(tensors.get_slice(name).get_shape())) for name in tensors.keys())
