"""Forward passes of the engine: pieces of prompts in, or one token for each running sequence."""

from array import array
from itertools import islice

import torch
from torch import Tensor

from shoestring.engine.blocks import BlockPool
from shoestring.engine.cache import PagedCache, PagedPass
from shoestring.engine.draft import DraftCount
from shoestring.engine.drafting import Drafting, take_drafted
from shoestring.engine.graphs import DecodeGraphs
from shoestring.engine.logprobs import prompt_logprobs
from shoestring.engine.prefill import Prefill
from shoestring.engine.sampler import Sampler
from shoestring.engine.sequence import Piece, Reading, Sequence, Token
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for


class Runner:
    def __init__(self, network: Transformer, pool: BlockPool, draft_tokens: int | None) -> None:
        self.network, self.pool = network, pool
        weight, config = network.norm, network.config  # the embedding may be quantised
        self.device, self.sampler = weight.device, Sampler(network)
        self.drafting = Drafting(network, draft_tokens)
        layers = config.num_hidden_layers + int(self.drafting.drafts is not None)
        self.cache = PagedCache(config, layers, weight.dtype, weight.device, library_for(weight))
        self.graphs = DecodeGraphs.where_possible(network, self.cache)
        self._last: PagedPass | None = None  # over the sequences that run now

    def prepare(self, running: int, readings: list[Reading], copies: list[tuple[int, int]]) -> None:
        """Before a step: memory for the blocks that are held by now, and whether the module drafts."""
        # what keeps blocks fills all that it may in time: a server's memory then stays as it begins
        needed = self.pool.limit if self.pool.keeps else self.pool.numbered
        self.cache.store.grow(needed, self.pool.limit)
        if copies:
            self.cache.store.copy(copies)
            self.look_again()
        self.drafting.choose(running, readings, self.cache)

    @torch.no_grad()
    def read(self, pieces: list[Piece]) -> list[Reading]:
        """Read pieces of prompts into the cache, first those that begin at place 0. Where a prompt ends with
        its piece every sample's first token is drawn. -> what is wholly read."""
        finished = []
        for beginning in (True, False):
            if some := [piece for piece in pieces if (piece.begin == 0) is beginning]:
                finished += self._read(some, beginning)
        if finished:
            self.look_again()
        return finished

    def _read(self, pieces: list[Piece], beginning: bool) -> list[Reading]:
        tables = [piece.reading.table.blocks for piece in pieces]
        firsts, lengths = [piece.begin for piece in pieces], [piece.end - piece.begin for piece in pieces]
        ids = torch.tensor([token for piece in pieces for token in piece.tokens], device=self.device)
        if beginning:
            context, tokens = Prefill(lengths, self.device), self.cache.place(tables, firsts, lengths)
        else:
            context = PagedPass(self.cache, tables, firsts, lengths)
            tokens = context.tokens
        output = self.network(ids, tokens.places, cache=context)
        if self.drafting.drafter is not None:
            following = [piece.reading.tokens[piece.begin + 1 : piece.end + 1] for piece in pieces]
            ended = [[] if len(f) == n else [0] for f, n in zip(following, lengths, strict=True)]
            whole = [f + e for f, e in zip(following, ended, strict=True)]
            self.drafting.drafter.read(output.hidden, whole, tokens.places, context)
        if isinstance(context, Prefill):
            self.cache.keep(context.kept, tokens)
        return self._have_read(pieces, lengths, output.hidden, output.routing)

    def _have_read(
        self, pieces: list[Piece], lengths: list[int], hidden: Tensor, routing: Tensor | None
    ) -> list[Reading]:
        finished: list[Reading] = []
        rows: list[int] = []
        start = 0
        for piece, length in zip(pieces, lengths, strict=True):
            reading = piece.reading
            reading.read, reading.begun = piece.end, True
            if routing is not None and reading.request.params.record_routing:
                _record_prompt(piece, routing[start : start + length])
            if reading.request.params.prompt_logprobs is not None:
                self._read_logprobs(piece, hidden[start : start + length])
            if self.drafting.drafter is not None:
                self.pool.mark_drafted(reading.table)
            start += length
            if reading.finished:
                finished.append(reading)
                rows += [start - 1] * len(reading.sequences)
        if finished:
            self._begin([s for reading in finished for s in reading.sequences], hidden[rows])
        return finished

    def _begin(self, sequences: list[Sequence], last: Tensor) -> None:
        """last (S, hidden): the states of the last tokens read, which make the first token of sequences that
        have none yet."""
        if self.drafting.drafter is not None:
            self.drafting.drafter.add(last)
        new = [row for row, sequence in enumerate(sequences) if not sequence.ids]
        if not new:
            return
        part = last if len(new) == len(sequences) else last[new]
        drawn = self.sampler.draw(part, [(sequences[row], 0) for row in new])
        for row, token in zip(new, drawn, strict=True):
            sequences[row].take(token)

    def _read_logprobs(self, piece: Piece, hidden: Tensor) -> None:
        """hidden (T, d) of a piece's tokens: the logprobs of the prompt's tokens after them, once."""
        request = piece.reading.request
        known, top = request.prompt_logprobs, request.params.prompt_logprobs
        if piece.begin == 0 and (known is None or len(known) < len(request.prompt)):
            known = request.prompt_logprobs = [{}]
        if known is None or top is None or len(known) != piece.begin + 1:
            return
        following = request.prompt[piece.begin + 1 : piece.end + 1]
        if following:
            known += prompt_logprobs(self.network, hidden[: len(following)], following, top)

    @torch.no_grad()
    def decode(self, running: list[Sequence]) -> None:
        """One more token for each running sequence, or more where drafts were right."""
        tables = [s.table.blocks for s in running]
        places = [s.place for s in running]
        drafts, count = self.drafting.next(running, tables, places, self.sampler)
        if count is not None:
            self._decode_checked(running, tables, places, drafts, count)
            return
        hidden = self._after_newest(running, tables, places)
        drawn = self.sampler.draw(hidden, [(s, len(s.ids)) for s in running])
        for sequence, token in zip(running, drawn, strict=True):
            sequence.take(token)

    def _after_newest(self, running: list[Sequence], tables: list[array], places: list[int]) -> Tensor:
        """-> the states (R, hidden) after each sequence's newest token."""
        newest = [s.ids[-1] for s in running]
        states = self.graphs.run(newest, tables, places) if self.graphs is not None else None
        if states is not None:
            return states
        context = self._last = PagedPass(self.cache, tables, places, [1] * len(running), self._last)
        ids = torch.tensor(newest, device=self.device)
        output = self.network(ids, context.tokens.places, cache=context)
        self._record(running, output.routing, [1] * len(running), [1] * len(running))
        return output.hidden

    def _decode_checked(
        self,
        running: list[Sequence],
        tables: list[array],
        places: list[int],
        drafts: list[list[int]],
        count: DraftCount,
    ) -> None:
        lengths = [1 + len(own) for own in drafts]
        fed = [token for s, own in zip(running, drafts, strict=True) for token in (s.ids[-1], *own)]
        context = self._last = PagedPass(self.cache, tables, places, lengths, self._last)
        output = self.network(torch.tensor(fed, device=self.device), context.tokens.places, cache=context)
        drawn = self._draw_checked(output.hidden, running, lengths)
        kept: list[int] = []
        for sequence, own, tokens in zip(running, drafts, drawn, strict=True):
            kept.append(take_drafted(sequence, own[: len(tokens) - 1], tokens, count))
        count.steps += len(kept)
        count.tokens += sum(kept)
        self._record(running, output.routing, lengths, kept)
        if self.drafting.drafter is not None:
            self.drafting.drafter.checked(output.hidden, kept)

    def _draw_checked(self, hidden: Tensor, running: list[Sequence], lengths: list[int]) -> list[list[Token]]:
        """hidden (T, h) after each slot's newest token and its drafts, lengths[i] of slot i -> the tokens
        that follow there; of a sequence that isn't drafted only the first."""
        ahead = [1 if s.undrafted else length for s, length in zip(running, lengths, strict=True)]
        if ahead != lengths:
            starts = [sum(lengths[:slot]) for slot in range(len(lengths))]
            rows = [start + j for start, count in zip(starts, ahead, strict=True) for j in range(count)]
            hidden = hidden[torch.tensor(rows, device=self.device)]
        wanted = [(s, len(s.ids) + j) for s, count in zip(running, ahead, strict=True) for j in range(count)]
        drawn = iter(self.sampler.draw(hidden, wanted))
        return [list(islice(drawn, count)) for count in ahead]

    def _record(
        self, running: list[Sequence], routing: Tensor | None, lengths: list[int], kept: list[int]
    ) -> None:
        """routing (T, layers, K) of the tokens fed, lengths[i] of slot i, whose first kept[i] stand."""
        if routing is None or not any(s.request.params.record_routing for s in running):
            return
        by_slot = routing.to(torch.int16).cpu().split(lengths)
        for sequence, own, stand in zip(running, by_slot, kept, strict=True):
            if sequence.request.params.record_routing:
                sequence.routing.append(own[:stand])

    def look_again(self) -> None:
        """Other sequences run, their blocks lie elsewhere, or the network has other weights."""
        self._last = None
        if self.drafting.drafter is not None:
            self.drafting.drafter.look_again()

    def give_memory_back(self) -> None:
        """Of the cache, of which nothing is held. A GPU's graphs read it where it lies: there it stays."""
        if self.graphs is None:
            self.cache.store.clear()

    def remove(self, slots: list[int]) -> None:
        """Drop what is kept of these slots, given falling; the last take the gaps."""
        self.look_again()
        if self.drafting.drafter is not None:
            self.drafting.drafter.remove(slots)


def _record_prompt(piece: Piece, routing: Tensor) -> None:
    """routing (T, layers, K) of a piece's tokens, to the samples that start from it. What is read again takes
    the way that it took first."""
    whole = routing.to(torch.int16).cpu()
    for sequence in piece.reading.sequences:
        if not sequence.ids:
            if piece.begin == 0:
                sequence.routing.clear()  # it made room before all was read
            sequence.routing.append(whole)
