"""One request from the line to its last token: what happens to it, as events. Whole bodies and streams are
made of the same ones."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from shoestring.serve.choice import SHUTDOWN, TIME, Choice
from shoestring.serve.errors import ApiError
from shoestring.serve.job import Job
from shoestring.serve.line import Line, Place, Ticket
from shoestring.serve.metrics import Times
from shoestring.serve.plan import Plan
from shoestring.serve.reader import Delta
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings
from shoestring.serve.watch import Bell

PLACE_SECONDS = 1.0  # how often a waiting request looks at its place


@dataclass(frozen=True)
class Waiting:
    place: Place


@dataclass(frozen=True)
class Said:
    choice: Choice
    deltas: list[Delta]
    last: bool = False  # the choice is over


class Idle:
    """Nothing happened for a while."""


Event = Waiting | Said | Idle


class Talk:
    def __init__(
        self,
        plan: Plan,
        served: Served,
        line: Line,
        settings: ServeSettings,
        times: Times,
        closing: asyncio.Event,
    ) -> None:
        """closing: set when the server has to end what runs."""
        self.plan, self.served, self.line, self.settings = plan, served, line, settings
        self.times, self._closing = times, closing
        n, how = plan.params.n, served.how
        self.choices = [Choice(i, plan, how) for i in range(n * len(plan.prompts))]
        self._changed = asyncio.Event()
        self._jobs: list[Job] = []

    def join(self) -> Ticket:
        """A place in the line. Raises ApiError 503."""
        return self.line.join(len(self.choices))

    async def events(self, ticket: Ticket) -> AsyncGenerator[Event, None]:
        """Raises ApiError where the request failed. Closing the iterator frees all that it holds."""
        async with self.line.held(ticket):
            async for place in self._wait(ticket):
                yield Waiting(place)
            self.times.admitted()
            try:
                for i, prompt in enumerate(self.plan.prompts):
                    key, asked = str(i) if i else "", self.plan.asked(i)
                    self._jobs.append(self.served.engine.submit(prompt, asked, key, self._changed))
                async for event in self._making():
                    yield event
            finally:
                for job in self._jobs:
                    self.served.engine.abort(job)

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.plan.prompts))

    @property
    def cached_tokens(self) -> int:
        return sum(job.cached_tokens for job in self._jobs)

    @property
    def made_tokens(self) -> int:
        return sum(len(choice.ids) for choice in self.choices)

    async def _wait(self, ticket: Ticket) -> AsyncIterator[Place]:
        """Until the engine has room; the place whenever it changes, and at the latest after
        `keep_alive_seconds`, so that nobody on the way takes the silence for the end."""
        loop, alive = asyncio.get_running_loop(), self.settings.keep_alive_seconds
        until, before, told_at = loop.time() + self.settings.queue_seconds, 0, loop.time()
        while not await _set_within(ticket.granted, min(PLACE_SECONDS, alive)):
            place = self.line.place(ticket)
            if place is not None and (place.position != before or loop.time() - told_at >= alive):
                before, told_at = place.position, loop.time()
                yield place
            if loop.time() > until:
                raise ApiError(
                    503,
                    f"no room after {self.settings.queue_seconds:.0f} s in the queue",
                    None,
                    "queue_timeout",
                    30,
                )
        if ticket.refused is not None:
            raise ticket.refused

    async def _making(self) -> AsyncIterator[Event]:
        loop, open_jobs = asyncio.get_running_loop(), set(range(len(self._jobs)))
        until = loop.time() + self.settings.request_seconds
        bell = Bell(self._changed, self.settings.keep_alive_seconds, until)
        try:
            while open_jobs:
                rung = await bell.wait()
                ends = self._closing.is_set() or loop.time() >= until
                if not rung and not ends:
                    yield Idle()
                    continue
                for number in sorted(open_jobs):
                    over = self._jobs[number].over  # now: it may end while its news are being sent
                    for event in self._news(number):
                        yield event
                    if over:
                        open_jobs.remove(number)
                if open_jobs and ends:
                    for event in self._give_up(open_jobs, SHUTDOWN if self._closing.is_set() else TIME):
                        yield event
                    return
        finally:
            bell.close()

    def _news(self, number: int) -> list[Said]:
        """What one prompt's job made since the last look. Raises its error."""
        job, first = self._jobs[number], number * self.plan.params.n
        said: list[Said] = []
        for news in job.news():
            self.times.token()
            choice = self.choices[first + news.sample]
            choice.prompt_logprobs = news.prompt_logprobs
            deltas = choice.take(news.ids, news.logprobs, news.top)
            if deltas:
                said.append(Said(choice, deltas))
            if news.completion is not None:
                said.append(Said(choice, choice.end(news.completion), last=True))
        if job.error is not None:
            raise job.error
        if job.completions and not any(completion.ids for completion in job.completions):
            why = job.completions[0].stopped_by
            raise ApiError(400, f"nothing could be made: {why}", code="generation_failed")
        for sample, completion in enumerate(job.completions or ()):
            choice = self.choices[first + sample]
            if not choice.over:
                said.append(Said(choice, choice.end(completion), last=True))
        return said

    def _give_up(self, open_jobs: set[int], why: str) -> list[Said]:
        """End what still runs with what it has. Raises ApiError where that is nothing at all."""
        if self.times.first is None:
            what = "the server is shutting down" if why == SHUTDOWN else "the time for a request is over"
            raise ApiError(503, f"{what}; nothing was made", code=why, retry_after=10)
        n = self.plan.params.n
        left = [self.choices[number * n + sample] for number in sorted(open_jobs) for sample in range(n)]
        return [Said(choice, choice.end(None, why), last=True) for choice in left if not choice.over]

    def wake(self) -> None:
        """Look at once, as when the server has to end."""
        self._changed.set()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
