"""Replies in which a model calls tools: it writes a turn, its calls are run, their results are appended and
it writes on, until a turn calls nothing.

A sample's ids are made once. The next turn's prompt is the first one's ids, what the model made since and the
results' ids, laid end to end: no conversation is ever rendered again, so what the sampler saw is what is
trained on. Results are never trained. A sample goes on as soon as its own calls are done; slow tools run in
threads meanwhile. Every turn's random numbers have a key of their own, so a sample depends neither on the
others nor on the order of work.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.lm import LanguageModel
from shoestring.tasks.tools import CallMade, Toolbox
from shoestring.text.message import Message, Reply
from shoestring.text.template import Template
from shoestring.text.tool_calls import Asked, read_calls

WORKERS = 2  # slow calls at once


@dataclass(frozen=True, kw_only=True)
class Episode(Completion):
    """A completion of several turns: `ids` are all that came after the first prompt, results included.
    trained[i]: whether the model made ids[i]; logprobs are 0 where it didn't. reply, text and opened are the
    last turn's: what it says without calls, as it was written, and whether its prompt opened the thinking."""

    trained: list[bool]
    reply: Reply
    text: str
    opened: bool
    calls: tuple[CallMade, ...]
    turns: int


def system_turn(system: str | None, tools: Toolbox | None) -> list[Message]:
    """The turn that a conversation begins with: none where it is the template's own."""
    if tools is not None:
        return [Message(role="system", content=system or "", tools=tools.cards)]
    return [] if system is None else [Message(role="system", content=system)]


def num_made(completion: Completion) -> int:
    """Tokens that the model made."""
    return sum(completion.trained) if isinstance(completion, Episode) else len(completion.ids)


def reply_of(template: Template, completion: Completion) -> Reply:
    """What a completion says: an episode's last turn."""
    if isinstance(completion, Episode):
        return completion.reply
    return template.parse(completion.ids, completion.cut)


def passes(num_prompt: int, trained: Sequence[bool]) -> list[tuple[int, int]]:
    """What generating an episode took: (context read, tokens made) of each turn."""
    found: list[tuple[int, int]] = []
    for i, made in enumerate(trained):
        if made and (i == 0 or not trained[i - 1]):
            found.append((num_prompt + i, 1))
        elif made:
            found[-1] = (found[-1][0], found[-1][1] + 1)
    return found


@dataclass
class _Play:
    """A sample under way."""

    row: int
    number: int
    opened: bool
    ids: list[int] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    routing: Tensor | None = None
    calls: list[CallMade] = field(default_factory=list)
    turns: int = 0

    def took(self, completion: Completion) -> None:
        self.turns += 1
        self.ids += completion.ids
        self.trained += [True] * len(completion.ids)
        self.logprobs += completion.logprobs
        if completion.routing is not None:
            # each token's as it was first read: what is read again for a later turn took the earlier way
            have = self.routing
            new = completion.routing if have is None else completion.routing[len(have) :]
            self.routing = new if have is None else torch.cat([have, new])

    def append(self, ids: list[int]) -> None:
        self.ids += ids
        self.trained += [False] * len(ids)
        self.logprobs += [0.0] * len(ids)


def play_all(
    generator: Generator,
    lm: LanguageModel,
    toolbox: Toolbox,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    keys: Sequence[str],
) -> list[list[Episode]]:
    """Each prompt's params.n episodes, in the prompts' order."""
    done = dict(play(generator, lm, toolbox, prompts, params, keys))
    return [done[row] for row in range(len(prompts))]


def play(
    generator: Generator,
    lm: LanguageModel,
    toolbox: Toolbox,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    keys: Sequence[str],
) -> Iterator[tuple[int, list[Episode]]]:
    """(a prompt's place, its episodes) as they finish. params.max_tokens is for all of a sample's ids,
    results included. A first turn is sampled under its prompt's key, as without tools, and the prompt is read
    once for all of its samples; later turns are sampled under "KEY/SAMPLE/TURN"."""
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="tools") as pool:
        yield from _Players(generator, lm, toolbox, prompts, params, keys, pool).play()


