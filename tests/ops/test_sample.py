"""Drawing a token: the fast form against the plain one, at the ends of [0, 1) and in distribution."""

import math

import numpy as np
import pytest
import torch

from shoestring.ops.sample import sample, sample_plain, stream_key, uniforms

ALMOST_ONE = 1 - 2.0**-53  # the largest that `uniforms` gives


def logits_of(rows: int, vocab: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("vocab", [3, 256, 300, 1024, 49152])  # one block, whole blocks, a padded last one
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
def test_the_two_forms_agree(vocab, temperature):
    logits = logits_of(200 if vocab < 2000 else 20, vocab)
    uniform = torch.from_numpy(uniforms(np.arange(len(logits), dtype=np.uint64), np.zeros(len(logits))))
    ids, logprobs = sample(logits, uniform, temperature)
    plain_ids, plain_logprobs = sample_plain(logits, uniform, temperature)
    assert torch.equal(ids, plain_ids)
    assert torch.allclose(logprobs, plain_logprobs, atol=1e-5)


@pytest.mark.parametrize("vocab", [3, 257, 512, 1000])
def test_the_ends_of_the_range_give_the_first_and_the_last_token_that_has_weight(vocab):
    logits = torch.zeros(4, vocab)
    logits[1, 0] = logits[1, -1] = -math.inf
    logits[2, : vocab // 2] = -math.inf
    logits[3, vocab // 2 :] = -math.inf
    for temperature in (1.0, 0.5):
        first, _ = sample(logits, torch.zeros(4, dtype=torch.float64), temperature)
        assert first.tolist() == [0, 1, vocab // 2, 0]
        last, logprobs = sample(logits, torch.full((4,), ALMOST_ONE, dtype=torch.float64), temperature)
        assert last.tolist() == [vocab - 1, vocab - 2, vocab - 1, vocab // 2 - 1]
        assert torch.isfinite(logprobs).all()


def test_a_token_without_weight_is_never_drawn():
    logits = logits_of(2000, 600)
    logits[:, ::2] = -math.inf
    logits[:, 512:] = -math.inf  # the whole last block
    uniform = torch.from_numpy(uniforms(np.arange(2000, dtype=np.uint64), np.full(2000, 5)))
    uniform[:3] = torch.tensor([0.0, ALMOST_ONE, 0.5])
    ids, logprobs = sample(logits, uniform, 1.0)
    assert (ids % 2 == 1).all()
    assert (ids < 512).all()
    assert torch.isfinite(logprobs).all()


def test_the_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5]]).expand(20000, -1)
    uniform = torch.from_numpy(uniforms(np.arange(20000, dtype=np.uint64), np.zeros(20000)))
    expected = (logits[0] / 0.7).softmax(-1) * 20000
    counts = sample(logits, uniform, 0.7)[0].bincount(minlength=5)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001


def test_uniforms_are_even_in_keys_and_in_positions():
    keys = np.array([stream_key(0, f"k{i}", i % 3) for i in range(4000)], dtype=np.uint64)
    for values in (uniforms(keys, np.zeros(4000)), uniforms(np.full(4000, keys[0]), np.arange(4000))):
        assert values.min() >= 0
        assert values.max() < 1
        counts = np.bincount((values * 16).astype(int), minlength=16)
        assert ((counts - 250) ** 2 / 250).sum() < 37.7  # 15 degrees of freedom, p = 0.001
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.06


def test_keys_are_fixed_and_every_part_of_them_counts():
    assert stream_key(1, "a", 2) == stream_key(1, "a", 2)
    keys = {stream_key(s, k, n) for s in range(3) for k in ("a", "b", "") for n in range(3)}
    assert len(keys) == 27
    one = uniforms(np.array([stream_key(0, "p", 0)], dtype=np.uint64), np.array([0]))
    assert one.item() == pytest.approx(
        0.7917422582482938, abs=1e-15
    )  # a change would change every seeded run
