"""What the engine works on: requests, their samples while they run, and what is to be read of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from shoestring.engine.adjust import TokenCounts
from shoestring.engine.blocks import NO_BLOCKS, Table
from shoestring.engine.lookup import Lookup
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.ops.sample import stream_key

NOT_FINITE = "no number (NaN) came out for the next token of this request, and others have theirs"


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
    table: Table = NO_BLOCKS  # its own, while it runs
    lookup: Lookup | None = None  # where its tokens have stood before, if that was asked
    stopped_by: str = ""  # its guide's word
    failure: str = ""  # why there is no next token
    mask: Tensor | None = None  # of its guides, that its newest token was drawn under

    def __post_init__(self) -> None:
        params = self.request.params
        self.steering = None if params.guide is None else params.guide.start(self.sample)
        self.counts = TokenCounts(params, self.request.prompt) if params.penalised else None
        self.limited = params.limited  # asked for each token

    @property
    def undrafted(self) -> bool:
        """Its next token depends on the one before by more than the model, so it isn't drafted ahead: its
        logits are changed by what it made, or its guides force a token, or no longer allow just what they
        allowed the newest one."""
        if self.counts is not None or self.steering is None:
            return self.counts is not None
        return self.steering.forced() is not None or self.steering.allowed() is not self.mask

    def take(self, token: Token) -> None:
        """The next token. One whose logprob is no number is the end of its sequence (`Sampler.draw` raises
        where it's the model's fault)."""
        if self.failure:
            return
        if token.logprob != token.logprob:
            self.failure = NOT_FINITE
            return
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
        """Of its newest token, prompt included; the cache has all before it."""
        return len(self.request.prompt) + len(self.ids) - 1

    @property
    def came(self) -> tuple[int, int]:
        """Who came first is served first."""
        return self.request.id, self.sample

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
    cached: int | None = None  # tokens of the prompt that were in the cache when it first started
    prompt_logprobs: list[dict[int, float]] | None = None
    done: dict[int, Completion] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return len(self.done) == self.params.n

    @property
    def completions(self) -> list[Completion]:
        return [self.done[sample] for sample in range(self.params.n)]

    def start(self, sample: int) -> Sequence:
        return Sequence(self, sample, stream_key(self.params.seed, self.key, sample))

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
            self.cached or 0,
            sequence.failure or sequence.stopped_by,
        )


@dataclass(eq=False)
class Reading:
    """Tokens to be read into the cache before samples go on: a prompt, once for all that start from it; of
    one that had to make room, all but its newest token."""

    request: Request
    samples: range  # their numbers
    sequences: list[Sequence]  # made as it starts
    tokens: list[int]
    table: Table
    read: int = 0  # so many are in the cache
    begun: bool = False  # some of them by a pass of its own

    @property
    def came(self) -> tuple[int, int]:
        return self.request.id, self.samples[0]

    @property
    def finished(self) -> bool:
        return self.read == len(self.tokens)


@dataclass(frozen=True)
class Piece:
    """What a step reads of one: tokens begin ... end."""

    reading: Reading
    begin: int
    end: int

    @property
    def tokens(self) -> list[int]:
        return self.reading.tokens[self.begin : self.end]
