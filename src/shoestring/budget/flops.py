"""Floating-point operations of the dense families, exact for what the mathematics needs: a product of (m, k)
and (k, n) is 2mkn; a query costs only the keys it may see; logits are counted where they are asked for.
Norms, activations, softmax and the embedding's look-up are left out, as in torch's counter (under 1 % here).
"""

from collections.abc import Iterable

from shoestring.models.config import ModelConfig


def causal_pairs(length: int, before: int = 0) -> int:
    """(query, key) pairs of `length` tokens after `before` others, each seeing itself and all before it."""
    return length * before + length * (length + 1) // 2


def token_flops(config: ModelConfig) -> int:
    """One token through every layer's matrices: q, k, v, o and the three of SwiGLU."""
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    attention = config.hidden_size * config.head_dim * (2 * heads + 2 * kv)
    return 2 * config.num_hidden_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


def forward_flops(config: ModelConfig, num_tokens: int, sum_of_context: int, num_logits: int) -> int:
    """sum_of_context is the number of (query, key) pairs: each costs a score and a weighted sum.
    num_logits is the number of positions at which the head is applied."""
    pair = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
    logit = 2 * config.hidden_size * config.vocab_size
    return num_tokens * token_flops(config) + sum_of_context * pair + num_logits * logit


def train_flops(config: ModelConfig, num_tokens: int, sum_of_context: int, num_logits: int) -> int:
    """Forward and backward: every product's gradient is two products of its size."""
    return 3 * forward_flops(config, num_tokens, sum_of_context, num_logits)


def decode_flops(config: ModelConfig, prompt_length: int, new_lengths: Iterable[int]) -> int:
    """One prompt, read once, and its completions of these lengths. The prompt's last position gives every
    completion's first token; the last token made is not fed back."""
    total = forward_flops(config, prompt_length, causal_pairs(prompt_length), 1)
    for length in new_lengths:
        fed = max(length - 1, 0)
        total += forward_flops(config, fed, causal_pairs(fed, prompt_length), fed)
    return total
