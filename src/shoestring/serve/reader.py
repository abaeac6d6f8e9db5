"""A reply as a client gets it: thinking, content and calls, in pieces of one kind each. The same whether the
ids come one by one or all at once, so a whole reply is the streamed one laid together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shoestring.engine.guides import State
from shoestring.serve.thinking import How, ThinkingParser
from shoestring.serve.tools import ReadCalls, ToolUse, read
from shoestring.text.tool_calls import CALL, CALLS, MARK, TAG, TAG_END

MARKS = (TAG, TAG_END, CALLS, CALL)

Part = Literal["reasoning", "content", "calls"]


@dataclass(frozen=True)
class Delta:
    """tokens: which of the reply's tokens are told of with it, by their number (for their logprobs)."""

    kind: Part
    text: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    tokens: tuple[int, ...] = ()


class StopCut:
    """Text up to the stop string that is complete first; what may become one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = tuple(stops), ""
        self.found = ""

    def push(self, text: str) -> str:
        if self.found or not self._stops:
            return "" if self.found else text
        self._held += text
        ends = [(at + len(stop), at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            _, at, self.found = min(ends)
            out, self._held = self._held[:at], ""
            return out
        return self._but(max(_overlap(self._held, stop) for stop in self._stops))

    def flush(self) -> str:
        return "" if self.found else self._but(0)

    def _but(self, keep: int) -> str:
        end = len(self._held) - keep
        out, self._held = self._held[:end], self._held[end:]
        return out


class CallCut:
    """Text up to the first mark of a call; from there on all is kept, to be read when the reply is over.
    White space before a mark goes with it."""

    def __init__(self, on: bool) -> None:
        self._on, self._held = on, ""
        self.called = False

    def push(self, text: str) -> str:
        if not self._on:
            return text
        self._held += text
        if self.called:
            return ""
        found = MARK.search(self._held)
        if found is not None:
            self.called = True
            before = self._held[: found.start()].rstrip()
            self._held = self._held[len(before) :]
            return before
        mark = max(_overlap(self._held, mark) for mark in MARKS)
        solid = self._held[: len(self._held) - mark].rstrip()
        self._held = self._held[len(solid) :]
        return solid

    def rest(self) -> str:
        held, self._held = self._held, ""
        return held


def _overlap(text: str, word: str) -> int:
    """How long the longest end of `text` is that begins `word` without being all of it."""
    longest = min(len(word) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(word[:n])), 0)


class ReplyReader:
    def __init__(self, how: How, state: State, stops: Sequence[str] = (), use: ToolUse | None = None) -> None:
        self.use = use or ToolUse()
        self.parser = ThinkingParser(how, state)
        self._stop, self._call = StopCut(stops), CallCut(bool(self.use.functions))
        self._made = 0
        self._waiting: dict[str, list[int]] = {"reasoning": [], "content": []}  # tokens not told of yet
        self._undecided: list[int] = []
        self.read = ReadCalls("")

    @property
    def stopped(self) -> str:
        """The stop string that ended the answer; what comes after it isn't shown."""
        return self._stop.found

    def push(self, ids: Sequence[int]) -> list[Delta]:
        pieces: list[tuple[Part, str]] = []
        for token in ids:
            if self.stopped:
                break
            pieces += self._parts(self.parser.push(token))
            self._undecided.append(self._made)
            self._made += 1
            if not self.parser.undecided:
                kind = "reasoning" if self.parser.kind() == "reasoning" else "content"
                self._waiting[kind] += self._undecided
                self._undecided = []
        return self._merged(pieces)

    def finish(self, cut: bool) -> list[Delta]:
        """The rest, now that the reply is over. cut: by a limit."""
        pieces = self._parts(self.parser.flush())
        last = self._stop.flush()
        if last:
            pieces.append(("content", self._call.push(last)))
        rest = self._call.rest()
        self.read = read(rest, self.use, cut) if self._call.called else ReadCalls(rest)
        if not self.read.calls and rest:
            pieces.append(("content", rest))
        self._waiting["content"] += self._undecided
        self._undecided = []
        deltas = self._merged(pieces)
        if self.read.calls:
            deltas.append(Delta("calls", calls=self.read.calls, tokens=self._told("content")))
        for kind in ("reasoning", "content"):  # tokens that spelled nothing: an end of turn, a tag
            if self._waiting[kind]:
                self._append_tokens(deltas, kind)
        return deltas

    def _parts(self, pieces: Sequence[tuple[str, str]]) -> list[tuple[Part, str]]:
        out: list[tuple[Part, str]] = []
        for kind, text in pieces:
            if kind == "reasoning":
                out.append(("reasoning", text))
            else:
                out.append(("content", self._call.push(self._stop.push(text))))
        return out

    def _merged(self, pieces: Sequence[tuple[Part, str]]) -> list[Delta]:
        """One delta for neighbours of one kind."""
        joined: list[tuple[Part, str]] = []
        for kind, text in pieces:
            if not text:
                continue
            if joined and joined[-1][0] == kind:
                joined[-1] = (kind, joined[-1][1] + text)
            else:
                joined.append((kind, text))
        return [Delta(kind, text, tokens=self._told(kind)) for kind, text in joined]

    def _told(self, kind: str) -> tuple[int, ...]:
        tokens, self._waiting[kind] = tuple(self._waiting[kind]), []
        return tokens

    def _append_tokens(self, deltas: list[Delta], kind: Literal["reasoning", "content"]) -> None:
        """To the last delta of that kind, or to one without text."""
        tokens = self._told(kind)
        for i in reversed(range(len(deltas))):
            if deltas[i].kind == kind or (kind == "content" and deltas[i].kind == "calls"):
                deltas[i] = Delta(deltas[i].kind, deltas[i].text, deltas[i].calls, deltas[i].tokens + tokens)
                return
        deltas.append(Delta(kind, "", tokens=tokens))
