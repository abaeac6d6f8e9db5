"""How a talk's events reach the client: as one body or as a stream. A client that goes away, or that takes
nothing for too long, ends its request and frees what it holds."""

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shoestring.serve import stream
from shoestring.serve.choice import usage
from shoestring.serve.errors import ApiError, fault
from shoestring.serve.keys import Caller
from shoestring.serve.line import Ticket
from shoestring.serve.metrics import Metrics
from shoestring.serve.reader import Delta
from shoestring.serve.shape import Shape
from shoestring.serve.talk import Idle, Said, Talk, Waiting
from shoestring.serve.watch import Watch

MUCH = 2000  # tokens and logprobs of what is written at once: some milliseconds
GONE = 499  # as nginx logs a client that closed its connection
Note = Callable[["TalkReply", int], None]


class TalkReply(Response):
    """note: told once, with the status, when it is over."""

    def __init__(self, talk: Talk, shape: Shape, caller: Caller, metrics: Metrics, note: Note) -> None:
        self.talk, self.shape, self.caller, self.metrics, self.note = talk, shape, caller, metrics, note
        self._begun = False  # the status was sent
        self._sending: float | None = None  # since when the client has been taking what is sent
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._work(send))
        gone = asyncio.create_task(_until_gone(receive))
        watch = Watch(self.talk.settings.stall_seconds, lambda: self._drop_stalled(work))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.status_code = GONE
        finally:
            watch.close()
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            self._over()
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _work(self, send: Send) -> None:
        try:
            with self.caller.request():
                ticket = self.talk.join()
                if self.talk.plan.stream:
                    await self._stream(ticket, send)
                else:
                    await self._whole(ticket, send)
        except ApiError as error:
            await self._refuse(send, error)
        except Exception as error:  # a fault of ours: who asked, the log and the counts are told of it
            traceback.print_exc()
            await self._refuse(send, fault(error))

    async def _refuse(self, send: Send, error: ApiError) -> None:
        """As a status where none was sent yet, else as a last chunk."""
        self.status_code = error.status
        if self._begun:
            await self._send(send, stream.error(error.body()) + stream.DONE, more=False)
        else:
            await self._send_json(send, error.status, written(error.body()), error.headers())

    async def _whole(self, ticket: Ticket, send: Send) -> None:
        told: list[list[Delta]] = [[] for _ in self.talk.choices]
        headers = self._queue_headers(ticket)
        async with aclosing(self.talk.events(ticket)) as events:
            async for event in events:
                if isinstance(event, Said):
                    told[event.choice.index] += event.deltas
        body = await self._built(lambda: written(self.shape.whole(self.talk.choices, told, self._usage())))
        self._finished()
        await self._send_json(send, 200, body, headers)

    async def _stream(self, ticket: Ticket, send: Send) -> None:
        """The status goes out with the first event, so that what fails before is no 200."""
        headers = self._queue_headers(ticket)
        async with aclosing(self.talk.events(ticket)) as events:
            async for event in events:
                lines = await self._built(lambda now=event: self._lines(now))
                if lines:
                    if not self._begun:
                        await self._start(send, 200, stream.HEADERS["Content-Type"], stream.HEADERS | headers)
                    await self._send(send, lines)
        self._finished()
        rest = b""
        if self.talk.plan.usage_chunk:
            rest = stream.event(self.shape.usage_chunk(self._usage()))
        if not self._begun:
            await self._start(send, 200, stream.HEADERS["Content-Type"], stream.HEADERS | headers)
        await self._send(send, rest + stream.DONE, more=False)

    def _lines(self, event: Waiting | Said | Idle) -> bytes:
        if isinstance(event, Waiting):
            return stream.comment(str(event.place))
        if isinstance(event, Idle):
            return stream.KEEP_ALIVE
        chunks = self.shape.chunks(event.choice, event.deltas)
        if event.last:
            chunks += self.shape.end(event.choice)
        return b"".join(map(stream.event, chunks))

    async def _built(self, work: Callable[[], bytes]) -> bytes:
        """Beside the event loop where it is much, so that others' streams go on."""
        plan = self.talk.plan
        tokens = plan.params.n * self.talk.prompt_tokens if plan.echo else 0
        tokens += 0 if plan.stream else self.talk.made_tokens
        numbers = tokens * (1 if plan.logprobs is None else 2 + plan.logprobs)
        return work() if numbers < MUCH else await asyncio.to_thread(work)

    def _usage(self) -> dict[str, Any]:
        return usage(self.talk.prompt_tokens, self.talk.cached_tokens, self.talk.choices)

    def _queue_headers(self, ticket: Ticket) -> dict[str, str]:
        place = self.talk.line.place(ticket)
        headers = dict(self.talk.plan.headers)
        if place is not None:
            headers |= {"X-Queue-Position": str(place.position), "X-Queue-Seconds": f"{place.seconds:.0f}"}
        return headers

    async def _start(self, send: Send, status: int, kind: str, headers: dict[str, str]) -> None:
        self._begun = True
        lines = {"content-type": kind} | {name.lower(): value for name, value in headers.items()}
        lines["x-request-id"] = self.shape.id
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        await self._within(send({"type": "http.response.start", "status": status, "headers": raw}))

    async def _send_json(self, send: Send, status: int, text: bytes, headers: dict[str, str]) -> None:
        await self._start(send, status, "application/json", {"Content-Length": str(len(text)), **headers})
        await self._send(send, text, more=False)

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        await self._within(send({"type": "http.response.body", "body": body, "more_body": more}))

    async def _within(self, sending: Awaitable[None]) -> None:
        self._sending = asyncio.get_running_loop().time()
        await sending
        self._sending = None

    def _drop_stalled(self, work: asyncio.Task[None]) -> float:
        """A reader that takes nothing is as good as gone: what it holds is freed. -> when to look again."""
        stall = self.talk.settings.stall_seconds
        if self._sending is None:
            return stall
        waited = asyncio.get_running_loop().time() - self._sending
        if waited < stall:
            return stall - waited
        self.status_code = GONE
        work.cancel()
        return stall

    def _finished(self) -> None:
        talk = self.talk
        talk.times.end()
        talk.times.longest = max((len(choice.ids) for choice in talk.choices), default=0)
        self.metrics.finished(talk.served.name, talk.prompt_tokens, talk.choices, talk.times)

    def _over(self) -> None:
        """Whoever asked pays for what was read and made for them, and the log gets its line."""
        if self.talk.times.first is not None:
            self.caller.spend(self.talk.prompt_tokens + self.talk.made_tokens)
        self.note(self, self.status_code)


def written(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
