"""All that a running server holds: its models, their lines, its door, its counts."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from shoestring.serve.choice import Choice
from shoestring.serve.errors import ApiError
from shoestring.serve.keys import Caller, Door
from shoestring.serve.line import Line
from shoestring.serve.metrics import Metrics, Times
from shoestring.serve.plan import Plan
from shoestring.serve.reply import GONE, TalkReply
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings
from shoestring.serve.shape import Shape
from shoestring.serve.talk import Talk

Say = Callable[[str], None]


def tell(line: str) -> None:
    """To stderr. That nobody reads it any more (`2>&1 | head`) must not keep a reply from its end, nor the
    server from its own."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


class House:
    def __init__(
        self, models: Sequence[Served], door: Door, settings: ServeSettings, say: Say | None = None
    ) -> None:
        self.models = {model.name: model for model in models}
        self.lines = {model.name: Line(settings.max_running, settings.max_waiting) for model in models}
        self.door, self.settings, self.metrics = door, settings, Metrics()
        self.closing = asyncio.Event()  # what runs has to end now
        self.draining = False
        self._talks: set[Talk] = set()
        self._say: Say = say or tell

    def start(self) -> None:
        for model in self.models.values():
            model.engine.start()

    async def stop(self) -> None:
        for model in self.models.values():
            await model.engine.stop()

    def model(self, name: str | None) -> Served:
        """The one that is asked for, or the first. Raises ApiError 404."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            known = ", ".join(self.models)
            raise ApiError(
                404, f"there is no model '{name}' here; there is {known}", "model", "model_not_found"
            )
        return self.models[name]

    def reply(self, plan: Plan, served: Served, caller: Caller) -> TalkReply:
        talk = Talk(plan, served, self.lines[served.name], self.settings, Times(time.monotonic), self.closing)
        self._talks.add(talk)
        shape = Shape(plan, served.name, served.fingerprint, served.spell)
        return TalkReply(talk, shape, caller, self.metrics, self._note)

    def drain(self) -> None:
        """Take nothing new, refuse what waits; what runs goes on."""
        self.draining = True
        gone = ApiError(503, "the server is shutting down", code="shutting_down", retry_after=10)
        for line in self.lines.values():
            line.close(gone)

    def end_all(self) -> None:
        """What runs ends with what it has."""
        self.closing.set()
        for talk in tuple(self._talks):  # at once: a large body's talk may come from its own thread meanwhile
            talk.wake()

    @property
    def busy(self) -> int:
        """Requests that aren't answered yet."""
        return len(self._talks)

    def refused(self, path: str, error: ApiError) -> None:
        """Before there was anything to run."""
        self.metrics.errors.labels("", str(error.status)).inc()
        if self.settings.log_requests:
            self._say(f"{_now()} {path} {error.status} {' '.join(error.message.split())}")

    def _note(self, reply: TalkReply, status: int) -> None:
        talk, model = reply.talk, reply.talk.served.name
        self._talks.discard(talk)
        if status == GONE:
            self.metrics.aborted.labels(model).inc()
        elif status != 200:
            self.metrics.errors.labels(model, str(status)).inc()
        if self.settings.log_requests:
            self._say(_line(reply, status))
        if self.settings.log_prompts:
            for prompt in talk.plan.prompts:
                self._say(f"{reply.shape.id} prompt: {talk.served.lm.tokenizer.decode(prompt)!r}")


def _line(reply: TalkReply, status: int) -> str:
    """A request in the log: who, what, how much, how long; nothing of what was said."""
    talk, plan = reply.talk, reply.talk.plan
    facts = [
        _now(),
        "chat" if plan.chat else "completion",
        reply.shape.id,
        f"model={talk.served.name}",
        f"key={reply.caller.name}",
        *([f"user={plan.user!r}"] if plan.user else []),
        f"status={status}",
        f"prompt={talk.prompt_tokens}",
        f"made={talk.made_tokens}",
        f"queued={talk.times.queued:.2f}s",
        *([f"first={talk.times.first:.2f}s"] if talk.times.first is not None else []),
        f"ended={_reasons(talk.choices) if status == 200 else 'no'}",
    ]
    return " ".join(facts)


def _reasons(choices: Sequence[Choice]) -> str:
    return ",".join(dict.fromkeys(choice.details()["reason"] for choice in choices))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
