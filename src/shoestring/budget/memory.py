"""Bytes that training and generating take, part by part, as this package keeps them on a CPU: what the
kernels of `ops` save for the backward pass, float32 masters and moments (`train.optim`), the head's gradient
(`train.loss`), the engine's cache and its packed copies. Checked against measured peaks.

Where there are no kernels (a GPU, another processor) torch keeps more between the passes: PLAIN times as
much."""

from collections.abc import Mapping
from dataclasses import dataclass

from shoestring.models.config import ModelConfig
from shoestring.models.parameters import count_parameters
from shoestring.models.transformer import PACK_UP_TO
from shoestring.ops.hardware import tile_products
from shoestring.ops.paged import SPAN
from shoestring.train.loss import CHUNK

WIDE = 4  # bytes of float32
PAIR_ROOM = 1.03  # rows of an expert are filled up to one of few numbers (ops/experts.py)
PLAIN = 2.0  # assumed: padded attention with its scores, norms in several steps


@dataclass(frozen=True)
class Slack:
    """Temporaries' memory that the C allocator keeps rather than finds again (ops/hostmemory.py), as shares
    of the activations; bf16 products make transposed copies, an expert's rows are never twice as many."""

    any: float
    bf16: float
    experts: float


# Measured on a Xeon with AMX, whose tiles want operands laid out anew, and on an EPYC that has bf16 products
# without them (tests/budget/peak_of_training.py).
WITH_TILES, WITHOUT_TILES = Slack(0.18, 0.17, 0.20), Slack(0.12, 0.10, 0.05)


@dataclass(frozen=True)
class Memory:
    """Bytes by part, all held at once at the peak."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def largest(self) -> str:
        return max(self.parts, key=lambda part: self.parts[part])


def layer_activations(config: ModelConfig, layer: int, width: int) -> float:
    """What one token keeps of one layer between the passes. width: bytes of a number of the weights' dtype.
    Layers from num_hidden_layers on are the blocks of MTP modules."""
    c = config
    norms = (
        2 * (WIDE * c.hidden_size + WIDE) + 2 * width * c.hidden_size
    )  # residual sums, what the norms gave
    return norms + _attention(c, width) + _feed_forward(c, layer, width)


def _attention(c: ModelConfig, width: int) -> float:
    heads = c.num_attention_heads
    normalizer = WIDE * heads
    if c.kv_lora_rank is None:
        qkv = (heads + 2 * c.num_key_value_heads) * c.head_dim
        return width * (qkv + heads * c.head_dim) + normalizer
    latents = 2 * c.kv_lora_rank + 2 * (c.q_lora_rank or 0)  # before their norms and after
    whole = 3 * heads * c.head_dim  # values too: the kernel has one width
    return width * (latents + whole + heads * c.v_head_dim) + normalizer


def _feed_forward(c: ModelConfig, layer: int, width: int) -> float:
    if not c.is_moe(layer):
        return 3 * width * c.intermediate_size
    inner = c.moe_intermediate_size
    router = WIDE * (c.hidden_size + 5 * c.n_routed_experts)  # float32 input; scores, shares and hits of all
    routed = c.num_experts_per_tok * PAIR_ROOM * width * (2 * c.hidden_size + 3 * inner)
    return router + routed + 3 * width * c.n_shared_experts * inner


def activation_bytes(config: ModelConfig, tokens: int, width: int, mtp: bool = False) -> int:
    """All that `tokens` of a micro-batch keep until the backward pass."""
    c = config
    each = sum(layer_activations(c, layer, width) for layer in range(c.num_hidden_layers))
    each += WIDE * c.hidden_size + width * c.hidden_size  # the last sum and its norm
    if mtp:
        for depth in range(c.num_nextn_predict_layers):
            joined = (2 + 2 + 1) * width * c.hidden_size + WIDE * c.hidden_size
            each += joined + layer_activations(c, c.num_hidden_layers + depth, width)
    return int(tokens * each)


def head_bytes(config: ModelConfig, targets: int, width: int, modules: int = 1) -> int:
    """At the head, when all activations are still held: the gradient of the targets' logits, one chunk of
    them in float32, the matrix's own gradient of each head that was applied."""
    c = config
    chunk = min(CHUNK, targets) * c.vocab_size * WIDE
    own = modules * c.vocab_size * c.hidden_size * width
    return targets * (c.vocab_size + 2 * c.hidden_size) * width + chunk + own


