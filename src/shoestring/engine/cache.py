"""The decode cache: keys and values of running sequences in two levels, a prompt kept once for all its
samples and each sample's own tokens.

Everything is dense and contiguous, since a strided operand makes a bf16 batched product on a CPU four times
slower: slots 0..A-1 are the running sequences and groups 0..G-1 their prompts. A finished one is replaced by
the last, so nothing is ever left in between.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.engine.pool import Pool, fill_gaps
from shoestring.models.config import ModelConfig
from shoestring.ops.attend import SPAN, DecodeRuns, Level, decode_attention, keep_tokens
from shoestring.ops.native import Library


@dataclass(frozen=True)
class Prefilled:
    """What a prefill leaves: keys and values (T, Hkv, D) of each layer over flat tokens. Prompt i is the
    first `shared` tokens and then lengths[i] from starts[i] on."""

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    starts: Tensor
    lengths: Tensor
    shared: int = 0


class DecodeCache:
    """Slots (one running sequence each) over groups (one prompt each). `group_of[s]` is slot s's group.
    Without a library attention is batched products of torch."""

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, device: torch.device, library: Library | None
    ) -> None:
        self.library = library
        span = 1 if library is None else SPAN
        self.prompts, self.own = (Pool(config, dtype, device, span) for _ in range(2))
        self.kv_heads, self.dim = config.num_key_value_heads, config.head_dim
        self.rep = config.num_attention_heads // config.num_key_value_heads
        self.group_of: list[int] = []
        self.members: list[int] = []  # running slots of each group
        self._plan: _Plan | None = None

    def reserve(self, groups: int, samples: int, prompt_length: int) -> None:
        """Make room at once for so many more prompts of at most this length, and their samples."""
        self.prompts.resize(self.prompts.count + groups, prompt_length)
        self.own.resize(self.own.count + samples, 1)

    def add_groups(self, prompts: Prefilled, samples: Sequence[int]) -> None:
        """Prefilled prompts and the empty slots of each one's samples, for which room was reserved."""
        pool, first = self.prompts, self.prompts.count
        self._keep(prompts, first)
        pool.count += len(samples)
        pool.lengths[first : pool.count] = prompts.lengths + prompts.shared
        self.own.lengths[self.own.count : self.own.count + sum(samples)] = 0
        self.own.count += sum(samples)
        for group, count in enumerate(samples, start=first):
            self.group_of += [group] * count
            self.members.append(count)
        self._plan = None

    def _keep(self, prompts: Prefilled, first: int) -> None:
        """Into the pool's rows from `first` on."""
        pool, shared = self.prompts, prompts.shared
        parts = [(prompts.starts, prompts.lengths, shared)]
        if shared:
            begin = torch.zeros_like(prompts.starts)
            parts.append((begin, torch.full_like(begin, shared), 0))
        for layer, new in enumerate(zip(prompts.keys, prompts.values, strict=True)):
            for starts, lengths, at in parts:
                if self.library is not None:
                    keep_tokens(self.library, *new, pool.level(layer), starts, lengths, first, at)
                else:
                    _keep_plain(*new, pool.level(layer), starts, lengths, first, at)

    def remove(self, slots: Sequence[int]) -> None:
        """Drop slots, given falling; the last take the gaps. Groups without slots go too. All of a step's at
        once: each moves rows of every layer."""
        order = fill_gaps(self.own.count, slots)
        self.own.keep(order)
        for slot in slots:
            self.members[self.group_of[slot]] -= 1
        self.group_of = [self.group_of[slot] for slot in order]
        empty = [group for group, running in enumerate(self.members) if not running]
        if empty:
            order = fill_gaps(len(self.members), empty[::-1])
            self.prompts.keep(order)
            place = {group: i for i, group in enumerate(order)}
            self.group_of = [place[group] for group in self.group_of]
            self.members = [self.members[group] for group in order]
        if not self.members:
            self.prompts.clear()
            self.own.clear()
        self._plan = None

    def begin_step(self) -> None:
        """Make room for one more token in each slot and lay out this step's products."""
        active = self.own.count
        self.own.resize(active, int(self.own.lengths[:active].max()) + 1)
        if self._plan is None:
            self._plan = _Plan(self.group_of, len(self.members), self.own.lengths.device)
        if self.library is None:
            self._plan.set_mask(self)

    def end_step(self) -> None:
        self.own.lengths[: self.own.count] += 1

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One token a slot: q (A, H, D), k and v (A, Hkv, D) -> (A, H, D)."""
        plan, active = self._plan, q.shape[0]
        assert plan is not None and active == self.own.count
        if self.library is not None:
            levels = self.prompts.level(layer), self.own.level(layer)
            return decode_attention(self.library, q, k, v, *levels, plan.runs)
        return self._attend_plain(plan, layer, q, k, v)

    def _attend_plain(self, plan: "_Plan", layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        active = q.shape[0]
        own_k, own_v = self.own.keys[layer][:active], self.own.values[layer][:active]
        slots = plan.slots
        own_k[slots, :, plan.write_at] = k
        own_v[slots, :, plan.write_at] = v
        groups = self.prompts.count
        prompt_k = self.prompts.keys[layer][:groups].flatten(0, 1)
        prompt_v = self.prompts.values[layer][:groups].flatten(0, 1)
        q = q.view(active, self.kv_heads, self.rep, self.dim)
        scores_prompt = plan.to_slots(torch.bmm(plan.to_groups(q), prompt_k.transpose(1, 2)))
        scores_own = torch.bmm(q.reshape(-1, self.rep, self.dim), own_k.flatten(0, 1).transpose(1, 2))
        scores = torch.cat((scores_prompt, scores_own.unflatten(0, (active, self.kv_heads))), dim=-1)
        probs = torch.add(plan.mask, scores, alpha=1 / math.sqrt(self.dim)).softmax(-1).to(v.dtype)
        span = self.prompts.length
        from_prompt = plan.to_slots(torch.bmm(plan.to_groups(probs[..., :span]), prompt_v))
        from_own = torch.bmm(probs[..., span:].reshape(-1, self.rep, self.own.length), own_v.flatten(0, 1))
        return (from_prompt + from_own.view_as(from_prompt)).view(active, -1, self.dim)


def _keep_plain(
    k: Tensor, v: Tensor, level: Level, starts: Tensor, lengths: Tensor, first: int, at: int
) -> None:
    """`ops.attend.keep_tokens` in the plain order. All rows are written as far as the longest goes; past a
    row's own end lie other tokens, which its length hides."""
    longest = int(lengths.max())
    index = (starts[:, None] + torch.arange(longest, device=k.device)).clamp_(max=len(k) - 1)
    for store, new in ((level.keys, k), (level.values, v)):
        store[first : first + len(starts), :, at : at + longest] = new[index].transpose(1, 2)


