"""A teacher whose weights are in memory: its logits in the student's ids, and what of them is kept."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoestring.distill.distribution import distribution_loss, held_rows
from shoestring.distill.divergence import ABSENT, DivergenceSettings
from shoestring.distill.teacher_rows import WholeRows
from shoestring.models.transformer import Transformer
from shoestring.ops.head import target_logprobs
from shoestring.train.batch import MicroBatch, hidden_at_targets
from shoestring.train.loss import HeadLoss


class LiveTeacher:
    """to_teacher (V,): the teacher's id of each of the student's, -1 where it has none (a row that pads the
    student's vocabulary): that it can't say."""

    def __init__(self, network: Transformer, to_teacher: Tensor) -> None:
        self.network = network.requires_grad_(False)
        self.to_teacher = to_teacher.to(network.embed_tokens.device)
        self._ids: np.ndarray = to_teacher.cpu().numpy()
        same = torch.arange(network.config.vocab_size)
        self._plain = len(to_teacher) == len(same) and bool((to_teacher.cpu() == same).all())

    @property
    def vocab(self) -> int:
        """The student's."""
        return len(self.to_teacher)

    @torch.no_grad()
    def hidden(self, batch: MicroBatch) -> Tensor:
        """(N, d) of the teacher, that predict the batch's targets."""
        packed = batch.packed
        if not self._plain:
            ids, targets = self._ids[packed.ids], self._ids[packed.targets]
            assert (ids >= 0).all(), "the rows have ids that the teacher lacks"
            packed = dataclasses.replace(packed, ids=ids, targets=targets)
        return hidden_at_targets(self.network, packed)[0]

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (R, d) -> (R, V) float32 in the student's ids."""
        own = self.network.head(hidden)
        if self._plain:
            return own
        found = own.index_select(1, self.to_teacher.clamp(min=0))
        return torch.where(self.to_teacher >= 0, found, own.amax(-1, keepdim=True) + ABSENT)

    @torch.no_grad()
    def target_logprobs(self, batch: MicroBatch, temperature: float) -> Tensor:
        """(N,) on the CPU, of the batch's targets."""
        hidden = self.hidden(batch)
        targets = torch.from_numpy(batch.packed.targets).to(hidden.device)
        rows, parts = held_rows(self.vocab)[0], list[Tensor]()
        for own, chosen in zip(hidden.split(rows), targets.split(rows), strict=True):
            parts.append(target_logprobs(self.logits(own), chosen, temperature)[0])
        return torch.cat(parts).cpu()


@dataclass(frozen=True)
class LiveLoss(HeadLoss):
    """Against the whole distributions of a teacher beside the student."""

    settings: DivergenceSettings
    teacher: LiveTeacher
    at: float = 1.0  # temperature of the logprobs that are handed back

    def __call__(
        self,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        batch: MicroBatch,
        logits_of: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        theirs = self.teacher.hidden(batch)
        rows = WholeRows(lambda rows: self.teacher.logits(theirs[rows]))
        own = hidden, weight, targets, batch.weights
        return distribution_loss(*own, rows, self.settings, logits_of, self.at)


@dataclass(frozen=True)
class Kept:
    """Of N targets, on the CPU: the K likeliest tokens' ids and logprobs (N, K), the log of the others' mass
    (N,), and the logprob (N,) of the target itself, all tempered."""

    ids: Tensor
    logprobs: Tensor
    tail: Tensor
    chosen: Tensor

    def rows(self, where: slice) -> "Kept":
        return Kept(self.ids[where], self.logprobs[where], self.tail[where], self.chosen[where])


@torch.no_grad()
def keep(teacher: LiveTeacher, batch: MicroBatch, k: int, temperature: float) -> Kept:
    """One forward pass of the teacher."""
    hidden = teacher.hidden(batch)
    targets = torch.from_numpy(batch.packed.targets).to(hidden.device)
    parts: list[Kept] = []
    for rows, own in zip(
        hidden.split(held_rows(teacher.vocab)[0]), targets.split(held_rows(teacher.vocab)[0]), strict=True
    ):
        parts.append(_kept((teacher.logits(rows) / temperature).log_softmax(-1), own, k))
    columns = zip(*(dataclasses.astuple(part) for part in parts), strict=True)
    return Kept(*(torch.cat(column) for column in columns))


def _kept(logprobs: Tensor, targets: Tensor, k: int) -> Kept:
    top = logprobs.topk(min(k, logprobs.shape[1]), dim=-1)
    chosen = logprobs.gather(1, targets[:, None]).squeeze(1)
    tail = logprobs.scatter_(1, top.indices, -torch.inf).logsumexp(-1)
    return Kept(top.indices.cpu(), top.values.cpu(), tail.cpu(), chosen.cpu())
