"""When each of several threads may ask an endpoint: budget, limits a minute, the pauses it asks for."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from shoestring.errors import ShoestringError
from shoestring.remote.asked import GLANCE_S
from shoestring.remote.call import TOO_MANY, Fault
from shoestring.remote.endpoint import Endpoint
from shoestring.remote.spending import Budget, Pace
from shoestring.run import append_line, read_lines


class NoAnswer(ShoestringError):
    """What was asked can't be had now: no reply came, the budget is spent, the endpoint asks for a long wait,
    or the work is to stop."""


class Spent(NoAnswer):
    """By the budget; what came before it is there to be used."""


class Turns:
    """`ledger`: a file with a line for every request that was paid for, which a restart counts too. `say`
    hears of long waits; a wait looks at `stop`."""

    def __init__(
        self, endpoint: Endpoint, ledger: Path, say: Callable[[str], None], stop: Callable[[], bool]
    ) -> None:
        self.endpoint, self.ledger, self.say, self.stop = endpoint, ledger, say, stop
        self.budget = Budget(endpoint)
        for row in read_lines(ledger):
            self.budget.had(row["cost"], row["prompt_tokens"] + row["completion_tokens"])
        self._pace = Pace(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._lock = threading.Lock()
        self._sent, self._under_way, self._hold_until = 0, 0, 0.0

    def begin(self, tokens_in: int, tokens_out: int) -> int:
        """The request's number, once it may go. Raises NoAnswer, of it Spent."""
        while True:
            with self._lock:
                moment = time.monotonic()
                wait = max(self._hold_until - moment, self._pace.wait_s(moment, tokens_in + tokens_out))
                if wait <= 0 and not self.budget.fits(tokens_in, tokens_out):
                    if not self._under_way:
                        raise Spent(f"endpoint {self.endpoint.url}: the budget is spent ({self.budget})")
                    wait = GLANCE_S  # what is under way may come to less than was set aside for it
                if wait <= 0:
                    self._sent, self._under_way = self._sent + 1, self._under_way + 1
                    self.budget.set_aside(self._sent, tokens_in, tokens_out)
                    self._pace.sent(moment, self._sent, tokens_in + tokens_out)
                    return self._sent
            self.sleep(wait)

    def end(self, request: int, tokens_in: int, tokens_out: int, cached: int = 0) -> None:
        """What it came to; nothing where it failed before anything was made."""
        with self._lock:
            self._under_way -= 1
            cost = self.budget.settle(request, tokens_in, tokens_out, cached)
            self._pace.correct(request, tokens_in + tokens_out)
            if tokens_in or tokens_out:
                spent = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "cost": cost}
                append_line(self.ledger, spent)

    def pause(self, fault: Fault, seconds: float) -> None:
        """Before this thread asks again; after a 429 before any does. Raises NoAnswer."""
        if fault.asks_too_long:
            raise NoAnswer(f"endpoint {self.endpoint.url}: {fault.asks_to_wait}: come back then")
        seconds = max(seconds, fault.retry_after_s or 0.0)
        with self._lock:
            until = time.monotonic() + seconds
            if fault.asks_to_wait and time.monotonic() >= self._hold_until:
                self.say(f"endpoint {self.endpoint.url}: {fault.asks_to_wait}")
            if fault.status == TOO_MANY:
                self._hold_until = max(self._hold_until, until)
        self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.stop():
                raise NoAnswer(f"stopped while waiting for endpoint {self.endpoint.url}")
            time.sleep(min(left, GLANCE_S))
