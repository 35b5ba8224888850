"""What bitsandbytes leaves of scout-proxy, usual loading and with its experts:  python assets/recipes/bitsandbytes_bytes.py

Writes assets/measurements/bitsandbytes_bytes.json. Needs bitsandbytes 0.50.2, which the course's environment does not
have: make a second environment for it. Half a minute on one thread, no GPU.
"""

from collections import Counter
from importlib import import_module

import torch
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts

import samples
from evaluate import provenance
from llama4lab.assets import ASSETS, write_manifest
from llama4lab.checkpoints import MODELS, quiet_transformers
from llama4lab.notebook_functions import functions_of

# Not among the course's packages, so no plain import: a test holds those to environment.yml.
bitsandbytes, parametrize = import_module("bitsandbytes"), import_module("bitsandbytes.nn.parametrize")
OUTPUT = ASSETS / "measurements" / "bitsandbytes_bytes.json"
# Half precision on a CPU with AVX512 fails in layers whose inputs are no multiple of 64: the vision part stays as it is.
KEPT = ["vision_model", "multi_modal_projector", "lm_head"]


def load(**options) -> torch.nn.Module:
    with quiet_transformers():
        return AutoModelForImageTextToText.from_pretrained(
            MODELS / "scout-proxy", dtype=torch.bfloat16, device_map="cpu", use_safetensors=True, **options
        ).eval()


def usual() -> torch.nn.Module:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=KEPT)
    return load(quantization_config=config)


def with_experts(model: torch.nn.Module) -> torch.nn.Module:
    for module in [module for module in model.modules() if isinstance(module, Llama4TextExperts)]:
        for name in ("gate_up_proj", "down_proj"):
            parametrize.replace_parameter_4bit(module, name, quant_type="nf4")
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    notebook = functions_of("fit_it_in_memory")
    rows = notebook["held_out_rows"](range(2))
    with torch.no_grad():
        reference = notebook["answers"](load(), rows)
        figures = {}
        for name, model in (
            ("bfloat16", load()),
            ("load_in_4bit", usual()),
            ("and the experts", with_experts(usual())),
        ):
            classes = Counter(type(module).__name__ for module in model.modules())
            figures[name] = {
                "bytes": model.get_memory_footprint(),
                "Linear4bit": classes["Linear4bit"],
                "Llama4TextExperts": classes["Llama4TextExperts"],
                **notebook["compare"](reference, notebook["answers"](model, rows), rows),
            }
            print(name, figures[name], flush=True)
    samples.write_json(
        OUTPUT, {"provenance": provenance() | {"bitsandbytes": bitsandbytes.__version__}, "models": figures}
    )
    write_manifest()
