"""An Engine in a thread of its own, and its requests as the event loop sees them.

One thread alone touches the engine. It takes commands from a queue (submit, abort), steps, and hands what was
made to the loop, one call for all requests of a step. A request that can't be served is that request's error.
A fault of the engine itself ends all that ran with 503; a new engine over the same weights is made then, but
for a request that was there at two faults (`strikes`)."""

import asyncio
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from shoestring.engine.request import Completion, SamplingParams
from shoestring.engine.usage import EngineUsage, Made
from shoestring.errors import BadInput, ShoestringError
from shoestring.serve.errors import ApiError
from shoestring.serve.job import Job, News
from shoestring.serve.strikes import FORGET_SECONDS, MOST, Strikes

CROWD = 16  # running samples from which on a request's tokens may wait for each other
REFUSED = (
    f"the engine failed {MOST} times with this request in it; refused for {FORGET_SECONDS // 60} minutes"
)
FAULTS, WITHIN_SECONDS = 5, 300  # more faults than that in so long: the engine stays down


class Watched(Protocol):
    """What is needed of an engine."""

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int: ...
    def step(self) -> None: ...
    def abort(self, request: int) -> None: ...
    def all_progress(self) -> dict[int, list[Made]]: ...
    def take_finished(self) -> list[tuple[int, list[Completion]]]: ...
    def usage(self) -> EngineUsage: ...


@dataclass(eq=False)
class _Running:
    """A job in the engine's thread: how much of each sample the loop knows, and which of them are over."""

    job: Job
    number: int
    shown: list[int] = field(default_factory=list)
    over: set[int] = field(default_factory=set)
    told_at: float = -inf

    def news(self, made: Sequence[Made | Completion]) -> list[News]:
        """What it doesn't know yet."""
        news = []
        for sample, m in enumerate(made):
            at, ended = self.shown[sample], m.completion if isinstance(m, Made) else None
            if len(m.ids) > at or (ended is not None and sample not in self.over):
                known = (m.prompt_logprobs, m.cached_tokens, ended)
                news.append(News(sample, m.ids[at:], m.logprobs[at:], m.top_logprobs[at:], *known))
                self.shown[sample] = len(m.ids)
                if ended is not None:
                    self.over.add(sample)
        return news

    def ends(self, made: Sequence[Made]) -> bool:
        """Whether a sample is over that the loop doesn't know to be."""
        return sum(m.completion is not None for m in made) > len(self.over)


@dataclass(frozen=True)
class Health:
    up: bool
    why: str = ""
    restarts: int = 0


_Command = tuple[str, Job]
_Told = tuple[Job, list[News], list[Completion] | None, ApiError | None]


