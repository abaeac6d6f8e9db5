"""What an endpoint's reply says: whole or in server-sent events, with the thinking in `reasoning_content`
(DeepSeek), in `reasoning` (OpenRouter, vLLM), or in the text between <think> and </think>."""

import json
from dataclasses import dataclass
from typing import Any

from shoestring.text.stream import split_thinking

ENDED = ("eos", "eos_token", "end_turn", "stop_sequence")  # others' words for "stop"
CUT = ("max_tokens", "model_length")  # ... and for "length"


class Broken(Exception):
    """A reply that came but can't be used; asking again may help."""


@dataclass(frozen=True)
class Said:
    """finish_reason: "stop", "length" (it was cut), or what else the endpoint says, such as
    "content_filter"."""

    reasoning: str | None
    answer: str
    finish_reason: str
    prompt_tokens: int | None  # None: the endpoint didn't say
    completion_tokens: int | None
    cached_tokens: int = 0  # of the prompt's; 0 too where the endpoint didn't say
    model: str = ""  # what it calls the model; "" here and below: it didn't say
    fingerprint: str = ""


def read_whole(body: bytes) -> Said:
    """Raises Broken."""
    value = _json(body)
    choice = _choice(value)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Broken("no message in its choice")
    reason = choice.get("finish_reason")
    if not isinstance(reason, str):
        raise Broken("no finish_reason")
    told = _told(value)
    return _said(_text(message, "content"), _thinking(message), reason, value.get("usage"), told)


class StreamReader:
    """Lines of a stream in, a `Said` out. A stream is whole once it gave a finish_reason: some endpoints end
    without [DONE], and one cut off ends like any other."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.thinking: list[str] = []
        self.reason = ""
        self.usage: Any = None
        self.told: dict[str, str] = {}
        self.done = False

    def push(self, line: bytes) -> None:
        """Raises Broken. Comments (": keep-alive"), blank lines and other fields say nothing."""
        text = line.strip()
        if not text.startswith(b"data:"):
            if text.startswith(b"{"):  # an error sent as plain JSON
                _choice(_json(text))
            return
        data = text.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            self.done = True
            return
        value = _json(data)
        self.usage = value.get("usage") or self.usage
        self.told |= _told(value)
        if value.get("choices") == []:  # the last one, of usage alone
            return
        choice = _choice(value)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self.content.append(_text(delta, "content"))
            self.thinking.append(_thinking(delta) or "")
        if isinstance(choice.get("finish_reason"), str):
            self.reason = choice["finish_reason"]

    @property
    def num_chars(self) -> int:
        """What came so far: of a stream that is cut it was made, and may be charged."""
        return sum(map(len, self.content)) + sum(map(len, self.thinking))

    def end(self) -> Said:
        if not self.reason:
            raise Broken("the stream was cut")
        thinking = "".join(self.thinking) or None
        return _said("".join(self.content), thinking, self.reason, self.usage, self.told)


def _said(content: str, thinking: str | None, reason: str, usage: Any, told: dict[str, str]) -> Said:
    if reason == "insufficient_system_resource":  # DeepSeek broke it off for its own reasons
        raise Broken("the endpoint ran short of resources")
    answer = content
    if thinking is None:
        thinking, answer = split_thinking(content)
    counts = usage if isinstance(usage, dict) else {}
    tokens = _count(counts, "prompt_tokens"), _count(counts, "completion_tokens"), _cached(counts)
    why = "stop" if reason in ENDED else "length" if reason in CUT else reason
    return Said(None if thinking is None else _whole(thinking), _whole(answer), why, *tokens, **told)


def _whole(text: str) -> str:
    """With halves of characters, which JSON may hold and UTF-8 can't, put together or replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)  # DeepSeek sends blank lines before it while one waits
    except ValueError:
        raise Broken("malformed JSON") from None
    if not isinstance(value, dict):
        raise Broken("not a JSON object")
    return value


def _choice(value: dict[str, Any]) -> dict[str, Any]:
    error = value.get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise Broken(f"an error in its reply: {message}")
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Broken("no choices in its reply")
    return choices[0]


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Broken(f"its {name} is not text")
    return value


def _thinking(message: dict[str, Any]) -> str | None:
    """None where neither field has any."""
    return _text(message, "reasoning_content") or _text(message, "reasoning") or None


def _told(value: dict[str, Any]) -> dict[str, str]:
    """What a reply, or a piece of one, says of who made it."""
    found = {"model": value.get("model"), "fingerprint": value.get("system_fingerprint")}
    return {name: _whole(text) for name, text in found.items() if isinstance(text, str) and text}


def counted(reply: Any, tokens_in: int, tokens_out: int) -> tuple[int, int, int]:
    """Tokens in and out and those that a cache held, by the reply's usage; these where it says nothing."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    if not isinstance(usage, dict):
        return tokens_in, tokens_out, 0
    told = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return (
        tokens_in if told[0] is None else told[0],
        tokens_out if told[1] is None else told[1],
        _cached(usage),
    )


def _cached(usage: dict[str, Any]) -> int:
    """Tokens of the prompt that a cache held, by DeepSeek's name or OpenAI's; never more than the prompt."""
    details = usage.get("prompt_tokens_details")
    found = _count(usage, "prompt_cache_hit_tokens")
    if found is None and isinstance(details, dict):
        found = _count(details, "cached_tokens")
    return min(found or 0, _count(usage, "prompt_tokens") or 0)


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
