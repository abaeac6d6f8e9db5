"""Looks from time to time at what is usually in order: one timer for a whole reply. A timeout around each of
its waits and sends took more time than making a chunk of it."""

import asyncio
from collections.abc import Callable


class Watch:
    """Calls `look` in `seconds`, then again in as many seconds as it returns, until it is closed."""

    def __init__(self, seconds: float, look: Callable[[], float]) -> None:
        self._loop, self._look = asyncio.get_running_loop(), look
        self._timer = self._loop.call_later(seconds, self._again)

    def _again(self) -> None:
        self._timer = self._loop.call_later(max(0.001, self._look()), self._again)

    def close(self) -> None:
        self._timer.cancel()


class Bell:
    """An event that is set, too, where nothing has set it for `seconds`, and at `until` (the loop's time)."""

    def __init__(self, event: asyncio.Event, seconds: float, until: float) -> None:
        self._event, self._seconds, self._until = event, seconds, until
        self._loop = asyncio.get_running_loop()
        self._last, self._quiet = self._loop.time(), False
        self._watch = Watch(self._due() - self._last, self._look)

    async def wait(self) -> bool:
        """False: nothing happened for so long, or the time is over."""
        await self._event.wait()
        self._event.clear()
        rung, self._quiet, self._last = not self._quiet, False, self._loop.time()
        return rung

    def close(self) -> None:
        self._watch.close()

    def _due(self) -> float:
        soon = self._last + self._seconds
        return min(soon, self._until) if self._last < self._until else soon

    def _look(self) -> float:
        now = self._loop.time()
        if now < self._due():
            return self._due() - now
        if not self._event.is_set():
            self._quiet = True
            self._event.set()
        return self._seconds
