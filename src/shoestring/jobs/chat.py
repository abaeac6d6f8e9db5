"""Talk to a model in the terminal, or through a pipe: read a line, stream the reply, thinking dimmed."""

import os
import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from pydantic import Field

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.jobs.describe import headline
from shoestring.lm import LanguageModel, Quantize, load
from shoestring.settings import Settings
from shoestring.text.message import Message
from shoestring.text.stream import Kind, Piece
from shoestring.text.tokenizer import TextStream

HELP = "/reset forgets the conversation, /stats counts, /exit leaves (so does Ctrl-D); Ctrl-C stops a reply"
WARN_AT = (0.80, 0.95)  # of the context window


class ChatSettings(Settings):
    model: str
    system: str | None = None
    max_tokens: int = Field(1024, ge=1)
    temperature: float | None = Field(None, ge=0)  # None: the model's own, as its generation_config.json says
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int = 0
    device: str = "cpu"
    dtype: str = "auto"
    quantize: Quantize | None = None


class Streams(Protocol):
    """What chat needs of an engine."""

    def stream(
        self, prompt: list[int], params: SamplingParams, key: str = ""
    ) -> Generator[int, None, None]: ...


@dataclass
class Counts:
    turns: int = 0
    tokens: int = 0
    seconds: float = 0.0
    context: int = 0  # tokens that the next prompt starts with


def main(settings: ChatSettings) -> dict[str, Any]:
    lm = load(settings.model, dtype=settings.dtype, device=settings.device, quantize=settings.quantize)
    counts = Chat(lm, Engine(lm), settings, Screen(sys.stdout)).run(read_lines(sys.stdin))
    return {"turns": counts.turns, "tokens": counts.tokens, "seconds": counts.seconds}


def read_lines(source: TextIO) -> Iterator[str]:
    """Lines until the end (Ctrl-D). On a terminal Ctrl-C at the prompt drops the line, not the program."""
    while True:
        try:
            if source.isatty():
                line = input("\n> ")
            elif not (line := source.readline()):
                return
        except EOFError:
            return
        except KeyboardInterrupt:
            print(f"\n{HELP}")
            continue
        if line.strip():
            yield line.strip()


@contextmanager
def caught_interrupts() -> Iterator[list[int]]:
    """Ctrl-C is put on the list and breaks nothing off: the engine is never left in the middle of a step."""
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


