"""The frozen model that a KL penalty holds the policy to, and the logprobs of a model that isn't learning."""

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from shoestring.lm import LanguageModel, load
from shoestring.models.transformer import Transformer
from shoestring.ops.head import target_logprobs
from shoestring.train.batch import MicroBatch, hidden_at_targets
from shoestring.train.lora import Adapters

CHUNK = 256


@torch.no_grad()
def logprobs_of(
    network: Transformer, batch: MicroBatch, temperature: float, routing: Tensor | None = None
) -> Tensor:
    """(N,) on the CPU: of each target, of the tempered distribution, as the trainer's are."""
    hidden, targets = hidden_at_targets(network, batch.packed, routing)
    parts = [
        target_logprobs(network.head(h), t, temperature)[0]
        for h, t in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
    ]
    return torch.cat(parts).cpu()


class Reference:
    """The model a stage started from, beside the one it trains, until `refresh` makes it that one; where that
    trains adapters, the same one without them."""

    def __init__(
        self, model: str, like: LanguageModel, temperature: float, adapters: Adapters | None = None
    ) -> None:
        self.adapters, self.temperature = adapters, temperature
        self.network: Transformer = like.network
        self.refreshed = 0  # times
        if adapters is None:
            dtype = str(like.dtype).removeprefix("torch.")
            self.network = load(model, dtype=dtype, device=str(like.device)).network
            self.network.requires_grad_(False)

    def annotate_all(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """As `annotate`, with the adapters off meanwhile."""
        with self.adapters.off() if self.adapters is not None else nullcontext():
            return [self.annotate(batch) for batch in batches]

    def annotate(self, batch: MicroBatch) -> MicroBatch:
        """The micro-batch with the reference's logprob of each target."""
        return dataclasses.replace(
            batch, reference_logprobs=logprobs_of(self.network, batch, self.temperature)
        )

    def refresh(self, network: Transformer) -> None:
        """Take the policy's weights as they are now."""
        self._take(dict(network.public_tensors()))
        self.refreshed += 1

    @torch.no_grad()
    def _take(self, weights: dict[str, Tensor]) -> None:
        for name, own in self.network.public_tensors():
            own.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Its weights too, once they are no longer those of the model that the stage started from."""
        weights = dict(self.network.public_tensors()) if self.refreshed else {}
        return {"refreshed": self.refreshed, **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.refreshed = state["refreshed"]
        if self.refreshed:
            self._take(state)
