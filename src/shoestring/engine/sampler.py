"""Which token comes next: hidden states and the sequences they belong to in, tokens out.

A plain request (a temperature and nothing else) is drawn from the states at once, its logits never written.
All others take the way over the logits, together, each row by its own numbers, in the order of
docs/sampling.md."""

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.adjust import adjust_
from shoestring.engine.logprobs import likeliest
from shoestring.engine.sequence import Sequence, Token
from shoestring.errors import ShoestringError
from shoestring.models.transformer import Transformer
from shoestring.ops.limits import Limits, draw_limited
from shoestring.ops.sample import uniforms

NOTHING_ALLOWED = "nothing is allowed to come next: the request's guides leave no token"
FORCED_FORBIDDEN = "token {} must come next by one of the request's guides, and another forbids it"

DAMAGED = "the model's logits are not finite (NaN): its weights are damaged or training diverged"


class Sampler:
    def __init__(self, network: Transformer) -> None:
        self.network = network

    def draw(self, hidden: Tensor, wanted: list[tuple[Sequence, int]]) -> list[Token]:
        """hidden (R, d), and for each row its sequence and the number of the token in it -> the tokens, by
        the sequence's own random number for that place. A sequence whose guides leave nothing is marked as
        failed; what comes back for it is no token. Raises ShoestringError where the model gives none of them
        a number; where it gives others one, the logprob is NaN."""
        drawn = self._drawn(hidden, wanted)
        bad = [row for row, token in enumerate(drawn) if token.logprob != token.logprob]
        if bad and len(bad) == len(drawn) and not self.network.head(hidden).isfinite().all(-1).any():
            raise ShoestringError(DAMAGED)
        return drawn

    def _drawn(self, hidden: Tensor, wanted: list[tuple[Sequence, int]]) -> list[Token]:
        drawn: dict[int, Token] = {}
        plain: dict[float, list[int]] = {}  # by temperature
        masks: dict[int, Tensor | None] = {}  # of rows that go over the logits
        for row, (sequence, _) in enumerate(wanted):
            mask = None
            if sequence.steering is not None:
                token, mask = _steer(sequence)
                if token is not None:
                    drawn[row] = token
                    continue
            if mask is not None or sequence.limited:
                masks[row] = mask
            else:
                plain.setdefault(sequence.request.params.temperature, []).append(row)
        uniform = self._uniform(wanted)
        for temperature, rows in plain.items():
            whole = len(rows) == len(wanted)
            part, draw = (hidden, uniform) if whole else (hidden[rows], uniform[rows])
            ids, logprobs = self.network.draw(part, draw, temperature)
            tops = self._tops(part, [wanted[row][0] for row in rows])
            drawn.update(zip(rows, map(Token, ids.tolist(), logprobs.tolist(), tops), strict=True))
        if masks:
            rows, sequences = list(masks), [wanted[row][0] for row in masks]
            tokens = self._over_logits(hidden[rows], uniform[rows], sequences, list(masks.values()))
            drawn.update(zip(rows, tokens, strict=True))
        return [drawn[row] for row in range(len(wanted))]

    def draft(self, hidden: Tensor, wanted: list[tuple[Sequence, int]]) -> list[int]:
        """As `draw`, for drafts: any id where a sequence isn't drafted."""
        rows = [row for row, (sequence, _) in enumerate(wanted) if not sequence.undrafted]
        ids = [0] * len(wanted)
        if rows:
            part = hidden if len(rows) == len(wanted) else hidden[rows]
            for row, token in zip(rows, self._drawn(part, [wanted[row] for row in rows]), strict=True):
                ids[row] = token.id
        return ids

    def _uniform(self, wanted: list[tuple[Sequence, int]]) -> Tensor:
        if any(sequence.request.params.temperature for sequence, _ in wanted):
            keys = np.array([s.key for s, _ in wanted], dtype=np.uint64)
            draws = uniforms(keys, np.array([number for _, number in wanted]))
        else:
            draws = np.zeros(len(wanted))
        return torch.from_numpy(draws).to(self.network.device)

    def _tops(self, hidden: Tensor, sequences: list[Sequence]) -> list[dict[int, float] | None]:
        """Of plain rows. The logits are made for them apart from the draw, whose tokens they don't change."""
        counts = [s.request.params.top_logprobs for s in sequences]
        rows = [row for row, count in enumerate(counts) if count]
        tops: list[dict[int, float] | None] = [None] * len(counts)
        if rows:
            logits = self.network.head(hidden[rows])  # its own memory
            temperature = sequences[0].request.params.temperature or 1.0
            if temperature != 1.0:
                logits /= temperature
            found = likeliest(logits, [counts[row] for row in rows])
            for row, top in zip(rows, found, strict=True):
                tops[row] = top
        return tops

    def _over_logits(
        self, hidden: Tensor, uniform: Tensor, sequences: list[Sequence], masks: list[Tensor | None]
    ) -> list[Token]:
        params = [s.request.params for s in sequences]
        logits = self.network.head(hidden)
        adjust_(logits, [(s.request.params, s.counts) for s in sequences])
        limits = Limits(
            [p.temperature for p in params],
            [p.top_k for p in params],
            [p.top_p for p in params],
            [p.min_p for p in params],
        )
        counts = [p.top_logprobs for p in params]
        ids, logprobs = draw_limited(logits, uniform, limits, masks, drop=any(counts))
        tops: list[dict[int, float] | None] = [None] * len(params)
        if any(counts):
            found = likeliest(logits.div_(limits.scale(logits)), counts)
            tops = [top if count else None for top, count in zip(found, counts, strict=True)]
        return list(map(Token, ids.tolist(), logprobs.tolist(), tops))


def _steer(sequence: Sequence) -> tuple[Token | None, Tensor | None]:
    """The token that its guides force, and the mask of what they allow."""
    steering = sequence.steering
    assert steering is not None
    forced, mask = steering.forced(), steering.allowed()
    sequence.mask = mask
    if mask is not None and not (mask.any() if forced is None else mask[forced]):
        sequence.failure = NOTHING_ALLOWED if forced is None else FORCED_FORBIDDEN.format(forced)
        return Token(0, 0.0), None
    if forced is None:
        return None, mask
    return Token(forced, 0.0, {forced: 0.0} if sequence.request.params.top_logprobs else None), None
