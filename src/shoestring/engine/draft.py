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


def drafting_pays(sequences: int, device: torch.device) -> bool:
    """On a CPU a pass costs by the rows it computes and the experts it reads, and a second row a sequence
    meets others: a trained model of the preset tiny made 1.15 times as many tokens a second with one sequence
    (95 % kept), 0.89 with two, 0.81 with four and with 32, and once 1.10 with eight (docs/log.md). On a GPU
    it has not been measured, and always drafts."""
    return device.type != "cpu" or sequences == 1


class Trial:
    """Whether the drafts that were kept so far are reason for more. A module that wasn't trained, or not on
    such text, costs up to half the speed: after every `DRAFTS` drafts of which too few were kept none are
    made for a while, twice as long each time."""

    DRAFTS, KEPT = 32, 0.5  # one sequence on a CPU: a pass with a draft takes 1.5 to 1.7 times one without
    REST, MOST = 512, 16384  # steps without drafts

    def __init__(self, count: DraftCount) -> None:
        self.count = count
        self._rest, self._next_rest = 0, self.REST
        self._drafted, self._accepted = count.drafted, count.accepted  # at the last judgement

    def goes_on(self) -> bool:
        """Asked once a step."""
        if self._rest:
            self._rest -= 1
            return False
        drafted, accepted = self.count.drafted - self._drafted, self.count.accepted - self._accepted
        if drafted < self.DRAFTS:
            return True
        self._drafted, self._accepted = self.count.drafted, self.count.accepted
        if accepted >= self.KEPT * drafted:
            self._next_rest = self.REST
            return True
        self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, self.MOST)
        return False


def lookup_pays(sequences: int, device: torch.device) -> bool:
    """As `drafting_pays`, of drafts that are looked up (`engine.lookup`). A text that was to be repeated word
    for word came 1.6 times as fast with two drafts and 1.3 times with four (SmolLM2-135M, one core, one
    sequence); what repeats nothing has no drafts and costs nothing. On a GPU a step that checks drafts is not
    replayed (`engine.graphs`) and takes as long as several that are."""
    return device.type == "cpu" and sequences == 1


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
            context = PagedPass(self.cache, tables, at, [1] * len(at))
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
        context = PagedPass(self.cache, tables, firsts, self.waiting)
        following, chosen, wanted = (torch.tensor(numbers, device=device) for numbers in (ids, rows, last))
        states = self.states.flatten(0, 1)[chosen]
        at = context.tokens.places
        return self.network.predict_further(0, states, following, at, context, rows=wanted).hidden

    def checked(self, states: Tensor, kept: list[int]) -> None:
        """states (A * window, hidden) that the pass made of newest tokens and drafts; kept: how many of each
        slot's stand, from its first on."""
        self.states, self.waiting = states.unflatten(0, (-1, self.window)), kept