class _Players:
    """All samples of one call of `play`."""

    def __init__(
        self,
        generator: Generator,
        lm: LanguageModel,
        toolbox: Toolbox,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        keys: Sequence[str],
        pool: ThreadPoolExecutor,
    ) -> None:
        self.generator, self.template, self.toolbox = generator, lm.template, toolbox
        self.window = lm.config.max_position_embeddings
        self.prompts, self.params, self.keys, self.pool = prompts, params, keys, pool
        self.asked: dict[int, list[_Play]] = {}  # by request
        self.calling: dict[Future[list[CallMade]], tuple[_Play, Completion, Asked, Reply]] = {}
        self.done: list[dict[int, Episode]] = [{} for _ in prompts]
        self.ready: list[int] = []  # prompts all of whose samples are done, not given yet

    def play(self) -> Iterator[tuple[int, list[Episode]]]:
        opened = self.template.opens_thinking
        try:
            for row, (prompt, key) in enumerate(zip(self.prompts, self.keys, strict=True)):
                plays = [_Play(row, number, opened) for number in range(self.params.n)]
                self.asked[self.generator.submit(prompt, self.params, key)] = plays
            while self.asked or self.calling:
                for request, completions in self.generator.completed():
                    for own, completion in zip(self.asked.pop(request), completions, strict=True):
                        self._turn(own, completion)
                    self._go_on()
                    yield from self._finished()
                if self.calling:
                    wait(self.calling, return_when=FIRST_COMPLETED)
                    self._go_on()
                    yield from self._finished()
        finally:  # after an error or Ctrl-C nothing of it runs on
            for request in self.asked:
                self.generator.abort(request)

    def _turn(self, own: _Play, completion: Completion) -> None:
        """A turn is made: run its calls, or end."""
        own.took(completion)
        text = self.template.text(completion.ids)
        reply = self.template.parse_text(text, completion.cut, own.opened)
        asked = read_calls(reply.answer)
        if reply.cut:  # what it began to call is neither run nor part of an answer
            asked = Asked(asked.said, ())
        left = self.toolbox.max_calls - len(own.calls)
        if not asked.calls or left <= 0:
            self._end(own, completion, asked, reply)
        elif self.toolbox.slow(asked.calls):
            future = self.pool.submit(self.toolbox.run_all, asked.calls, left)
            self.calling[future] = (own, completion, asked, reply)
        else:
            self._called(own, completion, asked, reply, self.toolbox.run_all(asked.calls, left))

    def _go_on(self) -> None:
        """With those whose calls have come back, in the order in which they were asked."""
        for future in [f for f in self.calling if f.done()]:
            self._called(*self.calling.pop(future), future.result())

    def _called(
        self, own: _Play, completion: Completion, asked: Asked, reply: Reply, made: list[CallMade]
    ) -> None:
        own.calls += made
        ids, opened = self.template.after_calls([call.result for call in made])
        used = len(own.ids) + len(ids)
        room = min(self.params.max_tokens, self.window - len(self.prompts[own.row])) - used
        if room < 1:  # no token is left to answer in
            cut = dataclasses.replace(completion, finish_reason=FinishReason.LENGTH)
            self._end(own, cut, asked, dataclasses.replace(reply, cut=True))
            return
        own.append(ids)
        own.opened = opened
        params = dataclasses.replace(self.params, n=1, max_tokens=room)
        key = f"{self.keys[own.row]}/{own.number}/{own.turns}"
        self.asked[self.generator.submit([*self.prompts[own.row], *own.ids], params, key)] = [own]

    def _end(self, own: _Play, last: Completion, asked: Asked, reply: Reply) -> None:
        self.done[own.row][own.number] = Episode(
            ids=own.ids,
            logprobs=own.logprobs,
            logprob_meaning=last.logprob_meaning,
            finish_reason=last.finish_reason,
            weights_version=last.weights_version,
            routing=own.routing,
            trained=own.trained,
            reply=dataclasses.replace(reply, answer=asked.said),
            text=self.template.text(last.ids),
            opened=own.opened,
            calls=tuple(own.calls),
            turns=own.turns,
        )
        if len(self.done[own.row]) == self.params.n:
            self.ready.append(own.row)

    def _finished(self) -> Iterator[tuple[int, list[Episode]]]:
        while self.ready:
            row = self.ready.pop(0)
            yield row, [self.done[row][number] for number in range(self.params.n)]
