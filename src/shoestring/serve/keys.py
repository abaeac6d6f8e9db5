"""Who may ask, and how much. Keys are kept hashed and compared in constant time; a file of them holds no key.

[[key]]
name = "alice"
sha256 = "..."                 # of the key; `shoestring serve --new-key alice` makes one
requests_per_minute = 60       # these four are optional
concurrent = 4
tokens_per_day = 200000        # of prompts that were read, and of what was made
max_tokens = 4096              # of one request's reply
"""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from shoestring.serve.errors import ApiError
from shoestring.settings import Settings, build, read_toml

MINUTE, DAY = 60.0, 86400.0
LOCAL = "local"  # who asks where no keys are set


class KeySettings(Settings):
    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent: int | None = Field(default=None, ge=1)
    tokens_per_day: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)


class KeyFile(Settings):
    key: list[KeySettings] = Field(min_length=1)


def read_keys(path: Path) -> list[KeySettings]:
    """Raises BadInput."""
    return build(KeyFile, read_toml(path), str(path)).key


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(name: str) -> tuple[str, str]:
    """A key of 256 random bits, and what stands in the file for it."""
    key = f"sk-{secrets.token_urlsafe(32)}"
    return key, f'[[key]]\nname = "{name}"\nsha256 = "{hashed(key)}"\n'


@dataclass(eq=False)
class Caller:
    """Someone who asks, and what they have used."""

    settings: KeySettings | None = None  # None: no keys are set
    running: int = 0
    times: deque[float] = field(default_factory=deque)  # of the last minute's requests
    day: int = 0
    tokens: int = 0  # used on that day

    @property
    def name(self) -> str:
        return self.settings.name if self.settings is not None else LOCAL

    @property
    def max_tokens(self) -> int | None:
        """Of one request's reply."""
        return self.settings.max_tokens if self.settings is not None else None

    def spend(self, tokens: int) -> None:
        """What was read and made counts, whether or not anybody stayed to take it."""
        self._today()
        self.tokens += tokens

    @contextmanager
    def request(self) -> Iterator[None]:
        """Raises ApiError 429 where a limit is reached, with when to come again."""
        self._check()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def _check(self) -> None:
        limits = self.settings
        if limits is None:
            return
        now = time.monotonic()
        while self.times and now - self.times[0] >= MINUTE:
            self.times.popleft()
        if limits.concurrent is not None and self.running >= limits.concurrent:
            raise _too_many(f"{self.running} requests of this key run, its limit", "concurrent", 2)
        if limits.requests_per_minute is not None and len(self.times) >= limits.requests_per_minute:
            wait = MINUTE - (now - self.times[0])
            raise _too_many(f"{len(self.times)} requests within a minute, this key's limit", "rate", wait)
        self._today()
        if limits.tokens_per_day is not None and self.tokens >= limits.tokens_per_day:
            wait = DAY - time.time() % DAY
            raise _too_many(
                f"this key's {limits.tokens_per_day} tokens of the day are used up", "budget", wait
            )
        self.times.append(now)

    def _today(self) -> None:
        day = int(time.time() // DAY)
        if day != self.day:
            self.day, self.tokens = day, 0


def _too_many(what: str, code: str, wait: float) -> ApiError:
    text = f"{what}; try again in {max(1, round(wait))} s"
    return ApiError(429, text, code=f"{code}_limit_reached", retry_after=wait)


class Door:
    """Without keys everyone is let in as one caller."""

    def __init__(self, keys: Sequence[KeySettings]) -> None:
        self._callers = [(bytes.fromhex(key.sha256), Caller(key)) for key in keys]
        self._local = Caller()

    @property
    def locked(self) -> bool:
        return bool(self._callers)

    def caller(self, authorization: str | None) -> Caller:
        """Raises ApiError 401. All keys are compared, so that the time tells nothing."""
        if not self.locked:
            return self._local
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(401, "an API key is needed: Authorization: Bearer KEY", code="missing_api_key")
        digest = bytes.fromhex(hashed(key.strip()))
        found = [caller for known, caller in self._callers if hmac.compare_digest(known, digest)]
        if not found:
            raise ApiError(401, "this API key isn't known", code="invalid_api_key")
        return found[0]
