"""The cache of keys and values, or of latents, in blocks, and what one pass of the network does with it."""

import dataclasses
from array import array
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.store import BlockStore
from shoestring.models.attention import AttentionContext
from shoestring.models.config import ModelConfig
from shoestring.ops.block import PagedStep
from shoestring.ops.latent_heads import LatentBlocks
from shoestring.ops.native import Library
from shoestring.ops.paged import (
    DecodeRuns,
    PagedTokens,
    PlainGroup,
    keep_plain,
    keep_tokens,
    paged_attention,
    paged_attention_plain,
    paged_latent_plain,
    plain_groups,
)


class PagedPass(AttentionContext):
    """One pass over new tokens of sequences whose earlier ones are in the cache: lengths[i] tokens of the
    sequence with the blocks tables[i], from place firsts[i] on, end to end. after: a pass before this one
    over the same sequences, to whose tables no more than new ends has come."""

    def __init__(
        self,
        cache: "PagedCache",
        tables: Sequence[array],
        firsts: Sequence[int],
        lengths: Sequence[int],
        after: Self | None = None,
    ) -> None:
        self.cache, self.lengths = cache, lengths
        self.held = sum(map(len, tables))  # blocks
        self.trust = object() if after is None else after.trust
        self.single = max(lengths) == 1
        alike = after if after is not None and after.lengths == lengths else None
        if alike is not None and alike.held == self.held:
            self.tokens = dataclasses.replace(alike.tokens, places=_places(firsts, lengths, cache.device))
        else:
            self.tokens = cache.place(tables, firsts, lengths)
        self.runs = alike.runs if alike is not None and self.single else None
        self.groups: list[PlainGroup] = []
        if cache.library is None:
            self.groups = plain_groups(self.tokens, lengths)
        elif self.runs is None and not cache.latent:
            threads = torch.get_num_threads()
            self.runs = (
                DecodeRuns.of_sequences(tables, firsts)
                if self.single
                else DecodeRuns.of_pieces(lengths, firsts, threads)
            )

    @property
    def absorbs(self) -> bool:
        return self.cache.latent

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        cache, blocks = self.cache, self.cache.heads(layer)
        if cache.library is None or self.runs is None:
            keep_plain(k, blocks[0], self.tokens)
            keep_plain(v, blocks[1], self.tokens)
            return paged_attention_plain(q, blocks, self.groups, scale)
        if not self.single:
            keep_tokens(cache.library, k, v, blocks, self.tokens)
        new = (k, v) if self.single else None
        return paged_attention(cache.library, q, new, blocks, self.tokens, self.runs, scale)

    def paged_step(self) -> PagedStep | None:
        cache = self.cache
        if cache.library is None or (self.runs is None and not cache.latent):
            return None
        return PagedStep(cache.store.addresses(), self.tokens, self.runs, not self.single, self.trust)

    def latent_blocks(self, layer: int) -> LatentBlocks | None:
        cache = self.cache
        if cache.library is None:
            return None
        return LatentBlocks(cache.library, cache.store.layer(layer)[0], self.tokens)

    def attend_latent(self, layer: int, q: Tensor, latent: Tensor, rank: int, scale: float) -> Tensor:
        (blocks,) = self.cache.store.layer(layer)
        keep_plain(latent[:, None], blocks, self.tokens)
        return paged_latent_plain(q, blocks, self.groups, rank, scale)


class PagedCache:
    """Of latents where the model's attention has them: kv_lora_rank + qk_rope_head_dim numbers a token and
    layer, which all heads read as keys and, their first kv_lora_rank, as values. layers: those of MTP modules
    come after the model's, as the network numbers them."""

    def __init__(
        self,
        config: ModelConfig,
        layers: int,
        dtype: torch.dtype,
        device: torch.device,
        library: Library | None,
    ) -> None:
        self.library, self.device, self.latent = library, device, config.is_mla
        if config.kv_lora_rank is not None and config.is_mla:
            heads, widths = 1, (config.kv_lora_rank + config.qk_rope_head_dim,)
        else:
            heads, widths = config.num_key_value_heads, (config.head_dim, config.head_dim)
        self.store = BlockStore(layers, heads, widths, dtype, device)

    def heads(self, layer: int) -> tuple[Tensor, Tensor]:
        keys, values = self.store.layer(layer)
        return keys, values

    def place(self, tables: Sequence[array], firsts: Sequence[int], lengths: Sequence[int]) -> PagedTokens:
        """lengths[i] tokens of sequence i from place firsts[i] on, end to end."""
        wide = max(map(len, tables))
        listed = np.zeros((len(tables), wide), dtype=np.int64)
        for row, table in zip(listed, tables, strict=True):
            row[: len(table)] = table
        counts = np.asarray(lengths, dtype=np.int64)
        rows = np.repeat(np.arange(len(tables)), counts)
        starts = np.asarray(firsts, dtype=np.int64) - (counts.cumsum() - counts)
        places = np.arange(len(rows)) + starts[rows]
        return PagedTokens(*(torch.from_numpy(x).to(self.device) for x in (listed, rows, places)))

    def keep(self, layers: Sequence[Sequence[Tensor]], tokens: PagedTokens) -> None:
        """What a prefill collected of each layer: keys and values (T, Hkv, D), or latents (T, 1, W)."""
        for layer, new in enumerate(layers):
            if self.library is not None and not self.latent:
                k, v = new
                keep_tokens(self.library, k, v, self.heads(layer), tokens)
                continue
            for part, blocks in zip(new, self.store.layer(layer), strict=True):
                keep_plain(part, blocks, tokens)


def _places(firsts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Tensor:
    places = [first + j for first, length in zip(firsts, lengths, strict=True) for j in range(length)]
    return torch.tensor(places, device=device)
