"""The decode cache of latent attention: kv_lora_rank + qk_rope_head_dim numbers a token and layer, read as
keys by all heads at once, their first kv_lora_rank as values."""

import torch
from torch import Tensor

from shoestring.engine.cache import DecodeCache
from shoestring.engine.plan import StepPlan
from shoestring.engine.pool import Pool
from shoestring.models.config import ModelConfig
from shoestring.ops.latent_heads import LatentLevels
from shoestring.ops.native import Library


class LatentCache(DecodeCache):
    """Takes several tokens a step in each slot: what a draft proposes is checked in one pass. `first` is the
    number of the first layer that it serves (an MTP module keeps latents of its own)."""

    absorbs = True

    def __init__(
        self,
        config: ModelConfig,
        layers: int,
        dtype: torch.dtype,
        device: torch.device,
        library: Library | None,
        first: int = 0,
    ) -> None:
        assert config.kv_lora_rank is not None
        self.library = library
        self.width = config.kv_lora_rank + config.qk_rope_head_dim
        prompts, own = (Pool(layers, 1, (self.width,), dtype, device) for _ in range(2))
        super().__init__(prompts, own)
        self.first, self.tokens = first, 1

    def begin_step(self, tokens: int = 1) -> StepPlan:
        plan = super().begin_step(tokens)
        if self.library is None:
            plan.set_mask(self.prompts, self.own, tokens)
        self.tokens = tokens
        return plan

    def latent_levels(self, layer: int) -> LatentLevels | None:
        plan = self._plan
        assert plan is not None
        if self.library is None:
            return None
        prompts, own = (pool.stores[0][layer - self.first] for pool in (self.prompts, self.own))
        lengths = self.prompts.lengths, self.own.lengths
        return LatentLevels(self.library, prompts, own, *lengths, plan.group_index, self.tokens)

    def attend_latent(self, layer: int, q: Tensor, latent: Tensor, rank: int, scale: float) -> Tensor:
        """Slot by slot, each slot's new tokens together: q (A * tokens, H, W), latent (A * tokens, W) ->
        (A * tokens, H, rank)."""
        plan = self._plan
        assert plan is not None and self.library is None
        assert len(q) == self.own.count * self.tokens
        tokens = self.tokens
        active, heads, groups = self.own.count, q.shape[1], self.prompts.count
        own = self.own.stores[0][layer - self.first][:active, 0]
        prompts = self.prompts.stores[0][layer - self.first][:groups, 0]
        places = plan.write_at[:, None] + torch.arange(tokens, device=q.device)
        own[plan.slots[:, None], places] = latent.view(active, tokens, -1)

        q = q.reshape(active, 1, tokens * heads, -1)
        on_prompt = plan.to_slots(torch.bmm(plan.to_groups(q), prompts.transpose(1, 2)))
        on_own = torch.bmm(q[:, 0], own.transpose(1, 2))
        scores = torch.cat((on_prompt[:, 0], on_own), dim=-1).unflatten(1, (tokens, heads))
        probs = torch.add(plan.mask, scores, alpha=scale).softmax(-1).to(own.dtype).flatten(1, 2)
        span = self.prompts.length
        # the whole width, of which the rotary end is dropped: a product with contiguous rows costs less than
        # one with the latents cut out of them
        of_prompt = plan.to_slots(torch.bmm(plan.to_groups(probs[:, None, :, :span]), prompts))
        of_own = torch.bmm(probs[..., span:], own)
        mixed = (of_prompt[:, 0] + of_own)[..., :rank]
        return mixed.reshape(active * tokens, heads, rank)
