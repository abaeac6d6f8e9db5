"""What a right answer takes: tokens and money of all replies, wrong ones too, over the number that are
right."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from shoestring.evals.resample import bootstrap
from shoestring.tasks.base import Outcome


class Made(Protocol):
    """What is known of each reply."""

    @property
    def problem(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def tokens(self) -> int: ...


@dataclass(frozen=True)
class PerRight:
    """An amount for each right answer, with the 95 % percentile interval of a bootstrap over problems. None
    stands for no bound: where few are right, some draws have none, and a price for what never comes has no
    upper end."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


@dataclass(frozen=True)
class Worth:
    """right replies of all, and what each of them took; tokens are those made, prompt_tokens those read.
    money is all that was paid, `unit` the money's name ("" where prices don't say), `basis` how the prices
    are known; without prices both are None and ""."""

    replies: int
    right: int
    tokens: PerRight
    prompt_tokens: PerRight
    money: float | None
    money_per_right: PerRight | None
    unit: str
    basis: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Worth":
        """From its `to_json`."""
        names = ("tokens", "prompt_tokens", "money_per_right")
        each = {name: None if raw[name] is None else PerRight(**raw[name]) for name in names}
        return cls(**{**raw, **each})

    def line(self) -> str:
        if not self.right:
            spent = "" if self.money is None else f", {_money(self.money, self.unit)} spent"
            return f"a right answer: none in {self.replies} replies{spent}"
        told = [f"{self.tokens} tokens made", f"{self.prompt_tokens} read"]
        if self.money_per_right is not None:
            told.append(
                f"{self.money_per_right}{' ' + self.unit if self.unit else ' in money'} ({self.basis})"
            )
        return "a right answer takes: " + ", ".join(told)


def worth(
    items: Sequence[Made],
    costs: Sequence[float] | None = None,
    lost: float = 0.0,
    unit: str = "",
    basis: str = "",
    seed: int = 0,
) -> Worth:
    """costs[i]: the money that reply i took, None where no price is known; `lost`: what attempts took that
    gave no reply, spread over all. Replies of one problem are drawn together."""
    assert items
    if costs is not None and len(costs) != len(items):
        raise ValueError(f"{len(costs)} costs for {len(items)} replies")
    places = {name: place for place, name in enumerate(dict.fromkeys(item.problem for item in items))}
    rows = np.zeros((4, len(places)))  # right, tokens, prompt tokens, money, by problem
    for i, item in enumerate(items):
        own = rows[:, places[item.problem]]
        own += [item.outcome == Outcome.RIGHT, item.tokens, item.prompt_tokens, costs[i] if costs else 0.0]
    if costs is not None and rows[3].sum() > 0:
        rows[3] *= 1 + lost / rows[3].sum()
    tokens, prompts, money = (_per_right(row, rows[0], seed) for row in rows[1:])
    return Worth(
        replies=len(items),
        right=int(rows[0].sum()),
        tokens=tokens,
        prompt_tokens=prompts,
        money=None if costs is None else float(rows[3].sum()),
        money_per_right=None if costs is None else money,
        unit=unit,
        basis=basis,
    )


def by_tokens(items: Sequence[Made], money: float) -> list[float]:
    """The money of a whole evaluation shared out among its replies, each token read or made taken to cost the
    same, as the bill does."""
    sizes = [item.prompt_tokens + item.tokens for item in items]
    return [money * size / max(sum(sizes), 1) for size in sizes]


def _per_right(amounts: np.ndarray, right: np.ndarray, seed: int) -> PerRight:
    def ratio(drawn: np.ndarray) -> np.ndarray:
        above, below = drawn @ amounts, drawn @ right
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(below > 0, above / below, np.inf)

    sure = bootstrap(ratio, len(amounts), seed)
    value = float(amounts.sum() / right.sum()) if right.sum() else None
    assert sure is not None  # a ratio is a number or inf
    return PerRight(value, _finite(sure.low), _finite(sure.high))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(value: float | None) -> str:
    if value is None:
        return "no bound"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _money(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}" if unit else f"{value:.4g} in money"
