"""An endpoint's word on a student's own samples: the logprobs of a micro-batch's targets over HTTP."""

import numpy as np
import torch
from torch import Tensor

from shoestring.distill.teacher_score import HttpScorer, Scores
from shoestring.errors import ShoestringError
from shoestring.text.message import PackedBatch
from shoestring.train.batch import MicroBatch


class HttpLogprobs:
    """to_teacher (V,): the teacher's id of each of the student's, -1 where it has none. `asked` and `unknown`
    count tokens, the latter those whose logprob the endpoint didn't give: they stand with the smallest that
    it did give at that place, which is no less than their own."""

    def __init__(self, scorer: HttpScorer, to_teacher: Tensor) -> None:
        self.scorer, self.to_teacher = scorer, to_teacher.cpu().numpy()
        self.asked = self.unknown = 0

    def __call__(self, batch: MicroBatch) -> Tensor:
        """(N,) on the CPU, of the batch's targets."""
        packed = batch.packed
        texts, places = whole_rows(packed)
        wanted = [
            (self._named(ids[: max(own) + 1]), min(own)) for ids, own in zip(texts, places, strict=True)
        ]
        scored = self.scorer.score_all(wanted)
        by_row = [
            [self._logprob(scores, place - start) for place in own]
            for scores, own, (_, start) in zip(scored, places, wanted, strict=True)
        ]
        taken = [iter(row) for row in by_row]
        return torch.tensor([next(taken[owner]) for owner in packed.owners], dtype=torch.float32)

    def take_unknown(self) -> float:
        """The share of the tokens since last asked whose logprob the endpoint didn't give."""
        share = self.unknown / max(self.asked, 1)
        self.asked = self.unknown = 0
        return share

    def take_paid(self) -> float:
        """USD since last asked."""
        return self.scorer.turns.budget.take_paid()

    def _named(self, ids: np.ndarray) -> list[int]:
        named = self.to_teacher[ids]
        assert (named >= 0).all(), "the rows have ids that the teacher lacks"
        return named.tolist()

    def _logprob(self, scores: Scores, place: int) -> float:
        self.asked += 1
        own = scores.logprobs[place]
        if own is not None:
            return own
        if not scores.top[place]:
            raise ShoestringError(
                "the teacher's endpoint gave neither a token's logprob nor any other's there"
            )
        self.unknown += 1
        return min(scores.top[place].values())


def whole_rows(packed: PackedBatch) -> tuple[list[np.ndarray], list[list[int]]]:
    """By owner: the ids of its whole text, what it shares with others before its own, and the places in it of
    its targets, in their order. Every owner must have a target."""
    starts, lengths, parents = packed.starts, packed.lengths, packed.parents
    shared = set(parents[parents >= 0].tolist())
    rows = [row for row in range(len(starts)) if row not in shared]
    texts, before = [], []
    for row in rows:
        own = packed.ids[starts[row] : starts[row] + lengths[row]]
        parent = parents[row]
        prefix = packed.ids[starts[parent] : starts[parent] + lengths[parent]] if parent >= 0 else own[:0]
        texts.append(np.concatenate([prefix, own]))
        before.append(len(prefix))
    places: list[list[int]] = [[] for _ in rows]
    for source, owner in zip(packed.predict_from.tolist(), packed.owners.tolist(), strict=True):
        start = int(starts[rows[owner]])
        # a row's first own token is predicted by the shared part's last one, which lies elsewhere
        place = before[owner] + (source - start + 1 if source >= start else 0)
        places[owner].append(place)
    return texts, places
