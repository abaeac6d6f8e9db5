"""Asking a server from outside, with the standard library: bodies, streams, and what is wrong with them."""

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from shoestring.errors import BadInput, ShoestringError

Json = Any
REASONING = ("reasoning_content", "reasoning")


class Failed(Exception):
    """What the server does isn't what the API says."""


class Skipped(Exception):
    """The server says that it doesn't do this, or there is nothing to see it by."""


@dataclass(frozen=True)
class Got:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Json:
        try:
            return json.loads(self.raw)
        except ValueError:
            raise Failed(f"status {self.status} with a body that isn't JSON: {self.raw[:80]!r}") from None

    @property
    def error(self) -> str:
        """An error's message; raises Failed where its body isn't OpenAI's."""
        body = self.json
        told = body.get("error") if isinstance(body, dict) else None
        if not isinstance(told, dict) or not isinstance(told.get("message"), str):
            raise Failed(f"status {self.status} without {{error: {{message}}}}: {self.raw[:80]!r}")
        return told["message"]


@dataclass
class Streamed:
    status: int
    kind: str
    chunks: list[Json] = field(default_factory=list)
    done: bool = False
    after_done: int = 0

    def deltas(self, index: int = 0) -> list[Json]:
        choices = [c for chunk in self.chunks for c in chunk.get("choices", ()) if c.get("index") == index]
        return [choice.get("delta") or {} for choice in choices]

    def text(self, index: int = 0) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas(index))

    def thought(self, index: int = 0) -> str:
        return "".join(thought_of(delta) for delta in self.deltas(index))

    def reasons(self, index: int = 0) -> list[str]:
        choices = [c for chunk in self.chunks for c in chunk.get("choices", ()) if c.get("index") == index]
        return [c["finish_reason"] for c in choices if c.get("finish_reason")]


def thought_of(message: Json) -> str:
    return next((message[name] for name in REASONING if message.get(name)), "")


class Probe:
    def __init__(self, url: str, key: str = "", model: str = "", timeout: float = 120) -> None:
        """url: with /v1 or what the server has in its place."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{url} is no address; write http://HOST:PORT/v1")
        self._parts, self._key, self._timeout = parts, key, timeout
        self._asked_model = model

    @cached_property
    def model(self) -> str:
        return self._asked_model or self.models[0]["id"]

    @cached_property
    def models(self) -> list[Json]:
        got = self.get("/models")
        if got.status == 401:
            raise BadInput("the server asks for a key: set OPENAI_API_KEY")
        listed = got.json.get("data") if got.status == 200 else None
        if not listed:
            raise BadInput(f"{self._parts.geturl()}/models lists no model (status {got.status})")
        return listed

    @cached_property
    def reasons(self) -> bool:
        """Whether this model thinks in a field of its own, seen on one question."""
        return bool(thought_of(self.said(content="What is 17 + 25? Think first.", max_tokens=400)))

    def get(self, path: str, root: bool = False) -> Got:
        return self._ask("GET", path, None, {}, root)

    def post(
        self, path: str, body: Json, raw: bytes | None = None, root: bool = False, **headers: str
    ) -> Got:
        data = json.dumps(body).encode() if raw is None else raw
        return self._ask("POST", path, data, {"Content-Type": "application/json", **headers}, root)

    def chat(self, content: Json = "Say hello.", **fields: Any) -> Got:
        return self.post("/chat/completions", self.body(content, **fields))

    def said(self, content: Json = "Say hello.", **fields: Any) -> Json:
        """The first choice's message; raises Failed where there is none."""
        return self.choice(content, **fields)["message"]

    def choice(self, content: Json = "Say hello.", **fields: Any) -> Json:
        return self.good(self.chat(content, **fields))["choices"][0]

    def body(self, content: Json = "Say hello.", **fields: Any) -> dict[str, Any]:
        given = {"model": self.model, "max_tokens": 32, "temperature": 0}
        if "messages" not in fields:
            given["messages"] = [{"role": "user", "content": content}]
        return {name: value for name, value in {**given, **fields}.items() if value is not None}

    def good(self, got: Got) -> Json:
        if got.status != 200:
            raise Failed(f"status {got.status}: {got.raw[:160].decode(errors='replace')}")
        return got.json

    def taken(self, got: Got, what: str) -> Json:
        """As `good`, but a refusal that is a 400 is no fault: the server says that it doesn't do it."""
        if got.status in (400, 404, 422, 501):
            raise Skipped(f"{what}: {got.error}")
        return self.good(got)

    def stream(
        self, content: Json = "Say hello.", path: str = "/chat/completions", **fields: Any
    ) -> Streamed:
        body = self.body(content, stream=True, **fields)
        if path == "/completions":
            body["prompt"] = body.pop("messages")[0]["content"]
        connection, reply = self._open("POST", path, json.dumps(body).encode(), self._json_headers(), False)
        try:
            found = Streamed(reply.status, reply.headers.get("Content-Type", ""))
            if reply.status != 200:
                raise Failed(f"status {reply.status}: {reply.read(160).decode(errors='replace')}")
            while line := reply.readline():
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if found.done:
                    found.after_done += 1
                elif data == b"[DONE]":
                    found.done = True
                else:
                    found.chunks.append(json.loads(data))
            return found
        finally:
            connection.close()

    def leave(self, lines: int, **fields: Any) -> None:
        """Begin a stream, read so many lines of it and hang up."""
        body = json.dumps(self.body(stream=True, **fields)).encode()
        connection, reply = self._open("POST", "/chat/completions", body, self._json_headers(), False)
        for _ in range(lines):
            reply.readline()
        connection.close()

    def _json_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json"}

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], root: bool) -> Got:
        connection, reply = self._open(method, path, body, headers, root)
        try:
            return Got(reply.status, dict(reply.headers.items()), reply.read())
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], root: bool
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """root: the path stands beside /v1, not in it."""
        base = self._parts.path.rstrip("/")
        where = (base.removesuffix("/v1") if root else base) + path
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)
        given = dict(headers) | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            connection.request(method, where, body, given)
            return connection, connection.getresponse()
        except TimeoutError:
            connection.close()
            raise Failed(f"no reply within {self._timeout:.0f} s") from None
        except ConnectionRefusedError:
            raise ShoestringError(f"nothing listens at {self._parts.netloc}") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Failed(f"the connection broke ({type(error).__name__}: {error})") from None
