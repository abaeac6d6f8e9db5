"""The frozen model that a KL penalty holds the policy to."""

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from shoestring.lm import LanguageModel, load
from shoestring.models.transformer import Transformer
from shoestring.ops.head import target_logprobs
from shoestring.train.batch import MicroBatch, hidden_at_targets
from shoestring.train.lora import Adapters

CHUNK = 256


class Reference:
    """The model a stage started from, beside the one it trains; where that trains adapters, the same one
    without them. Its logprobs are of the tempered distribution, as the trainer's are."""

    def __init__(
        self, model: str, like: LanguageModel, temperature: float, adapters: Adapters | None = None
    ) -> None:
        self.adapters, self.temperature = adapters, temperature
        self.network: Transformer = like.network
        if adapters is None:
            dtype = str(like.dtype).removeprefix("torch.")
            self.network = load(model, dtype=dtype, device=str(like.device)).network
            self.network.requires_grad_(False)

    def annotate_all(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """As `annotate`, with the adapters off meanwhile."""
        with self.adapters.off() if self.adapters is not None else nullcontext():
            return [self.annotate(batch) for batch in batches]

    @torch.no_grad()
    def annotate(self, batch: MicroBatch) -> MicroBatch:
        """The micro-batch with the reference's logprob of each target."""
        hidden, targets = hidden_at_targets(self.network, batch.packed)
        parts = [
            target_logprobs(self.network.head(h), t, self.temperature)[0]
            for h, t in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
        ]
        return dataclasses.replace(batch, reference_logprobs=torch.cat(parts).cpu())
