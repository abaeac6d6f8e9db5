"""Drafting the token after next with the model's own MTP module, to be checked by its next forward pass.

A draft is drawn with the same number that the sampler will use at its place, and is kept exactly when the
sampler, given the model's own logits there, takes the same token. So what comes out is token for token what
would have come without drafts, greedy or sampled, and the drafts decide only how many passes it takes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.engine.latent import LatentCache
from shoestring.engine.pool import fill_gaps
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for

WINDOW = 2  # tokens of a slot in one pass: its newest one and a draft


@dataclass
class DraftCount:
    """Of all decode steps so far: sequences stepped, tokens made, drafts kept."""

    steps: int = 0
    tokens: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Drafts kept, as a share of those made."""
        return self.accepted / self.steps if self.steps else 0.0

    @property
    def tokens_per_forward(self) -> float:
        return self.tokens / self.steps if self.steps else 0.0


class Drafter:
    """The first MTP module over a latent cache of its own. Module and cache lag one token behind: at place i
    it reads the state of token i and token i + 1, so what a pass has just made waits in `states` until the
    next draft."""

    def __init__(self, network: Transformer, dtype: torch.dtype, device: torch.device) -> None:
        config = network.config
        self.network, self.device = network, device
        library = library_for(network.embed_tokens)
        self.cache = LatentCache(config, 1, dtype, device, library, first=config.num_hidden_layers)
        self.states = torch.empty(0, WINDOW, config.hidden_size, dtype=dtype, device=device)
        self.waiting: list[int] = []  # states of each slot, 1 or 2
        self.count = DraftCount()

    def add(self, last: Tensor) -> None:
        """last (S, hidden): the states that made the first token of S new slots."""
        new = last.new_zeros(len(last), WINDOW, last.shape[1])
        new[:, 0] = last
        self.states = torch.cat((self.states, new))
        self.waiting += [1] * len(last)

    def remove(self, slots: list[int]) -> None:
        """As `DecodeCache.remove`."""
        order = fill_gaps(len(self.waiting), slots)
        self.states = self.states[torch.tensor(order, dtype=torch.int64, device=self.device)]
        self.waiting = [self.waiting[slot] for slot in order]
        self.cache.remove(slots)

    def hidden(self, before: list[int], last: list[int], places: list[int]) -> Tensor:
        """Each slot's last two tokens and the place of the last -> (A, hidden) for the head, of the token
        after it. What is slot by slot is worked out in lists: a torch operation on a few numbers takes
        longer."""
        ids, positions, rows = [], [], []
        for slot, waiting in enumerate(self.waiting):
            ids += [last[slot] if waiting == 1 else before[slot], last[slot]]
            first = places[slot] - waiting  # of the states that wait
            positions += [first, first + 1]
            rows.append(WINDOW * slot + waiting - 1)
        self.cache.begin_step(WINDOW)
        following, at, wanted, kept = (
            torch.tensor(numbers, device=self.device) for numbers in (ids, positions, rows, self.waiting)
        )
        states = self.states.flatten(0, 1)
        out = self.network.predict_further(0, states, following, at, self.cache, rows=wanted)
        self.cache.end_step(kept)
        return out.hidden

    def checked(self, states: Tensor, kept: list[int]) -> None:
        """states (A * 2, hidden) that the pass made of newest token and draft; kept: 1 of each slot or
        both."""
        self.states, self.waiting = states.unflatten(0, (-1, WINDOW)), kept
