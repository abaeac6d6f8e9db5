"""The head's loss in one pass against torch's own autograd on whole logits."""

import pytest
import torch

from shoestring.ops.head import softmax_gradient_, target_logprobs
from shoestring.train.loss import CHUNK, head_loss, head_loss_plain


def problem(count: int, vocab: int = 40, width: int = 12):
    g = torch.Generator().manual_seed(count)
    hidden = torch.randn(count, width, generator=g, requires_grad=True)
    weight = torch.randn(vocab, width, generator=g, requires_grad=True)
    return hidden, weight, torch.randint(vocab, (count,), generator=g), torch.randn(count, generator=g)


def curved(weights: torch.Tensor):
    """A loss whose slope differs by token and by its logprob, as a clipped ratio's does."""
    return lambda logprobs: (weights * (logprobs + logprobs.exp() ** 2)).sum()


def entangled(weights: torch.Tensor):
    """A loss in which every token's slope depends on all others, as with one ratio a sequence."""
    return lambda logprobs: (weights * logprobs).sum() * logprobs.mean() / 50


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
@pytest.mark.parametrize("count", [1, 5, CHUNK, CHUNK + 1, 2 * CHUNK + 44])
@pytest.mark.parametrize("loss_of", [curved, entangled])
def test_one_pass_equals_autograd(loss_of, count, temperature):
    hidden, weight, targets, weights = problem(count)
    results = []
    for form in (head_loss, head_loss_plain):
        loss, logprobs = form(hidden, weight, targets, loss_of(weights), temperature)
        grads = torch.autograd.grad(loss, (hidden, weight))
        assert not logprobs.requires_grad
        results.append((loss.detach(), logprobs, *grads))
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, atol=2e-5, rtol=1e-4)
    assert results[0][2].abs().max() > 0.01


def test_a_frozen_weight_takes_no_gradient():
    hidden, weight, targets, weights = problem(7)
    loss, _ = head_loss(hidden, weight.detach(), targets, curved(weights))
    loss.backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_the_loss_must_be_the_root():
    hidden, weight, targets, weights = problem(3)
    loss, _ = head_loss(hidden, weight, targets, curved(weights))
    with pytest.raises(AssertionError, match="root"):
        (2 * loss).backward()


def test_values_by_hand():
    """Logits (0, ln 3) at temperature 1: p = (1/4, 3/4). d/dlogits of log p(1) = (0 - 1/4, 1 - 3/4)."""
    logits = torch.tensor([[0.0, 3.0]]).where(torch.tensor([[True, False]]), torch.tensor(3.0).log())
    chosen, normalizer = target_logprobs(logits, torch.tensor([1]), 1.0)
    assert chosen.item() == pytest.approx(-0.2876820724)  # ln(3/4)
    out = torch.empty(1, 2)
    softmax_gradient_(logits.clone(), normalizer, torch.tensor([1]), torch.tensor([2.0]), 1.0, out)
    assert out[0].tolist() == pytest.approx([-0.5, 0.5])
    # at temperature 1/2 the logits double: p = (1/10, 9/10), and the slope doubles too
    chosen, normalizer = target_logprobs(logits, torch.tensor([1]), 0.5)
    assert chosen.item() == pytest.approx(-0.1053605157)  # ln(9/10)
    softmax_gradient_(logits.clone(), normalizer, torch.tensor([1]), torch.tensor([2.0]), 0.5, out)
    assert out[0].tolist() == pytest.approx([-0.4, 0.4])
