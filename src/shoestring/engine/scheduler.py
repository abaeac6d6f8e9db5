"""Which requests run: waiting ones join whenever there is room, finished ones leave at once."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from shoestring.engine.adjust import TokenCounts
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.errors import ShoestringError
from shoestring.ops.sample import stream_key


class Token(NamedTuple):
    """What comes next in a sequence, and the likeliest there where they were asked for."""

    id: int
    logprob: float
    top: dict[int, float] | None = None


@dataclass(eq=False)
class Sequence:
    """One sample of a request while it runs."""

    request: "Request"
    sample: int
    key: int  # of its random numbers
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[dict[int, float]] = field(default_factory=list)
    routing: list[Tensor] = field(default_factory=list)  # (tokens, layers, K) int16, if asked for, in order
    stopped_by: str = ""  # its guide's word
    failure: str = ""  # why there is no next token

    def __post_init__(self) -> None:
        params = self.request.params
        self.steering = None if params.guide is None else params.guide.start(self.sample)
        self.counts = TokenCounts(params, self.request.prompt) if params.penalised else None
        self.limited = params.limited  # asked for each token

    @property
    def undrafted(self) -> bool:
        """Its next token depends on the one before by more than the model, so it isn't drafted ahead."""
        return self.steering is not None or self.counts is not None

    def take(self, token: Token) -> None:
        """The next token. Raises ShoestringError where its logprob is not a number."""
        if self.failure:
            return
        if token.logprob != token.logprob:
            raise ShoestringError(
                "the model's logits are not finite (NaN): its weights are damaged or training diverged"
            )
        self.ids.append(token.id)
        self.logprobs.append(token.logprob)
        if token.top is not None:
            self.top_logprobs.append(token.top)
        if self.counts is not None:
            self.counts.take(token.id)
        if self.steering is not None and token.id not in self.request.stop_ids:
            self.steering.take(token.id)
            self.stopped_by = self.steering.stop()

    @property
    def place(self) -> int:
        """Of its newest token, prompt included."""
        return len(self.request.prompt) + len(self.ids) - 1

    @property
    def ending(self) -> FinishReason | None:
        """Why nothing follows; None while it goes on."""
        if self.failure:
            return FinishReason.ABORT
        if self.stopped_by or self.ids[-1] in self.request.stop_ids:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.ids) >= self.request.limit else None


@dataclass(eq=False)
class Request:
    id: int
    prompt: list[int]
    params: SamplingParams
    key: str
    stop_ids: frozenset[int]
    limit: int  # tokens that may be made: max_tokens, or less where the context window ends first
    admitted: int = 0  # samples that have started
    prompt_logprobs: list[dict[int, float]] | None = None
    done: dict[int, Completion] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return len(self.done) == self.params.n

    @property
    def completions(self) -> list[Completion]:
        return [self.done[sample] for sample in range(self.params.n)]

    def close(self, sequence: Sequence, reason: FinishReason, version: int) -> None:
        self.done[sequence.sample] = Completion(
            sequence.ids,
            sequence.logprobs,
            self.params.logprob_meaning,
            reason,
            version,
            torch.cat(sequence.routing) if sequence.routing else None,
            sequence.top_logprobs,
            self.prompt_logprobs,
            stopped_by=sequence.failure or sequence.stopped_by,
        )


@dataclass
class Admission:
    """A prompt to prefill once, with the samples that start from it."""

    request: Request
    sequences: list[Sequence]


TOGETHER = 8  # while more waits than fits, 1 / so much of the slots must be free for a prefill


class Scheduler:
    """First come, first served; at most `max_batch` sequences run, and one prefill holds
    `max_prefill_tokens`.

    What waits joins at once if all of it fits. Where it doesn't, prompts are admitted some at a time: with a
    slot filled whenever one is free, 1000 prompts through 256 slots were 600 prefills, each a pass over all
    weights for one prompt."""

    def __init__(self, max_batch: int, max_prefill_tokens: int) -> None:
        self.max_batch, self.max_prefill_tokens = max_batch, max_prefill_tokens
        self.waiting: deque[Request] = deque()
        self.running: list[Sequence] = []  # in the order of the cache's slots

    def admit(self) -> list[Admission]:
        """The next prompts to prefill, at least one when something waits and nothing runs. A request whose
        samples don't all fit starts with those that do."""
        admissions, tokens, free = [], 0, self.max_batch - len(self.running)
        if self.running and free < self.max_batch // TOGETHER and self._wanted() > free:
            return []
        while self.waiting and free:
            request = self.waiting[0]
            if admissions and tokens + len(request.prompt) > self.max_prefill_tokens:
                break
            count = min(free, request.params.n - request.admitted)
            numbers = range(request.admitted, request.admitted + count)
            seed = request.params.seed
            admissions.append(
                Admission(request, [Sequence(request, i, stream_key(seed, request.key, i)) for i in numbers])
            )
            request.admitted += count
            free -= count
            tokens += len(request.prompt)
            if request.admitted == request.params.n:
                self.waiting.popleft()
        return admissions

    def _wanted(self) -> int:
        return sum(request.params.n - request.admitted for request in self.waiting)

    def remove(self, slot: int) -> None:
        """As the cache does it: the last sequence takes the gap."""
        self.running[slot] = self.running[-1]
        self.running.pop()
