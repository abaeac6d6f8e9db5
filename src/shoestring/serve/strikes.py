"""Which requests were there when the engine failed."""

import time
from collections.abc import Callable, Iterable

from shoestring.serve.job import Job

MOST = 2  # faults at which a request was there, before it is refused
FORGET_SECONDS = 300


class Strikes:
    """Whoever runs at a fault is under suspicion, and free of it once answered, or after `FORGET_SECONDS`:
    among 64 that run at two faults 63 may have nothing to do with either."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults: dict[bytes, list[float]] = {}  # by fingerprint, when

    def blame(self, jobs: Iterable[Job]) -> None:
        now = self._clock()
        self._faults = {key: at for key, at in self._faults.items() if now - at[-1] < FORGET_SECONDS}
        for job in jobs:
            self._faults.setdefault(job.fingerprint, []).append(now)

    def clear(self, job: Job) -> None:
        """It was answered."""
        if self._faults:
            self._faults.pop(job.fingerprint, None)

    def bars(self, job: Job) -> bool:
        if not self._faults:
            return False
        now = self._clock()
        return sum(now - at < FORGET_SECONDS for at in self._faults.get(job.fingerprint, ())) >= MOST
