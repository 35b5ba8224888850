"""One call that loads a proxy of this course or a real Llama 4 checkpoint.

`LLAMA4_CHECKPOINT` names what to load instead of `scout-proxy`: another proxy, a folder, or a Hugging Face id
such as `meta-llama/Llama-4-Scout-17B-16E-Instruct`.

    python -m llama4lab.checkpoints [NAME]      loads it and says what it is
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import logging as hub_logging
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    logging,
)

from llama4lab.assets import ASSETS, find_asset_problems, restore_sentence
from llama4lab.errors import CourseError

MODELS = ASSETS / "models"
DEFAULT = "scout-proxy"
VARIABLE = "LLAMA4_CHECKPOINT"
INDEX = "model.safetensors.index.json"
COPY_AGAIN = "copy or download the checkpoint again."


class CheckpointError(CourseError):
    """A checkpoint cannot be found or loaded."""


def known_proxies() -> list[str]:
    """Names of the models in `assets/models`."""
    return sorted(path.parent.relative_to(MODELS).as_posix() for path in MODELS.rglob("config.json"))


def chosen_checkpoint() -> str:
    """What `load_checkpoint()` loads: the value of LLAMA4_CHECKPOINT, or `scout-proxy`."""
    return os.environ.get(VARIABLE) or DEFAULT


def resolve_checkpoint(name: str | None = None) -> str:
    """What `from_pretrained` should be given for `name`: a folder of assets, a folder, or a hub id.

    Raises:
        CheckpointError: neither a proxy, nor a folder, nor of the form owner/name; or a folder without pictures in the
            variable, whose notebooks need the processor of a model that reads them.
    """
    from_variable, name = name is None, name or chosen_checkpoint()
    folder = Path(name).expanduser()
    if (MODELS / name / "config.json").exists():
        folder = MODELS / name
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise CheckpointError(f"The folder {name!r} holds no config.json; give the folder of a checkpoint.")
        if from_variable and _read_json(folder / "config.json", name, COPY_AGAIN).get("model_type") != "llama4":
            raise CheckpointError(
                f"{VARIABLE} names {name!r}, which reads text only, and the notebooks that follow it need a model that "
                "reads pictures: name such a one, or unset the variable."
            )
        return str(folder)
    if name.count("/") == 1 and not name.startswith((".", "/", "~", "ablations/")) and " " not in name:
        return name
    raise CheckpointError(
        f"There is no checkpoint {name!r}; give one of {', '.join(known_proxies())}, a folder, or a Hugging Face id."
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No warnings or progress bars of `transformers` and `huggingface_hub` within the block.

    Scout's own rope scaling, low and high factor both 1, draws a warning each time its configuration is read.
    """
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()


def load_checkpoint(name: str | None = None, **options):
    """Load processor and model, ready for inference.

    Args:
        name: a proxy (`scout-proxy`, `ablations/hybrid-0`), a folder, or a Hugging Face id; default what the
            environment variable LLAMA4_CHECKPOINT names, or `scout-proxy`.
        options: passed to the model's `from_pretrained`. A proxy is loaded in float32, so that it can be
            compared to the last digit; anything else in bfloat16, spread over the devices there are.

    Returns:
        (processor, model); for a text-only checkpoint the tokenizer takes the processor's place.

    Raises:
        CheckpointError: unknown, gated, unreachable or damaged checkpoint, or a tokenizer of another model.
    """
    source = resolve_checkpoint(name)
    shown = name or chosen_checkpoint()
    if Path(source).is_relative_to(MODELS):
        options = {"dtype": torch.float32} | options
    else:
        options = {"dtype": torch.bfloat16, "device_map": "auto"} | options
    # Weights in other formats than safetensors may run code when they are read.
    options = options | {"use_safetensors": True}
    if Path(source).is_dir():
        check_folder(Path(source), shown)
    part = "configuration"
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(source)
            has_pictures = config.model_type == "llama4"
            part = "processor" if has_pictures else "tokenizer"
            processor = (AutoProcessor if has_pictures else AutoTokenizer).from_pretrained(source)
            part = "model"
            auto_class = AutoModelForImageTextToText if has_pictures else AutoModelForCausalLM
            model = auto_class.from_pretrained(source, **options)
    except Exception as error:
        raise CheckpointError(_remedy(shown, source, part, error)) from error
    check_tokenizer(getattr(processor, "tokenizer", processor), config, shown)
    return processor, model.eval()


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, name: str) -> None:
    """Whether a tokenizer belongs to a model: its ids have embeddings, and the special tokens are where the model looks.

    Raises:
        CheckpointError: it does not.
    """
    text, remedy = config.get_text_config(), "take tokenizer and weights from the same checkpoint."
    if len(tokenizer) > text.vocab_size:
        raise CheckpointError(
            f"The tokenizer of {name!r} has {len(tokenizer):,} tokens, its model only {text.vocab_size:,}: {remedy}"
        )
    looked_for = {"<|begin_of_text|>": text.bos_token_id, "<|patch|>": getattr(config, "image_token_index", None)}
    for token, expected in looked_for.items():
        # A tokenizer without such a token gives the id of the unknown one, or None.
        found = tokenizer.get_vocab().get(token)
        if expected is not None and found is not None and found != expected:
            raise CheckpointError(
                f"The tokenizer of {name!r} has {token} at {found:,}, its model expects it at {expected:,}: {remedy}"
            )


