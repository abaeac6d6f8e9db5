"""A model behind any OpenAI-compatible endpoint: several requests at once, each asked again after a fault,
within limits a minute and a budget. One thread decides everything; the others only wait for replies."""

import dataclasses
import heapq
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from shoestring.errors import BadInput, ShoestringError
from shoestring.remote.asked import GLANCE_S, STOPPED, Answer, Ask, Asked, Sampling, Stop, Take, now
from shoestring.remote.call import CHARS_PER_TOKEN, TOO_MANY, Caller, Fault, pause_s
from shoestring.remote.endpoint import Endpoint
from shoestring.remote.job import Job
from shoestring.remote.read import Said
from shoestring.remote.spending import Budget, Pace

GIVE_UP_AFTER = 3  # samples one after another that could not be had: the endpoint is down
REFUSES_ALL = 20  # prompts refused before any was answered: it isn't the prompts
NOT_THIS = (400, 413, 422)  # it won't have this prompt, e.g. one too long for it
NO_USE = {
    401: "it refuses the key",
    402: "the account has no money left",
    403: "it forbids this",
    404: "no such address or model",
    405: "it takes no chat completions there",
}
Lost = Callable[[Answer, str], None]  # an attempt that may be charged and gave nothing, and its fault
Refused = Callable[[str, int, str], None]  # a prompt's key, a sample's number, what the endpoint said
Say = Callable[[str], None]


def _unkept(key: str, number: int, why: str) -> None:
    """For whoever reads refusals from `Asked` alone."""


class RemoteModel:
    """`budget` knows what was spent before; `lost` hears of attempts that may be charged and gave nothing,
    `say` of long waits, `refused` of prompts that an endpoint which answers others won't have."""

    sha256 = ""  # an endpoint doesn't show its weights

    def __init__(
        self, endpoint: Endpoint, key: str, budget: Budget, lost: Lost, say: Say, refused: Refused = _unkept
    ) -> None:
        self.endpoint, self.caller, self.budget = endpoint, Caller(endpoint, key), budget
        self.lost, self.say, self.refused = lost, say, refused
        self.name, self.where = endpoint.model, endpoint.url
        self.identity = identity_of(endpoint)

    def ask(self, asks: Sequence[Ask], sampling: Sampling, take: Take, stop: Stop) -> Asked:
        return _Round(self, sampling, take, stop).run(asks)


def identity_of(endpoint: Endpoint) -> tuple[str, ...]:
    return endpoint.model, endpoint.url, json.dumps(endpoint.extra_body, sort_keys=True)


