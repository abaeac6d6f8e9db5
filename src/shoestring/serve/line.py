"""The line in front of a model's engine: bounded, first come first served, with everyone's place and a guess
at how long it takes. All of it is the event loop's."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shoestring.serve.errors import ApiError

SMOOTHING = 0.1  # of a finished request's seconds in the running mean
FIRST_GUESS_S = 5.0


@dataclass(eq=False)
class Ticket:
    """weight: samples. granted is set when they may run."""

    weight: int
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    refused: ApiError | None = None


@dataclass(frozen=True)
class Place:
    """How many requests are in front, this one included, how many wait, and about how many seconds it
    takes."""

    position: int
    waiting: int
    seconds: float

    def __str__(self) -> str:
        return f"queued, place {self.position} of {self.waiting}, about {self.seconds:.0f} s"


class Line:
    def __init__(self, slots: int, max_waiting: int) -> None:
        self.slots, self.max_waiting = slots, max_waiting
        self.running = 0  # samples
        self.requests = 0  # that run
        self.waiting: deque[Ticket] = deque()
        self._seconds = FIRST_GUESS_S  # that a request runs
        self.closed: ApiError | None = None

    def join(self, weight: int) -> Ticket:
        """Raises ApiError 503 where the line is full or closed."""
        if self.closed is not None:
            raise self.closed
        ticket = Ticket(weight)
        if not self.waiting and self._fits(weight):
            self._grant(ticket)
            return ticket
        if len(self.waiting) >= self.max_waiting:
            wait = self._after(len(self.waiting) + 1)
            raise ApiError(
                503,
                f"all {self.slots} places are taken and {len(self.waiting)} requests wait; try again in "
                f"about {wait:.0f} s",
                code="queue_full",
                retry_after=wait,
            )
        self.waiting.append(ticket)
        return ticket

    def place(self, ticket: Ticket) -> Place | None:
        """None for one that doesn't wait."""
        if ticket.granted.is_set() or ticket not in self.waiting:
            return None
        position = self.waiting.index(ticket) + 1
        return Place(position, len(self.waiting), self._after(position))

    def leave(self, ticket: Ticket, seconds: float | None = None) -> None:
        """Give the places back, or stop waiting. seconds: how long it ran, where it ran to its end."""
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        elif ticket.granted.is_set() and ticket.refused is None:
            self.running -= ticket.weight
            self.requests -= 1
            if seconds is not None:
                self._seconds += SMOOTHING * (seconds - self._seconds)
            ticket.granted.clear()
        self._admit()

    def close(self, why: ApiError) -> None:
        """Refuse all that wait and all that come; what runs goes on."""
        self.closed = why
        while self.waiting:
            ticket = self.waiting.popleft()
            ticket.refused = why
            ticket.granted.set()

    @asynccontextmanager
    async def held(self, ticket: Ticket) -> AsyncIterator[Ticket]:
        """Whatever happens, the places come back."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        done = False
        try:
            yield ticket
            done = True
        finally:
            self.leave(ticket, loop.time() - start if done else None)

    def _admit(self) -> None:
        while self.waiting and self._fits(self.waiting[0].weight):
            self._grant(self.waiting.popleft())

    def _grant(self, ticket: Ticket) -> None:
        self.running += ticket.weight
        self.requests += 1
        ticket.granted.set()

    def _fits(self, weight: int) -> bool:
        """More samples than there are places run alone; the engine takes them in turns."""
        return self.running == 0 or self.running + weight <= self.slots

    def _after(self, position: int) -> float:
        """Places become free one by one as requests end, each after the mean of their seconds."""
        return max(1.0, position * self._seconds / max(1, self.requests))
