"""A reply's text as it comes in, told apart into thinking and answer, whatever the chunks."""

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

Kind = Literal["reasoning", "answer"]


class ReplyStream:
    """Says of each piece of a reply whether it is thinking or answer. The same rules as `Template.parse`:
    thinking is opened only at the start of a reply, ends at the first close, and both parts are stripped.
    What may still turn out to be a tag or closing whitespace is held back."""

    def __init__(self) -> None:
        self._held = ""
        self._state: Literal["start", "reasoning", "answer"] = "start"
        self._begun = False  # whether the present part has shown anything: its leading whitespace is dropped

    @property
    def thinking(self) -> bool:
        """Whether the reply is inside its thinking: unclosed, if nothing more comes."""
        return self._state == "reasoning"

    def push(self, text: str) -> list[tuple[Kind, str]]:
        self._held += text
        out: list[tuple[Kind, str]] = []
        if self._state == "start":
            seen = self._held.lstrip()
            if OPEN.startswith(seen) and seen != OPEN:  # part of a tag, or nothing yet
                return out
            if seen.startswith(OPEN):
                self._state, self._held = "reasoning", seen[len(OPEN) :]
            else:
                self._state = "answer"
        if self._state == "reasoning":
            thought, closed, rest = self._held.partition(CLOSE)
            if closed:
                self._emit("reasoning", thought.rstrip(), out)
                self._state, self._begun, self._held = "answer", False, rest
            else:
                keep = _held_back(thought, CLOSE)
                self._emit("reasoning", thought[: len(thought) - keep], out)
                self._held = thought[len(thought) - keep :]
        if self._state == "answer":
            keep = len(self._held) - len(self._held.rstrip())
            self._emit("answer", self._held[: len(self._held) - keep], out)
            self._held = self._held[len(self._held) - keep :]
        return out

    def flush(self) -> list[tuple[Kind, str]]:
        """What was held back, now that the reply is over: half a tag is plain text after all."""
        out: list[tuple[Kind, str]] = []
        rest, self._held = self._held, ""
        self._emit("reasoning" if self._state == "reasoning" else "answer", rest.rstrip(), out)
        return out

    def _emit(self, kind: Kind, text: str, out: list[tuple[Kind, str]]) -> None:
        if not self._begun:
            text = text.lstrip()
        if text:
            self._begun = True
            out.append((kind, text))


def _held_back(text: str, tag: str) -> int:
    """How many characters at the end may be whitespace before a close, then part of the tag itself."""
    partial = next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:n])), 0)
    body = text[: len(text) - partial]
    return partial + len(body) - len(body.rstrip())
