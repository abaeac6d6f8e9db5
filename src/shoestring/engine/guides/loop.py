"""A guard against replies that go round in circles."""

from collections import Counter, deque

from torch import Tensor

from shoestring.engine.guide import LOOP
from shoestring.engine.guides.reading import Closing, Reading
from shoestring.errors import BadInput


class LoopGuard:
    """Fires where of the n-grams that begin in the last `window` tokens at least `share` had been there
    before in that window: text that repeats itself every (1 - share) * window tokens or sooner. A loop in the
    thinking closes it, so that an answer comes; one in the answer ends the reply (`LOOP`), as does a second
    one in a thinking that doesn't close. A token costs the same however long the reply is.

    fired: by sample, "thinking" or "answer", where it did."""

    def __init__(self, reading: Reading, window: int = 512, ngram: int = 6, share: float = 0.85) -> None:
        if not (ngram >= 1 and window >= 2 * ngram and 0 < share < 1):
            raise BadInput(
                f"a loop guard's n-grams of {ngram} tokens must fit twice into its window of {window}, and "
                f"its share {share} must be between 0 and 1"
            )
        self.reading, self.window, self.ngram, self.share = reading, window, ngram, share
        self.fired: dict[int, str] = {}

    def start(self, sample: int) -> "_Loop":
        return _Loop(self, sample)


class _Loop:
    def __init__(self, guard: LoopGuard, sample: int) -> None:
        self._guard, self._sample = guard, sample
        self._reader = guard.reading.start()
        self._closing = Closing()
        self._stop = ""
        self._clear()

    def allowed(self) -> Tensor | None:
        return None

    def forced(self) -> int | None:
        return self._closing.forced

    def take(self, token: int) -> None:
        if self._reader.state != "answer":
            self._reader.take(token)
        if self._closing:
            self._closing.take(token, self._reader.state)
        elif self._loops(token):
            thinking = self._reader.state == "thinking"
            first = self._sample not in self._guard.fired
            self._guard.fired[self._sample] = "thinking" if thinking else "answer"
            if thinking and first:
                self._closing.begin(self._guard.reading.closing)
                self._clear()
            else:
                self._stop = LOOP

    def stop(self) -> str:
        return self._stop

    def _clear(self) -> None:
        self._last: deque[int] = deque(maxlen=self._guard.ngram)
        self._grams: deque[tuple[int, ...]] = deque()
        self._counts: Counter[tuple[int, ...]] = Counter()

    def _loops(self, token: int) -> bool:
        guard = self._guard
        self._last.append(token)
        if len(self._last) < guard.ngram:
            return False
        gram = tuple(self._last)
        self._grams.append(gram)
        self._counts[gram] += 1
        if len(self._grams) <= guard.window:
            return False
        gone = self._grams.popleft()
        if self._counts[gone] == 1:
            del self._counts[gone]
        else:
            self._counts[gone] -= 1
        return 1 - len(self._counts) / guard.window >= guard.share
