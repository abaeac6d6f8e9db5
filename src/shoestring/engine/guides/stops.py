"""Strings that end the answer."""

from collections.abc import Sequence

from torch import Tensor

from shoestring.engine.guides.reading import Reading
from shoestring.errors import BadInput


class StopStrings:
    """Ends the reply at the first of `stops` that its answer spells, however it is cut into tokens; thinking
    may say them. The ids keep what was made, the string and what its last token says after it included:
    showing the text up to `stop_at` of it is the reader's.

    fired: by sample, the string that ended it."""

    def __init__(self, reading: Reading, stops: Sequence[str]) -> None:
        if not all(stops):
            raise BadInput("an empty stop string would end every answer; leave it out")
        self.reading, self.stops = reading, tuple(stops)
        self.longest = max(map(len, self.stops), default=0)
        self.fired: dict[int, str] = {}

    def start(self, sample: int) -> "_Stops":
        return _Stops(self, sample)


def stop_at(text: str, stops: Sequence[str]) -> tuple[int, str]:
    """Where in the answer's text the stop string that is complete first begins, and which it is; of those
    that end together the one that begins first. (len(text), "") without one."""
    found = [(at + len(stop), at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    _, at, stop = min(found, default=(0, len(text), ""))
    return at, stop


class _Stops:
    def __init__(self, guide: StopStrings, sample: int) -> None:
        self._guide, self._sample = guide, sample
        self._reader = guide.reading.start()
        self._tail = self._stop = ""

    def allowed(self) -> Tensor | None:
        return None

    def forced(self) -> int | None:
        return None

    def take(self, token: int) -> None:
        new = self._reader.take(token)
        if new:
            text = self._tail + new
            _, found = stop_at(text, self._guide.stops)
            if found:
                self._guide.fired[self._sample] = found
                self._stop = f"stop string {found!r}"
            self._tail = text[max(0, len(text) - self._guide.longest + 1) :]

    def stop(self) -> str:
        return self._stop
