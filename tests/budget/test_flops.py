"""Our count against torch's own counter, and against hand-worked numbers."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from shoestring.budget.flops import (
    causal_pairs,
    decode_flops,
    forward_flops,
    token_flops,
    train_flops,
)
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer

TINY = ModelConfig(
    model_type="llama",
    vocab_size=40,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    tie_word_embeddings=True,
)


def test_by_hand():
    # q 16x32, k and v 16x16 each, o 32x16, gate, up, down 16x24 each; 2 layers
    assert token_flops(TINY) == 2 * 2 * (16 * 32 + 2 * 16 * 16 + 32 * 16 + 3 * 16 * 24)
    assert forward_flops(TINY, 0, 1, 0) == 2 * 2 * (2 * 4 * 8)  # score and sum, 2 layers
    assert forward_flops(TINY, 0, 0, 1) == 2 * 16 * 40
    assert causal_pairs(3) == 6
    assert causal_pairs(2, before=10) == 11 + 12


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_equal_to_torchs_counter(kind):
    model = Transformer(ModelConfig(**{**TINY.__dict__, "model_type": kind, "qk_norm": kind == "qwen3"}))
    model.init_weights(0)
    rows, length = 3, 7
    ids = torch.arange(rows * length).reshape(rows, length) % 40
    positions = torch.arange(length).expand(rows, length)
    # the plain path: torch has no formula for the CPU's fused attention and would count nothing for it
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model.head(model(ids, positions).hidden[:, -2:])
    # torch counts the whole square, masked pairs too
    pairs, tokens = rows * length * length, rows * length
    assert counter.get_total_flops() == forward_flops(TINY, tokens, pairs, 2 * rows)
    with FlopCounterMode(display=False) as counter:
        logits.sum().backward()
    backward = train_flops(TINY, tokens, pairs, 2 * rows) - forward_flops(TINY, tokens, pairs, 2 * rows)
    assert counter.get_total_flops() == backward


def test_decoding_is_the_same_tokens_and_pairs_as_one_forward():
    prompt, new = 5, 4
    whole = forward_flops(TINY, prompt + new - 1, causal_pairs(prompt + new - 1), new)
    assert decode_flops(TINY, prompt, [new]) == whole
    shared = decode_flops(TINY, prompt, [new, new])
    assert shared == 2 * whole - forward_flops(TINY, prompt, causal_pairs(prompt), 1)
    assert decode_flops(TINY, prompt, [1]) == forward_flops(TINY, prompt, causal_pairs(prompt), 1)
