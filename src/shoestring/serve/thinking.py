"""A reply's token ids, one by one, to pieces of thinking and of answer, from the state that the prompt
left."""

from collections.abc import Collection
from dataclasses import dataclass

from shoestring.engine.guides import State
from shoestring.text.stream import Kind, Piece, ReplyStream
from shoestring.text.tokenizer import TextStream, Tokenizer


@dataclass(frozen=True)
class How:
    """How replies of one model are read: what ends a turn, and how many newlines go with a tag."""

    tokenizer: Tokenizer
    stop_ids: Collection[int]
    any_newlines: bool


class ThinkingParser:
    """Which piece a token belongs to depends on the ids alone, not on how they are handed over. A character
    or a tag that may still be coming is held back. Token ids are counted under the part that they are made
    in, those of the tags under thinking, the end of the turn under what it ends."""

    def __init__(self, how: How, state: State) -> None:
        self._how, self._text = how, TextStream(how.tokenizer)
        self._answering = state == "answer"  # for good: a tag in the answer is text
        self._parts = ReplyStream(opened=state == "thinking", any_newlines=how.any_newlines)
        self.thought = state == "thinking"  # whether there was thinking, be it empty
        self.reasoning_tokens = self.answer_tokens = 0
        self._undecided = 0  # tokens made before it was clear whether the reply begins with thinking

    @property
    def thinking(self) -> bool:
        return not self._answering and self._parts.thinking

    @property
    def undecided(self) -> bool:
        """Whether nothing of the reply says yet what it begins with."""
        return not self._answering and self._parts.undecided

    def push(self, token: int) -> list[Piece]:
        before = self.thinking
        text = "" if token in self._how.stop_ids else self._text.push(token)
        pieces = self._pieces(text)
        self._count(before)
        return pieces

    def flush(self) -> list[Piece]:
        """What was held back, now that the reply is over."""
        rest = self._text.flush()
        pieces = self._pieces(rest)
        if not self._answering:
            pieces += self._parts.flush()
        self.answer_tokens, self._undecided = self.answer_tokens + self._undecided, 0
        return pieces

    def kind(self) -> Kind:
        """Of the token that was pushed last, as far as that is known."""
        return "reasoning" if self._last_reasoning else "answer"

    _last_reasoning = False

    def _pieces(self, text: str) -> list[Piece]:
        if self._answering:
            return [("answer", text)] if text else []
        return self._parts.push(text) if text else []

    def _count(self, before: bool) -> None:
        after = self.thinking
        self.thought = self.thought or after
        self._last_reasoning = before or after
        if self.undecided:
            self._undecided += 1
        elif before or after:
            self.reasoning_tokens, self._undecided = self.reasoning_tokens + 1 + self._undecided, 0
        else:
            self.answer_tokens, self._undecided = self.answer_tokens + 1 + self._undecided, 0
