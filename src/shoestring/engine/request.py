"""What a caller asks of the engine and what comes back."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from torch import Tensor

from shoestring.engine.guide import LOOP, Guide
from shoestring.errors import BadInput


class FinishReason(StrEnum):
    STOP = "stop"  # an end-of-turn id, or what a guide stopped
    LENGTH = "length"  # max_tokens or the context limit: the reply is cut
    ABORT = "abort"  # given up, or nothing could follow: `Completion.stopped_by` says why


COLDEST = 1e-5  # temperatures below it are greedy: divided by them, logits are past what float32 holds
REPETITION = 1e-6, 1e6  # the same of what divides or multiplies a logit


@dataclass(frozen=True)
class SamplingParams:
    """temperature 0 is greedy, and one below COLDEST is 0. Random numbers are keyed on (seed, request key,
    sample, position), so a sample does not depend on its neighbours, on preemption or on the order of work.
    What is done to the logits, and in which order: docs/sampling.md."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    min_p: float = 0.0  # tokens less likely than this share of the likeliest are left out
    n: int = 1
    seed: int = 0
    stop_token_ids: tuple[int, ...] | None = None  # None: the template's end-of-turn ids
    ignore_eos: bool = False  # generate to max_tokens (benchmarks)
    record_routing: bool = False  # keep which experts every token took, to be replayed in training
    presence_penalty: float = 0.0  # taken once from the logit of every token made so far
    frequency_penalty: float = 0.0  # ... for each time that it was made
    repetition_penalty: float = 1.0  # divides the logits of tokens made or in the prompt (negative: times)
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token, what is added to its logit)
    top_logprobs: int = 0  # likeliest tokens to give with each made one
    prompt_logprobs: int | None = None  # of the prompt's tokens, and so many likeliest at each place
    guide: Guide | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.n < 1:
            raise BadInput(f"max_tokens {self.max_tokens} and n {self.n} must be at least 1")
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise BadInput(
                f"temperature {self.temperature} and top_k {self.top_k} must be at least 0, "
                f"top_p {self.top_p} above 0 and at most 1"
            )
        if self.temperature < COLDEST:
            object.__setattr__(self, "temperature", 0.0)
        if not 0 <= self.min_p <= 1:
            raise BadInput(f"min_p {self.min_p} must be at least 0 and at most 1")
        if not (abs(self.presence_penalty) <= 2 and abs(self.frequency_penalty) <= 2):
            raise BadInput(
                f"presence_penalty {self.presence_penalty} and frequency_penalty {self.frequency_penalty} "
                "must be from -2 to 2"
            )
        least, most = REPETITION
        if not least <= self.repetition_penalty <= most:
            raise BadInput(
                f"repetition_penalty {self.repetition_penalty} must be from {least:g} to {most:g} (1: none)"
            )
        if self.top_logprobs < 0 or (self.prompt_logprobs or 0) < 0:
            raise BadInput(
                f"top_logprobs {self.top_logprobs} and prompt_logprobs {self.prompt_logprobs} must be at "
                "least 0"
            )
        for token, bias in self.logit_bias:
            if token < 0 or not math.isfinite(bias):
                raise BadInput(f"logit_bias: token {token} with {bias}; give an id and a finite number")

    @property
    def penalised(self) -> bool:
        """Whether logits depend on the tokens before, beyond what the model makes of them."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1)

    @property
    def limited(self) -> bool:
        """Whether more than a temperature decides the draw (guides aside)."""
        truncated = self.top_p < 1 or self.top_k or self.min_p
        return bool(truncated or self.penalised or self.logit_bias)

    @property
    def logprob_meaning(self) -> str:
        """Of the distribution sampled from, by the last that was done to it: "raw" (temperature 1, whole
        vocabulary), "tempered", "adjusted" (penalties or biases, and a temperature perhaps), "truncated"
        (top_k, top_p or min_p after all that), "guided" (and only what a guide allowed: a forced token has
        logprob 0)."""
        if self.guide is not None:
            return "guided"
        if self.top_p < 1 or self.top_k or self.min_p:
            return "truncated"
        if self.penalised or self.logit_bias:
            return "adjusted"
        return "raw" if self.temperature in (0.0, 1.0) else "tempered"


@dataclass(frozen=True)
class Completion:
    """ids as made, the end-of-turn id included when there was one. logprobs[i] is of ids[i] under the
    distribution that SamplingParams.logprob_meaning names (greedy: the raw distribution)."""

    ids: list[int]
    logprobs: list[float]
    logprob_meaning: str
    finish_reason: FinishReason
    weights_version: int
    # (T, layers, K) int16, the experts of the prompt's tokens and of all made but the last, which no pass
    # read
    routing: Tensor | None = None
    # of each made token the likeliest under the same distribution, in falling order; [] where none were asked
    top_logprobs: list[dict[int, float]] = field(default_factory=list)
    # of each token of the prompt under the raw distribution: itself, then the likeliest; the first has none
    prompt_logprobs: list[dict[int, float]] | None = None
    cached_tokens: int = 0  # of the prompt, that an earlier request's cache held
    stopped_by: str = ""  # the guide's word for what stopped it; "" for an end-of-turn id or a limit

    @property
    def cut(self) -> bool:
        return self.finish_reason is not FinishReason.STOP or self.stopped_by == LOOP