class EngineThread:
    def __init__(self, make: Callable[[], Watched], pace_seconds: float = 0.0) -> None:
        """`make` gives a new engine over the same weights. pace_seconds: what is told of a request in a crowd
        comes at least so long, times the samples that run, after what was told of it before; its first token
        and its end come at once."""
        self._make, self._pace = make, pace_seconds
        self.engine = make()
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._numbers: dict[Job, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._strikes = Strikes()
        self._faults: deque[float] = deque(maxlen=FAULTS)
        self.health = Health(up=True)
        self.usage = self.engine.usage()  # after its last step

    def start(self) -> None:
        """In the running event loop, which is told what is made."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """After the step that runs. What is still in the engine is ended with 503."""
        self._commands.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str, changed: asyncio.Event) -> Job:
        """Raises ApiError where nothing can be made now."""
        if not self.health.up:
            raise ApiError(503, f"the engine is down: {self.health.why}", code="engine_down", retry_after=60)
        job = Job(prompt, params, key, changed)
        if self._strikes.bars(job):
            raise ApiError(500, REFUSED)
        self._commands.put(("submit", job))
        return job

    def abort(self, job: Job) -> None:
        """Free what it holds, before the next token is made."""
        if not job.over:
            job.end(None, ApiError(499, "the request was given up"))
            self._commands.put(("abort", job))

    def _work(self) -> None:
        while True:
            if not self._take_commands():
                break
            if self._running:
                try:
                    self.engine.step()
                    told = self._look()
                except Exception as error:  # whatever it is, the thread lives on and says so
                    told = self._failed(error)
                self._tell(told)
        gone = ApiError(503, "the server is shutting down", code="shutting_down", retry_after=10)
        self._tell([(r.job, [], None, gone) for r in self._running.values()])

    def _take_commands(self) -> bool:
        """All that wait; without work, one is waited for. False: the end."""
        told: list[_Told] = []
        try:
            command = self._commands.get_nowait() if self._running else self._commands.get()
            while True:
                if command is None:
                    return False
                self._obey(command, told)
                command = self._commands.get_nowait()
        except queue.Empty:
            pass
        finally:
            self._tell(told)
        return True

    def _obey(self, command: _Command, told: list[_Told]) -> None:
        what, job = command
        if what == "abort":
            number = self._numbers.pop(job, None)
            if number is not None:
                self._running.pop(number)
                self.engine.abort(number)
                self.usage = self.engine.usage()  # no step may follow
            return
        if job.over:  # given up before it came here
            return
        try:
            number = self.engine.submit(job.prompt, job.params, job.key)
        except BadInput as error:
            told.append((job, [], None, ApiError(400, str(error))))
        except Exception as error:
            traceback.print_exc()
            told.append((job, [], None, ApiError(500, f"this request failed ({type(error).__name__})")))
        else:
            self._running[number] = _Running(job, number, [0] * job.params.n)
            self._numbers[job] = number

    def _look(self) -> list[_Told]:
        """What every request made in this step, and those that ended."""
        told: list[_Told] = []
        now, crowd = time.monotonic(), sum(len(running.shown) for running in self._running.values())
        wait = self._pace * crowd if crowd >= CROWD else 0.0
        self.usage = self.engine.usage()
        finished, progress = dict(self.engine.take_finished()), self.engine.all_progress()
        for running in list(self._running.values()):
            completions, made = finished.get(running.number), progress.get(running.number, [])
            if completions is not None:
                self._forget(running)
                self._strikes.clear(running.job)
            elif now - running.told_at < wait and not running.ends(made):
                continue
            news = running.news(made if completions is None else completions)
            if news or completions is not None:
                running.told_at = now
                told.append((running.job, news, completions, None))
        return told

    def _forget(self, running: _Running) -> None:
        self._running.pop(running.number)
        self._numbers.pop(running.job, None)

    def _failed(self, error: Exception) -> list[_Told]:
        """The engine is broken: end what ran, and make a new one unless that happens too often."""
        if not isinstance(error, ShoestringError):
            traceback.print_exc()
        why = " ".join(str(error).split()) if isinstance(error, ShoestringError) else type(error).__name__
        ended = ApiError(
            503, f"the engine failed and was restarted ({why})", code="engine_failed", retry_after=1
        )
        told: list[_Told] = [(running.job, [], None, ended) for running in self._running.values()]
        self._strikes.blame(running.job for running in self._running.values())
        self._running.clear()
        self._numbers.clear()
        self._restart(why)
        return told

    def _restart(self, why: str) -> None:
        now = time.monotonic()
        often = len(self._faults) == FAULTS and now - self._faults[0] < WITHIN_SECONDS
        self._faults.append(now)
        if often:
            self.health = Health(False, f"{FAULTS + 1} faults within {WITHIN_SECONDS} s, the last: {why}")
            return
        try:
            self.engine = self._make()
            self.usage = self.engine.usage()
            self.health = Health(True, why, self.health.restarts + 1)
        except Exception as error:
            traceback.print_exc()
            self.health = Health(False, f"it can't be restarted ({type(error).__name__}: {error})")

    def _tell(self, told: Sequence[_Told]) -> None:
        if told and self._loop is not None:
            self._loop.call_soon_threadsafe(_deliver, told)


def _deliver(told: Sequence[_Told]) -> None:
    for job, news, completions, error in told:
        if news:
            job.told(news)
        if completions is not None or error is not None:
            job.end(completions, error)
