"""Which requests run: waiting ones join whenever there is room, finished ones leave at once, and where the
cache is full the last who came make room."""

import bisect
import dataclasses
from collections import deque
from dataclasses import dataclass

from shoestring.engine.blocks import BlockPool, Table
from shoestring.engine.sequence import Piece, Reading, Request, Sequence
from shoestring.ops.paged import SPAN


@dataclass
class Step:
    """pieces: to be read, the first who came first. decode: whether every running sequence makes a token.
    copies: blocks (from, to) to be copied before. left: slots, falling, of sequences that made room."""

    pieces: list[Piece]
    decode: bool
    copies: list[tuple[int, int]]
    left: list[int]


TOGETHER = 8  # while more waits than fits, 1 / so much of the slots must be free for a prefill


class Scheduler:
    """First come, first served; at most `max_batch` sequences run or have their prompts read.

    A step reads at most `max_prefill_tokens` tokens of prompts, a longer prompt in pieces. Without
    `chunk_tokens` prompts are read first and no sequence goes on meanwhile: what is wanted are all
    completions soon. With it a step reads at most so many tokens beside a token for every running sequence,
    and k times as many while k times as many samples wait to be read as run: that the few go on evenly would
    keep the many waiting.

    What waits joins at once if all of it fits. Where it doesn't, and there are no chunks, prompts are
    admitted some at a time: with a slot filled whenever one is free, 1000 prompts through 256 slots were 600
    prefills, each a pass over all weights for one prompt."""

    def __init__(
        self, max_batch: int, max_prefill_tokens: int, chunk_tokens: int | None, pool: BlockPool
    ) -> None:
        self.max_batch, self.max_prefill_tokens = max_batch, max_prefill_tokens
        self.chunk_tokens, self.pool = chunk_tokens, pool
        self.waiting: deque[Request] = deque()
        self.again: list[Reading] = []  # made room, the first who came first
        self.readings: list[Reading] = []
        self.running: list[Sequence] = []  # in the order of the runner's slots
        self.preemptions = 0
        self.asked = self.found = 0  # tokens of prompts, and those of them that were in the cache

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.again or self.readings or self.running)

    @property
    def wanted(self) -> int:
        """Samples that wait for a slot."""
        waiting = sum(request.params.n - request.admitted for request in self.waiting)
        return waiting + sum(len(reading.samples) for reading in self.again)

    def next_step(self, ahead: int, drafting: bool) -> Step:
        """ahead: tokens that a running sequence may write besides its newest. drafting: the MTP module's
        latent of the last token read is still to be written."""
        copies, left = self._make_room(1 + ahead, int(drafting))
        pieces = self._pieces()
        decode = bool(self.running) and (self.chunk_tokens is not None or not pieces)
        return Step(pieces, decode, copies, left)

    def join(self, reading: Reading) -> None:
        """It is read: its samples run."""
        self.readings.remove(reading)
        for sequence in reading.sequences[1:]:
            sequence.table = self.pool.fork(reading.table)
        reading.sequences[0].table = reading.table
        self.running += reading.sequences

    def remove(self, slot: int) -> None:
        """As the runner does it: the last sequence takes the gap."""
        self.pool.release(self.running[slot].table)
        self.running[slot] = self.running[-1]
        self.running.pop()

    def drop(self, request: Request) -> None:
        """Of what doesn't run yet, all of a request."""
        if request in self.waiting:
            self.waiting.remove(request)
        for reading in [r for r in self.readings if r.request is request]:
            self.readings.remove(reading)
            self.pool.release(reading.table)
        self.again = [r for r in self.again if r.request is not request]

    def read_again(self) -> None:
        """What is being read begins anew: nobody knows what of it is in the cache."""
        for reading in self.readings:
            self._wait_again(reading)
        self.readings = []

    def started(self) -> list[Sequence]:
        """Those that have begun and aren't finished."""
        read = [s for reading in (*self.readings, *self.again) for s in reading.sequences]
        return [*self.running, *read]

    def _wait_again(self, reading: Reading) -> None:
        """What was half read begins anew."""
        self.pool.release(reading.table)
        waits = dataclasses.replace(reading, table=self.pool.empty(), read=0, begun=False)
        bisect.insort(self.again, waits, key=lambda r: r.came)

    def _make_room(self, tokens: int, behind: int) -> tuple[list[tuple[int, int]], list[int]]:
        """Blocks for what running sequences write next: `tokens` of each, after the last `behind` of those in
        the cache. The first who came comes first, the last make room."""
        needed: dict[int, int] = {}
        for slot, sequence in enumerate(self.running):
            place = sequence.place
            if missing := self.pool.missing(sequence.table, place + tokens, place - behind):
                needed[slot] = missing
        order = list(needed)
        if sum(needed.values()) > self.pool.available:
            order.sort(key=lambda slot: self.running[slot].came)
        copies: list[tuple[int, int]] = []
        left: set[int] = set()
        for slot in order:
            while slot not in left and needed[slot] > self.pool.available:
                self._preempt_last(left)
            if slot not in left:
                sequence = self.running[slot]
                place = sequence.place
                copies += self.pool.extend(sequence.table, place + tokens, place - behind)
        falling = sorted(left, reverse=True)
        for slot in falling:
            self.remove(slot)
        return copies, falling

    def _preempt_last(self, left: set[int]) -> None:
        """Of those that run or are read, the last who came gives its blocks back and waits to be read again.
        What it has made stays made."""
        slots = [slot for slot in range(len(self.running)) if slot not in left]
        slot = max(slots, key=lambda slot: self.running[slot].came, default=None)
        reading = max(self.readings, key=lambda r: r.came, default=None)
        self.preemptions += 1
        if reading is not None and (slot is None or reading.came > self.running[slot].came):
            self.readings.remove(reading)
            self._wait_again(reading)
        else:
            assert slot is not None, "the cache holds one sequence at least"
            sequence = self.running[slot]
            self.pool.release(sequence.table)
            left.add(slot)
            again, read = range(sequence.sample, sequence.sample + 1), sequence.ids[:-1]
            tokens = [*sequence.request.prompt, *read]
            waits = Reading(sequence.request, again, [sequence], tokens, self.pool.empty())
            bisect.insort(self.again, waits, key=lambda r: r.came)

    def _pieces(self) -> list[Piece]:
        """Of what is being read, and of what joins while the step's tokens last."""
        left = whole = self._tokens_to_read()
        pieces = list[Piece]()
        for reading in self.readings:
            end = min(reading.read + left, len(reading.tokens))
            if end > reading.read:
                pieces.append(self._piece(reading, end))
                left -= end - reading.read
        if self._waits_for_more():
            return pieces
        while left > 0 and (reading := self._next_reading()) is not None:
            missing = len(reading.tokens) - reading.read
            if pieces and left < missing <= whole:  # the next step reads it in one piece
                self.pool.release(reading.table)
                break
            self._start(reading)
            pieces.append(self._piece(reading, min(reading.read + left, len(reading.tokens))))
            left -= pieces[-1].end - reading.read
        return pieces

    def _tokens_to_read(self) -> int:
        if self.chunk_tokens is None or not self.running:
            return self.max_prefill_tokens
        unread = self._being_read() + min(self.wanted, self._free_slots())
        chunks = max(1, unread // len(self.running))
        return min(self.max_prefill_tokens, chunks * self.chunk_tokens)

    def _waits_for_more(self) -> bool:
        free = self._free_slots()
        few = free < self.max_batch // TOGETHER and self.wanted > free
        return self.chunk_tokens is None and bool(self.running) and few

    def _free_slots(self) -> int:
        return self.max_batch - len(self.running) - self._being_read()

    def _being_read(self) -> int:
        return sum(len(reading.samples) for reading in self.readings)

    def _piece(self, reading: Reading, end: int) -> Piece:
        # named before it is read: who comes later in this step reads after this one
        self.pool.name(reading.table, reading.tokens[:end])
        return Piece(reading, reading.read, end)

    def _next_reading(self) -> Reading | None:
        """Who comes next, with the blocks that are known of its beginning held, if there is room for it."""
        free = self._free_slots()
        alone = not (self.running or self.readings)
        if self.again:
            reading = self.again[0]
            request, samples, sequences = reading.request, reading.samples, reading.sequences
            tokens = reading.tokens
        elif self.waiting and free:
            request = self.waiting[0]
            begun, tokens, sequences = request.admitted, request.prompt, list[Sequence]()
            samples = range(begun, min(begun + free, request.params.n))
        else:
            return None
        table = self._find(request, tokens)
        needed = self.pool.missing(table, len(tokens), len(tokens))
        if alone and not sequences:  # a sample at least fits, else it would have been refused
            samples = samples[: max(1, self.pool.available - needed)]
        # with a block for each sample to write into, and for each that runs or is read
        others = self.max_batch - free
        if len(samples) <= free and (alone or needed + len(samples) + others <= self.pool.available):
            return Reading(request, samples, sequences, tokens, table, len(table.blocks) * SPAN)
        self.pool.release(table)
        return None

    def _find(self, request: Request, tokens: list[int]) -> Table:
        """Where every token's own pass is wanted, nothing is found."""
        params = request.params
        every = params.record_routing or params.prompt_logprobs is not None
        return self.pool.empty() if every else self.pool.find(tokens)

    def _start(self, reading: Reading) -> None:
        """All of its blocks at once: two that are half read and lack blocks would wait for each other."""
        self.readings.append(reading)
        self.pool.extend(reading.table, len(reading.tokens), len(reading.tokens))
        if self.again:
            self.again.pop(0)
            return
        request = reading.request
        reading.sequences = [request.start(sample) for sample in reading.samples]
        if request.cached is None:
            request.cached = reading.read
            self.asked += len(request.prompt)
            self.found += reading.read
        request.admitted += len(reading.samples)
        if request.admitted == request.params.n:
            self.waiting.popleft()
