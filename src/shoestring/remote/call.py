"""One request to an endpoint, with the standard library: what came, or which fault and what that may cost."""

import email.utils
import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shoestring.remote.endpoint import Endpoint
from shoestring.remote.read import Broken, Said, StreamReader, read_whole

TRY_AGAIN = (408, 409, 425, 429)  # and 5xx
TOO_MANY = 429
NETWORK = (OSError, http.client.HTTPException)  # URLError, timeouts, resets, torn replies among them
CHUNK, ERROR_CHARS = 1 << 16, 200
LONGEST_PAUSE_S = 60.0
LONGEST_WAIT_S = 300.0  # that an endpoint may ask for by Retry-After; for a longer one work stops, saved
TOLD_WAIT_S = 5.0  # a wait that is shown
CHARS_PER_TOKEN = 4  # a guess, for what came of a reply that was cut


def pause_s(endpoint: Endpoint, tries: int) -> float:
    """Before it is asked again after so many earlier tries: twice as long each time, and not the same for
    all, so that requests that were refused together don't come together."""
    return min(endpoint.backoff_s * 2**tries, LONGEST_PAUSE_S) * random.uniform(0.5, 1.5)


@dataclass(frozen=True)
class Fault:
    """`again`: asking again may help. `status` 0: no reply. `lost_tokens` were made and may be charged."""

    text: str
    again: bool
    status: int = 0
    retry_after_s: float | None = None
    lost_tokens: int = 0

    @property
    def asks_too_long(self) -> bool:
        return self.again and (self.retry_after_s or 0.0) > LONGEST_WAIT_S

    @property
    def asks_to_wait(self) -> str:
        """In words; "" where it is short or not asked for."""
        seconds = self.retry_after_s or 0.0
        if seconds < TOLD_WAIT_S:
            return ""
        length = f"{seconds:.0f} s" if seconds <= LONGEST_WAIT_S else f"{seconds / 60:,.0f} minutes"
        return f"HTTP {self.status}, it asks to wait {length}"

    @property
    def kind(self) -> str:
        """What it is counted as."""
        return f"HTTP {self.status}" if self.status else self.text.partition(" (")[0].partition(":")[0]


class Caller:
    """Posts JSON. The key goes to this one address and stands in no message."""

    def __init__(self, endpoint: Endpoint, key: str) -> None:
        self.endpoint, self._key = endpoint, key
        self._opener = urllib.request.build_opener(_NoRedirects)

    def chat(self, body: Mapping[str, Any], name: str) -> Said | Fault:
        """A chat completion. `name` is the request's own, the same when it is asked again."""
        stream = self.endpoint.stream
        asked = {"model": self.endpoint.model, **body, "stream": stream}
        if stream:
            asked["stream_options"] = {"include_usage": True}
        asked = {name: value for name, value in asked.items() if name not in self.endpoint.omit}
        reader, whole = StreamReader(), b""
        try:
            with self._open("/chat/completions", asked | self.endpoint.extra_body, name) as reply:
                if not stream:
                    whole = self._read(reply)
                    return read_whole(whole)
                self._follow(reply, reader)
            return reader.end()
        except Broken as error:
            return Fault(self.hide(str(error)), True, lost_tokens=_tokens(reader.num_chars + len(whole)))
        except NETWORK as error:
            return self._fault(error, _tokens(reader.num_chars))

    def post(self, path: str, body: Mapping[str, Any]) -> Any | Fault:
        """Any other JSON request; `path` comes after the address."""
        try:
            with self._open(path, body, "") as reply:
                return json.loads(self._read(reply))
        except ValueError:
            return Fault("malformed JSON", True)
        except NETWORK as error:
            return self._fault(error, 0)

    def hide(self, text: str) -> str:
        """An error's text on one short line without the key, which some endpoints repeat."""
        line = " ".join(text.split())
        return (line.replace(self._key, "[key]") if self._key else line)[:ERROR_CHARS]

    def _open(self, path: str, body: Mapping[str, Any], name: str) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json", "User-Agent": "shoestring"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        if name:
            headers["Idempotency-Key"] = name  # gateways that know it charge a repeated request once
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.endpoint.url + path, data, headers, method="POST")
        return self._opener.open(request, timeout=self.endpoint.timeout_s)

    def _follow(self, reply: http.client.HTTPResponse, reader: StreamReader) -> None:
        """The stream to its end. Raises Broken or one of NETWORK, but not after a finish_reason: the reply is
        whole and paid for by then, and what is missing is at most its count of tokens."""
        until = time.monotonic() + self.endpoint.deadline_s
        try:
            while not reader.done and (line := reply.readline()):
                reader.push(line)
                if time.monotonic() > until:
                    raise TimeoutError
        except (Broken, *NETWORK):
            if not reader.reason:
                raise

    def _read(self, reply: http.client.HTTPResponse) -> bytes:
        until, parts = time.monotonic() + self.endpoint.deadline_s, []
        while part := reply.read1(CHUNK):
            parts.append(part)
            if time.monotonic() > until:
                raise TimeoutError
        return b"".join(parts)

    def _fault(self, error: Exception, lost: int) -> Fault:
        if isinstance(error, urllib.error.HTTPError):
            with error:
                text = f"HTTP {error.code}: {_told(error)}"
                wait = retry_after(error.headers.get("Retry-After"))
            again = error.code in TRY_AGAIN or error.code >= 500
            return Fault(self.hide(text), again, error.code, wait)
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            return Fault("timed out", True, lost_tokens=lost)
        kind = type(reason).__name__ if isinstance(reason, Exception) else ""
        return Fault(self.hide(f"no connection ({kind}: {reason})"), True, lost_tokens=lost)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def retry_after(header: str | None) -> float | None:
    """Seconds, from a number of them or from a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _told(error: urllib.error.HTTPError) -> str:
    """The message of an error's body, or what there is of one."""
    try:
        body = error.read(CHUNK).decode(errors="replace")
    except NETWORK:
        return error.reason
    try:
        told = json.loads(body)["error"]
        return str(told["message"] if isinstance(told, dict) else told)
    except (ValueError, KeyError, TypeError):
        return body.strip() or error.reason


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)
