"""Whether accelerate, which counts and places on its own, comes to the map of a plan of `planner`."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import infer_auto_device_map
from accelerate.utils import CustomDtype, compute_module_sizes

from llama4lab import planner
from llama4lab.parameters import part_of
from llama4lab.workload import Workload

KINDS = {0.5: CustomDtype.INT4, 1: torch.int8, 2: torch.bfloat16}
BUFFERS = 100_000  # bytes that accelerate counts in a module beside its weights, at most


def accelerates_map(model: torch.nn.Module, precision: str, limits: Mapping) -> tuple[dict, dict]:
    """Bytes of each module and device by module, as accelerate has them for weights of `precision` within `limits`."""
    default, special = planner.PRECISIONS[precision]
    stored = {name: KINDS[special.get(part_of(name), default)] for name, _ in model.named_parameters()}
    options = {"dtype": model.dtype, "special_dtypes": stored}
    mapped = infer_auto_device_map(model, limits, no_split_module_classes=list(model._no_split_modules), **options)
    return compute_module_sizes(model, **options), mapped


def devices_of(module: str, device_map: Mapping) -> set:
    """Devices that a map gives to `module`, by its own name, by that of a module around it, or by parts of it."""
    around = {device for name, device in device_map.items() if not name or f"{module}.".startswith(f"{name}.")}
    return around | {device for name, device in device_map.items() if name.startswith(f"{module}.")}


def accelerate_agrees(model: torch.nn.Module, precision: str, gpus: Sequence[float], work: Workload) -> bool:
    """Whether accelerate, given a plan's limits, puts every module on the plan's device and counts the same bytes."""
    planned = planner.make_plan(model, precision, work, gpus)
    sizes, mapped = accelerates_map(model, precision, planned.max_memory())
    same_places = all(devices_of(module, mapped) == {device} for module, device in planned.device_map.items())
    pieces = planner.pieces_of(model, precision, work)
    return same_places and all(abs(sizes[piece.name] - piece.weights) < BUFFERS for piece in pieces)
