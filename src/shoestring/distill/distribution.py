"""The loss between the teacher's and the student's distribution of each trained token, from hidden states.

A live teacher brings all V logits, a stored one its K likeliest tokens and the log of the others' mass, which
then are K + 1 classes: see `tail.py` for what that leaves out. Where v is a token of the rest, its slope is
that of the class times S_v / S_rest, so that one softmax over the rest makes all of them.

Logits and their gradient are held for so many rows at once that they take the same memory whatever the size
of the vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.distill.divergence import DivergenceSettings
from shoestring.distill.teacher_rows import KeptRows, Teacher
from shoestring.ops.head import softmax_gradient_, target_logprobs
from shoestring.ops.linear import weight_gradient
from shoestring.train.batch import MicroBatch
from shoestring.train.loss import CHUNK, HeadLoss

LOGITS_HELD = 256 * 65_536  # numbers, in float32
GRADIENT_HELD = 4 * LOGITS_HELD  # in the weight's dtype: products of few rows are slow


def held_rows(vocab: int) -> tuple[int, int]:
    """Rows of logits, and of their gradient, held at once."""
    chunk = max(1, min(CHUNK, LOGITS_HELD // vocab))
    return chunk, max(chunk, GRADIENT_HELD // vocab // chunk * chunk)


class _Distilled(torch.autograd.Function):
    """As `train.loss._HeadLoss`: one pass makes the loss and both gradients."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weights: Tensor,
        teacher: Teacher,
        settings: DivergenceSettings,
        logits_of: Callable[[Tensor], Tensor],
        at: float,
    ) -> tuple[Tensor, Tensor]:
        count, vocab = len(targets), weight.shape[0]
        chunk, slab = held_rows(vocab)
        values = torch.zeros_like(weights)
        logprobs = torch.zeros_like(weights)
        ctx.grad_hidden = torch.empty_like(hidden)
        sums: Tensor | None = None
        for first in range(0, count, slab):
            last = min(first + slab, count)
            gradient = hidden.new_empty(last - first, vocab)
            for start in range(first, last, chunk):
                rows = slice(start, min(start + chunk, last))
                values[rows], logprobs[rows] = _one_chunk(
                    logits_of(hidden[rows]), targets[rows], rows, weights[rows], teacher, settings, at,
                    gradient[start - first : rows.stop - first],
                )  # fmt: skip
            ctx.grad_hidden[first:last] = torch.mm(gradient, weight)
            if weight.requires_grad:
                part = weight_gradient(gradient, hidden[first:last])
                sums = _added(sums, part)
        ctx.grad_weight = None if sums is None else sums.to(weight.dtype)
        ctx.mark_non_differentiable(logprobs)
        return (values * weights).sum(), logprobs

    @staticmethod
    def backward(ctx, grad_total: Tensor, _grad_logprobs: Tensor):  # type: ignore[override]
        assert grad_total.item() == 1.0, "the head's loss must be the root of backward()"
        return ctx.grad_hidden, ctx.grad_weight, None, None, None, None, None, None


def _added(sums: Tensor | None, part: Tensor) -> Tensor:
    """In float32 once there are two: rounded to bf16 each time, small gradients would be lost."""
    return part if sums is None else (sums.float() if sums.dtype == torch.bfloat16 else sums).add_(part)


def _one_chunk(
    logits: Tensor,
    targets: Tensor,
    rows: slice,
    weights: Tensor,
    teacher: Teacher,
    settings: DivergenceSettings,
    at: float,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """Losses (R,) by token and the targets' logprobs (R,) at temperature `at`; out (R, V) = the gradient of
    sum(weights * losses)."""
    share = settings.cross_entropy
    if not share and at == settings.temperature:  # a pass over the logits less
        return teacher.compare(logits, targets, rows, settings, weights, out)
    logprobs, normalizer = target_logprobs(logits, targets, at)
    if not share:
        return teacher.compare(logits, targets, rows, settings, weights, out)[0], logprobs
    # the mean with -log p(target), whose gradient needs the logits as they are
    both = torch.empty_like(logits)
    softmax_gradient_(logits, normalizer, targets, -share * weights, 1.0, both)
    own = torch.empty_like(logits)
    value, _ = teacher.compare(logits, targets, rows, settings, (1 - share) * weights, own)
    out.copy_(both.add_(own))
    return (1 - share) * value - share * logprobs, logprobs


def distribution_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    teacher: Teacher,
    settings: DivergenceSettings,
    logits_of: Callable[[Tensor], Tensor],
    at: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """hidden (N, d), weight (V, d), targets and weights (N,) -> loss (): sum_n weights_n [(1 - c)
    divergence_n - c log p(target_n)], and logprobs (N,) of the targets at temperature `at`, detached; with c
    they are the loss's own, at 1."""
    assert at == 1.0 or not settings.cross_entropy
    return _Distilled.apply(hidden, weight, targets, weights, teacher, settings, logits_of, at)  # type: ignore[return-value]


@dataclass(frozen=True)
class KeptLoss(HeadLoss):
    """Against the teacher's columns of the micro-batch."""

    settings: DivergenceSettings

    def __call__(
        self,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        batch: MicroBatch,
        logits_of: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        teacher = KeptRows.of(batch)
        return distribution_loss(hidden, weight, targets, batch.weights, teacher, self.settings, logits_of)