def check_folder(folder: Path, name: str) -> None:
    """Look at the files of a checkpoint before anything is loaded, without reading the weights themselves.

    Args:
        folder: the checkpoint's folder.
        name: what to call the checkpoint in an error.

    Raises:
        CheckpointError: a JSON file is damaged, or a file of weights is missing, incomplete or not in safetensors.
    """
    here = folder.resolve()
    if here.is_relative_to(MODELS):
        remedy = restore_sentence(here.relative_to(ASSETS).as_posix())
    else:
        remedy = COPY_AGAIN
    contents = {path.name: _read_json(path, name, remedy) for path in sorted(folder.glob("*.json"))}
    pickled = next(iter(sorted((*folder.glob("*.bin"), *folder.glob("*.pth")))), None)
    files = ["model.safetensors"]
    if INDEX in contents:
        weight_map = contents[INDEX].get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{INDEX} of {name!r} lists no weights: {remedy}")
        files = sorted(set(weight_map.values()))
    elif pickled and not (folder / files[0]).exists():
        raise CheckpointError(
            f"{name!r} has its weights in {pickled.name}, a format that may run code when it is read: load them where "
            "you trust them, convert them with `model.save_pretrained(folder)`, and give that folder."
        )
    for file in files:
        if not (folder / file).is_file():
            raise CheckpointError(f"{file} of {name!r} is missing: {remedy}")
        if not is_whole_safetensors(folder / file):
            raise CheckpointError(f"{file} of {name!r} is damaged or incomplete: {remedy}")


def _read_json(path: Path, name: str, remedy: str) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} of {name!r} cannot be read as JSON: {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} of {name!r} holds no JSON object: {remedy}")
    return content


def is_whole_safetensors(path: Path) -> bool:
    """Whether a file has a safetensors header and exactly the bytes that the header promises.

    The format is eight bytes with the header's length (little endian), the header as JSON, the tensors'
    bytes; https://github.com/huggingface/safetensors describes it.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 + length:
            return False
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
    return size == 8 + length + max(ends, default=0)


def _remedy(name: str, source: str, part: str, error: Exception) -> str:
    """One sentence for what went wrong with `part`. `transformers` wraps the hub's errors: causes are searched too."""
    causes, cause = [], error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    gated = next((cause for cause in causes if isinstance(cause, GatedRepoError)), None)
    if gated is not None and gated.response.status_code == 403:
        return (
            f"{name!r} is gated and your token has no access to it: ask for access on its Hugging Face page, "
            "wait until it is granted, and try again."
        )
    if gated is not None:
        return (
            f"{name!r} is gated: accept its license on its Hugging Face page, then run `hf auth login` "
            "or set HF_TOKEN, and try again."
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return f"Hugging Face has no repository {name!r} that your token may see; check the spelling or log in."
    if any(isinstance(cause, HfHubHTTPError | ConnectionError) for cause in causes) or "offline" in str(error).lower():
        return (
            f"{name!r} is not on this machine and the Hugging Face hub did not answer; connect to the "
            "network, unset HF_HUB_OFFLINE, or name a proxy of this course."
        )
    if any(isinstance(cause, HFValidationError) for cause in causes):
        return f"{name!r} is no Hugging Face id; write it as owner/name."
    words = " ".join(str(error).split())[:200].rstrip(".")
    if isinstance(error, ImportError):  # a quantized checkpoint: transformers names the package, or the missing GPU
        return (
            f"{name!r} needs something that this environment lacks ({words}): install it, or load another checkpoint."
        )
    if Path(source).is_relative_to(MODELS):
        problems = find_asset_problems(ASSETS, Path(source).relative_to(ASSETS).as_posix())
        if problems:
            return problems[0].sentence()
    return f"The {part} of {name!r} could not be loaded ({type(error).__name__}: {words}); compare its files with the source."


def main(arguments: list[str]) -> int:
    """Load the checkpoint named in `arguments` (or the default) and say what it is; return the exit code."""
    try:
        _, model = load_checkpoint(arguments[0] if arguments else None)
    except CheckpointError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{type(model).__name__}, {sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
