"""What a step tries ahead: drafts of the model's own MTP module, or what stood in the text before."""

from array import array

from torch import Tensor

from shoestring.engine.cache import PagedCache
from shoestring.engine.draft import DraftCount, Drafter, lookup_pays
from shoestring.engine.lookup import Lookup
from shoestring.engine.sampler import Sampler
from shoestring.engine.sequence import Reading, Sequence, Token
from shoestring.models.transformer import Transformer

LOOKED_UP = 2  # tokens drafted from what stood in the text before, unless the caller says how many


class Drafting:
    """draft_tokens: how many tokens to draft ahead, with the model's MTP module where it has one and latent
    attention, else by looking up; None: by looking up, where that pays. The module's own step and the second
    row's experts take more time than its drafts save in the models that were measured (docs/log.md)."""

    def __init__(self, network: Transformer, draft_tokens: int | None) -> None:
        self.network, self.draft_tokens = network, draft_tokens
        config = network.config
        has_module = config.is_mla and config.num_nextn_predict_layers > 0
        self.drafter: Drafter | None = None  # of the sequences that run now
        self.drafts = DraftCount() if has_module and draft_tokens else None
        self.lookups = DraftCount() if not has_module and draft_tokens != 0 else None

    @property
    def ahead(self) -> int:
        """Tokens that a step may write of a sequence besides its newest."""
        if self.drafts is not None:
            return self.draft_tokens or 0
        return 0 if self.lookups is None else self.draft_tokens or LOOKED_UP

    def choose(self, running: int, readings: list[Reading], cache: PagedCache) -> None:
        """Whether the module drafts in the next step. It has to have seen every token: drafting begins with
        nothing running, and ends for all when one joins whose beginning it hasn't seen."""
        if self.drafts is None:
            return
        new = [reading for reading in readings if not reading.begun]
        if not all(reading.table.drafted for reading in new):
            self.drafter = None
        elif self.drafter is None and not running and len(new) == len(readings) and _any_drafted(new):
            self.drafter = Drafter(self.network, cache, self.ahead, self.drafts)

    def next(
        self, running: list[Sequence], tables: list[array], places: list[int], sampler: Sampler
    ) -> tuple[list[list[int]], DraftCount | None]:
        """What may come next in each sequence, and where it is counted; None: nothing is drafted."""
        if self.drafter is not None:
            numbers = [len(s.ids) for s in running]  # of the token that comes next

            def drawn_ahead(hidden: Tensor, further: int) -> list[int]:
                wanted = [(s, number + further) for s, number in zip(running, numbers, strict=True)]
                return sampler.draft(hidden, wanted)

            newest = [_newest(s, self.drafter.window) for s in running]
            return self.drafter.draft(newest, places, tables, drawn_ahead), self.drafter.count
        pays = self.draft_tokens is not None or lookup_pays(len(running), self.network)
        if self.lookups is None or not pays:
            return [], None
        drafts = [self._look_up(sequence) for sequence in running]
        return drafts, self.lookups if any(drafts) else None

    def _look_up(self, sequence: Sequence) -> list[int]:
        if sequence.undrafted:
            return []
        if sequence.lookup is None:
            sequence.lookup = Lookup()
        most = min(self.ahead, sequence.request.limit - len(sequence.ids) - 1)
        tokens = [*sequence.request.prompt, *sequence.ids]
        return sequence.lookup.drafts(tokens, most) if most > 0 else []


def take_drafted(sequence: Sequence, drafts: list[int], drawn: list[Token], count: DraftCount) -> int:
    """drawn[i] follows the newest token and i drafts, and is taken while those are right -> tokens taken."""
    for i, draft in enumerate(drafts):
        sequence.take(drawn[i])
        right, ended = drawn[i].id == draft, sequence.ending is not None
        count.accepted += int(right)
        if ended or not right:
            count.drafted += i + 1 if ended else len(drafts)
            return i + 1
        if sequence.undrafted:  # a guide woke up: what was drawn after this token was drawn without it
            count.drafted += i + 1
            return i + 1
    count.drafted += len(drafts)
    sequence.take(drawn[len(drafts)])
    return len(drafts) + 1


def _newest(sequence: Sequence, count: int) -> list[int]:
    """Its last tokens, of the prompt too where it has made few."""
    ids = sequence.ids[-count:]
    missing = count - len(ids)
    return [*sequence.request.prompt[-missing:], *ids] if missing else ids


def _any_drafted(readings: list[Reading]) -> bool:
    return not all(s.undrafted for reading in readings for s in reading.sequences)
