"""Prompts laid end to end for one forward pass, and what it leaves for the decode cache."""

import torch
from torch import Tensor

from shoestring.engine.cache import Prefilled
from shoestring.models.attention import AttentionContext
from shoestring.models.cache import PackedRows

SHARED_LEAST = 16  # a common beginning shorter than this is not worth a row of its own


class Prefill(AttentionContext):
    """Prompts laid end to end, their common beginning (a system prompt, worked examples) once before them
    all. What the decode cache keeps of each layer is collected: keys and values, or latents."""

    def __init__(self, prompts: list[list[int]], device: torch.device, spare: int) -> None:
        """spare: tokens by which the common beginning is shortened."""
        self.shared = _common_beginning(prompts, spare)
        rest = [prompt[self.shared :] for prompt in prompts]
        rows = [prompts[0][: self.shared], *rest] if self.shared else rest
        lengths = torch.tensor([len(row) for row in rows], device=device)
        starts = lengths.cumsum(0) - lengths
        parents = torch.full_like(lengths, -1)
        if self.shared:
            parents[1:] = 0
        offsets = torch.where(parents == 0, self.shared, 0) if self.shared else torch.zeros_like(lengths)
        self.ids = torch.tensor([token for row in rows for token in row], device=device)
        places = torch.arange(len(self.ids), device=device)
        self.positions = places - (starts - offsets).repeat_interleave(lengths)
        own = slice(1, None) if self.shared else slice(None)
        self.starts, self.lengths = starts[own], lengths[own]
        self.rows = PackedRows(starts, lengths, parents, len(self.ids))
        self.kept: list[tuple[Tensor, ...]] = []
        self.latents = False

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if not self.latents:
            self.kept.append((k, v))
        return self.rows.attend(layer, q, k, v, scale)

    def keep_latent(self, layer: int, latent: Tensor) -> None:
        self.latents = True
        self.kept.append((latent[:, None],))

    def prefilled(self, layers: slice, without_last: bool = False) -> Prefilled:
        """Of these layers; without_last: the last token of each prompt is not kept."""
        stores = list(zip(*self.kept[layers], strict=True))
        return Prefilled(stores, self.starts, self.lengths - int(without_last), self.shared)


def _common_beginning(prompts: list[list[int]], spare: int) -> int:
    """Tokens that all prompts begin with but for `spare`, leaving each one of its own at least; 0 where
    sharing won't pay."""
    if len(prompts) < 2:
        return 0
    first, longest = prompts[0], min(len(p) for p in prompts) - 1
    shared = next((i for i in range(longest) if any(p[i] != first[i] for p in prompts)), longest)
    return shared - spare if shared - spare >= SHARED_LEAST else 0
