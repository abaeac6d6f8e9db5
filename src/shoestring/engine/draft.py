"""Drafting the next tokens but one with the model's own MTP module, to be checked by its next forward pass.

A draft is drawn with the same number that the sampler will use at its place, and is kept exactly when the
sampler, given the model's own logits there, takes the same token. So what comes out is token for token what
would have come without drafts, greedy or sampled, and the drafts decide only how many passes it takes."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.engine.cache import PagedCache, PagedPass
from shoestring.models.attention import AttentionContext
from shoestring.models.transformer import Transformer


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


def lookup_pays(sequences: int, network: Transformer) -> bool:
    """Whether to draft from the text before (`engine.lookup`) where nobody said so. A text that was to be
    repeated word for word came 1.6 times as fast with two drafts and 1.3 times with four (SmolLM2-135M, one
    core, one sequence); what repeats nothing has no drafts and costs nothing. With experts each row meets its
    own, and a V3 of 8M came 0.97 times as fast (a quarter kept). On a GPU a step that checks drafts is not
    replayed (`engine.graphs`) and takes as long as several that are."""
    return sequences == 1 and network.device.type == "cpu" and not network.config.n_routed_experts


class Drafter:
    """The first MTP module, whose latents lie in the model's own cache as those of one layer more; `ahead`
    drafts a step: the first from the model's own states, each further one from what the module made of the
    one before.

    The module lags behind: at place i it reads the state of token i and token i + 1, so what a pass has just
    made waits in `states` until the next draft."""

    def __init__(self, network: Transformer, cache: PagedCache, ahead: int, count: DraftCount) -> None:
        self.network, self.cache, self.ahead = network, cache, ahead
        self.states = network.norm.new_empty(0, self.window, network.config.hidden_size)
        self.waiting: list[int] = []  # states of each slot, 1 to `window`
        self.count = count
        self._last: PagedPass | None = None  # over the sequences that run now

    def look_again(self) -> None:
        """As `Runner.look_again`."""
        self._last = None

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

    def read(
        self, hidden: Tensor, tokens: Sequence[Sequence[int]], at: Tensor, context: AttentionContext
    ) -> None:
        """The module's latents of what a pass has read: hidden (T, h) of pieces whose tokens are `tokens`,
        each with the one after it. At the end of a prompt nobody knows that one yet: any will do, since its
        state waits and is read again with the right one."""
        following = torch.tensor([token for piece in tokens for token in piece], device=at.device)
        self.network.predict_further(0, hidden, following, at, context)

    def remove(self, slots: list[int]) -> None:
        """Drop slots, given falling; the last take the gaps."""
        order = list(range(len(self.waiting)))
        for slot in slots:
            order[slot] = order[-1]
            order.pop()
        self.states = self.states[torch.tensor(order, dtype=torch.int64, device=self.states.device)]
        self.waiting = [self.waiting[slot] for slot in order]

    def draft(
        self,
        newest: list[list[int]],
        places: list[int],
        tables: list[array],
        draw: Callable[[Tensor, int], list[int]],
    ) -> list[list[int]]:
        """Each slot's last tokens (`window` of them, or as many as it has), the place of the last and its
        blocks -> `ahead` drafts of each slot. draw(hidden (A, h), j): the tokens j + 1 places on."""
        hidden = self._first(newest, places, tables)
        drafts = [[token] for token in draw(hidden, 0)]
        for further in range(1, self.ahead):
            at = [place + further - 1 for place in places]
            context = PagedPass(self.cache, tables, at, [1] * len(at), self._last)
            following = torch.tensor([d[-1] for d in drafts], device=self.states.device)
            hidden = self.network.predict_further(0, hidden, following, context.tokens.places, context).hidden
            for own, token in zip(drafts, draw(hidden, further), strict=True):
                own.append(token)
        return drafts  # what was made from drafts is made again from the model's states

    def _first(self, newest: list[list[int]], places: list[int], tables: list[array]) -> Tensor:
        """The states that wait through the module -> (A, hidden) for the head, of each slot's last. What is
        slot by slot is worked out in lists: a torch operation on a few numbers takes longer."""
        ids = [token for own, waiting in zip(newest, self.waiting, strict=True) for token in own[-waiting:]]
        firsts = [place - waiting for place, waiting in zip(places, self.waiting, strict=True)]
        rows = [self.window * slot + i for slot, waiting in enumerate(self.waiting) for i in range(waiting)]
        last = [sum(self.waiting[: slot + 1]) - 1 for slot in range(len(places))]
        device = self.states.device
        context = self._last = PagedPass(self.cache, tables, firsts, self.waiting, self._last)
        following, chosen, wanted = (torch.tensor(numbers, device=device) for numbers in (ids, rows, last))
        states = self.states.flatten(0, 1)[chosen]
        at = context.tokens.places
        return self.network.predict_further(0, states, following, at, context, rows=wanted).hidden

    def checked(self, states: Tensor, kept: list[int]) -> None:
        """states (A * window, hidden) that the pass made of newest tokens and drafts; kept: how many of each
        slot's stand, from its first on."""
        self.states, self.waiting = states.unflatten(0, (-1, self.window)), kept
