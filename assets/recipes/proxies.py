"""The configurations of the proxies: the real classes and keys, the numbers shrunk."""

from transformers import (
    GenerationConfig,
    Llama4Config,
    Llama4ImageProcessor,
    Llama4Processor,
    Llama4TextConfig,
    PreTrainedTokenizerFast,
)

from llama4lab import drawn_pictures as pictures

PATCH = 6  # pixels; 8 x 8 patches a tile, 16 tokens after the pixel shuffle


def scout_config(tokenizer: PreTrainedTokenizerFast, **text_changes) -> Llama4Config:
    """Scout with every key of the real configuration; chunk and floor_scale shrink together, 8192 to 128, so that
    a conversation and a picture fit in one chunk, as in Scout.

    `text_changes` replace or add keys of the text configuration.
    """
    ids = tokenizer.convert_tokens_to_ids
    stop = [ids("<|end_of_text|>"), ids("<|eom|>"), ids("<|eot|>")]
    text = {
        "attention_bias": False,
        "attention_chunk_size": 128,
        "attention_dropout": 0.0,
        "attn_scale": 0.1,
        "attn_temperature_tuning": True,
        "floor_scale": 128,
        "bos_token_id": ids("<|begin_of_text|>"),
        "eos_token_id": stop,
        "pad_token_id": ids("<|finetune_right_pad|>"),
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "interleave_moe_layer_step": 1,
        "intermediate_size": 192,
        "intermediate_size_mlp": 384,
        "max_position_embeddings": 8192,
        "moe_layers": [0, 1, 2, 3],
        "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "num_attention_heads": 4,
        "num_experts_per_tok": 1,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 16,
        "output_router_logits": False,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 16.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 1.0,
            "original_max_position_embeddings": 128,
        },
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "tie_word_embeddings": False,
        "use_cache": True,
        "use_qk_norm": True,
        "vocab_size": len(tokenizer),
    } | text_changes
    vision = {
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": 64,
        "image_size": pictures.SIDE,
        "initializer_range": 0.02,
        "intermediate_size": 256,  # 4 x hidden: the adapter reads it as the width after the pixel shuffle
        "multi_modal_projector_bias": False,
        "norm_eps": 1e-5,
        "num_attention_heads": 4,
        "num_channels": 3,
        "num_hidden_layers": 2,
        "patch_size": PATCH,
        "pixel_shuffle_ratio": 0.5,
        "projector_dropout": 0.0,
        "projector_input_dim": 128,
        "projector_output_dim": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "vision_feature_select_strategy": "default",
        "vision_output_dim": 128,
    }
    return Llama4Config(
        text_config=text,
        vision_config=vision,
        boi_token_index=ids("<|image_start|>"),
        eoi_token_index=ids("<|image_end|>"),
        image_token_index=ids("<|patch|>"),
        tie_word_embeddings=False,
    )


def maverick_config(tokenizer: PreTrainedTokenizerFast) -> Llama4Config:
    """Maverick where it differs from Scout: 128 experts in every second layer, no QK-norm, no rope scaling."""
    return scout_config(
        tokenizer,
        num_local_experts=128,
        intermediate_size=32,
        interleave_moe_layer_step=2,
        moe_layers=[1, 3],
        use_qk_norm=False,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    )


def behemoth_config(tokenizer: PreTrainedTokenizerFast) -> Llama4Config:
    """A larger model of the same family with Behemoth's 16 experts; the rest of Behemoth's shape is not published.

    Eight layers, two of them global, every fourth an expert layer, about five times the active parameters of
    scout-proxy: the first edition's, half as large, was no better than its student.
    """
    return scout_config(
        tokenizer,
        hidden_size=256,
        num_hidden_layers=8,
        intermediate_size=192,
        intermediate_size_mlp=768,
        interleave_moe_layer_step=4,
        moe_layers=[3, 7],
        no_rope_layers=[1, 1, 1, 0] * 2,
    )


