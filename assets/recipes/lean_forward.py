"""The forward pass of a Llama 4 in training, in as few kernels as PyTorch's functions allow.

A model as small as a proxy does not keep a GPU busy: what a step costs is the number of its kernels. This is the
library's computation on the library's parameters, for whole rows without padding on the left, in a third of them, and
of fixed shapes throughout, so that a CUDA graph can record it. `tests/assets/test_herd.py` compares the two.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu
from transformers import Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextAttention, Llama4TextMLP, Llama4TextMoe

ROOM = 4  # places of an expert, in units of its even share; a token too many gets the shared expert alone


@dataclass(frozen=True)
class Positions:
    """What depends on the length of the rows alone: rotations `[seq, 1, head_dim / 2]`, temperatures `[seq, 1, 1]`."""

    rotations: torch.Tensor
    temperatures: torch.Tensor


def positions(text_model: torch.nn.Module, length: int) -> Positions:
    """Computed once for rows of `length` tokens."""
    config, rotary = text_model.config, text_model.rotary_emb
    place = torch.arange(length, device=rotary.inv_freq.device).float()
    angles = place[:, None, None] * rotary.inv_freq
    steps = torch.log1p(torch.floor((place + 1) / config.floor_scale))
    return Positions(
        torch.polar(torch.ones_like(angles), angles) * rotary.attention_scaling,
        (steps * config.attn_scale + 1)[:, None, None],
    )


def attend(module: Llama4TextAttention, x: torch.Tensor, at: Positions, config: Llama4TextConfig) -> torch.Tensor:
    """`Llama4TextAttention` for whole rows; a chunk is a row of a batch."""
    batch, length, _ = x.shape
    heads, shared, size = module.num_attention_heads, module.num_key_value_heads, module.head_dim
    weights = torch.cat([module.q_proj.weight, module.k_proj.weight, module.v_proj.weight])
    states = linear(x, weights).view(batch, length, heads + 2 * shared, size)
    qk, v = states.split([heads + shared, shared], dim=2)
    if module.use_rope:
        pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)))
        qk = torch.view_as_real(pairs * at.rotations).flatten(-2)
    if hasattr(module, "qk_norm"):
        qk = rms_norm(qk, (size,), eps=module.qk_norm.eps)
    q, k = qk.split([heads, shared], dim=2)
    if module.attn_temperature_tuning and not module.use_rope:
        q = q * at.temperatures
    is_chunked = config.layer_types[module.layer_idx] == "chunked_attention"
    rows = min(length, config.attention_chunk_size) if is_chunked else length
    # [batch * chunks, heads, chunk, head_dim]; each key head serves a group of query heads.
    q = q.reshape(-1, rows, heads, size).transpose(1, 2)
    k, v = (
        part[:, :, :, None].expand(-1, -1, -1, heads // shared, -1).reshape(-1, rows, heads, size).transpose(1, 2)
        for part in (k, v)
    )
    output = scaled_dot_product_attention(q, k, v, is_causal=True, scale=module.scaling)
    return linear(output.transpose(1, 2).reshape(batch, length, heads * size), module.o_proj.weight)


def dense(mlp: Llama4TextMLP, x: torch.Tensor) -> torch.Tensor:
    """`Llama4TextMLP`."""
    return linear(silu(linear(x, mlp.gate_proj.weight)) * linear(x, mlp.up_proj.weight), mlp.down_proj.weight)


def mix(moe: Llama4TextMoe, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`Llama4TextMoe` for top-1 and `x` [tokens, hidden], as long as no expert gets more than ROOM times its share.

    Returns:
        The output, each expert's share of the tokens, and the balance loss (`balance.balance_loss`).
    """
    logits = linear(x, moe.router.weight)
    tokens, experts = logits.shape
    places = min(tokens, ROOM * tokens // experts)
    best, expert = logits.max(dim=1)
    before = (expert == torch.arange(experts, device=x.device)[:, None]).cumsum(dim=1, dtype=torch.int32)
    rank = before.gather(0, expert[None])[0] - 1  # how many tokens the expert got earlier
    fits = rank < places
    place = torch.where(fits, expert * places + rank, experts * places)
    # The token in each place; an empty place takes token 0, and no one reads what comes out of it.
    token = torch.zeros(experts * places + 1, dtype=torch.int64, device=x.device)
    token = token.scatter(0, place, torch.arange(tokens, device=x.device))[:-1]
    rows = (x * best.sigmoid()[:, None]).index_select(0, token).view(experts, places, -1)
    gate, up = torch.bmm(rows, moe.experts.gate_up_proj).chunk(2, dim=-1)
    routed = torch.bmm(up * silu(gate), moe.experts.down_proj).flatten(0, 1)
    routed = routed.index_select(0, place.clamp(max=experts * places - 1)) * fits[:, None]
    load = before[:, -1] / tokens
    loss = experts * (load * logits.softmax(dim=1).mean(dim=0)).sum()
    return dense(moe.shared_expert, x) + routed, load, loss


def forward(text_model: torch.nn.Module, x: torch.Tensor, at: Positions) -> tuple[torch.Tensor, list, list]:
    """`Llama4TextModel` for embeddings `x` [batch, seq, hidden]: final states, loads and balance losses of the routers."""
    loads, losses = [], []
    for layer in text_model.layers:
        norm = layer.input_layernorm
        normed = rms_norm(x, norm.weight.shape, norm.weight, norm.eps)
        x = x + attend(layer.self_attn, normed, at, text_model.config)
        norm = layer.post_attention_layernorm
        normed = rms_norm(x, norm.weight.shape, norm.weight, norm.eps)
        if layer.is_moe_layer:
            mixed, load, loss = mix(layer.feed_forward, normed.flatten(0, 1))
            x = x + mixed.view(x.shape)
            loads.append(load)
            losses.append(loss)
        else:
            x = x + dense(layer.feed_forward, normed)
    norm = text_model.norm
    return rms_norm(x, norm.weight.shape, norm.weight, norm.eps), loads, losses
