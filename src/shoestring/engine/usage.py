"""What the engine has made so far of a request, and what it is busy with."""

from dataclasses import dataclass

from shoestring.engine.request import Completion, FinishReason


@dataclass(frozen=True)
class Made:
    """Of one sample so far; its lists go on growing. prompt_logprobs, cached_tokens: as a Completion's, once
    a token was made. completion: None while it isn't finished."""

    ids: list[int]
    logprobs: list[float]
    top_logprobs: list[dict[int, float]]
    prompt_logprobs: list[dict[int, float]] | None = None
    cached_tokens: int = 0
    completion: Completion | None = None

    @property
    def finish_reason(self) -> FinishReason | None:
        return None if self.completion is None else self.completion.finish_reason


@dataclass(frozen=True)
class EngineUsage:
    """running, reading, waiting: samples that make tokens, whose prompts are being read, and that wait for a
    slot or for room. Blocks hold block_tokens tokens each; used ones belong to samples, cached ones to none,
    but a prompt may find them. prefix_queries, prefix_hits: of all prompts so far the tokens, and those that
    were in the cache. preemptions: how often a sample made room and was read again later."""

    running: int
    reading: int
    waiting: int
    block_tokens: int
    blocks_total: int
    blocks_used: int
    blocks_cached: int
    prefix_queries: int
    prefix_hits: int
    preemptions: int
