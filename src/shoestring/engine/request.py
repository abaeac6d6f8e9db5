"""What a caller asks of the engine and what comes back."""

from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from shoestring.errors import BadInput


class FinishReason(StrEnum):
    STOP = "stop"  # an end-of-turn id or a stop string
    LENGTH = "length"  # max_tokens or the context limit: the reply is cut
    ABORT = "abort"


@dataclass(frozen=True)
class SamplingParams:
    """temperature 0 is greedy. Random numbers are keyed on (seed, request key, sample, position), so a sample
    does not depend on its neighbours, on preemption or on the order of work."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    n: int = 1
    seed: int = 0
    stop_token_ids: tuple[int, ...] | None = None  # None: the template's end-of-turn ids
    ignore_eos: bool = False  # generate to max_tokens (benchmarks)
    record_routing: bool = False  # keep which experts every token took, to be replayed in training

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.n < 1:
            raise BadInput(f"max_tokens {self.max_tokens} and n {self.n} must be at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise BadInput(
                f"temperature {self.temperature} and top_k {self.top_k} must be at least 0, "
                f"top_p {self.top_p} above 0 and at most 1"
            )

    @property
    def logprob_meaning(self) -> str:
        """Of the distribution sampled from: "raw" (temperature 1, whole vocabulary), "tempered",
        "truncated"."""
        if self.top_p < 1 or self.top_k:
            return "truncated"
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

    @property
    def cut(self) -> bool:
        return self.finish_reason is not FinishReason.STOP
