"""DeepSeek-V3 models of a few thousand weights."""

import dataclasses
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.text.template import Template
from tiny import CHATML, tiny_tokenizer

V3 = ModelConfig(
    model_type="deepseek_v3",
    vocab_size=259,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    max_position_embeddings=2048,
    initializer_range=0.2,
    eos_token_id=(257,),
    q_lora_rank=24,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=16,
    rope_interleave=True,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    first_k_dense_replace=1,
    n_group=2,
    topk_group=1,
    routed_scaling_factor=2.5,
    num_nextn_predict_layers=1,
)


def v3_config(**changes: Any) -> ModelConfig:
    return dataclasses.replace(V3, **changes)


def v3_network(seed: int = 0, **changes: Any) -> Transformer:
    network = Transformer(v3_config(**changes))
    network.init_weights(seed)
    return network


def tiny_v3(seed: int = 0, **changes: Any) -> LanguageModel:
    tokenizer = tiny_tokenizer()
    network = v3_network(seed, vocab_size=tokenizer.vocab_size, **changes)
    template = Template(tokenizer, CHATML, (257,))

    return LanguageModel(network, tokenizer, template, network.config, Lineage(()), "tiny-v3")
