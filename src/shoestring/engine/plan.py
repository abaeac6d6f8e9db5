"""How a decode step's products are laid out: which slots share a prompt, and what each may see."""

import math

import torch
from torch import Tensor

from shoestring.engine.pool import Pool
from shoestring.ops.attend import DecodeRuns


class StepPlan:
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

    def set_mask(self, prompts: Pool, own: Pool, tokens: int) -> None:
        """mask (A, tokens, 1, S + L): -inf past each prompt's end and past each of the slot's new tokens."""
        self.write_at = own.lengths[: len(self.slots)].clone()
        device = self.write_at.device
        prompt_lengths = prompts.lengths[self.group_index]
        past = torch.arange(prompts.length, device=device) >= prompt_lengths[:, None]
        newest = self.write_at[:, None] + torch.arange(tokens, device=device)
        later = torch.arange(own.length, device=device) > newest[..., None]
        hidden = torch.cat((past[:, None].expand(-1, tokens, -1), later), dim=-1)
        mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, -math.inf)
        self.mask = mask[:, :, None]

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
