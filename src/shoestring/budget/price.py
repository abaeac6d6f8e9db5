"""usage.jsonl -> the bill: what was used is measured, what it costs follows from prices that are stated."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from shoestring.settings import Settings

REDONE = "redone"  # work lost to a kill and done again


class Prices(Settings):
    """A recipe's [prices]. What it doesn't state is assumed, and the bill says so."""

    watts: float = Field(default=65.0, ge=0)  # the machine at work; 65 W is a usual laptop or desktop package
    usd_per_kwh: float = Field(default=0.30, ge=0)
    usd_per_hour: float = Field(default=0.0, ge=0)  # of the machine itself; 0: it is yours
    cloud_usd_per_hour: float = Field(default=0.10, ge=0)  # a rented one like it (2 virtual cores)


@dataclass(frozen=True)
class Amount:
    """Wall-clock seconds, tokens made or trained on, floating-point operations."""

    seconds: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.seconds + other.seconds, self.tokens + other.tokens, self.flops + other.flops)

    def part(self, share: float) -> "Amount":
        return Amount(self.seconds * share, self.tokens * share, self.flops * share)


@dataclass(frozen=True)
class Figure:
    """One number of the bill. basis is "measured" (metered as it was used), "counted" (worked out from the
    model's sizes and metered tokens) or what it is assumed from."""

    name: str
    value: float
    unit: str
    basis: str


@dataclass(frozen=True)
class Bill:
    """What a run took, by (stage, kind of work), and the part of it that was spent on nothing, by reason."""

    used: Mapping[tuple[str, str], Amount]
    wasted: Mapping[str, Amount]
    prices: Prices

    @property
    def total(self) -> Amount:
        return sum(self.used.values(), Amount())

    @property
    def total_wasted(self) -> Amount:
        return sum(self.wasted.values(), Amount())

    def of_stage(self, stage: str) -> Amount:
        return sum((amount for (name, _), amount in self.used.items() if name == stage), Amount())

    def stages(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.used))

    def kwh(self, amount: Amount) -> float:
        return amount.seconds * self.prices.watts / 3.6e6

    def usd(self, amount: Amount) -> float:
        """Electricity, and the machine's hours where it costs something by the hour."""
        hours = amount.seconds / 3600
        return self.kwh(amount) * self.prices.usd_per_kwh + hours * self.prices.usd_per_hour

    def cloud_usd(self, amount: Amount) -> float:
        """What a rented machine would have cost for these hours, its electricity included."""
        return amount.seconds / 3600 * self.prices.cloud_usd_per_hour

    def basis(self, *names: str) -> str:
        """'measured seconds at 65 W (assumed)': each price, and whether the recipe stated it."""
        stated = self.prices.model_fields_set
        values = self.prices.model_dump()
        words = [f"{_price_words(n, values[n])} ({'stated' if n in stated else 'assumed'})" for n in names]
        return "measured seconds at " + " and ".join(words)

    def figures(self) -> list[Figure]:
        total = self.total
        rate = total.flops / total.seconds / 1e9 if total.seconds else 0.0
        return [
            Figure("time", total.seconds, "s", "measured"),
            Figure("tokens", total.tokens, "tokens", "measured"),
            Figure("operations", total.flops, "FLOP", "counted"),
            Figure("mean rate", rate, "GFLOP/s", "counted operations over measured seconds"),
            Figure("energy", self.kwh(total), "kWh", self.basis("watts")),
            Figure("money", self.usd(total), "USD", self.basis("watts", "usd_per_kwh", "usd_per_hour")),
            Figure("the same hours rented", self.cloud_usd(total), "USD", self.basis("cloud_usd_per_hour")),
        ]


def _price_words(name: str, value: float) -> str:
    units = {"watts": "W", "usd_per_kwh": "USD/kWh", "usd_per_hour": "USD/h", "cloud_usd_per_hour": "USD/h"}
    return f"{value:g} {units[name]}"


def make_bill(usage: Iterable[Mapping[str, Any]], prices: Prices) -> Bill:
    """From the lines of usage.jsonl.

    A line's `wasted` are tokens among its own; their share of the line's seconds and operations is wasted
    with them (each token is taken to cost the same). Where reasons overlap, together they never pass the
    line. A line marked `redone` is wasted whole, and its other reasons are not counted again.
    """
    used: dict[tuple[str, str], Amount] = defaultdict(Amount)
    wasted: dict[str, Amount] = defaultdict(Amount)
    for line in usage:
        amount = Amount(line["seconds"], line["tokens"], line["flops"])
        used[line["stage"], line["kind"]] += amount
        if line.get("redone"):
            wasted[REDONE] += amount
            continue
        lost = sum(line["wasted"].values())
        for reason, tokens in line["wasted"].items():
            if tokens:
                wasted[reason] += amount.part(tokens / max(line["tokens"], lost))
    return Bill(dict(used), dict(wasted), prices)
