"""Where in its reply a sequence is, token by token: before anything, inside its thinking, in its answer."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shoestring.lm import LanguageModel
from shoestring.text.message import Message, user
from shoestring.text.stream import CLOSE, OPEN, ReplyStream
from shoestring.text.template import Template
from shoestring.text.template_form import PROBE
from shoestring.text.tokenizer import TextStream, Tokenizer

State = Literal["undecided", "thinking", "answer"]
TAIL = 16  # ids at a prompt's end in which an open tag is looked for


@dataclass(frozen=True)
class Reading:
    """How a request's replies are read. state: in which the prompt left them; "undecided" where the reply may
    begin with <think> or not. any_newlines: drop all newlines after a tag, not just one."""

    tokenizer: Tokenizer
    state: State
    any_newlines: bool
    closing: tuple[int, ...]  # what ends the thinking, as the template writes it

    @classmethod
    def of(cls, lm: LanguageModel, prompt: list[int]) -> "Reading":
        """As `prompt` leaves it: inside the thinking where it ends with <think>, in the answer where with
        </think>. A prompt that ends in the middle of either must say so itself (`state`)."""
        end = lm.tokenizer.decode(prompt[-TAIL:]).rstrip()
        state = "thinking" if end.endswith(OPEN) else "answer" if end.endswith(CLOSE) else "undecided"
        return cls.with_state(lm.tokenizer, lm.template, state)

    @classmethod
    def with_state(cls, tokenizer: Tokenizer, template: Template, state: State) -> "Reading":
        any_newlines = bool(template.form.prefill) or template.form.knows_reasoning
        return cls(tokenizer, state, any_newlines, _closing_ids(tokenizer, template))

    def start(self) -> "Reader":
        return Reader(self)


class Reader:
    """Of one sample. A tag is known by its text, however it was cut into tokens; a character or a tag that
    may still be coming is waited for."""

    def __init__(self, reading: Reading) -> None:
        self.state: State = reading.state
        self._text = TextStream(reading.tokenizer)
        self._parts = ReplyStream(reading.state == "thinking", reading.any_newlines)
        self._plain = reading.state == "answer"  # for good: no tag is looked for

    def take(self, token: int) -> str:
        """What `token` adds to the answer."""
        text = self._text.push(token)
        if self._plain or not text:
            return text
        before = self._parts.thinking
        answer = "".join(piece for kind, piece in self._parts.push(text) if kind == "answer")
        if self._parts.thinking:
            self.state = "thinking"
        elif answer or before:
            self.state = "answer"
        return answer


class Closing:
    """The tokens that end the thinking, while they are forced one by one."""

    def __init__(self) -> None:
        self._left: deque[int] = deque()

    def begin(self, ids: Sequence[int]) -> None:
        self._left = deque(ids)

    def __bool__(self) -> bool:
        return bool(self._left)

    @property
    def forced(self) -> int | None:
        return self._left[0] if self._left else None

    def take(self, token: int, state: State) -> None:
        """`token` came, which left the reply in `state`; another guide may have forced its own."""
        if token == self._left[0]:
            self._left.popleft()
        elif state == "answer":
            self._left.clear()


def _closing_ids(tokenizer: Tokenizer, template: Template) -> tuple[int, ...]:
    """What stands between a thought and its answer."""
    text = f"\n{CLOSE}\n"
    if template.form.knows_reasoning:
        reply = Message(role="assistant", content="answer", reasoning_content=PROBE)
        after = template.form.jinja([user("q"), reply], False).partition(PROBE)[2]
        between, found, _ = after.partition("answer")
        text = between if found and CLOSE in between else text
    special = tokenizer.special_ids.get(CLOSE)
    if special is None:
        return tuple(tokenizer.encode_after(text, special=False))
    before, _, after = text.partition(CLOSE)
    ids = [tokenizer.encode_after(before, special=False), [special]]
    return tuple(i for part in (*ids, tokenizer.encode_after(after, special=True)) for i in part)
