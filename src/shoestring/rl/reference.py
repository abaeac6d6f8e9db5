"""The frozen model that a KL penalty holds the policy to."""

import dataclasses

import torch

from shoestring.lm import LanguageModel, load
from shoestring.models.transformer import Transformer
from shoestring.ops.head import target_logprobs
from shoestring.train.batch import MicroBatch, hidden_at_targets

CHUNK = 256


class Reference:
    """The model a stage started from, beside the one it trains. Its logprobs are of the tempered
    distribution, as the trainer's are."""

    def __init__(self, model: str, like: LanguageModel, temperature: float) -> None:
        dtype = str(like.dtype).removeprefix("torch.")
        self.network: Transformer = load(model, dtype=dtype, device=str(like.device)).network
        self.network.requires_grad_(False)
        self.temperature = temperature

    @torch.no_grad()
    def annotate(self, batch: MicroBatch) -> MicroBatch:
        """The micro-batch with the reference's logprob of each target."""
        hidden, targets = hidden_at_targets(self.network, batch.packed)
        parts = [
            target_logprobs(self.network.head(h), t, self.temperature)[0]
            for h, t in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
        ]
        return dataclasses.replace(batch, reference_logprobs=torch.cat(parts).cpu())