class Screen:
    """Dims thinking and notes where the terminal can; else marks them in plain text."""

    def __init__(self, out: TextIO, colour: bool | None = None) -> None:
        self.out = out
        self.colour = out.isatty() and "NO_COLOR" not in os.environ if colour is None else colour
        self._kind: Kind | None = None

    def piece(self, kind: Kind, text: str) -> None:
        """A piece of a reply, at once."""
        if kind != self._kind:
            if self._kind is not None:
                self._write("\n\n")
            if kind == "reasoning" and not self.colour:
                self._write("(thinking) ")
            self._kind = kind
        self._write(f"\x1b[2m{text}\x1b[0m" if kind == "reasoning" and self.colour else text)

    def end_reply(self) -> None:
        self._write("\n" if self._kind is not None else "(no text)\n")
        self._kind = None

    def note(self, text: str) -> None:
        self._write(f"\x1b[2m{text}\x1b[0m\n" if self.colour else f"{text}\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


class Chat:
    """One conversation. What is kept of a reply is what the template read from its ids, so that thinking that
    was cut short is closed in the history."""

    def __init__(self, lm: LanguageModel, engine: Streams, settings: ChatSettings, screen: Screen) -> None:
        self.lm, self.engine, self.settings, self.screen = lm, engine, settings, screen
        self.window = lm.config.max_position_embeddings
        self.counts = Counts()
        self.messages: list[Message] = []
        self.reset()

    def run(self, lines: Iterator[str]) -> Counts:
        self.screen.note(f"{headline(self.lm)}\n{HELP}")
        for line in lines:
            if line in ("/exit", "/quit"):
                break
            if line.startswith("/"):
                self.command(line)
                continue
            try:
                self.reply(line)
            except BadInput as error:
                self.screen.note(str(error))
        return self.counts

    def reset(self) -> None:
        self.messages = []
        if self.settings.system is not None:
            self.messages.append({"role": "system", "content": self.settings.system})
        self.counts.context = 0

    def command(self, line: str) -> None:
        if line == "/reset":
            self.reset()
            self.screen.note("forgotten; a new conversation")
        elif line == "/stats":
            c = self.counts
            rate = c.tokens / c.seconds if c.seconds else 0.0
            self.screen.note(
                f"{c.turns} replies, {c.tokens} tokens at {rate:.1f} tokens/s, "
                f"context {c.context} of {self.window} tokens"
            )
        else:
            self.screen.note(HELP if line == "/help" else f"no command {line}; {HELP}")

    def reply(self, text: str) -> None:
        """Ask `text`, stream the reply, keep both. Raises BadInput, keeping neither, if there is no room."""
        asked: list[Message] = [*self.messages, {"role": "user", "content": text}]
        prompt = self.lm.template.render(asked, add_generation_prompt=True).ids
        if len(prompt) >= self.window:
            raise BadInput(
                f"this conversation is {len(prompt)} tokens long and the model reads at most {self.window}: "
                "/reset, or write less"
            )
        start = time.perf_counter()
        ids, stopped = self.show(prompt)
        self.counts.seconds += time.perf_counter() - start
        self.counts.turns += 1
        self.counts.tokens += len(ids)
        self.counts.context = len(prompt) + len(ids)
        ended = bool(ids) and ids[-1] in self.lm.template.stop_ids
        said = self.lm.template.parse(ids, cut=not ended)
        kept: Message = {"role": "assistant", "content": said.answer}
        if said.reasoning is not None:
            kept["reasoning_content"] = said.reasoning
        self.messages = [*asked, kept]
        self.after(len(ids), time.perf_counter() - start, stopped, ended)

    def show(self, prompt: list[int]) -> tuple[list[int], bool]:
        """Stream one reply. Ctrl-C ends it between two tokens: (ids so far, whether it was stopped)."""
        s, own = self.settings, self.lm.generation
        temperature = own.temperature if s.temperature is None else s.temperature
        top_p = own.top_p if s.top_p is None else s.top_p
        params = SamplingParams(s.max_tokens, temperature, top_p, top_k=own.top_k, seed=s.seed)
        text, parts, ids = TextStream(self.lm.tokenizer), self.lm.template.stream(), []
        stream = self.engine.stream(prompt, params, key=f"chat/{self.counts.turns}")
        with closing(stream), caught_interrupts() as caught:
            for token in stream:
                ids.append(token)
                if token not in self.lm.template.stop_ids:
                    self._pieces(parts.push(text.push(token)))
                if caught:
                    break
        self._pieces([*parts.push(text.flush()), *parts.flush()])
        self.screen.end_reply()
        return ids, bool(caught)

    def _pieces(self, pieces: list[Piece]) -> None:
        for kind, text in pieces:
            self.screen.piece(kind, text)

    def after(self, made: int, seconds: float, stopped: bool, ended: bool) -> None:
        """How it went, and how much of the context is left."""
        used = self.counts.context / self.window
        why = "" if ended else (", stopped" if stopped else ", cut")
        if not ended and not stopped:
            why += " by the context window" if used >= 1 else f" at --max-tokens {self.settings.max_tokens}"
        rate = made / seconds if seconds else 0.0
        self.screen.note(f"[{made} tokens, {rate:.1f} tokens/s, context {used:.0%} of {self.window}{why}]")
        if used >= WARN_AT[0]:
            urgent = "almost full" if used >= WARN_AT[1] else "filling up"
            self.screen.note(f"the context is {urgent} ({used:.0%}): /reset starts a new conversation")
