"""What a notebook that loads models all the time sets before it begins."""

import logging
import warnings

import torch
import transformers

from llama4lab.figures import use_style


def prepare() -> None:
    """The course's style, one thread (the proxies are too small to gain from more), errors instead of warnings."""
    use_style()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)  # it warns of GPUs that are only imagined
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
