"""Configurations of the V3 architecture by name: two that a laptop trains, from one dial, and two of
published sizes."""

import dataclasses
from typing import Any

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig, RopeScaling
from shoestring.settings import nearest

HEAD_DIM = 64  # of queries, keys and values; half of a query or key turns with the position


def from_width(width: int, vocab_size: int) -> ModelConfig:
    """All sizes from `width`, a multiple of 128. Layers grow with it, and experts: 4 of width / 16 are
    chosen, each half as wide inside as the model, so with the shared one a token meets 2.5 widths, as in the
    dense first layer. Every dimension is a multiple of 32."""
    if width < 128 or width % 128:
        raise BadInput(f"width {width} must be a multiple of 128")
    heads, chosen = width // HEAD_DIM, 4
    return ModelConfig(
        model_type="deepseek_v3",
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=width * 5 // 2,
        num_hidden_layers=2 + width // 128,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=2048,
        initializer_range=starting_spread(width),
        q_lora_rank=width // 2,
        kv_lora_rank=width // 4,
        qk_nope_head_dim=HEAD_DIM // 2,
        qk_rope_head_dim=HEAD_DIM // 2,
        v_head_dim=HEAD_DIM,
        rope_interleave=True,
        n_routed_experts=width // 16,
        n_shared_experts=1,
        num_experts_per_tok=chosen,
        moe_intermediate_size=width // 2,
        first_k_dense_replace=1,
        routed_scaling_factor=chosen**0.5,  # a mean of K independent outputs has 1 / sqrt(K) of one's spread
        num_nextn_predict_layers=1,
    )


def starting_spread(width: int) -> float:
    """The standard deviation of new weights: the published 0.006 at width 7168 starves narrow models."""
    return 0.006 * (7168 / width) ** 0.5


V3_671B = ModelConfig(
    model_type="deepseek_v3",
    vocab_size=129280,
    hidden_size=7168,
    intermediate_size=18432,
    num_hidden_layers=61,
    num_attention_heads=128,
    num_key_value_heads=128,
    head_dim=192,
    max_position_embeddings=163840,
    rope_scaling=RopeScaling(
        "yarn", 40.0, original_max_position_embeddings=4096, mscale=1.0, mscale_all_dim=1.0
    ),
    initializer_range=0.006,  # the report's; config.json's 0.02 is not what was used
    bos_token_id=0,
    eos_token_id=(1,),
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    rope_interleave=True,
    n_routed_experts=256,
    n_shared_experts=1,
    num_experts_per_tok=8,
    moe_intermediate_size=2048,
    first_k_dense_replace=3,
    n_group=8,
    topk_group=4,
    routed_scaling_factor=2.5,
    num_nextn_predict_layers=1,
)

# the published sizes of the small reference; its routing (softmax there) and MTP (none there) are V3's
V3_16B = dataclasses.replace(
    V3_671B,
    vocab_size=102400,
    hidden_size=2048,
    intermediate_size=10944,
    num_hidden_layers=27,
    num_attention_heads=16,
    num_key_value_heads=16,
    max_position_embeddings=4096,
    rope_scaling=None,
    initializer_range=starting_spread(2048),
    q_lora_rank=None,
    n_routed_experts=64,
    n_shared_experts=2,
    num_experts_per_tok=6,
    moe_intermediate_size=1408,
    first_k_dense_replace=1,
    n_group=1,
    topk_group=1,
    routed_scaling_factor=1.0,
)

PRESETS = {
    "tiny": from_width(256, vocab_size=4096),
    "small": from_width(512, vocab_size=8192),
    "v3-16b": V3_16B,
    "v3-671b": V3_671B,
}


def preset_config(name: str, **changes: Any) -> ModelConfig:
    """The configuration of that name with other values for some of its fields. Raises BadInput, one line."""
    if name not in PRESETS:
        raise BadInput(f"no preset '{name}'{nearest(name, list(PRESETS))}")
    fields = [field.name for field in dataclasses.fields(ModelConfig)]
    for change in changes:
        if change not in fields:
            raise BadInput(f"preset {name} has no field '{change}'{nearest(change, fields)}")
    try:
        return dataclasses.replace(PRESETS[name], **changes)
    except TypeError as error:
        raise BadInput(f"preset {name}: a value is of the wrong kind: {error}") from None
