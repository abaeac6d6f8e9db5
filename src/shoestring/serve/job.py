"""One prompt on its way through the engine, as the event loop sees it."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.engine.request import Completion, SamplingParams
from shoestring.serve.errors import ApiError


@dataclass(frozen=True)
class News:
    """What one sample made since the last look, and what is known of its prompt. completion: it is over,
    while others of its request go on."""

    sample: int
    ids: list[int]
    logprobs: list[float]
    top: list[dict[int, float]]
    prompt_logprobs: list[dict[int, float]] | None = None
    cached_tokens: int = 0
    completion: Completion | None = None


class Job:
    """One prompt in the engine, with all its samples. Everything here is the event loop's."""

    def __init__(
        self, prompt: Sequence[int], params: SamplingParams, key: str, changed: asyncio.Event
    ) -> None:
        """changed: set whenever there is news, or the end; several jobs may share one."""
        self.prompt, self.params, self.key = list(prompt), params, key
        self.started: float | None = None  # time.monotonic() of its first token
        self.cached_tokens = 0  # of its prompt, that were in the cache
        self.completions: list[Completion] | None = None
        self.error: ApiError | None = None
        self._news: list[News] = []
        self._changed = changed

    @property
    def over(self) -> bool:
        return self.completions is not None or self.error is not None

    def news(self) -> list[News]:
        """All that was made since this was asked last. A slow reader finds much at once; no more is kept than
        the reply's own ids."""
        taken, self._news = self._news, []
        return taken

    def told(self, news: Sequence[News]) -> None:
        if self.started is None:
            self.started = time.monotonic()
        self.cached_tokens = max([self.cached_tokens, *(piece.cached_tokens for piece in news)])
        self._news += news
        self._changed.set()

    def end(self, completions: list[Completion] | None, error: ApiError | None) -> None:
        if not self.over:
            self.completions, self.error = completions, error
        self._changed.set()

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(repr((self.prompt, self.params.max_tokens, self.params.n)).encode()).digest()
