"""One choice of a reply while it is made: its reader, what is known of its tokens, and why it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring.engine.guide import LOOP
from shoestring.engine.request import Completion, FinishReason
from shoestring.serve.guides import ANSWERED, FAILED
from shoestring.serve.logprobs import Likelihood
from shoestring.serve.plan import Plan
from shoestring.serve.reader import Delta, ReplyReader
from shoestring.serve.thinking import How

# why a reply was ended from outside the engine, by the name that finish_details gives it
TIME, SHUTDOWN = "time", "shutdown"


@dataclass
class Choice:
    index: int
    plan: Plan
    how: How
    reader: ReplyReader = field(init=False)
    ids: list[int] = field(default_factory=list)
    likelihoods: list[Likelihood] = field(default_factory=list)
    prompt_logprobs: list[dict[int, float]] | None = None  # known once a token was made
    ended_by: str = ""  # TIME or SHUTDOWN
    completion: Completion | None = None

    def __post_init__(self) -> None:
        self.reader = ReplyReader(self.how, self.plan.state, self.plan.stops, self.plan.use)

    def take(
        self, ids: Sequence[int], logprobs: Sequence[float], top: Sequence[dict[int, float]]
    ) -> list[Delta]:
        """New tokens; what there is to tell of them. One that was made only so that the prompt was read is
        none."""
        if not self.plan.made_shown:
            return []
        self.ids += ids
        if self.plan.logprobs is not None:
            tops = top or [{}] * len(ids)
            self.likelihoods += [Likelihood(*x) for x in zip(ids, logprobs, tops, strict=True)]
        return self.reader.push(ids)

    def end(self, completion: Completion | None, why: str = "") -> list[Delta]:
        """It is over: the engine says so, or `why` it was ended."""
        self.completion, self.ended_by = completion, why
        return self.reader.finish(self.cut)

    @property
    def over(self) -> bool:
        return self.completion is not None or bool(self.ended_by)

    @property
    def cut(self) -> bool:
        if self.reader.stopped:
            return False
        done = self.completion
        return done is None or done.cut or done.stopped_by == ANSWERED or bool(self.failure)

    @property
    def reason(self) -> str:
        """OpenAI's finish_reason."""
        if self.reader.read.calls:
            return "tool_calls"
        return "length" if self.cut else "stop"

    @property
    def guards(self) -> list[str]:
        """What stepped in while it was made."""
        prompt, sample = divmod(self.index, self.plan.params.n)
        return self.plan.steered[prompt].fired(sample)

    @property
    def failure(self) -> str:
        """Why it could not go on, where its guides let nothing follow or failed."""
        done = self.completion
        if done is None:
            return ""
        failed = done.finish_reason is FinishReason.ABORT or done.stopped_by.startswith(FAILED)
        return done.stopped_by if failed else ""

    def details(self) -> dict[str, Any]:
        """What OpenAI's word leaves open: which rule ended it and what became of the thinking."""
        parser, read = self.reader.parser, self.reader.read
        found: dict[str, Any] = {"reason": self._why()}
        if self.plan.chat:
            found["thinking"] = self._thinking()
        if parser.thinking:  # where nothing kept it from it, one may end itself there too
            found["truncated_in"] = "reasoning"
        elif self.cut:
            found["truncated_in"] = "content"
        if self.reader.stopped:
            found["stop"] = self.reader.stopped
        if self.guards:
            found["guards"] = self.guards
        if self.failure:
            found["failure"] = self.failure
        if read.fault:
            found["tool_fault"] = read.fault
        if read.dropped:
            found["dropped_calls"] = read.dropped
        return found

    def _why(self) -> str:
        if self.reader.stopped:
            return "stop_string"
        if self.ended_by:
            return self.ended_by
        completion = self.completion
        if completion is None:
            return "aborted"
        if self.failure:
            return "failed"
        if completion.stopped_by:
            return completion.stopped_by if completion.stopped_by in (LOOP, ANSWERED) else "guide"
        if completion.finish_reason is FinishReason.STOP:
            return "end_of_turn"
        return "context_window" if self.plan.limits.window else "max_tokens"

    def _thinking(self) -> str:
        """Three outcomes and how each was told apart, never a guess between two."""
        parser = self.reader.parser
        if parser.thought:
            by = "the prompt opened it" if self.plan.state == "thinking" else "the reply began with it"
            return f"{'cut' if parser.thinking else 'closed'}: {by}"
        return (
            "off: the prompt ended it" if self.plan.state == "answer" else "none: the reply began without it"
        )


def usage(prompt_tokens: int, cached: int, choices: Sequence[Choice]) -> dict[str, Any]:
    """Tokens as they were read and made, those of OpenAI's and DeepSeek's names."""
    made = sum(len(choice.ids) for choice in choices)
    reasoning = sum(choice.reader.parser.reasoning_tokens for choice in choices)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": made,
        "total_tokens": prompt_tokens + made,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "prompt_cache_hit_tokens": cached,
        "prompt_cache_miss_tokens": prompt_tokens - cached,
    }
