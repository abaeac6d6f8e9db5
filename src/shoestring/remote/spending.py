"""What an endpoint may be asked and when: a budget in money and in tokens, and limits a minute."""

from collections import deque
from dataclasses import dataclass, field

from shoestring.remote.endpoint import Endpoint

WINDOW_S = 60.0
MILLION = 1_000_000


@dataclass
class Budget:
    """What was spent, and what is set aside for the requests under way. A request is sent only where the
    dearest reply that it could have still fits, so the budget is never passed by what is known of it."""

    endpoint: Endpoint
    money: float = 0.0
    tokens: int = 0
    _billed: float = 0.0  # of the money
    _aside: dict[int, tuple[int, int]] = field(default_factory=dict)  # by request: tokens in, tokens out

    def cost(self, tokens_in: int, tokens_out: int, cached: int = 0) -> float:
        """cached: of tokens_in."""
        e = self.endpoint
        price_cached = e.price_in if e.price_cached is None else e.price_cached
        paid_in = (tokens_in - cached) * e.price_in + cached * price_cached
        return (paid_in + tokens_out * e.price_out) / MILLION

    def fits(self, tokens_in: int, tokens_out: int) -> bool:
        aside = [*self._aside.values(), (tokens_in, tokens_out)]
        money = self.money + sum(self.cost(*one) for one in aside)
        tokens = self.tokens + sum(map(sum, aside))
        e = self.endpoint
        # a sum of prices that comes to the budget but for rounding is not over it
        return (not e.budget_money or money <= e.budget_money * (1 + 1e-9)) and (
            not e.budget_tokens or tokens <= e.budget_tokens
        )

    def set_aside(self, request: int, tokens_in: int, tokens_out: int) -> None:
        self._aside[request] = (tokens_in, tokens_out)

    def settle(self, request: int, tokens_in: int, tokens_out: int, cached: int = 0) -> float:
        """What the request came to, now that it is over."""
        del self._aside[request]
        money = self.cost(tokens_in, tokens_out, cached)
        self.spend(money, tokens_in + tokens_out)
        return money

    def spend(self, money: float, tokens: int) -> None:
        self.money += money
        self.tokens += tokens

    def had(self, money: float, tokens: int) -> None:
        """What earlier starts spent, which is on their bill."""
        self.spend(money, tokens)
        self._billed += money

    def take_paid(self) -> float:
        """USD since last asked, for a line of usage."""
        paid, self._billed = self.money - self._billed, self.money
        return paid

    def __str__(self) -> str:
        e = self.endpoint
        parts = [f"{self.money:.4g} of {e.budget_money:g} in money"] if e.budget_money else []
        parts += [f"{self.tokens} of {e.budget_tokens} tokens"] if e.budget_tokens else []
        return ", ".join(parts) or f"{self.money:.4g} in money, {self.tokens} tokens"


class Pace:
    """Requests and tokens of the last minute. A request that alone passes the limit of tokens goes out when
    nothing else did."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int) -> None:
        self.requests, self.tokens = requests_per_minute, tokens_per_minute
        self._sent: deque[tuple[float, int]] = deque()  # when, request
        self._weights: dict[int, int] = {}

    def wait_s(self, now: float, tokens: int) -> float:
        """How long a request of so many tokens must wait; 0: it may go."""
        while self._sent and self._sent[0][0] <= now - WINDOW_S:
            self._weights.pop(self._sent.popleft()[1])
        over_requests = self.requests and len(self._sent) >= self.requests
        over_tokens = self.tokens and self._sent and sum(self._weights.values()) + tokens > self.tokens
        return self._sent[0][0] + WINDOW_S - now if over_requests or over_tokens else 0.0

    def sent(self, now: float, request: int, tokens: int) -> None:
        self._sent.append((now, request))
        self._weights[request] = tokens

    def correct(self, request: int, tokens: int) -> None:
        """What it came to, in place of what was thought."""
        if request in self._weights:
            self._weights[request] = tokens
