"""How much one request may make: in all, of thinking, and what is kept for its answer."""

from dataclasses import dataclass
from typing import Any

from shoestring.serve.errors import refused
from shoestring.serve.schema import ChatRequest, Effort

SHARES: dict[Effort, float] = {"minimal": 1 / 8, "low": 1 / 4, "medium": 1 / 2}
LEAST_SHARE = 4  # the reserve is at most this part of a small total


@dataclass(frozen=True)
class Limits:
    """Tokens. total: of thinking and answer. budget: of thinking, where one was asked for. reserve: what of
    the total is kept for the answer. closing: what it takes to end the thinking. window: whether the total is
    what the context window leaves, less than was asked for. answer: at most so many of the answer."""

    total: int
    budget: int | None = None
    reserve: int = 0
    closing: int = 0
    window: bool = False
    answer: int | None = None

    @property
    def guarded(self) -> bool:
        """Whether thinking can be ended before the total is; a total that is smaller than the tag can't."""
        return self.closing <= self.total and (self.budget is not None or self.reserve > 0)

    @property
    def thinking(self) -> int | None:
        """At most so many tokens of thinking; None: as many as there are."""
        if not self.guarded:
            return None
        most = self.total - self.reserve - self.closing
        return most if self.budget is None else min(self.budget, most)

    def to_json(self) -> dict[str, Any]:
        return {
            "max_tokens": self.total,
            "thinking_tokens": self.thinking,
            "answer_reserve": self.reserve,
            "max_answer_tokens": self.answer,
        }


@dataclass(frozen=True)
class Bounds:
    """What holds for every reply: its tokens where the request names none, the most that this key may ask
    for, and what is kept for the answer."""

    default: int
    most: int | None = None
    reserve: int = 0


def total_tokens(asked: int | None, bounds: Bounds, room: int) -> tuple[int, bool]:
    """What may be made, and whether the window decides it. Raises ApiError 400 above what the key may."""
    if asked is not None and bounds.most is not None and asked > bounds.most:
        raise refused(f"'max_tokens' {asked}: this key's replies have at most {bounds.most}", "max_tokens")
    wanted = min(bounds.default, bounds.most or bounds.default) if asked is None else asked
    return min(wanted, room), room < wanted


def chat_limits(
    request: ChatRequest, bounds: Bounds, room: int, closing: int, thinking: bool | None
) -> Limits:
    """room: what the prompt leaves of the window. closing: tokens that it takes to end the thinking. Raises
    ApiError 400 where two fields for one limit differ."""
    asked = _one(request, "max_tokens", "max_completion_tokens")
    total, window = total_tokens(asked, bounds, room)
    answer, kept = request.max_answer_tokens, request.answer_reserve
    if kept is None:
        kept = min(bounds.reserve, total // LEAST_SHARE, answer or total)
    budget = _budget(request, total, thinking)
    return Limits(total, budget, max(0, min(kept, total - closing)), closing, window, answer)


def _budget(request: ChatRequest, total: int, thinking: bool | None) -> int | None:
    given = request.thinking.budget_tokens if request.thinking is not None else None
    other = request.thinking_token_budget
    if given is not None and other is not None and given != other:
        raise refused("'thinking.budget_tokens' and 'thinking_token_budget' differ", "thinking_token_budget")
    budget = other if given is None else given
    effort = request.reasoning_effort
    if thinking is False:
        if budget:
            named = "thinking_token_budget" if given is None else "thinking.budget_tokens"
            raise refused(f"thinking is off and '{named}' asks for some; leave one of them out", named)
        return 0
    if budget is not None:
        if effort is not None:
            raise refused(
                "'reasoning_effort' beside a budget in tokens; send one of them", "reasoning_effort"
            )
        return budget
    share = SHARES.get(effort) if effort is not None else None
    return None if share is None else int(share * total)


def _one(request: ChatRequest, *names: str) -> int | None:
    """The one value that fields of one meaning have."""
    given = {getattr(request, name) for name in names} - {None}
    if len(given) > 1:
        raise refused(f"{' and '.join(repr(name) for name in names)} differ; send one", names[-1])
    return next(iter(given), None)


def thinking_wanted(request: ChatRequest) -> bool | None:
    """On, off, or as the template has it. Raises ApiError 400 where the request's switches disagree."""
    switches: dict[str, bool] = {}
    if request.thinking is not None and request.thinking.type != "auto":
        switches["thinking"] = request.thinking.type == "enabled"
    given = request.chat_template_kwargs
    if given is not None:
        for name in ("thinking", "enable_thinking"):
            value = getattr(given, name)
            if value is not None:
                switches[f"chat_template_kwargs.{name}"] = value
    if request.reasoning_effort == "none":
        switches["reasoning_effort"] = False
    elif request.reasoning_effort is not None and False in switches.values():
        raise refused("thinking is off and 'reasoning_effort' asks for some", "reasoning_effort")
    if len(set(switches.values())) > 1:
        raise refused(f"{' and '.join(switches)} disagree on thinking", list(switches)[-1])
    return next(iter(switches.values()), None)
