"""Drafting the next tokens but one with the model's own MTP module, to be checked by its next forward pass.

A draft is drawn with the same number that the sampler will use at its place, and is kept exactly when the
sampler, given the model's own logits there, takes the same token. So what comes out is token for token what
would have come without drafts, greedy or sampled, and the drafts decide only how many passes it takes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.engine.latent import LatentCache
from shoestring.engine.pool import fill_gaps
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for


@dataclass
class DraftCount:
    """Of all decode steps so far: sequences stepped, tokens made, drafts made, and those of them that were
    right. A draft past the end of its sequence is not counted: nothing says whether it was right."""

    steps: int = 0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Right drafts, as a share of those made."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def tokens_per_forward(self) -> float:
        return self.tokens / self.steps if self.steps else 0.0


def drafting_pays(sequences: int, device: torch.device) -> bool:
    """On a CPU a pass costs by the rows it computes and the experts it reads, and a second row a sequence
    meets others: a trained model of the preset tiny made 1.15 times as many tokens a second with one sequence
    (95 % kept), 0.89 with two, 0.81 with four and with 32, and once 1.10 with eight (docs/log.md). On a GPU
    it has not been measured, and always drafts."""
    return device.type != "cpu" or sequences == 1


class Drafter:
    """The first MTP module over a latent cache of its own, `ahead` drafts a step: the first from the model's
    own states, each further one from what the module made of the one before.

    Module and cache lag behind: at place i the module reads the state of token i and token i + 1, so what a
    pass has just made waits in `states` until the next draft."""

    def __init__(
        self, network: Transformer, ahead: int, count: DraftCount, dtype: torch.dtype, device: torch.device
    ) -> None:
        config = network.config
        self.network, self.ahead, self.device = network, ahead, device
        library = library_for(network.norm)
        self.cache = LatentCache(config, 1, dtype, device, library, first=config.num_hidden_layers)
        self.states = torch.empty(0, self.window, config.hidden_size, dtype=dtype, device=device)
        self.waiting: list[int] = []  # states of each slot, 1 to `window`
        self.count = count

    @property
    def window(self) -> int:
        """Tokens of a slot in one pass: its newest one and the drafts."""
        return self.ahead + 1

    def add(self, last: Tensor) -> None:
        """last (S, hidden): the states that made the first token of S new slots."""
        new = last.new_zeros(len(last), self.window, last.shape[1])
        new[:, 0] = last
        self.states = torch.cat((self.states, new))
        self.waiting += [1] * len(last)

    def remove(self, slots: list[int]) -> None:
        """As `DecodeCache.remove`."""
        order = fill_gaps(len(self.waiting), slots)
        self.states = self.states[torch.tensor(order, dtype=torch.int64, device=self.device)]
        self.waiting = [self.waiting[slot] for slot in order]
        self.cache.remove(slots)

    def draft(
        self,
        newest: list[list[int]],
        places: list[int],
        draw: Callable[[Tensor, int], list[int]],
    ) -> list[list[int]]:
        """Each slot's last tokens (`window` of them, or as many as it has) and the place of the last ->
        `ahead` drafts of each slot. draw(hidden (A, h), j): the tokens j + 1 places on."""
        hidden = self._first(newest, places)
        drafts = [[token] for token in draw(hidden, 0)]
        for further in range(1, self.ahead):
            self.cache.begin_step(1)
            before, at = ([d[-1] for d in drafts], [place + further - 1 for place in places])
            following, positions = (torch.tensor(numbers, device=self.device) for numbers in (before, at))
            hidden = self.network.predict_further(0, hidden, following, positions, self.cache).hidden
            self.cache.end_step(1)
            for own, token in zip(drafts, draw(hidden, further), strict=True):
                own.append(token)
        self.cache.end_step(1 - self.ahead)  # what was made from drafts is made again from the model's states
        return drafts

    def _first(self, newest: list[list[int]], places: list[int]) -> Tensor:
        """The states that wait through the module -> (A, hidden) for the head, of each slot's last. What is
        slot by slot is worked out in lists: a torch operation on a few numbers takes longer."""
        wide = max(self.waiting)
        ids, positions, rows = [], [], []
        for slot, waiting in enumerate(self.waiting):
            own = newest[slot][-waiting:]
            ids += [*own, *own[-1:] * (wide - waiting)]
            first = places[slot] - waiting  # of the states that wait
            positions += range(first, first + wide)
            rows.append(wide * slot + waiting - 1)
        self.cache.begin_step(wide)
        following, at, wanted, kept = (
            torch.tensor(numbers, device=self.device) for numbers in (ids, positions, rows, self.waiting)
        )
        states = self.states[:, :wide].flatten(0, 1)
        out = self.network.predict_further(0, states, following, at, self.cache, rows=wanted)
        self.cache.end_step(kept)
        return out.hidden

    def checked(self, states: Tensor, kept: list[int]) -> None:
        """states (A * window, hidden) that the pass made of newest tokens and drafts; kept: how many of each
        slot's stand, from its first on."""
        self.states, self.waiting = states.unflatten(0, (-1, self.window)), kept
        self.count.steps += len(kept)
        self.count.tokens += sum(kept)
