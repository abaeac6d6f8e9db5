"""A reply's text as it comes in, told apart into thinking and answer, whatever the chunks."""

import math
from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

Kind = Literal["reasoning", "answer"]
Piece = tuple[Kind, str]


class ReplyStream:
    """The rules of `Template.parse` (`Template.stream` makes the fitting one): thinking is open if the prompt
    opened it or the reply begins with <think>, and ends at the first </think>. What may turn out to be a
    tag, or the newlines around one, is held back."""

    def __init__(self, opened: bool = False, any_newlines: bool = False) -> None:
        """opened: the prompt ends inside <think>. any_newlines: drop all around a tag, not just one."""
        self._state: Literal["start", "reasoning", "answer"] = "reasoning" if opened else "start"
        self._around = math.inf if any_newlines else 1
        self._drop: float = self._around if opened else 0  # newlines still to drop before the part begins
        self._held = ""

    @property
    def thinking(self) -> bool:
        """Whether the reply is inside its thinking."""
        return self._state == "reasoning"

    @property
    def undecided(self) -> bool:
        """Whether nothing came yet that says what the reply begins with."""
        return self._state == "start"

    def push(self, text: str) -> list[Piece]:
        self._held += text
        out: list[Piece] = []
        if self._state == "start":
            seen = self._held.lstrip()
            if OPEN.startswith(seen) and seen != OPEN:  # part of a tag, or nothing yet
                return out
            if seen.startswith(OPEN):
                self._enter("reasoning", seen[len(OPEN) :])
            else:
                self._state = "answer"
        if self._state == "reasoning":
            thought, closed, rest = self._held.partition(CLOSE)
            if closed:
                self._emit(thought[: len(thought) - self._newlines(thought)], out)
                self._enter("answer", rest)
            else:
                at = thought.rfind(CLOSE[0], max(0, len(thought) - len(CLOSE) + 1))
                tag = len(thought) - at if at >= 0 and CLOSE.startswith(thought[at:]) else 0
                self._emit_but(tag + self._newlines(thought[: len(thought) - tag]), out)
        if self._state == "answer":
            self._emit_but(0, out)
        return out

    def flush(self) -> list[Piece]:
        """What was held back, now that the reply is over: half a tag is plain text after all."""
        out: list[Piece] = []
        if self._state == "reasoning" and self._around == math.inf:
            self._held = self._held.rstrip("\n")
        self._emit_but(0, out)
        return out

    def _enter(self, state: Kind, held: str) -> None:
        self._state, self._drop, self._held = state, self._around, held

    def _newlines(self, text: str) -> int:
        """How many newlines at the end go with a tag that follows."""
        return int(min(len(text) - len(text.rstrip("\n")), self._around))

    def _emit_but(self, keep: int, out: list[Piece]) -> None:
        end = len(self._held) - keep
        text, self._held = self._held[:end], self._held[end:]
        self._emit(text, out)

    def _emit(self, text: str, out: list[Piece]) -> None:
        while self._drop and text.startswith("\n"):
            text, self._drop = text[1:], self._drop - 1
        if text:
            self._drop = 0
            out.append(("reasoning" if self._state == "reasoning" else "answer", text))


def split_thinking(content: str) -> tuple[str | None, str]:
    """Thinking and answer of a text with tags. A template that opens <think> itself leaves only the closing
    one in the reply."""
    start = content.lstrip()
    if start.startswith(OPEN):
        thinking, _, answer = start[len(OPEN) :].partition(CLOSE)
    elif CLOSE in content:
        thinking, _, answer = content.partition(CLOSE)
    else:
        return None, content
    return thinking.strip("\n") or None, answer.lstrip("\n")
