"""Llama 4 in one file: experts, walls, a cache that knows the walls, pictures. Equal to `transformers`, and faster.

    python notebooks/llama4.py assets/models/scout-proxy "Where does Hugo live?"
    python notebooks/llama4.py assets/models/scout-proxy "What do you see?" --image assets/samples/pictures/00.png

It reads the folders that `transformers` reads: a proxy of this course, or Scout's own shards. A name ends in its shape,
so x_BTD is [batch, tokens, hidden]:
    B batch     T tokens of this call   S tokens in sight: cached ones and these   N all tokens, or all tiles
    D hidden    H query heads           K key-value heads                          d size of a head
    E experts   V vocabulary            P patches of a tile, and the class token
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace as Config

import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from tokenizers import Tokenizer, decoders
from torch import Tensor

STOP = ("<|end_of_text|>", "<|eom|>", "<|eot|>")  # the end of a text, of a message, of a turn


def read_config(path: Path) -> Config:
    """The keys of a config.json as attributes, those of its text part among them, with what older files leave out."""
    config = json.loads(path.read_text(encoding="utf-8"))
    text = {"rope_type": "default"} | config | config.get("text_config", {})
    is_llama4 = config.get("model_type") in ("llama4", "llama4_text") and text["num_experts_per_tok"] == 1
    if not is_llama4 or "quantization_config" in config:
        raise ValueError(f"{path} is not of a Llama 4 in full precision: give the folder of one.")
    text |= (text.get("rope_scaling") or {}) | (text.get("rope_parameters") or {})
    # Three layers of four rotate and see one chunk. The fourth does not rotate, and its chunk never ends.
    text["rotates"] = text["no_rope_layers"] or [(i + 1) % 4 != 0 for i in range(text["num_hidden_layers"])]
    kinds = text.get("layer_types") or ["chunked_attention" if r else "full_attention" for r in text["rotates"]]
    text["chunks"] = [text["attention_chunk_size"] if kind == "chunked_attention" else sys.maxsize for kind in kinds]
    return Config(**text, vision=Config(**config["vision_config"]) if "vision_config" in config else None)


class Weights(dict[str, Tensor]):
    """Tensors under their names in the checkpoint; `under` gives those of one part, such as "vision_model."."""

    def under(self, part: str) -> "Weights":
        return Weights({name.removeprefix(part): self[name] for name in self if name.startswith(part)})

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self[f"{name}.weight"], self.get(f"{name}.bias"))

    def heads(self, x: Tensor, *shape: int) -> Iterator[Tensor]:
        """Queries, keys and values, [B, heads, T, d]; the shape is heads and d, one of them -1."""
        return (self.linear(f"self_attn.{name}_proj", x).unflatten(-1, shape).transpose(1, 2) for name in "qkv")

    def norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        size, weight, bias = x.shape[-1:], self[f"{name}.weight"], self.get(f"{name}.bias")
        return F.rms_norm(x, size, weight, eps) if bias is None else F.layer_norm(x, size, weight, bias, eps)


def frequencies(config: Config) -> Tensor:
    """Radians a token for each of the d / 2 pairs of a head, from one down to nearly none."""
    turn = 1 / config.rope_theta ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
    if config.rope_type == "llama3":  # pairs that turn less than once in the original length are slowed down
        turns = config.original_max_position_embeddings * turn / (2 * math.pi)
        keep = (turns - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor)
        keep = keep.clamp(0, 1)  # a ramp from low to high; Scout's are both 1, so it is a cut
        turn = turn * (keep + (1 - keep) / config.factor)
    return turn


def rotate(x_BHTd: Tensor, turn: Tensor) -> Tensor:
    """RoPE: each two neighbors in a head are a complex number; `turn`, [..., T, d / 2], has the factors that turn it."""
    pairs = torch.view_as_complex(x_BHTd.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).type_as(x_BHTd)


class Shelf:
    """The keys and values that one layer keeps: those that the next token will see. At a wall the shelf is emptied."""

    def __init__(self, chunk: int):
        self.chunk, self.kept, self.next = chunk, (), 0

    def wall(self, at: Tensor) -> Tensor:  # the first position that a token at this one can see
        return at // self.chunk * self.chunk

    def add(self, *new: Tensor) -> tuple[Tensor, ...]:
        """Put here keys and values [B, K, T, d] and positions [B, 1, T, 1]; returns all in sight, with S for T."""
        sight = tuple(torch.cat(pair, dim=2) for pair in zip(self.kept, new, strict=True)) if self.kept else new
        self.next = new[-1].amax(2, keepdim=True) + 1
        keep_S = (sight[-1] >= self.wall(self.next)).any(0).flatten()
        self.kept = sight if keep_S.all() else tuple(x[:, :, keep_S.nonzero()[:, 0].to(x.device)] for x in sight)
        return sight


def attend_between_walls(q_BHTd: Tensor, k_BKTd: Tensor, v_BKTd: Tensor, chunk: int) -> Tensor:
    """Causal attention within each chunk. Chunks become rows of a batch, so that no mask of T x T is needed."""
    (B, _, T, _), n = q_BHTd.shape, min(chunk, q_BHTd.shape[2])
    padded = (F.pad(x, (0, 0, 0, -T % n)) for x in (q_BHTd, k_BKTd, v_BKTd))
    q, k, v = (x.unflatten(2, (-1, n)).transpose(1, 2).flatten(0, 1) for x in padded)  # [B * chunks, heads, n, d]
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return y.unflatten(0, (B, -1)).transpose(1, 2).flatten(2, 3)[:, :, :T]


def attention(
    x_BTD: Tensor, w: Weights, config: Config, shelf: Shelf, at: Tensor, turn: Tensor | None, asks: Tensor | None
) -> Tensor:
    """What tokens at [B, 1, T, 1] take from those that they see; all of them ask, or one of each row, [B, 1, 1, 1]."""
    q, k, v = w.heads(x_BTD, -1, config.head_dim)
    if turn is not None:
        q, k = rotate(q, turn), rotate(k, turn)
        if config.use_qk_norm:  # Scout: each head by itself, without a weight, so that no score exceeds the root of d
            q, k = (F.rms_norm(x, x.shape[-1:], eps=config.rms_norm_eps) for x in (q, k))
    elif config.attn_temperature_tuning:  # the more there is to see, the sharper the look
        q = (q * (1 + config.attn_scale * torch.floor((at + 1) / config.floor_scale).log1p()).to(q.device)).type_as(q)
    k, v, k_at = shelf.add(k, v, at)
    if asks is None and k.shape[2] == q.shape[2]:  # a prompt: there is nothing to see but itself
        y_BHTd = attend_between_walls(q, k, v, shelf.chunk)
    else:  # few tokens ask: for each a mask of one row, from its wall to itself
        q, at = (q, at) if asks is None else (q.take_along_dim(asks.to(q.device), 2), at.take_along_dim(asks, 2))
        mask_B1TS = (shelf.wall(at) <= k_at.mT) & (k_at.mT <= at)
        y_BHTd = F.scaled_dot_product_attention(q, k, v, mask_B1TS.to(q.device), enable_gqa=True)
    return w.linear("self_attn.o_proj", y_BHTd.transpose(1, 2).flatten(2))


def mlp(x: Tensor, w: Weights, part: str = "feed_forward") -> Tensor:
    """SwiGLU: a gate decides how much of each feature passes."""
    return w.linear(f"{part}.down_proj", F.silu(w.linear(f"{part}.gate_proj", x)) * w.linear(f"{part}.up_proj", x))


def experts(x_BTD: Tensor, w: Weights) -> Tensor:
    """Every token passes the shared expert, and the one that its router picks."""
    x_ND, outputs = x_BTD.flatten(0, 1), []
    logit_N, expert_N = w.linear("feed_forward.router", x_ND).max(-1)
    scaled_ND = x_ND * logit_N.float().sigmoid().type_as(x_ND)[:, None]  # what goes in is scaled, not what comes out
    sorted_N, order_N = expert_N.sort()  # so that each expert multiplies its own tokens, in one block, and no others
    chosen, counts = sorted_N.unique_consecutive(return_counts=True)
    for expert, block in zip(chosen.tolist(), scaled_ND[order_N].split(counts.tolist()), strict=True):
        gate, up = (block @ w["feed_forward.experts.gate_up_proj"][expert]).chunk(2, dim=-1)
        outputs.append((F.silu(gate) * up) @ w["feed_forward.experts.down_proj"][expert])
    return mlp(x_ND, w, "feed_forward.shared_expert").index_add(0, order_N, torch.cat(outputs)).view_as(x_BTD)


def look(pixels_N3HW: Tensor, weights: Weights, config: Config) -> Tensor:
    """What each block of 2 x 2 patches shows, as an embedding of the decoder, [blocks, D]."""
    w, heads, side = weights.under("vision_model."), config.num_attention_heads, config.image_size // config.patch_size
    # RoPE in two dimensions: half of the pairs turn with the column, half with the row, none for the class token.
    place_P1, half = torch.arange(side**2)[:, None], config.hidden_size // heads // 2
    each = 1 / 10_000 ** (torch.arange(0, half, 2) / half)
    angle_Pd = torch.cat([(place_P1 % side + 1) * each, (place_P1 // side + 1) * each], dim=1)
    token_D, size = w["class_embedding"], config.patch_size
    turn_Pd = (1j * F.pad(angle_Pd, (0, 0, 0, 1))).exp().to(token_D.device)
    x_NPD = w.linear("patch_embedding.linear", F.unfold(pixels_N3HW.to(token_D), size, stride=size).mT)
    x_NPD = torch.cat([x_NPD, token_D.expand(len(x_NPD), 1, -1)], dim=1) + w["positional_embedding_vlm"]
    x_NPD = w.norm("layernorm_pre", x_NPD)
    for layer in (w.under(f"model.layers.{i}.") for i in range(config.num_hidden_layers)):
        q, k, v = layer.heads(layer.norm("input_layernorm", x_NPD), heads, -1)
        y_NHPd = F.scaled_dot_product_attention(rotate(q, turn_Pd), rotate(k, turn_Pd), v)
        x_NPD = x_NPD + layer.linear("self_attn.o_proj", y_NHPd.transpose(1, 2).flatten(2))
        hidden = layer.linear("mlp.fc1", layer.norm("post_attention_layernorm", x_NPD))
        x_NPD = x_NPD + layer.linear("mlp.fc2", F.gelu(hidden))
    x_NPD = w.norm("layernorm_post", x_NPD)[:, :-1]
    x_NPD = x_NPD.unflatten(1, (side // 2, 2, side // 2, 2)).transpose(2, 3).flatten(3).flatten(1, 2)  # pixel shuffle
    x_NPD = F.gelu(w.linear("vision_adapter.mlp.fc2", F.gelu(w.linear("vision_adapter.mlp.fc1", x_NPD))))
    return weights.linear("multi_modal_projector.linear_1", x_NPD).flatten(0, 1)


class Llama4:
    def __init__(self, config: Config, weights: Weights):
        self.config, self.weights = config, weights
        self.layers = [weights.under(f"model.layers.{i}.") for i in range(config.num_hidden_layers)]

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> "Llama4":
        """The model of a folder: config.json, and weights in one file or in shards with an index."""
        config, index = read_config(Path(folder) / "config.json"), Path(folder) / "model.safetensors.index.json"
        files = json.loads(index.read_text())["weight_map"].values() if index.is_file() else ["model.safetensors"]
        weights = Weights()
        for file in sorted(set(files)):
            for name, tensor in safetensors.torch.load_file(Path(folder) / file, device=device).items():
                weights[name.removeprefix("language_model.")] = tensor.to(dtype)
        return cls(config, weights)

    def new_cache(self) -> list[Shelf]:
        return [Shelf(chunk) for chunk in self.config.chunks]

    @torch.inference_mode()
    def __call__(
        self,
        token_BT: Tensor,
        pixels_N3HW: Tensor | None = None,  # the tiles of all pictures, in the order of their <|patch|> tokens
        cache: list[Shelf] | None = None,  # a `new_cache`, or one with what came before; these tokens are added
        padding_B: Tensor | None = None,  # in a batch of prompts, how many tokens on the left of each row are padding
        last_only: bool = False,
    ) -> Tensor:
        """Logits of what follows each token, [B, T, V]; or with `last_only` of what follows the last, [B, 1, V]."""
        w, config, cache, T = self.weights, self.config, cache or self.new_cache(), token_BT.shape[1]
        x_BTD = F.embedding(token_BT.to(w["lm_head.weight"].device), w["model.embed_tokens.weight"])
        if pixels_N3HW is not None:  # early fusion: from here on, a piece of a picture is a token like any other
            piece_ND, here_BT1 = look(pixels_N3HW, w, config.vision), (token_BT == config.image_token_index)[..., None]
            if here_BT1.sum() != len(piece_ND):
                raise ValueError(f"{len(piece_ND)} pieces of pictures do not fit {here_BT1.sum()} <|patch|> tokens.")
            x_BTD = x_BTD.masked_scatter(here_BT1.to(x_BTD.device), piece_ND)
        at = cache[0].next + torch.arange(T).view(1, 1, T, 1)  # positions: on the CPU, as are ids and masks
        if padding_B is not None:  # move it to the right, where causal attention never looks, and to no position
            left_B11 = padding_B[:, None, None]
            x_BTD = x_BTD.take_along_dim(((at[0] + left_B11) % T).to(x_BTD.device), 1)
            at = at.where(at < T - left_B11[:, None], -1)
        turn = (1j * at * frequencies(config)).exp().to(x_BTD.device)
        for i, layer in enumerate(self.layers):
            h_BTD, asks = layer.norm("input_layernorm", x_BTD, config.rms_norm_eps), None
            if last_only and i == len(self.layers) - 1:  # nothing reads what the last layer says to other tokens
                asks = at.argmax(2, keepdim=True)
                x_BTD = x_BTD.take_along_dim(asks[:, 0].to(x_BTD.device), 1)
            x_BTD = x_BTD + attention(h_BTD, layer, config, cache[i], at, turn if config.rotates[i] else None, asks)
            feed_forward = experts if "feed_forward.router.weight" in layer else mlp
            x_BTD = x_BTD + feed_forward(layer.norm("post_attention_layernorm", x_BTD, config.rms_norm_eps), layer)
        if padding_B is not None and not last_only:
            x_BTD = x_BTD.take_along_dim(((torch.arange(T)[:, None] - left_B11) % T).to(x_BTD.device), 1)
        return w.linear("lm_head", w.norm("model.norm", x_BTD, config.rms_norm_eps))


def cut_into_tiles(image: Image.Image, vision: Config | None, most: int = 16) -> tuple[Tensor, int, int, int]:
    """Tiles [N, 3, size, size], row by row and then the whole picture; their rows and columns; blocks in each tile."""
    if vision is None:
        raise ValueError("This model reads no pictures: ask it without one.")
    image, size = ImageOps.exif_transpose(image).convert("RGB"), vision.image_size
    w, h = image.size
    # Rather enlarge than shrink, either as little as possible, with as few tiles as possible.
    scales = {(r, c): min(r * size / h, c * size / w) for r in range(1, most + 1) for c in range(1, most // r + 1)}
    rows, columns = min(scales, key=lambda grid: (scales[grid] < 1, abs(math.log(scales[grid])), math.prod(grid)))
    tall, wide = min(max(h, size), rows * size), min(max(w, size), columns * size)
    if wide / w < tall / h:  # keep the proportions
        tall = min(max(math.floor(h * (wide / w)), 1), tall)
    else:
        wide = min(max(math.floor(w * (tall / h)), 1), wide)
    dtype = torch.uint8 if "AVX" in torch.backends.cpu.get_cpu_capability() else torch.float32  # as torchvision
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, h, w, 3).permute(0, 3, 1, 2)
    pixels, sizes = pixels.to(dtype), ((tall, wide), (size, size))
    fitted, whole = (F.interpolate(pixels, to, mode="bilinear", antialias=True).round().byte() for to in sizes)
    canvas = F.pad(fitted, (0, columns * size - wide, 0, rows * size - tall)).unflatten(3, (columns, size))
    tiles = canvas.unflatten(2, (rows, size)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    tiles = torch.cat([tiles, whole]) if len(tiles) > 1 else tiles
    return (tiles.bfloat16() * (1 / 255) - 0.5) / 0.5, rows, columns, (size // vision.patch_size // 2) ** 2


def chat_prompt(question: str, rows: int = 0, columns: int = 0, blocks: int = 0) -> str:
    """A question as the model was taught to read it, after the place of a picture if there is one."""
    tile, header = "<|patch|>" * blocks, "<|header_start|>{}<|header_end|>\n\n".format
    row = "<|tile_x_separator|>".join([tile] * columns) + "<|tile_y_separator|>"
    tiles = row * rows if rows * columns > 1 else ""  # a single tile is the whole picture already
    picture = f"<|image_start|>{tiles}<|image|>{tile}<|image_end|>" if rows else ""
    return f"<|begin_of_text|>{header('user')}{picture}{question}<|eot|>{header('assistant')}"


def choose(logits_V: Tensor, temperature: float = 0.0, top_p: float = 0.9) -> int:
    """The likeliest token at temperature 0; else one drawn from the likeliest that together reach `top_p`."""
    if temperature == 0:
        return int(logits_V.argmax())
    p_V = (logits_V.float() / temperature).softmax(-1)
    sorted_V = p_V.sort(descending=True).values
    least = sorted_V[sorted_V.cumsum(-1) - sorted_V < top_p].min()
    return int(torch.multinomial(p_V.where(p_V >= least, 0), 1))


def generate(model: Llama4, token_1T: Tensor, pixels: Tensor | None, stop: set[int], **how: float) -> Iterator[int]:
    """The tokens of the answer, one by one, up to one of `stop`; `how` is for `choose`."""
    cache = model.new_cache()
    while (token := choose(model(token_1T, pixels, cache, last_only=True)[0, -1], **how)) not in stop:
        yield token
        token_1T, pixels = torch.tensor([[token]]), None


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a Llama 4.")
    parser.add_argument("folder", type=Path, help="of a checkpoint, such as assets/models/scout-proxy")
    parser.add_argument("question")
    parser.add_argument("--image", type=Path, help="a picture that the question is about")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the likeliest token")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    try:
        model = Llama4.from_pretrained(options.folder, getattr(torch, options.dtype))
        tokenizer = Tokenizer.from_str((options.folder / "tokenizer.json").read_text(encoding="utf-8"))
        pixels, *grid = cut_into_tiles(Image.open(options.image), model.config.vision) if options.image else (None,)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        sys.exit(f"{error}: give a whole checkpoint, and a picture." if isinstance(error, OSError) else str(error))
    prompt = torch.tensor([tokenizer.encode(chat_prompt(options.question, *grid), add_special_tokens=False).ids])
    stop, stream = {tokenizer.token_to_id(name) for name in STOP}, decoders.DecodeStream(skip_special_tokens=True)
    for token in islice(generate(model, prompt, pixels, stop, temperature=options.temperature), 256):
        print(stream.step(tokenizer, token) or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