class _Plan:
    """How this step's slots gather into groups: with n samples a prompt's product has n * rep rows."""

    def __init__(self, group_of: list[int], groups: int, device: torch.device) -> None:
        counts = [0] * groups
        place = []
        for g in group_of:
            place.append(counts[g])
            counts[g] += 1
        self.groups, self.widest = groups, max(counts)
        self.runs = DecodeRuns.build(group_of)
        self.slots = torch.arange(len(group_of), device=device)
        self.identity = self.widest == 1 and group_of == list(range(groups))
        index = torch.tensor(group_of, device=device) * self.widest + torch.tensor(place, device=device)
        self.place = index
        self.member = torch.zeros(groups * self.widest, dtype=torch.int64, device=device)
        self.member[index] = self.slots
        self.group_index = torch.tensor(group_of, device=device)
        self.write_at = self.slots
        self.mask = torch.empty(0)

    def set_mask(self, cache: DecodeCache) -> None:
        """(A, 1, 1, S + L): -inf past each prompt's end and past each slot's newest token."""
        active = cache.own.count
        self.write_at = cache.own.lengths[:active].clone()
        device = self.write_at.device
        prompt_lengths = cache.prompts.lengths[self.group_index]
        past = torch.arange(cache.prompts.length, device=device) >= prompt_lengths[:, None]
        later = torch.arange(cache.own.length, device=device) > self.write_at[:, None]
        hidden = torch.cat((past, later), dim=1)
        mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, -math.inf)
        self.mask = mask[:, None, None]

    def to_groups(self, x: Tensor) -> Tensor:
        """(A, Hkv, rep, C) -> (G * Hkv, widest * rep, C)"""
        if self.identity:
            return x.flatten(0, 1)
        rows = x.index_select(0, self.member).unflatten(0, (self.groups, self.widest))
        return rows.transpose(1, 2).reshape(self.groups * x.shape[1], self.widest * x.shape[2], x.shape[3])

    def to_slots(self, x: Tensor) -> Tensor:
        """(G * Hkv, widest * rep, C) -> (A, Hkv, rep, C)"""
        x = x.unflatten(0, (self.groups, -1))
        if self.identity:
            return x
        x = x.unflatten(2, (self.widest, -1)).transpose(1, 2).flatten(0, 1)
        return x.index_select(0, self.place)
