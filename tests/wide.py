"""Networks with random weights, wide enough for the calls that take whole layers."""

import dataclasses

import torch

from shoestring.lm import LanguageModel
from shoestring.models.quantize import Form, quantize_network
from shoestring.models.transformer import Transformer
from tiny import tiny_lm
from tiny_v3 import tiny_v3

FAMILIES = {"llama": {}, "qwen2": {"attention_bias": True}, "qwen3": {"qk_norm": True}}
LATENT = {
    "v3": {},
    "no latent of queries": {"q_lora_rank": None},
    "v2": {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False, "n_group": 1},
    "no shared experts": {"n_shared_experts": 0},
    "dense": {"n_routed_experts": 0, "first_k_dense_replace": 3},
    "halves": {"rope_interleave": False},
}


def wide_lm(family: str, dtype: torch.dtype = torch.float32, form: Form | None = None) -> LanguageModel:
    lm = tiny_lm()
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 32, "num_key_value_heads": 1}
    config = dataclasses.replace(lm.config, **sizes, **FAMILIES[family])
    network = Transformer(config)
    network.init_weights(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    network.to(dtype)
    if form is not None:
        quantize_network(network, form)
    return dataclasses.replace(lm, network=network, config=config)


def latent_lm(kind: str) -> LanguageModel:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "q_lora_rank": 32, "kv_lora_rank": 32}
    lm = tiny_v3(**(sizes | {"moe_intermediate_size": 32} | LATENT[kind]))
    return dataclasses.replace(lm, network=lm.network.to(torch.bfloat16))
