"""The decode cache: what running sequences have seen, in two levels, a prompt kept once for all its samples
and each sample's own tokens.

Everything is dense and contiguous, since a strided operand makes a bf16 batched product on a CPU four times
slower: slots 0..A-1 are the running sequences and groups 0..G-1 their prompts. A finished one is replaced by
the last, so nothing is ever left in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.engine.plan import StepPlan
from shoestring.engine.pool import Pool, fill_gaps
from shoestring.models.attention import AttentionContext
from shoestring.models.config import ModelConfig
from shoestring.ops.attend import SPAN, decode_attention, keep_tokens
from shoestring.ops.native import Library


@dataclass(frozen=True)
class Prefilled:
    """What a prefill leaves of each layer over flat tokens, in the order of the cache's stores: keys and
    values (T, Hkv, D), or latents (T, 1, W). Prompt i is the first `shared` tokens and then lengths[i] from
    starts[i] on."""

    stores: Sequence[Sequence[Tensor]]
    starts: Tensor
    lengths: Tensor
    shared: int = 0


class DecodeCache(AttentionContext):
    """Slots (one running sequence each) over groups (one prompt each). `group_of[s]` is slot s's group. What
    is kept of a token, and how it is attended to, is a subclass's."""

    def __init__(self, prompts: Pool, own: Pool) -> None:
        self.prompts, self.own = prompts, own
        self.group_of: list[int] = []
        self.members: list[int] = []  # running slots of each group
        self._plan: StepPlan | None = None

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
        shared = prompts.shared
        parts = [(prompts.starts, prompts.lengths, shared)]
        if shared:
            begin = torch.zeros_like(prompts.starts)
            parts.append((begin, torch.full_like(begin, shared), 0))
        for layer, new in enumerate(zip(*prompts.stores, strict=True)):
            for starts, lengths, at in parts:
                self._keep_layer(layer, new, starts, lengths, first, at)

    def _keep_layer(
        self, layer: int, new: Sequence[Tensor], starts: Tensor, lengths: Tensor, first: int, at: int
    ) -> None:
        """Tokens starts[i] ... + lengths[i] of `new` into the prompts' row first + i, from place `at` on. All
        rows are written as far as the longest goes; past a row's own end lie other tokens, which its length
        hides."""
        longest = int(lengths.max())
        index = starts[:, None] + torch.arange(longest, device=starts.device)
        index = index.clamp_(max=len(new[0]) - 1)
        for store, tokens in zip(self.prompts.stores, new, strict=True):
            store[layer][first : first + len(starts), :, at : at + longest] = tokens[index].transpose(1, 2)

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

    def begin_step(self, tokens: int = 1) -> StepPlan:
        """Make room for so many more tokens in each slot and lay out this step's products."""
        active = self.own.count
        self.own.resize(active, int(self.own.lengths[:active].max()) + tokens)
        if self._plan is None:
            self._plan = StepPlan(self.group_of, len(self.members), self.own.lengths.device)
        return self._plan

    def end_step(self, kept: Tensor | int = 1) -> None:
        """kept: of the step's tokens, how many stay in each slot, (A,) or one number; the rest are written
        over by the next step."""
        self.own.lengths[: self.own.count] += kept


class HeadsCache(DecodeCache):
    """Keys and values of every head, one token a step. Without a library attention is batched products of
    torch."""

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, device: torch.device, library: Library | None
    ) -> None:
        self.library = library
        span = 1 if library is None else SPAN
        kv_heads, dim = config.num_key_value_heads, config.head_dim
        prompts, own = (
            Pool(config.num_hidden_layers, kv_heads, (dim, dim), dtype, device, span) for _ in range(2)
        )
        super().__init__(prompts, own)
        self.kv_heads, self.dim = kv_heads, dim
        self.rep = config.num_attention_heads // kv_heads

    def _keep_layer(
        self, layer: int, new: Sequence[Tensor], starts: Tensor, lengths: Tensor, first: int, at: int
    ) -> None:
        if self.library is None:
            super()._keep_layer(layer, new, starts, lengths, first, at)
        else:
            k, v = new
            keep_tokens(self.library, k, v, self.prompts.level(layer), starts, lengths, first, at)

    def begin_step(self, tokens: int = 1) -> StepPlan:
        assert tokens == 1, "keys and values of heads take one token a step"
        plan = super().begin_step(tokens)
        if self.library is None:
            plan.set_mask(self.prompts, self.own, tokens)
        return plan

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """One token a slot: q (A, H, D), k and v (A, Hkv, D) -> (A, H, D)."""
        plan, active = self._plan, q.shape[0]
        assert plan is not None and active == self.own.count
        if self.library is not None:
            levels = self.prompts.level(layer), self.own.level(layer)
            return decode_attention(self.library, q, k, v, *levels, plan.runs, scale)
        return self._attend_plain(plan, layer, q, k, v, scale)

    def _attend_plain(
        self, plan: StepPlan, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float
    ) -> Tensor:
        active = q.shape[0]
        own, prompts = self.own.level(layer), self.prompts.level(layer)
        own_k, own_v = own.keys[:active], own.values[:active]
        slots = plan.slots
        own_k[slots, :, plan.write_at] = k
        own_v[slots, :, plan.write_at] = v
        groups = self.prompts.count
        prompt_k = prompts.keys[:groups].flatten(0, 1)
        prompt_v = prompts.values[:groups].flatten(0, 1)
        q = q.view(active, self.kv_heads, self.rep, self.dim)
        scores_prompt = plan.to_slots(torch.bmm(plan.to_groups(q), prompt_k.transpose(1, 2)))
        scores_own = torch.bmm(q.reshape(-1, self.rep, self.dim), own_k.flatten(0, 1).transpose(1, 2))
        scores = torch.cat((scores_prompt, scores_own.unflatten(0, (active, self.kv_heads))), dim=-1)
        probs = torch.add(plan.mask, scores, alpha=scale).softmax(-1).to(v.dtype)
        span = self.prompts.length
        from_prompt = plan.to_slots(torch.bmm(plan.to_groups(probs[..., :span]), prompt_v))
        from_own = torch.bmm(probs[..., span:].reshape(-1, self.rep, self.own.length), own_v.flatten(0, 1))
        return (from_prompt + from_own.view_as(from_prompt)).view(active, -1, self.dim)