class _Round:
    """One call of `ask`."""

    def __init__(self, model: RemoteModel, sampling: Sampling, take: Take, stop: Stop) -> None:
        self.model, self.endpoint, self.budget = model, model.endpoint, model.budget
        self.sampling, self.take, self.stop = sampling, take, stop
        self.pace = Pace(self.endpoint.requests_per_minute, self.endpoint.tokens_per_minute)
        self.fresh: deque[Job] = deque()
        self.again: list[Job] = []  # a heap: what waits to be asked for again
        self.under_way: dict[int, Job] = {}
        self.asked = Asked()
        self.failure: ShoestringError | None = None
        self.hold_until, self.told_until, self.in_a_row, self.sent, self.unsaved = 0.0, 0.0, 0, 0, 0
        self.heard = False  # whether any prompt was answered
        self.length = sampling.max_tokens  # of the last reply: what the next is thought to take
        self.to_do: queue.SimpleQueue[tuple[int, Job] | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[int, Said | Fault]] = queue.SimpleQueue()

    def run(self, asks: Sequence[Ask]) -> Asked:
        places = ((ask, number) for ask in asks for number in ask.numbers)
        self.fresh = deque(Job(0.0, place, *pair) for place, pair in enumerate(places))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.endpoint.concurrency)]
        for thread in threads:
            thread.start()
        try:
            while True:
                self._send()
                if not self.under_way and (self.asked.ended or not (self.fresh or self.again)):
                    break
                self._receive()
        finally:
            for _ in threads:
                self.to_do.put(None)
        if self.failure is not None:
            also = f"; {self.unsaved} replies that were paid for are lost" if self.unsaved else ""
            raise type(self.failure)(f"{self.failure}{also}")
        return self.asked

    def _work(self) -> None:
        while (item := self.to_do.get()) is not None:
            request, job = item
            self.done.put((request, self.model.caller.chat(job.body(self.sampling), job.name)))

    def _send(self) -> None:
        """All that may go now."""
        while (job := self._next()) is not None:
            if self.stop():
                self.asked.ended = STOPPED
                return
            if not self.budget.fits(job.most_tokens, self.sampling.max_tokens):
                if not self.under_way:
                    self.asked.ended = f"the budget is spent ({self.budget})"
                return
            moment, likely = time.monotonic(), job.likely_tokens + self.length
            wait = self.pace.wait_s(moment, likely)
            if wait:
                self.hold_until = moment + wait
                return
            if self.again and job is self.again[0]:
                heapq.heappop(self.again)
            else:
                self.fresh.popleft()
            self.sent += 1
            self.under_way[self.sent] = job
            self.budget.set_aside(self.sent, job.most_tokens, self.sampling.max_tokens)
            self.pace.sent(moment, self.sent, likely)
            self.to_do.put((self.sent, job))

    def _next(self) -> Job | None:
        """The next to send, if one may go now. A sample that waits to be asked for again keeps its place
        among those at work, so that an endpoint in trouble isn't asked for ever more of them."""
        moment = time.monotonic()
        if self.asked.ended or self.hold_until > moment:
            return None
        if self.again and self.again[0].at <= moment:
            return self.again[0]
        room = len(self.under_way) + len(self.again) < self.endpoint.concurrency
        return self.fresh[0] if self.fresh and room else None

    def _receive(self) -> None:
        """One reply or fault, or a wait until there may be something to send, or for a glance at `stop`."""
        due = [self.again[0].at] if self.again else []
        due = [max(self.hold_until, *due)] if due or self.hold_until > time.monotonic() else []
        pause = min([GLANCE_S, *(max(moment - time.monotonic(), 0.001) for moment in due)])
        if self.stop() and not self.asked.ended and (self.fresh or self.again):
            self.asked.ended = STOPPED
        try:
            request, came = self.done.get(timeout=pause)
        except queue.Empty:
            return
        job = self.under_way.pop(request)
        if isinstance(came, Said):
            self._keep(request, job, came)
        else:
            self._mend(request, job, came)

    def _keep(self, request: int, job: Job, said: Said) -> None:
        guess = -(-len(said.answer + (said.reasoning or "")) // CHARS_PER_TOKEN)
        tokens_in = job.likely_tokens if said.prompt_tokens is None else said.prompt_tokens
        tokens_out = guess if said.completion_tokens is None else said.completion_tokens
        cost = self.budget.settle(request, tokens_in, tokens_out, min(said.cached_tokens, tokens_in))
        self.pace.correct(request, tokens_in + tokens_out)
        self.length, self.in_a_row = tokens_out, 0
        if not self.heard:
            self.heard = True
            for (key, number), why in self.asked.refused.items():
                self._keep_refusal(key, number, why)
        answer = Answer(
            job.ask.key,
            job.number,
            said.reasoning,
            said.answer,
            said.finish_reason,
            tokens_in,
            tokens_out,
            now(),
            cost,
            said.cached_tokens,
            said.prompt_tokens is not None and said.completion_tokens is not None,
            said.model,
            said.fingerprint,
        )
        self._guarded(lambda: self.take(answer))

    def _mend(self, request: int, job: Job, fault: Fault) -> None:
        """Ask again later, or give the sample up."""
        self.asked.faults[fault.kind] += 1
        tokens_in = job.likely_tokens if fault.lost_tokens else 0
        cost = self.budget.settle(request, tokens_in, fault.lost_tokens)
        self.pace.correct(request, tokens_in + fault.lost_tokens)
        if fault.lost_tokens:
            nothing = Answer(job.ask.key, job.number, None, "", "", tokens_in, fault.lost_tokens, now(), cost)
            self._guarded(lambda: self.model.lost(nothing, fault.kind))
        if fault.asks_too_long:
            self._fail(ShoestringError(f"endpoint {self.endpoint.url}: {fault.asks_to_wait}: come back then"))
        elif fault.again and job.tries < self.endpoint.retries:
            self._later(job, fault)
        else:
            self.asked.unanswered[fault.kind] += 1
            self._give_up(job, fault)

    def _later(self, job: Job, fault: Fault) -> None:
        at = time.monotonic() + max(pause_s(self.endpoint, job.tries), fault.retry_after_s or 0.0)
        if fault.status == TOO_MANY:  # it means all of our requests
            self.hold_until = max(self.hold_until, at)
        if fault.asks_to_wait and time.monotonic() > self.told_until:
            self.told_until = at
            self.model.say(f"endpoint {self.endpoint.url}: {fault.asks_to_wait}")
        heapq.heappush(self.again, dataclasses.replace(job, at=at, tries=job.tries + 1))

    def _give_up(self, job: Job, fault: Fault) -> None:
        """The sample; and the endpoint, where it is of no use, has no reply three times in a row, or refuses
        whatever it is asked. One that refuses some prompts and answers others goes on."""
        where = f"endpoint {self.endpoint.url}"
        if fault.status in NOT_THIS:
            self.asked.refused[job.ask.key, job.number] = fault.text
            if self.heard:
                self._keep_refusal(job.ask.key, job.number, fault.text)
            elif len({key for key, _ in self.asked.refused}) >= REFUSES_ALL:
                tried = f"it refuses every prompt, {REFUSES_ALL} of them by now"
                self._fail(ShoestringError(f"{where}: {tried}, the last for: {fault.text}"))
            return
        self.in_a_row += 1
        if fault.status in NO_USE:
            key = f" (in {self.endpoint.key_env})" if self.endpoint.key_env and fault.status == 401 else ""
            self._fail(BadInput(f"{where}: {NO_USE[fault.status]}{key}: {fault.text}"))
        elif self.in_a_row >= GIVE_UP_AFTER:
            tried = f"{self.in_a_row} samples in a row could not be had"
            self._fail(ShoestringError(f"{where}: {tried}, the last for: {fault.text}"))

    def _keep_refusal(self, key: str, number: int, why: str) -> None:
        self._guarded(lambda: self.model.refused(key, number, why))

    def _guarded(self, save: Callable[[], None]) -> None:
        """A disk that takes no more ends the asking; what is under way is still received and tried."""
        try:
            save()
        except ShoestringError as error:
            self.unsaved += 1
            self._fail(error)

    def _fail(self, error: ShoestringError) -> None:
        self.failure = self.failure or error
        self.asked.ended = self.asked.ended or "failed"
