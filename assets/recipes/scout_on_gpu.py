"""Measure blocks of Scout at full size, with random weights, on one GPU:  python assets/recipes/scout_on_gpu.py OUT.json

A sixth of Scout, eight of its 48 layers in bfloat16, is what one 80 GB GPU takes with room to work. For batches of one
token each to 256, and for a prompt of 8192 tokens: how long a pass takes when every token goes through every expert, as
in the library, and when each expert gets its own tokens alone (`grouped_mm`), beside what the GPU's memory and matrix
units could do at best, measured in the same run.
"""

import json
import platform
import sys
from datetime import date
from functools import partial
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextDecoderLayer, Llama4TextMoe

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "scout-instruct.json"
LAYERS = 8
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROMPT = 8192  # tokens
REPEATS = 20


def milliseconds(function, repeats: int = REPEATS) -> float:
    """Median time of a call, by events on the GPU."""
    function()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def recorded(function):
    """`function` as one CUDA graph, so that launching its kernels costs nothing."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def sparse_mixture(moe: Llama4TextMoe, x: torch.Tensor) -> torch.Tensor:
    """The routed experts and the shared one for `x` [tokens, hidden], reading only experts that have tokens."""
    scores, logits = moe.router(x)
    score, expert = scores.max(dim=1)
    order = expert.argsort(stable=True)
    ends = torch.searchsorted(expert[order], torch.arange(moe.num_experts, device=x.device), right=True, out_int32=True)
    rows = (x * score[:, None])[order]
    gate, up = torch._grouped_mm(rows, moe.experts.gate_up_proj, ends).chunk(2, dim=-1)
    routed = torch._grouped_mm(up * moe.experts.act_fn(gate), moe.experts.down_proj, ends)
    return moe.shared_expert(x).index_add(0, order, routed)


def build_layers(config) -> list[Llama4TextDecoderLayer]:
    """LAYERS blocks of Scout on the GPU, their weights drawn."""
    layers = []
    for index in range(LAYERS):
        with torch.device("meta"):
            layer = Llama4TextDecoderLayer(config, index).bfloat16()
        layer = layer.to_empty(device="cuda").eval()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.02) if parameter.ndim > 1 else torch.nn.init.ones_(parameter)
        layers.append(layer)
    return layers


def pass_through(layers, x: torch.Tensor, angles: torch.Tensor, sparse: bool) -> torch.Tensor:
    """`x` [batch, tokens, hidden] through all layers; each token of a batch of single ones attends to itself."""
    for layer in layers:
        attended, _ = layer.self_attn(layer.input_layernorm(x), angles, None)
        x = x + attended
        normed = layer.post_attention_layernorm(x)
        if sparse:
            mixed = sparse_mixture(layer.feed_forward, normed.flatten(0, 1))
        else:
            mixed, _ = layer.feed_forward(normed)
        x = x + mixed.view(x.shape)
    return x


def measure_limits() -> dict[str, float]:
    """What the GPU's memory and matrix units do at best."""
    source = torch.empty(2**31, dtype=torch.int8, device="cuda").random_()
    target = torch.empty_like(source)
    vector = torch.rand(8192, device="cuda", dtype=torch.bfloat16)
    matrix = torch.rand(131072, 8192, device="cuda", dtype=torch.bfloat16)
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return {
        "copy_bytes_per_second": 2 * source.numel() / milliseconds(partial(target.copy_, source)) * 1e3,
        # Reading alone, as decoding does.
        "read_bytes_per_second": 2 * matrix.numel() / milliseconds(partial(torch.mv, matrix, vector)) * 1e3,
        "matmul_flops_per_second": 2 * 8192**3 / milliseconds(partial(torch.mm, square, square)) * 1e3,
    }


def measure_decoding(layers, config, batch: int) -> dict:
    """One pass of `batch` single tokens, both ways, and how many experts of each layer they touch."""
    x = torch.randn(batch, 1, config.hidden_size, device="cuda", dtype=torch.bfloat16)
    angles = torch.polar(*torch.ones(2, 1, 1, config.head_dim // 2, device="cuda"))
    touched = []

    def count(_, __, output) -> None:
        touched.append(output[1].argmax(1).unique().numel())

    hooks = [layer.feed_forward.router.register_forward_hook(count) for layer in layers]
    ours, theirs = (pass_through(layers, x, angles, sparse) for sparse in (True, False))
    for hook in hooks:
        hook.remove()
    return {
        "tokens": batch,
        "experts_touched": touched[:LAYERS],
        "difference": ((ours - theirs).float().norm() / theirs.float().norm()).item(),
        "all_experts_ms": milliseconds(recorded(partial(pass_through, layers, x, angles, sparse=False))),
        "own_expert_ms": milliseconds(recorded(partial(pass_through, layers, x, angles, sparse=True))),
    }


def measure_prompt(layers, config) -> dict:
    """A pass of PROMPT tokens, both ways, and the memory at its peak."""
    x = torch.randn(1, PROMPT, config.hidden_size, device="cuda", dtype=torch.bfloat16)
    angles = torch.polar(*torch.ones(2, 1, PROMPT, config.head_dim // 2, device="cuda"))
    result = {"tokens": PROMPT}
    for name, sparse in (("all_experts", False), ("own_expert", True)):
        torch.cuda.reset_peak_memory_stats()
        result[f"{name}_ms"] = milliseconds(partial(pass_through, layers, x, angles, sparse=sparse), repeats=5)
        result[f"{name}_peak_bytes"] = torch.cuda.max_memory_allocated()
    return result


def main() -> None:
    config = AutoConfig.from_pretrained(CONFIG).text_config
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    device = torch.cuda.get_device_properties(0)
    provenance = {
        "date": date.today().isoformat(),
        "gpu": device.name,
        "memory_bytes": device.total_memory,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    result = {"provenance": provenance, **measure_limits()}
    with torch.inference_mode():
        layers = build_layers(config)
        experts = layers[0].feed_forward.experts
        result |= {
            "layers": LAYERS,
            "layer_bytes": 2 * sum(p.numel() for p in layers[0].parameters()),
            "expert_bytes": 2 * sum(p.numel() for p in experts.parameters()) // config.num_local_experts,
            "allocated_bytes": torch.cuda.memory_allocated(),
            "decode": [measure_decoding(layers, config, batch) for batch in BATCHES],
            "prompt": measure_prompt(layers, config),
        }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
