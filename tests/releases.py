"""Models of every architecture that llama.cpp can be given, a few thousand weights each, with a tokenizer
that it knows."""

import dataclasses
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig, RopeScaling
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage, Origin, Stage
from shoestring.release.prove import Readers
from shoestring.text.gguf_vocab import pre_tokenizer_of
from shoestring.text.template import Template
from shoestring.text.tokenizer import SpecialTokens, Tokenizer
from tiny import BASE, CHATML, MARKERS
from tiny_v3 import V3 as BYTES_V3

ALONE = Readers(None, None, 1)  # no reader but ours
DENSE = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "eos_token_id": (258,),
}
V3 = dataclasses.replace(BYTES_V3, vocab_size=260, eos_token_id=(258,))
YARN = RopeScaling("yarn", 4.0, original_max_position_embeddings=64)
MLA_YARN = dataclasses.replace(YARN, mscale=0.7, mscale_all_dim=0.7)
LLAMA3 = RopeScaling("llama3", 8.0, 1.0, 4.0, 64)
ONE_GROUP = {"n_group": 1, "topk_group": 1}
CONFIGS: dict[str, ModelConfig] = {
    "llama": ModelConfig("llama", **DENSE, tie_word_embeddings=True),
    "llama-biases": ModelConfig(
        "llama", **DENSE, attention_bias=True, attention_output_bias=True, mlp_bias=True
    ),
    "llama3-rope": ModelConfig("llama", **DENSE, rope_scaling=LLAMA3),
    "llama-linear": ModelConfig("llama", **DENSE, rope_scaling=RopeScaling("linear", 2.0)),
    "qwen2-yarn": ModelConfig("qwen2", **DENSE, attention_bias=True, rope_scaling=YARN),
    "qwen3": ModelConfig("qwen3", **DENSE, qk_norm=True),
    "v3": V3,
    "v3-one-group": dataclasses.replace(V3, **ONE_GROUP),
    "v3-whole-queries": dataclasses.replace(V3, q_lora_rank=None, **ONE_GROUP),
    "v3-yarn": dataclasses.replace(V3, rope_scaling=MLA_YARN, **ONE_GROUP),
    "v3-halves": dataclasses.replace(V3, rope_interleave=False, **ONE_GROUP),
    "v3-halves-whole-queries": dataclasses.replace(V3, rope_interleave=False, q_lora_rank=None, **ONE_GROUP),
    "v3-dense": dataclasses.replace(
        V3, n_routed_experts=0, n_shared_experts=0, num_experts_per_tok=0, num_nextn_predict_layers=0
    ),
    "v2": dataclasses.replace(
        V3,
        model_type="deepseek_v2",
        scoring_func="softmax",
        topk_method="greedy",
        norm_topk_prob=False,
        routed_scaling_factor=1.0,
        num_nextn_predict_layers=0,
        **ONE_GROUP,
    ),
}
TAUGHT = Stage(
    "zero", "grpo", "2026-02-01T00:00:00+00:00", {"steps": 3}, (Origin("procedural:sums", "Apache-2.0"),)
)


def known_tokenizer(pre: str = "qwen2") -> Tokenizer:
    """One id a byte and one merge, without which llama.cpp takes none, cut in a way that it knows."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    backend = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(words)}, [("a", "b")]))
    backend.pre_tokenizer = pre_tokenizer_of(pre)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(MARKERS))
    return Tokenizer(backend, SpecialTokens(bos=MARKERS[0], eos=MARKERS[1], pad=MARKERS[2]))


def model_of(config: ModelConfig, name: str = "zero", seed: int = 0) -> LanguageModel:
    """Norms, biases and the routers' biases are random too: ones and zeros hide what is lost."""
    network = Transformer(config)
    network.init_weights(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for router in network.routers():
            router.e_score_correction_bias.normal_(0, 0.1, generator=generator)
    tokenizer = known_tokenizer()
    template = Template(tokenizer, CHATML, (258,))
    return LanguageModel(network, tokenizer, template, config, Lineage((BASE, TAUGHT)), name)


def saved(folder: Path, config: str = "llama", dtype: torch.dtype = torch.bfloat16, **changes: Any) -> Path:
    """A stage's folder of a model that was trained from `folder`/base."""
    lm = model_of(dataclasses.replace(CONFIGS[config], **changes))
    lm.network.to(dtype)
    lm.save(folder / "zero/model")
    base = model_of(dataclasses.replace(CONFIGS[config], **changes), "base", seed=7)
    base.network.to(dtype)
    base.lineage = Lineage((BASE,))
    base.save(folder / "base")
    return folder / "zero"
