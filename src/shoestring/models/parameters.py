"""How many parameters a configuration has and a token meets, and what a token keeps in the cache."""

from dataclasses import dataclass
from functools import cache

import torch

from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer

ROUTED, MTP = "routed experts", "MTP"
PARTS: tuple[str, ...] = (
    "embedding",
    "attention",
    "dense FFN",
    ROUTED,
    "shared experts",
    "router",
    "norms",
    "head",
    MTP,
)


@dataclass(frozen=True)
class Parameters:
    """By part, in the order of PARTS. MTP modules count what they don't share with the main model, and are
    left out of its total."""

    parts: dict[str, int]
    active: dict[str, int]  # of them, what one token meets

    @property
    def total(self) -> int:
        return sum(count for part, count in self.parts.items() if part != MTP)

    @property
    def total_active(self) -> int:
        """Embedding and head included."""
        return sum(count for part, count in self.active.items() if part != MTP)

    @property
    def mtp(self) -> int:
        return self.parts[MTP]


@cache
def count_parameters(config: ModelConfig) -> Parameters:
    """Counted on the network itself, which is made without its weights, once for each configuration."""
    with torch.device("meta"):
        network = Transformer(config)
    parts, active = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for name, parameter in network.named_parameters():
        part, count = _part(name), parameter.numel()
        parts[part] += count
        routed = ".mlp.experts." in name
        active[part] += count * config.num_experts_per_tok // config.n_routed_experts if routed else count
    return Parameters(parts, active)


def _part(name: str) -> str:
    marks = {
        "mtp.": MTP,
        "embed_tokens": "embedding",
        "lm_head": "head",
        "norm": "norms",
        ".self_attn.": "attention",
        ".mlp.experts.": ROUTED,
        ".mlp.shared_experts.": "shared experts",
        ".mlp.gate.": "router",
        ".mlp.": "dense FFN",
    }
    return next(part for mark, part in marks.items() if mark in name)


@dataclass(frozen=True)
class CachePerToken:
    """Bytes that one token of context keeps, over all layers of the main model; the same model's with grouped
    and with full heads of `value_dim` beside its own."""

    own: int
    grouped: int  # `groups` key and value heads
    full: int
    groups: int


def cache_per_token(config: ModelConfig, bytes_each: int = 2) -> CachePerToken:
    """Latent attention keeps one latent and one rotated key, plain attention keys and values of its own
    key heads. Grouped is 8 key heads, or a quarter of the heads where that is fewer."""
    c = config
    groups = max(1, min(8, c.num_attention_heads // 4))

    def heads(count: int) -> int:
        return 2 * count * c.value_dim

    own = heads(c.num_key_value_heads)
    if c.kv_lora_rank is not None:
        own = c.kv_lora_rank + c.qk_rope_head_dim
    each = c.num_hidden_layers * bytes_each
    return CachePerToken(own * each, heads(groups) * each, heads(c.num_attention_heads) * each, groups)
