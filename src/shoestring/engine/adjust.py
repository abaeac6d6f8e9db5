"""Logits changed by what a request asks (biases) and by what it has made so far (penalties)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.request import SamplingParams


class TokenCounts:
    """How often each token was made in one sequence; those of the prompt are in it too, with 0, where the
    repetition penalty takes them."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        self._made = dict.fromkeys(prompt if params.repetition_penalty != 1 else (), 0)

    def take(self, token: int) -> None:
        self._made[token] = self._made.get(token, 0) + 1

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """(tokens int64, how often float32)."""
        tokens = np.fromiter(self._made.keys(), np.int64, len(self._made))
        return tokens, np.fromiter(self._made.values(), np.float32, len(self._made))


Asked = tuple[SamplingParams, TokenCounts | None]


def adjust_(logits: Tensor, asked: Sequence[Asked]) -> None:
    """logits (R, V) and what is asked of each row. In vLLM's order: biases; then the repetition penalty
    divides what is above 0 and multiplies what is below; then frequency and presence penalties are taken
    off. Only the entries concerned are touched."""
    words = logits.shape[1]
    flat = logits.view(-1)
    biases = [(row * words + t, b) for row, (params, _) in enumerate(asked) for t, b in params.logit_bias]
    if biases:
        at, added = zip(*biases, strict=True)
        flat.index_add_(0, torch.tensor(at, device=logits.device), logits.new_tensor(added))
    places, counts, rules = [], [], []
    for row, (params, counted) in enumerate(asked):
        if counted is not None:
            tokens, how_often = counted.arrays()
            places.append(tokens + row * words)
            counts.append(how_often)
            rule = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty)
            rules.append(np.tile(np.array(rule, np.float32), (len(tokens), 1)))
    if places:
        at = torch.from_numpy(np.concatenate(places)).to(logits.device)
        made = torch.from_numpy(np.concatenate(counts)).to(logits)
        repetition, frequency, presence = torch.from_numpy(np.concatenate(rules)).to(logits).unbind(1)
        x = flat[at]
        x = torch.where(x > 0, x / repetition, x * repetition)
        flat[at] = x - frequency * made - presence * (made > 0)
