"""The teacher's side of the loss: what it says of some targets, whole or kept, held against the student's
logits."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.distill.divergence import ABSENT, DivergenceSettings, divergence
from shoestring.ops.head import softmax_gradient_, target_logprobs
from shoestring.train.batch import MicroBatch

_HIDDEN = -1e30  # a logit without weight; an infinite one would make NaN where a row has no other


class Teacher(ABC):
    """The teacher's side of a micro-batch's targets."""

    @abstractmethod
    def compare(
        self,
        logits: Tensor,
        targets: Tensor,
        rows: slice,
        settings: DivergenceSettings,
        weights: Tensor,
        out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """logits (R, V) of `targets`, those of `rows`, which may be overwritten -> divergences (R,) by token
        and the targets' tempered logprobs (R,); out (R, V) = the gradient of sum(weights * divergences) by
        the logits."""


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
        self,
        logits: Tensor,
        targets: Tensor,
        rows: slice,
        settings: DivergenceSettings,
        weights: Tensor,
        out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ids, temperature = self.ids[rows], settings.temperature
        own = logits.gather(1, ids) / temperature
        if not self.has_rest(logits.shape[1], settings):
            logprobs, _ = target_logprobs(logits, targets, temperature)
            value, slope = divergence(own.log_softmax(-1), self._classes(rows, own, False), settings)
            out.zero_()
        else:
            chosen = logits.gather(1, targets[:, None]).squeeze(1) / temperature
            logits.scatter_(1, ids, _HIDDEN)
            _, rest = target_logprobs(logits, ids[:, 0], temperature)
            classes = torch.cat((own, rest[:, None]), 1)
            student, logprobs = classes.log_softmax(-1), chosen - classes.logsumexp(-1)
            value, slope = divergence(student, self._classes(rows, own, True), settings)
            softmax_gradient_(logits, rest, ids[:, 0], -slope[:, -1] * weights, temperature, out)
        kept = slope[:, : ids.shape[1]] * (weights / temperature)[:, None]
        out.scatter_(1, ids, kept.to(out.dtype))
        return value, logprobs

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
        self,
        logits: Tensor,
        targets: Tensor,
        rows: slice,
        settings: DivergenceSettings,
        weights: Tensor,
        out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        temperature = settings.temperature
        teacher = (self.logits_of(rows).to(logits.dtype) / temperature).log_softmax(-1).clamp(min=_HIDDEN)
        student = (logits / temperature).log_softmax(-1)
        value, slope = divergence(student, teacher, settings)
        out.copy_(slope.mul_((weights / temperature)[:, None]))
        return value, student.gather(1, targets[:, None]).squeeze(1)
