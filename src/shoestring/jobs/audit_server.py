"""A server as the one who is audited. Its streams are read as they come, so that what it shows and then takes
back is seen."""

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import cached_property
from typing import Any

from shoestring.errors import BadInput, ShoestringError
from shoestring.evals.respondent import Ask, Said, Shown
from shoestring.origin import Lineage
from shoestring.serve.probe import Failed, Probe, Streamed

TRIES, PAUSE_S = 3, 1.0
AT_ONCE = 8
FILTERED = "content_filter"


class ServerRespondent:
    """`http://host/v1#model`. One that doesn't tell its lineage is known by its model's name alone, and by
    what `own` of the audit says."""

    switches = True  # by the fields that servers read; one that reads none answers as it likes

    def __init__(
        self, url: str, key: str, max_tokens: int, temperature: float, seed: int, timeout: float
    ) -> None:
        address, _, model = url.partition("#")
        self._probe = Probe(address, key, model, timeout)
        self._params = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        self._completes: bool | None = None

    @property
    def name(self) -> str:
        return self._probe.model

    @property
    def lineage(self) -> Lineage | None:
        return self._told

    @cached_property
    def _told(self) -> Lineage | None:
        """As our own servers tell it; others tell none."""
        try:
            told = next((m for m in self._probe.models if m.get("id") == self.name), {}).get("lineage")
            return Lineage.of(told) if told else None
        except (Failed, BadInput, AttributeError, KeyError, TypeError):
            return None

    @property
    def completes(self) -> bool:
        """Whether it has /completions, tried once."""
        if self._completes is None:
            body = {"model": self.name, "prompt": "One, two,", "max_tokens": 1}
            self._completes = self._probe.post("/completions", body).status == 200
        return self._completes

    def ask(self, asks: Sequence[Ask], shown: Shown) -> list[Said]:
        replies: list[Said] = [Said("")] * len(asks)
        tokens = done = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            places = {pool.submit(self._one, ask): i for i, ask in enumerate(asks)}
            waiting = set(places)
            try:
                while waiting:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ready:
                        said = replies[places[future]] = future.result()
                        tokens, done = tokens + said.tokens, done + 1
                        shown(done, len(asks), tokens)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return replies

    def _one(self, ask: Ask) -> Said:
        for attempt in range(TRIES):
            try:
                return said_in(self._stream(ask), bool(ask.raw))
            except (Failed, ShoestringError) as error:
                if attempt + 1 == TRIES:
                    raise ShoestringError(f"{self.name}: no reply to {ask.key}: {error}") from None
                time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    def _stream(self, ask: Ask) -> Streamed:
        fields: dict[str, Any] = {**self._params, "stream_options": {"include_usage": True}}
        if ask.raw:
            return self._probe.stream(ask.raw, "/completions", **fields)
        if ask.thinking is not None:
            fields["thinking"] = {"type": "enabled" if ask.thinking else "disabled"}
            fields["chat_template_kwargs"] = {"thinking": ask.thinking, "enable_thinking": ask.thinking}
        return self._probe.stream(messages=list(ask.messages), **fields)


def said_in(stream: Streamed, raw: bool) -> Said:
    """A text is taken back where the stream ends with a content filter, or gives another whole message at
    last."""
    if raw:
        choices = [c for chunk in stream.chunks for c in chunk.get("choices", ())]
        shown, thought = "".join(c.get("text") or "" for c in choices), ""
        reasons = [c["finish_reason"] for c in choices if c.get("finish_reason")]
    else:
        shown, thought, reasons = stream.text(), stream.thought(), stream.reasons()
    whole = [
        c["message"].get("content") or ""
        for chunk in stream.chunks
        for c in chunk.get("choices", ())
        if isinstance(c.get("message"), dict)
    ]
    answer = whole[-1] if whole else "" if reasons[-1:] == [FILTERED] else shown
    usage = next((chunk["usage"] for chunk in reversed(stream.chunks) if chunk.get("usage")), {})
    details = usage.get("completion_tokens_details") or {}
    return Said(
        answer,
        thought or (None if "<think>" not in shown else ""),
        reasons[-1:] == ["length"],
        usage.get("completion_tokens") or 0,
        details.get("reasoning_tokens") or 0,
        shown if shown != answer else "",
        next((chunk["model"] for chunk in stream.chunks if chunk.get("model")), ""),
    )
