"""The loss between the teacher's and the student's distribution of each trained token, from hidden states.

A live teacher brings all V logits, a stored one its K likeliest tokens and the log of the others' mass, which
then are K + 1 classes: see `tail.py` for what that leaves out. Where v is a token of the rest, its slope is
that of the class times S_v / S_rest, so that one softmax over the rest makes all of them.

Logits and their gradient are held for so many rows at once that they take the same memory whatever the size
of the vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.distill.divergence import ABSENT, DivergenceSettings, divergence
from shoestring.ops.head import softmax_gradient_, target_logprobs
from shoestring.ops.linear import weight_gradient
from shoestring.train.batch import MicroBatch
from shoestring.train.loss import CHUNK, HeadLoss

LOGITS_HELD = 256 * 65_536  # numbers, in float32
GRADIENT_HELD = 4 * LOGITS_HELD  # in the weight's dtype: products of few rows are slow
_HIDDEN = -1e30  # a logit without weight; an infinite one would make NaN where a row has no other


class Teacher(ABC):
    """The teacher's side of a micro-batch's targets."""

    @abstractmethod
    def compare(
        self, logits: Tensor, rows: slice, settings: DivergenceSettings, weights: Tensor, out: Tensor
    ) -> Tensor:
        """logits (R, V) of the targets `rows`, which may be overwritten -> divergences (R,) by token; out
        (R, V) = the gradient of sum(weights * divergences) by the logits."""


@dataclass(frozen=True)
class KeptRows(Teacher):
    """Of N targets: ids (N, K), their logprobs and the log of the rest's mass, tempered."""

    ids: Tensor
    logprobs: Tensor
    tail: Tensor

    @classmethod
    def of(cls, batch: MicroBatch) -> "KeptRows":
        assert batch.teacher_ids is not None
        assert batch.teacher_logprobs is not None
        assert batch.teacher_tail is not None
        return cls(batch.teacher_ids, batch.teacher_logprobs, batch.teacher_tail)

    def compare(
        self, logits: Tensor, rows: slice, settings: DivergenceSettings, weights: Tensor, out: Tensor
    ) -> Tensor:
        ids, temperature = self.ids[rows], settings.temperature
        own = logits.gather(1, ids) / temperature
        if not self.has_rest(logits.shape[1], settings):
            value, slope = divergence(own.log_softmax(-1), self._classes(rows, own, False), settings)
            out.zero_()
        else:
            logits.scatter_(1, ids, _HIDDEN)
            _, rest = target_logprobs(logits, ids[:, 0], temperature)
            student = torch.cat((own, rest[:, None]), 1).log_softmax(-1)
            value, slope = divergence(student, self._classes(rows, own, True), settings)
            softmax_gradient_(logits, rest, ids[:, 0], -slope[:, -1] * weights, temperature, out)
        kept = slope[:, : ids.shape[1]] * (weights / temperature)[:, None]
        out.scatter_(1, ids, kept.to(out.dtype))
        return value

    def has_rest(self, vocab: int, settings: DivergenceSettings) -> bool:
        return settings.tail == "class" and self.ids.shape[1] < vocab

    def _classes(self, rows: slice, like: Tensor, rest: bool) -> Tensor:
        """(R, K) or with the rest (R, K + 1) log-probabilities that sum to 1 again after rounding."""
        logprobs = self.logprobs[rows].to(like.dtype)
        if rest:
            tail = self.tail[rows].to(like.dtype).clamp(min=ABSENT)
            logprobs = torch.cat((logprobs, tail[:, None]), 1)
        return logprobs.log_softmax(-1)


@dataclass(frozen=True)
class WholeRows(Teacher):
    """`logits_of`: the teacher's logits (R, V) of some of the N targets, in the student's ids."""

    logits_of: Callable[[slice], Tensor]

    def compare(
        self, logits: Tensor, rows: slice, settings: DivergenceSettings, weights: Tensor, out: Tensor
    ) -> Tensor:
        temperature = settings.temperature
        teacher = (self.logits_of(rows).to(logits.dtype) / temperature).log_softmax(-1).clamp(min=_HIDDEN)
        value, slope = divergence((logits / temperature).log_softmax(-1), teacher, settings)
        out.copy_(slope.mul_((weights / temperature)[:, None]))
        return value


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
    logprobs, normalizer = target_logprobs(logits, targets, at)
    if not share:
        return teacher.compare(logits, rows, settings, weights, out), logprobs
    # the mean with -log p(target), whose gradient needs the logits as they are
    both = torch.empty_like(logits)
    softmax_gradient_(logits, normalizer, targets, -share * weights, 1.0, both)
    own = torch.empty_like(logits)
    value = teacher.compare(logits, rows, settings, (1 - share) * weights, own)
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
