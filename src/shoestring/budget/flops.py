"""Floating-point operations of our families, exact for what the mathematics needs: a product of (m, k) and
(k, n) is 2mkn; a query costs only the keys it may see; a token costs the experts that it meets; logits are
counted where they are asked for. Norms, activations, softmax, the choice of experts and the embedding's
look-up are left out, as in torch's counter (under 1 % here).
"""

from collections.abc import Iterable

from shoestring.models.config import ModelConfig


def causal_pairs(length: int, before: int = 0) -> int:
    """(query, key) pairs of `length` tokens after `before` others, each seeing itself and all before it."""
    return length * before + length * (length + 1) // 2


def token_flops(config: ModelConfig) -> int:
    """One token through every layer's matrices; `forward_flops` adds the head, `mtp_flops` MTP modules."""
    return sum(layer_flops(config, layer) for layer in range(config.num_hidden_layers))


def layer_flops(config: ModelConfig, layer: int) -> int:
    """One token through the matrices of one layer: attention, then SwiGLU, or the router, the chosen experts
    and the shared ones. Layers from num_hidden_layers on are the blocks of MTP modules."""
    wide, inner = config.hidden_size, config.intermediate_size
    router = 0
    if config.is_moe(layer):
        inner = (config.num_experts_per_tok + config.n_shared_experts) * config.moe_intermediate_size
        router = wide * config.n_routed_experts
    return 2 * (_attention_weights(config) + router + 3 * wide * inner)


def _attention_weights(config: ModelConfig) -> int:
    """Of the projections. Latent attention costs a token the same when decode absorbs the up-projections."""
    c, heads = config, config.num_attention_heads
    if c.kv_lora_rank is None:
        return c.hidden_size * c.head_dim * (2 * heads + 2 * c.num_key_value_heads)
    queries = c.hidden_size * heads * c.head_dim
    if c.q_lora_rank is not None:
        queries = c.q_lora_rank * (c.hidden_size + heads * c.head_dim)
    latent = c.hidden_size * (c.kv_lora_rank + c.qk_rope_head_dim)
    up = c.kv_lora_rank * heads * (c.qk_nope_head_dim + c.v_head_dim)
    return queries + latent + up + heads * c.v_head_dim * c.hidden_size


def pair_flops(config: ModelConfig, absorbed: bool = False) -> int:
    """A score and a weighted sum in one layer. `absorbed`: queries meet the latents themselves (decode of
    latent attention), which is more work over far less memory."""
    if absorbed and config.kv_lora_rank is not None:
        return 2 * config.num_attention_heads * (2 * config.kv_lora_rank + config.qk_rope_head_dim)
    return 2 * config.num_attention_heads * (config.head_dim + config.value_dim)


def forward_flops(
    config: ModelConfig, num_tokens: int, sum_of_context: int, num_logits: int, absorbed: bool = False
) -> int:
    """sum_of_context is the number of (query, key) pairs. num_logits is the number of positions at which the
    head is applied."""
    pair = config.num_hidden_layers * pair_flops(config, absorbed)
    logit = 2 * config.hidden_size * config.vocab_size
    return num_tokens * token_flops(config) + sum_of_context * pair + num_logits * logit


def mtp_flops(config: ModelConfig, num_tokens: int, sum_of_context: int, num_logits: int) -> int:
    """What all MTP modules add to `forward_flops`, each run over these tokens and pairs with these logits."""
    c, total = config, 0
    for depth in range(c.num_nextn_predict_layers):
        joined = 2 * 2 * c.hidden_size * c.hidden_size
        total += num_tokens * (joined + layer_flops(c, c.num_hidden_layers + depth))
        total += sum_of_context * pair_flops(c) + num_logits * 2 * c.hidden_size * c.vocab_size
    return total


def train_flops(config: ModelConfig, num_tokens: int, sum_of_context: int, num_logits: int) -> int:
    """Forward and backward: every product's gradient is two products of its size. Where MTP modules are
    trained, 3 * `mtp_flops` comes on top."""
    return 3 * forward_flops(config, num_tokens, sum_of_context, num_logits)


def adapter_flops(
    config: ModelConfig, num_tokens: int, sum_of_context: int, num_logits: int, trained: int
) -> int:
    """As `train_flops` where `trained` numbers of low-rank factors learn and nothing else: no matrix has a
    gradient, and each factor's is two products as thin as it is. (The first layer's input has none either,
    which is not taken off.)"""
    matrices = num_tokens * token_flops(config) + num_logits * 2 * config.hidden_size * config.vocab_size
    whole = train_flops(config, num_tokens, sum_of_context, num_logits)
    return whole - matrices + 4 * num_tokens * trained


def decode_flops(config: ModelConfig, prompt_length: int, new_lengths: Iterable[int]) -> int:
    """One prompt, read once, and its completions of these lengths. The prompt's last position gives every
    completion's first token; the last token made is not fed back."""
    total = forward_flops(config, prompt_length, causal_pairs(prompt_length), 1)
    for length in new_lengths:
        fed = max(length - 1, 0)
        total += forward_flops(config, fed, causal_pairs(fed, prompt_length), fed, absorbed=True)
    return total


def recompute_flops(config: ModelConfig) -> int:
    """What a token costs in all layers, MTP's too, where the backward pass makes latent attention's
    up-projections again rather than keep what they gave (as V3 was trained; norms are counted nowhere)."""
    c = config
    if c.kv_lora_rank is None:
        return 0
    up = c.kv_lora_rank * c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim)
    if c.q_lora_rank is not None:
        up += c.q_lora_rank * c.num_attention_heads * c.head_dim
    return 2 * up * (c.num_hidden_layers + c.num_nextn_predict_layers)
