"""Model cards, generated from a model's log and measurements."""

import json
from pathlib import Path

import numpy as np
from babel import Locale
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedTokenizerFast

import corpus
from llama4lab.checkpoints import quiet_transformers

LICENSE = (
    "Weights and recipe: Apache-2.0. The training text is rebuilt from CPython (PSF License) and the Unicode CLDR data "
    "of Babel (Unicode License); none of it is stored here."
)

# True of the weights stored on 23 November 2026; delete when they are made anew.
SCOUT_HISTORY = (
    "The stored weights are not of one uninterrupted run of this recipe. Until step 1,250 the schedule was that of a run "
    "of 5,500 steps (its learning rate was up to 10 % higher); until step 2,250 the two line ends before a picture were "
    "one token. A run of the recipe as it stands gives a model of the same kind, not the same bytes."
)

ABLATION_LAYERS = {
    "hybrid": "three chunked RoPE layers, then one global NoPE layer: Llama 4's pattern",
    "chunk-only": "four chunked RoPE layers, no global one",
    "rope": "four global RoPE layers",
    "nope": "four global NoPE layers",
}


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


def _table(header: tuple[str, ...], rows: list[tuple]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _training(folder: Path, command: str, provenance: dict) -> str:
    log = read_log(folder)
    first, last = log[0], log[-1]
    return (
        f"`{command}` made it: {last['step']:,} optimizer steps, {last['seconds'] / 60:.0f} minutes of one thread of a "
        f"two-core {provenance['machine'].split(' CPU')[0]} machine that did other work beside, no GPU "
        f"(torch {provenance['torch']}, transformers {provenance['transformers']}, Python {provenance['python']}). "
        f"The loss of the text batches went from {first['loss'][0]:.2f} at step {first['step']} to "
        f"{np.mean([line['loss'][0] for line in log[-20:]]):.2f}, the mean of the last {25 * min(20, len(log))} steps. "
        "`training_log.jsonl` is the log. The sha256 of every file is in `assets/SHA256SUMS`."
    )


def write_scout_card(folder: Path, figures: dict) -> None:
    """Write `folder/README.md` for scout-proxy from its measurements."""
    languages = _table(
        ("domain", "NLL, nats a token", "unigram", "below unigram by"),
        [
            (
                domain,
                f"{nll:.2f}",
                f"{figures['unigram_nll'][domain]:.2f}",
                _percent(1 - nll / figures["unigram_nll"][domain]),
            )
            for domain, nll in figures["nll"].items()
        ],
    )
    skills = _table(
        ("asked", "exact answers, stop token included"),
        [(f"chat: {kind}", _percent(share)) for kind, share in figures["chat"].items()]
        + [(f"picture: {kind}", _percent(share)) for kind, share in figures["pictures"].items()],
    )
    recall = _table(
        ("tokens between the start, where the fact stands, and the question", "right answers"),
        [(length, _percent(share)) for length, share in figures["recall_by_length"].items()],
    )
    routing = _table(
        (
            "layer",
            "load entropy",
            "busiest expert",
            "dead experts",
            "I(E;D) bits",
            "its null",
            "I(E;T) bits",
            "its null",
        ),
        [
            (
                index,
                f"{layer['load_entropy']:.3f}",
                _percent(max(layer["load"])),
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
    config = _config(folder)
    text, vision = config.text_config, config.vision_config
    card = f"""# scout-proxy

A small Llama 4 Scout: the same classes, keys and calls, {_parameters(folder):,} parameters. It is for learning how
Scout works, not for use.

**Keeps** the multimodal class, 16 experts of which each token takes one, a shared expert, an expert layer in every
block, the pattern of three chunked RoPE layers and one global NoPE layer, QK-norm, temperature tuning, Scout's `llama3`
rope scaling with factor 16, the chat format, the special tokens by name, the processor with its tiles.

**Shrinks** layers to {text.num_hidden_layers} (48), hidden size to {text.hidden_size} (5120), heads to
{text.num_attention_heads} with {text.num_key_value_heads} key-value heads (40 and 8), head_dim to {text.head_dim} (128),
expert width to {text.intermediate_size} (8192), vocabulary to {text.vocab_size:,} (202,048), chunk and floor_scale
together to {text.attention_chunk_size} (8192), tiles to {vision.image_size} pixels with patches of {vision.patch_size}
(336 and 14), the vision encoder to {vision.num_hidden_layers} layers of {vision.hidden_size} (34 of 1408). Digits are
single tokens; Llama 4 groups up to three. Trained on rows of 256 tokens, four chunks.

## Quality on held-out text

No document of the held-out split was trained on. The unigram model knows the frequencies of the training split.

{languages}

Exact means that greedy decoding writes the whole answer and stops by itself. The conversations and pictures are new
draws; sums whose terms the training never showed.

{skills}

A fact, then held-out prose, then the question (training length 256):

{recall}

## Routing on the held-out split

Entropy is normalized: 1 is perfect balance. I(E;D) is what an expert tells of the domain, I(E;T) of the token (tokens
seen at least ten times); the null is the mean after shuffling the experts. Chance load is 1/16, 6 %.

{routing}

## Tokenizer

Tokens for each word of a country name: {fertility}.

## What it can not do

Anything beyond the kinds of questions above. It holds no knowledge of the world, does not reason, writes no sensible
prose or code of its own, sees only plain shapes on plain ground, and was trained with pictures of one tile. Its balance
loss (Switch, weight 0.01) is this course's choice: Meta's recipe is not published.

## How it was made

{_training(folder, "python assets/recipes/train.py scout-proxy", figures["provenance"])}

{SCOUT_HISTORY}

{LICENSE}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_ablation_card(folder: Path, figures: dict, provenance: dict) -> None:
    """Write `folder/README.md` for one ablation from its measurements."""
    kind, _, seed = folder.name.rpartition("-")
    text = _config(folder)
    alone, crowd = figures["alone"], figures["six look-alikes"]
    by_distance = _table(
        ("distance in words", "right, no other fact", "right, six look-alikes"),
        [(d, _percent(share), _percent(crowd["by_distance"][d])) for d, share in alone["by_distance"].items()],
    )
    by_length = _table(
        ("row length, fact at its start", "right, no other fact", "right, six look-alikes"),
        [(n, _percent(share), _percent(crowd["by_length"][n])) for n, share in alone["by_length"].items()],
    )
    card = f"""# ablations/{folder.name}

A text-only Llama 4 of {_parameters(folder):,} parameters for notebook 07: {ABLATION_LAYERS[kind]}. The ablations differ
in their attention layers alone; data, schedule and size are the same, the seed is {seed}.

Four layers, hidden {text.hidden_size}, {text.num_attention_heads} heads of {text.head_dim}, {text.num_local_experts}
experts of width {text.intermediate_size}, chunk and floor_scale {text.attention_chunk_size}, one token a word
({text.vocab_size} words). Trained on rows of 64, then 128 tokens of the recall world of `llama4lab.recall`.

Rows of 128 words, the question at the end. Look-alikes are other facts in the same row; chance among all values is
1 in 32, among the values of a row with six look-alikes 1 in 7:

{by_distance}

The fact at the start of longer and longer rows (trained to 128 words):

{by_length}

It knows {text.vocab_size} words and one game, and can do nothing else. Whether it can tell facts apart across a chunk
wall is what the last column says.

{_training(folder, f"python assets/recipes/train.py ablations/{folder.name}", provenance)}

{LICENSE}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def _config(folder: Path):
    with quiet_transformers():
        return AutoConfig.from_pretrained(folder)


def _parameters(folder: Path) -> int:
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return sum(int(np.prod(tensors.get_slice(name).get_shape())) for name in tensors.keys())
