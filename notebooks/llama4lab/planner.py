"""Which device holds what of a Llama 4 model: its weights by module, beside what a forward pass takes (`workload`).

    python -m llama4lab.planner scout --precision "experts 4 bits, rest bfloat16" --tokens 32768 --piece 256 --gpus 80

Nothing is downloaded: the model is built on PyTorch's meta device. Sizes on the command line are gigabytes of 10^9 bytes.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from llama4lab.checkpoints import MODELS, known_proxies
from llama4lab.errors import CourseError
from llama4lab.parameters import PRECISIONS, build_on_meta, count_by_part, real_config, weight_bytes
from llama4lab.workload import Workload, cache_bytes_of_layer, temporary_bytes

LARGEST_GB = 10_000  # no GPU has more; a larger number is one in bytes
RESERVE = 10**9  # bytes of a GPU left for the CUDA context and for fragmentation; a judgment, not a measurement


@dataclass(frozen=True)
class Piece:
    """A module that stays on one device: its name, bytes of weights, bytes of keys and values."""

    name: str
    weights: float
    cache: int


@dataclass(frozen=True)
class Share:
    """What one device holds, in bytes.

    Attributes:
        device: number of a GPU, "cpu" or "disk".
        capacity: bytes that it has; infinite for the disk.
        weights, cache: of the modules that lie there.
        working: temporaries of a forward pass, the reserve, and room for a layer that is brought in.
    """

    device: int | str
    capacity: float
    weights: float
    cache: int
    working: float

    @property
    def free(self) -> float:
        """Bytes left; negative where the plan does not fit."""
        return self.capacity - self.weights - self.cache - self.working


@dataclass(frozen=True)
class Plan:
    """Where everything lies.

    Attributes:
        device_map: device by name of module, as `from_pretrained(device_map=...)` takes it.
        shares: what each device holds, in order; the disk last.
        offloaded: bytes of weights that are copied to the first device whenever they are used.
        largest: bytes of the largest module's weights.
    """

    device_map: dict[str, int | str]
    shares: tuple[Share, ...]
    offloaded: float
    largest: float

    @property
    def runs(self) -> bool:
        """Whether what is used has room for what it must hold, be it with weights elsewhere.

        A plan that leaves its first device without a module does not run there.
        """
        return self.shares[0].weights > 0 and all(share.free >= 0 for share in self.shares if share.weights)

    def max_memory(self, slack: int = 2**20) -> dict[int | str, int]:
        """Limits under which accelerate's `infer_auto_device_map` comes to this plan by itself.

        accelerate knows nothing of cache and temporaries: its limit is what the weights take here. On the first GPU and
        on the CPU it keeps room for the largest module beyond that. `slack` is for buffers, which it counts.
        """
        main = (0, "cpu")
        return {
            share.device: math.ceil(share.weights + (self.largest if share.device in main else 0)) + slack
            for share in self.shares
            if share.device != "disk"
        }


def pieces_of(model: torch.nn.Module, precision: str, work: Workload) -> list[Piece]:
    """The modules of a Llama 4 model in the order of their use, none of which is ever split.

    Args:
        model: as `build_on_meta` makes it; its dtype is that of the cache.
        precision: one of PRECISIONS.

    Raises:
        CourseError: unknown precision, or no Llama 4 model.
    """
    return _with_cache(model, _weights_of(model, precision), work)


def _weights_of(model: torch.nn.Module, precision: str) -> dict[str, float]:
    """Bytes of weights by module, in order; see `pieces_of`."""
    if precision not in PRECISIONS:
        raise CourseError(f"There is no precision {precision!r}; give one of {', '.join(map(repr, PRECISIONS))}.")
    return {
        name: weight_bytes(count_by_part(module, name), *PRECISIONS[precision])
        for name, module in _whole_modules(model)
    }


def _with_cache(model: torch.nn.Module, weights: dict[str, float], work: Workload) -> list[Piece]:
    text = model.config.get_text_config()
    pieces = []
    for name, size in weights.items():
        parent, _, last = name.rpartition(".")
        is_layer = parent.endswith("model.layers")
        cache = cache_bytes_of_layer(text, text.layer_types[int(last)], work, model.dtype.itemsize) if is_layer else 0
        pieces.append(Piece(name, size, cache))
    return pieces


def _whole_modules(module: torch.nn.Module, at: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """Name and module of everything that stays on one device, in order."""
    for name, child in module.named_children():
        if name in ("language_model", "model", "layers"):
            yield from _whole_modules(child, f"{at}{name}.")
        else:
            yield f"{at}{name}", child


def make_plan(
    model: torch.nn.Module,
    precision: str,
    work: Workload,
    gpus: Sequence[float],
    cpu: float = math.inf,
    reserve: float = RESERVE,
) -> Plan:
    """Fill the devices in order with whole modules: GPUs, then the CPU, then the disk.

    What lies on the CPU (or, where there is no GPU, on the disk) is brought to the first device for every pass: that
    one must hold the largest such module and the cache of all of them.

    Args:
        gpus: bytes of each GPU; none: the CPU computes.
        cpu: bytes of main memory for the model.
        reserve: bytes of each GPU that stay free.

    Raises:
        CourseError: unknown precision, no Llama 4 model.
    """
    return _place(model, pieces_of(model, precision, work), work, gpus, cpu, reserve)


def _place(
    model: torch.nn.Module, pieces: list[Piece], work: Workload, gpus: Sequence[float], cpu: float, reserve: float
) -> Plan:
    """`make_plan` for pieces that are known."""
    capacity = dict(enumerate(gpus)) | {"cpu": cpu, "disk": math.inf}
    computing = list(range(len(gpus))) or ["cpu"]
    first = computing[0]
    working = dict.fromkeys(capacity, 0.0)
    for device in computing:
        working[device] = temporary_bytes(model.config.get_text_config(), work, model.dtype.itemsize)
        working[device] += reserve if gpus else 0
    away: list[Piece] = []
    while True:
        # What is brought in takes room on the first device, which may push out more: repeat until nothing changes.
        room, visiting = max((piece.weights for piece in away), default=0), sum(piece.cache for piece in away)
        device_map = _fill(pieces, capacity, working | {first: working[first] + room + visiting}, computing)
        before, away = away, [piece for piece in pieces if device_map[piece.name] not in computing]
        if away == before:
            break
    shares = []
    for device in capacity:
        here = [piece for piece in pieces if device_map[piece.name] == device]
        cache = sum(piece.cache for piece in here) if device in computing else 0
        extra_cache, extra_room = (visiting, room) if device == first else (0, 0)
        shares.append(
            Share(
                device,
                capacity[device],
                sum(piece.weights for piece in here),
                cache + extra_cache,
                working[device] + extra_room,
            )
        )
    return Plan(device_map, tuple(shares), sum(piece.weights for piece in away), max(piece.weights for piece in pieces))


def _fill(pieces: Sequence[Piece], capacity: dict, taken: dict, computing: list) -> dict[str, int | str]:
    """Device by module; a device is never returned to once a module did not fit."""
    devices, device_map = iter(capacity), {}
    device = next(devices)
    held = taken[device]
    for piece in pieces:
        while True:
            # Keys and values lie where the module computes.
            needed = piece.weights + (piece.cache if device in computing else 0)
            if held + needed <= capacity[device]:
                break
            device = next(devices)
            held = taken[device]
        held += needed
        device_map[piece.name] = device
    return device_map


def longest_context(
    model: torch.nn.Module, precision: str, gpus: Sequence[float], *, batch: int = 1, piece: int | None = None
) -> int:
    """The most tokens a sequence with which all weights stay on the GPUs; 0 if there is none.

    Never more than the configuration's `max_position_embeddings`.

    Raises:
        CourseError: no GPU, unknown precision, no Llama 4 model.
    """
    if not gpus:
        raise CourseError("The longest context is sought on GPUs; name the bytes of at least one.")
    text = model.config.get_text_config()
    weights = _weights_of(model, precision)  # counted once: they do not change with the tokens

    def fits(tokens: int) -> bool:
        work = Workload(tokens, batch, piece)
        plan = _place(model, _with_cache(model, weights, work), work, gpus, math.inf, RESERVE)
        return plan.runs and not plan.offloaded

    # Every term grows with the tokens, so the answer can be found by halving.
    low, high = 0, text.max_position_embeddings
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def main(arguments: list[str]) -> int:
    """Print the plan that the command line asks for; return the exit code: 0 if it runs, 1 if not or on an error."""
    parser = argparse.ArgumentParser(prog="python -m llama4lab.planner", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="scout, maverick, or a proxy of this course")
    parser.add_argument("--precision", default="bfloat16", help=", ".join(PRECISIONS))
    parser.add_argument("--tokens", type=int, default=8192, help="prompt and answer together")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--piece", type=int, help="prefill_chunk_size; default: the prompt in one piece")
    parser.add_argument("--gpus", type=float, nargs="*", default=[], help="GB of each GPU")
    parser.add_argument("--cpu", type=float, default=math.inf, help="GB of main memory")
    options = parser.parse_args(arguments)
    try:
        if not all(0 < size < LARGEST_GB for size in options.gpus) or not options.cpu >= 0:
            raise CourseError("Give the size of each GPU and of main memory in GB, such as --gpus 80 80 --cpu 200.")
        config = MODELS / options.model if options.model in known_proxies() else real_config(options.model)
        work = Workload(options.tokens, options.batch, options.piece)
        model = build_on_meta(config)
        declared = model.config.get_text_config().max_position_embeddings
        if work.tokens > declared:
            raise CourseError(f"{options.model} is declared for at most {declared:,} tokens; ask for no more.")
        plan = make_plan(model, options.precision, work, [g * 1e9 for g in options.gpus], options.cpu * 1e9)
    except CourseError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(describe(plan))
    return 0 if plan.runs else 1


def describe(plan: Plan) -> str:
    """The plan as a table in GB, and a sentence on whether it runs."""
    lines = [f"{'device':8}{'capacity':>10}{'weights':>10}{'cache':>10}{'working':>10}{'free':>10}"]
    for share in plan.shares:
        if share.weights or share.cache:
            sizes = (share.capacity, share.weights, share.cache, share.working, share.free)
            lines.append(
                f"{share.device!s:8}" + "".join(f"{s / 1e9:>10.1f}" if s < math.inf else f"{'any':>10}" for s in sizes)
            )
    if not plan.shares[0].weights:
        lines.append(f"does not run: device {plan.shares[0].device} has no room for a module beside what a pass takes")
    elif not plan.runs:
        lines.append("does not run: a device would need more than it has")
    elif plan.offloaded:
        lines.append(f"runs, slowly: {plan.offloaded / 1e9:.1f} GB are copied for every pass")
    else:
        lines.append("runs")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
