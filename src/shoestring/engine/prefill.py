"""Beginnings of prompts laid end to end for one forward pass, and what it leaves for the cache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shoestring.models.attention import AttentionContext
from shoestring.models.cache import PackedRows


class Prefill(AttentionContext):
    """Rows of tokens from place 0 on, lengths[i] of row i. What the cache keeps of each layer is collected:
    keys and values, or latents."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        counts = torch.tensor(lengths, device=device)
        starts = counts.cumsum(0) - counts
        self.rows = PackedRows(starts, counts, torch.full_like(counts, -1), sum(lengths))
        self.kept: list[tuple[Tensor, ...]] = []
        self.latents = False

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if not self.latents:
            self.kept.append((k, v))
        return self.rows.attend(layer, q, k, v, scale)

    def keep_latent(self, layer: int, latent: Tensor) -> None:
        self.latents = True
        self.kept.append((latent[:, None],))
