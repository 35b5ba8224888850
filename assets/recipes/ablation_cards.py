"""Cards of the small models, generated from their logs and measurements."""

from pathlib import Path

from cards import LICENSE, count_parameters, describe_training, percent, read_config, table

ABLATION_LAYERS = {
    "hybrid": "three chunked RoPE layers, then one global NoPE layer: Llama 4's pattern",
    "grown-hybrid": "Llama 4's pattern, begun as four chunked RoPE layers of which the last was opened",
    "chunk-only": "four chunked RoPE layers, no global one",
    "rope": "four global RoPE layers",
    "nope": "four global NoPE layers",
}

TRAINED = {
    "grown-hybrid": "Begun with the weights of chunk-only of the same seed, then trained on rows of 128 tokens, with question after "
    "question,"
}


def write_small_card(folder: Path, kind: str, runs: dict, provenance: dict) -> None:
    """Write `folder/README.md` for one of the three small models from what their logs say."""
    about = {
        "moe": "eight experts of which each token takes one, and a shared one, in every layer",
        "dense-active": "dense blocks, with as many parameters as one token uses of small-moe",
        "dense-total": "dense blocks, with as many parameters as all of small-moe",
    }
    quality = table(
        ("domain", *(f"small-{other}" for other in runs)),
        [(domain, *(f"{run['nll'][domain]:.2f}" for run in runs.values())) for domain in runs[kind]["nll"]],
    )
    sizes = table(
        ("model", "parameters", "used by one token"),
        [
            (f"small-{other}", f"{run['total_parameters']:,}", f"{run['active_parameters']:,}")
            for other, run in runs.items()
        ],
    )
    steps = sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.safetensors"))
    kept = (
        f"`step-00020.safetensors` and its like are the weights after {', '.join(f'{step:,}' for step in steps)} steps of "
        "the same run, for notebook 05.\n\n"
        if steps
        else ""
    )
    text = read_config(folder)
    card = f"""# ablations/{folder.name}

One of three small text-only models that differ in their feed-forward blocks alone: {about[kind]}.

{sizes}

Four layers, hidden {text.hidden_size}, {text.num_attention_heads} heads of {text.head_dim}, rows of 128 tokens, tied
embeddings. Tokenizer and text are those of the proxies. Held-out NLL in nats a token:

{quality}

{kept}It writes nothing sensible and answers no questions; it is for comparing training runs.

{describe_training(folder, f"python assets/recipes/train.py ablations/{folder.name}", provenance)}

{LICENSE}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_ablation_card(folder: Path, figures: dict) -> None:
    """Write `folder/README.md` for one ablation from its measurements."""
    kind, _, seed = folder.name.rpartition("-")
    text = read_config(folder)
    alone, crowd = figures["alone"], figures["six look-alikes"]
    by_distance = table(
        ("distance in words", "right, no other fact", "right, six look-alikes"),
        [(d, percent(share), percent(crowd["by_distance"][d])) for d, share in alone["by_distance"].items()],
    )
    by_length = table(
        ("row length, fact at its start", "right, no other fact", "right, six look-alikes"),
        [(n, percent(share), percent(crowd["by_length"][n])) for n, share in alone["by_length"].items()],
    )
    card = f"""# ablations/{folder.name}

A text-only Llama 4 of {count_parameters(folder):,} parameters for notebook 09: {ABLATION_LAYERS[kind]}. The ablations differ
in their attention layers alone, the grown hybrids in their training too; the seed is {seed}.

Four layers, hidden {text.hidden_size}, {text.num_attention_heads} heads of {text.head_dim}, {text.num_local_experts}
experts of width {text.intermediate_size}, chunk and floor_scale {text.attention_chunk_size}, one token a word
({text.vocab_size} words). {TRAINED.get(kind, "Trained on rows of 64, then 128 tokens")} of the recall world of `llama4lab.recall`.

Rows of 128 words, the question at the end. Look-alikes are other facts in the same row; chance among all values is
1 in 32, among the values of a row with six look-alikes 1 in 7:

{by_distance}

The fact at the start of longer and longer rows (trained to 128 words):

{by_length}

It knows {text.vocab_size} words and one game, and can do nothing else. Whether it can tell facts apart across a chunk
wall is what the last column says.

{describe_training(folder, f"python assets/recipes/train.py ablations/{folder.name}", figures["provenance"])}

{LICENSE}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_two_groups_card(folder: Path, figures: dict) -> None:
    """Write `folder/README.md` for the deeper hybrid from its measurements."""
    text, shares = read_config(folder), figures["by_length"]
    lengths = list(next(iter(shares.values())))
    by_length = table(
        ("row length", *shares),
        [(length, *(percent(of_kind[length]) for of_kind in shares.values())) for length in lengths],
    )
    card = f"""# ablations/{folder.name}

A text-only Llama 4 of {count_parameters(folder):,} parameters for notebook 09: two groups of three chunked RoPE layers and one
global NoPE layer. It began with the weights of grown-hybrid of the same seed; its second group of four layers wrote
nothing at first.

{text.num_hidden_layers} layers, hidden {text.hidden_size}, {text.num_attention_heads} heads of {text.head_dim},
{text.num_local_experts} experts of width {text.intermediate_size}, chunk and floor_scale {text.attention_chunk_size}, one
token a word ({text.vocab_size} words). Trained on rows of 128 tokens of the world of `llama4lab.recall_hops`.

Three chains of a pointer, a name and a value, told anywhere in a row that ends in a question. One hop asks for a name's
value among three; two hops for what a pointer points to and its value, both words right; other words for the value of a
name by its alias, which no fact uses. Right, by the length of the row (trained to 128):

{by_length}

It knows {text.vocab_size} words and one game, and can do nothing else.

{describe_training(folder, f"python assets/recipes/train.py ablations/{folder.name}", figures["provenance"])}

{LICENSE}
"""
    (folder / "README.md").write_text(card, encoding="utf-8")
