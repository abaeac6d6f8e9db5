"""Replies in OpenAI's shapes: whole bodies and the chunks of a stream. Pure; `stream.py` puts chunks on a
line."""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring.serve.choice import Choice
from shoestring.serve.logprobs import Likelihood, Spell, chat_entries, completion_lists
from shoestring.serve.plan import Plan
from shoestring.serve.reader import Delta


def new_id(chat: bool) -> str:
    return f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"


@dataclass
class Shape:
    """One reply's."""

    plan: Plan
    model: str
    fingerprint: str
    spell: Spell
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    _begun: set[int] = field(default_factory=set)  # choices whose role was sent
    _at: dict[int, int] = field(default_factory=dict)  # characters sent of a text, for offsets

    def __post_init__(self) -> None:
        self.id = self.id or new_id(self.plan.chat)
        kind = "chat.completion.chunk" if self.plan.chat else "text_completion"
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        # the same in every chunk: written once
        self._head = json.dumps(head | {"system_fingerprint": self.fingerprint})[:-1]

    def chunks(self, choice: Choice, deltas: Sequence[Delta]) -> list[str]:
        """Each delta as one chunk's JSON."""
        return [chunk for delta in deltas if (chunk := self._chunk(choice, delta)) is not None]

    def end(self, choice: Choice) -> list[str]:
        """The last chunks of a choice; of one that made nothing its prompt comes first, where that is
        asked."""
        echo = None if self.plan.chat else self._text_chunk(choice, Delta("content"))
        return [chunk for chunk in (echo, self.last(choice)) if chunk is not None]

    def last(self, choice: Choice) -> str:
        """The chunk that says why a choice ended."""
        body: dict[str, Any] = {"index": choice.index}
        if self.plan.chat:
            body["delta"] = {} if choice.index in self._begun else {"role": "assistant", "content": ""}
        else:
            body["text"] = ""
        body |= {"logprobs": None, "finish_reason": choice.reason, "finish_details": choice.details()}
        return self._with([body])

    def usage_chunk(self, usage: dict[str, Any]) -> str:
        return self._with([], usage=usage, applied=self.plan.applied())

    def whole(self, choices: Sequence[Choice], told: Sequence[Sequence[Delta]], usage: dict[str, Any]) -> Any:
        """The body of a reply that isn't streamed. told[i]: all deltas of choice i."""
        kind = "chat.completion" if self.plan.chat else "text_completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": [self._choice(c, deltas) for c, deltas in zip(choices, told, strict=True)],
            "usage": usage,
            "applied": self.plan.applied(),
        }

    def _choice(self, choice: Choice, deltas: Sequence[Delta]) -> dict[str, Any]:
        ended = {"finish_reason": choice.reason, "finish_details": choice.details()}
        content = "".join(d.text for d in deltas if d.kind == "content")
        if not self.plan.chat:
            echoed = self._echo(choice)
            likelihoods = self._echoed(choice) + self._of(choice, [t for d in deltas for t in d.tokens])
            lists = self._lists(likelihoods, 0)
            return {"index": choice.index, "text": echoed + content, "logprobs": lists, **ended}
        message: dict[str, Any] = {"role": "assistant", "content": content}
        reasoning = "".join(d.text for d in deltas if d.kind == "reasoning")
        if choice.reader.parser.thought:
            message |= self._thought(reasoning)
        if choice.reader.read.calls:
            message["content"] = content or None
            message["tool_calls"] = list(choice.reader.read.calls)
        return {"index": choice.index, "message": message, "logprobs": self._entries(choice, deltas), **ended}

    def _thought(self, text: str) -> dict[str, str]:
        """Thinking under the names that were asked for."""
        names = {"reasoning_content": ("reasoning_content",), "reasoning": ("reasoning",)}
        both = ("reasoning_content", "reasoning")
        return {} if self.plan.fields is None else dict.fromkeys(names.get(self.plan.fields, both), text)

    def _chunk(self, choice: Choice, delta: Delta) -> str | None:
        if not self.plan.chat:
            return self._text_chunk(choice, delta)
        said: dict[str, Any] = {}
        if delta.kind == "reasoning":
            said = self._thought(delta.text) if delta.text else {}
        elif delta.kind == "content":
            said = {"content": delta.text} if delta.text else {}
        else:
            said = {"tool_calls": [{"index": i, **call} for i, call in enumerate(delta.calls)]}
        entries = self._entries(choice, [delta]) if delta.tokens and self.plan.logprobs is not None else None
        if not said and (entries is None or (self.plan.fields is None and delta.kind == "reasoning")):
            return None
        if choice.index not in self._begun:
            self._begun.add(choice.index)
            said = {"role": "assistant"} | said
        return self._with(
            [{"index": choice.index, "delta": said, "logprobs": entries, "finish_reason": None}]
        )

    def _text_chunk(self, choice: Choice, delta: Delta) -> str | None:
        text, at = delta.text, self._at.get(choice.index, 0)
        likelihoods = self._of(choice, delta.tokens)
        if choice.index not in self._begun:
            self._begun.add(choice.index)
            text, likelihoods = self._echo(choice) + text, self._echoed(choice) + likelihoods
        lists = self._lists(likelihoods, at)
        self._at[choice.index] = at + len(text)
        if not text and not likelihoods:
            return None
        return self._with([{"index": choice.index, "text": text, "logprobs": lists, "finish_reason": None}])

    def _echo(self, choice: Choice) -> str:
        if not self.plan.echo:
            return ""
        return choice.how.tokenizer.decode(self._prompt(choice))

    def _prompt(self, choice: Choice) -> list[int]:
        return self.plan.prompts[choice.index // self.plan.params.n]

    def _echoed(self, choice: Choice) -> list[Likelihood]:
        """Of the prompt's tokens; they are known when the first token is."""
        found = choice.prompt_logprobs
        if not self.plan.echo or self.plan.logprobs is None or found is None:
            return []
        return [
            Likelihood(token, known.get(token) if i else None, known)
            for i, (token, known) in enumerate(zip(self._prompt(choice), found, strict=True))
        ]

    def _of(self, choice: Choice, tokens: Sequence[int]) -> list[Likelihood]:
        return [choice.likelihoods[i] for i in tokens] if self.plan.logprobs is not None else []

    def _lists(self, likelihoods: list[Likelihood], offset: int) -> dict[str, Any] | None:
        if self.plan.logprobs is None:
            return None
        return completion_lists(self.spell, likelihoods, self.plan.logprobs, offset)

    def _entries(self, choice: Choice, deltas: Sequence[Delta]) -> dict[str, Any] | None:
        """Of the answer's tokens, and of the thinking's where that is shown."""
        count = self.plan.logprobs
        if count is None:
            return None
        found: dict[str, Any] = {"content": [], "refusal": None}
        for delta in deltas:
            entries = chat_entries(self.spell, self._of(choice, delta.tokens), count)
            if delta.kind != "reasoning":
                found["content"] += entries
            elif self.plan.fields is not None:
                found.setdefault("reasoning_content", []).extend(entries)
        return found

    def _with(self, choices: list[dict[str, Any]], **more: Any) -> str:
        rest = json.dumps({"choices": choices, **more}, ensure_ascii=False, separators=(",", ":"))
        return f"{self._head}, {rest[1:]}"
