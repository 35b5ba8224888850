"""Two ranks that each hold half of a layer's experts, and what comes out when they gather different ones.

    python -m llama4lab.sharded_experts RANK FOLDER [SECONDS]

Start it twice, with the ranks 0 and 1 and one empty folder, through which the two find each other on this machine. Each
prints a line for each of CASES; SECONDS is how long a rank waits for the other (default 4).
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.nn.functional import silu

from llama4lab.assets import ASSETS

WEIGHTS = ASSETS / "models" / "scout-proxy" / "model.safetensors"
NAME = "language_model.model.layers.0.feed_forward.experts."
# What each rank's four rows chose, the way the experts are held, and whether experts without a row run as well.
CASES = {
    "fused": (((0, 0, 1, 1), (2, 5, 5, 9)), "fused", False),
    "by expert, all run": (((0, 0, 1, 1), (2, 5, 5, 9)), "single", True),
    "by expert, two each": (((0, 0, 1, 1), (2, 2, 5, 5)), "single", False),
    "by expert, two and three": (((0, 0, 1, 1), (2, 5, 5, 9)), "single", False),
}
LAST = list(CASES)[-1]
PATIENCE = timedelta(seconds=60)


class Expert(torch.nn.Module):
    """One expert, or several in one tensor: the forward pass runs the rows of the expert `index`."""

    def __init__(self, gate_up: torch.Tensor, down: torch.Tensor):
        super().__init__()
        self.gate_up, self.down = torch.nn.Parameter(gate_up.clone()), torch.nn.Parameter(down.clone())

    def forward(self, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """rows `[rows, hidden]`, chosen `[rows]`, an index into the experts that are held here; `[rows, hidden]`."""
        gate, up = torch.bmm(rows[:, None], self.gate_up[chosen]).chunk(2, dim=-1)
        return torch.bmm(up * silu(gate), self.down[chosen])[:, 0]


def run_case(
    gate_up: torch.Tensor, down: torch.Tensor, chosen: torch.Tensor, held: str, run_all: bool, mesh: DeviceMesh
) -> torch.Tensor:
    """Outputs `[rows, hidden]` of rows of ones through the experts that they chose, sharded over the ranks of `mesh`."""
    rows = torch.ones(len(chosen), gate_up.shape[1])
    if held == "fused":
        return fully_shard(Expert(gate_up, down), mesh=mesh)(rows, chosen)
    experts = [Expert(gate_up[k : k + 1], down[k : k + 1]) for k in range(len(gate_up))]
    experts = [fully_shard(expert, mesh=mesh, shard_placement_fn=_along_inputs) for expert in experts]
    out = torch.zeros_like(rows)
    for k, expert in enumerate(experts):
        mine = chosen == k
        if run_all or mine.any():
            out[mine] = expert(rows[mine], torch.zeros(int(mine.sum()), dtype=torch.long))
    return out


def _along_inputs(parameter: torch.nn.Parameter) -> Shard:
    return Shard(1)  # the first dimension of a single expert's tensor has length 1: nothing to cut


def main(rank: int, folder: Path, seconds: float = 4) -> None:
    """Run CASES as one of two ranks and print the outcome of each."""
    # The ranks may start at different times and wait for each other; only a gather without a partner fails soon.
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2, timeout=PATIENCE)
    impatient = dist.new_group(timeout=timedelta(seconds=seconds))
    with safe_open(WEIGHTS, framework="pt") as file:
        gate_up, down = (file.get_tensor(NAME + part).float() for part in ("gate_up_proj", "down_proj"))
    for case, (choices, held, run_all) in CASES.items():
        chosen = torch.tensor(choices[rank])
        group = impatient if case == LAST else dist.group.WORLD
        with torch.no_grad():
            expected = Expert(gate_up, down)(torch.ones(len(chosen), gate_up.shape[1]), chosen)
            try:
                found = run_case(gate_up, down, chosen, held, run_all, DeviceMesh.from_group(group, "cpu"))
            except RuntimeError as error:
                if "Timed out" not in str(error):
                    raise
                outcome = "waited for the other rank, then a timeout"
            else:
                outcome = "right" if torch.allclose(found, expected, atol=1e-5) else "wrong, without an error"
        print(f"{case}|{rank}|{outcome}", flush=True)
    (folder / f"done-{rank}").touch()
    while not (folder / f"done-{1 - rank}").exists():  # a rank that leaves would break the other's connection
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:]))