def dense_twin_config(tokenizer: PreTrainedTokenizerFast) -> Llama4Config:
    """scout-proxy with a dense block as wide as its shared and one routed expert together: equal active parameters."""
    return scout_config(tokenizer, moe_layers=[], intermediate_size_mlp=2 * 192)


SMALL_WIDTH, SMALL_EXPERTS = 48, 8


def small_config(tokenizer: PreTrainedTokenizerFast, kind: str) -> Llama4TextConfig:
    """Three text-only models for comparisons that need many runs.

    moe: eight experts in every layer. dense-active: as many parameters as one token uses of it. dense-total: as many as
    all of it has.
    """
    width = {"moe": 2, "dense-active": 2, "dense-total": 1 + SMALL_EXPERTS}[kind] * SMALL_WIDTH
    text = scout_config(
        tokenizer,
        # At 128 the rows of these runs would have no wall.
        attention_chunk_size=64,
        floor_scale=64,
        hidden_size=48,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=SMALL_EXPERTS,
        intermediate_size=SMALL_WIDTH,
        intermediate_size_mlp=width,
        moe_layers=[0, 1, 2, 3] if kind == "moe" else [],
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=True,
    ).text_config
    return text


def ablation_config(kind: str, vocabulary: int) -> Llama4TextConfig:
    """Small models that differ in their attention layers alone.

    hybrid: three chunked RoPE layers, then a global NoPE layer, as in Llama 4. grown-hybrid: the same, but its weights
    began as chunk-only. asked-hybrid: the same, begun as hybrid. chunk-only: all four chunked RoPE. rope: all four RoPE
    and global. nope: all four NoPE and global.
    """
    kind = kind.removeprefix("grown-").removeprefix("asked-")
    rope = {"hybrid": [1, 1, 1, 0], "chunk-only": [1, 1, 1, 1], "rope": [1, 1, 1, 1], "nope": [0, 0, 0, 0]}[kind]
    chunked = {"hybrid": rope, "chunk-only": rope, "rope": [0] * 4, "nope": [0] * 4}[kind]
    return Llama4TextConfig(
        attention_chunk_size=32,
        attn_scale=0.1,
        attn_temperature_tuning=True,
        bos_token_id=0,
        eos_token_id=1,
        floor_scale=32,
        head_dim=64,
        hidden_size=64,
        intermediate_size=128,
        intermediate_size_mlp=256,
        interleave_moe_layer_step=1,
        layer_types=["chunked_attention" if local else "full_attention" for local in chunked],
        max_position_embeddings=4096,
        no_rope_layers=rope,
        num_attention_heads=4,
        num_experts_per_tok=1,
        num_hidden_layers=4,
        num_key_value_heads=2,
        num_local_experts=4,
        pad_token_id=1,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        use_qk_norm=True,
        vocab_size=vocabulary,
    )


def two_groups_config(vocabulary: int) -> Llama4TextConfig:
    """The hybrid of the word world with two groups of four layers, so that one can use what the other found."""
    config = ablation_config("hybrid", vocabulary)
    config.num_hidden_layers = 8
    config.no_rope_layers, config.layer_types = config.no_rope_layers * 2, config.layer_types * 2
    config.moe_layers = list(range(8))
    return config


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Llama4Processor:
    """Llama 4's processor at the proxy's tile and patch size, with the proxy's chat template."""
    return Llama4Processor(
        Llama4ImageProcessor(size={"height": pictures.SIDE, "width": pictures.SIDE}),
        tokenizer,
        patch_size=PATCH,
        pixel_shuffle_ratio=0.5,
        chat_template=tokenizer.chat_template,
    )


def build_generation_config(config: Llama4Config) -> GenerationConfig:
    """The released Instruct settings: three stop tokens, temperature 0.6, top_p 0.9."""
    text = config.text_config
    return GenerationConfig(
        bos_token_id=text.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=text.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_p=0.9,
    )