@dataclass(frozen=True)
class Adapter:
    """Numbers that learn in the place of a model's, and those of the matrices that it adapts, which are kept
    as they were beside the sums (`models.low_rank`)."""

    learned: int
    kept: int


def training_memory(
    config: ModelConfig,
    tokens: int,
    targets: int,
    width: int = 2,
    mtp: bool = False,
    adapter: Adapter | None = None,
    native: bool = True,
) -> Memory:
    """The peak of an optimizer step whose largest micro-batch has so many tokens and targets. adapter: what
    learns; None: all."""
    sizes = count_parameters(config)
    weights = sizes.total + sizes.mtp
    learn = weights if adapter is None else adapter.learned
    modules = 1 + (config.num_nextn_predict_layers if mtp else 0)
    kept = activation_bytes(config, tokens, width, mtp)
    return Memory(
        {
            "weights": width * weights,
            "master weights": WIDE * learn,
            "gradients": WIDE * learn,
            "optimizer moments": 2 * WIDE * learn,
            "activations": int(kept * (1 if native else PLAIN)),
            "logits and their gradient": head_bytes(
                config, targets, width, modules if adapter is None else 0
            ),
            "allocator's slack": int(kept * _slack(config, width)) if native else 0,
            "matrices without the adapter": 0 if adapter is None else width * adapter.kept,
        }
    )


def scoring_memory(config: ModelConfig, tokens: int, width: int = 2) -> Memory:
    """A forward pass that nothing learns from: weights, what one layer makes of so many tokens and the sum
    that goes through all of them, a chunk of logits in float32."""
    widest = max(layer_activations(config, layer, width) for layer in range(config.num_hidden_layers))
    return Memory(
        {
            "weights": weight_bytes(config, width),
            "activations": int(tokens * (widest + WIDE * config.hidden_size)),
            "logits": min(CHUNK, tokens) * config.vocab_size * WIDE,
        }
    )


def weight_bytes(config: ModelConfig, width: int = 2) -> int:
    sizes = count_parameters(config)
    return width * (sizes.total + sizes.mtp)


def _slack(config: ModelConfig, width: int) -> float:
    slack = WITH_TILES if tile_products() else WITHOUT_TILES
    return slack.any + slack.bf16 * (width == 2) + slack.experts * (config.n_routed_experts > 0)


def generating_memory(config: ModelConfig, streams: int, context: int, width: int = 2) -> Memory:
    """Weights, the copies that decoding makes of them in its own order, and the cache of `streams` sequences
    of `context` tokens each, in whole blocks."""
    sizes = count_parameters(config)
    weights = sizes.total + sizes.mtp
    packed = width * weights if 2 * weights <= PACK_UP_TO and width == 2 else 0
    blocks = -(-context // SPAN) * SPAN
    return Memory(
        {
            "weights": width * weights,
            "packed copies": packed,
            "cache": streams * blocks * cache_bytes(config, width),
        }
    )


def cache_bytes(config: ModelConfig, width: int = 2) -> int:
    """Of one token in all layers: latents and a rotated key, or keys and values. (`cache_per_token` compares
    it with what other kinds of attention would take, for which no weights are needed here.)"""
    c = config
    each = 2 * c.num_key_value_heads * c.head_dim
    if c.kv_lora_rank is not None:
        each = c.kv_lora_rank + c.qk_rope_head_dim
    return each * c.num_hidden_layers * width


def state_bytes(config: ModelConfig, width: int = 2, trained: int | None = None) -> int:
    """On disk, of one saved state to go on from (master weights and two moments) and the model beside it."""
    sizes = count_parameters(config)
    weights = sizes.total + sizes.mtp
    return 3 * WIDE * (weights if trained is None else trained) + width * weights
