"""usage.jsonl -> the bill: what was used is measured, what it costs follows from prices that are stated."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from shoestring.budget.figures import Figures

PAID = "tokens counted by the endpoints, at the prices stated for them"
BESIDE_S = 0.5  # one stage's closing and the next one's opening are not worth a word
REDONE = "redone"  # work lost to a kill and done again


class Prices(Figures):
    """A recipe's [prices]. What it doesn't state is assumed, and the bill says so. watts: of the machine at
    work, or of what of it has no counter; 65 W is a usual laptop or desktop package."""

    watts: float = Field(default=65.0, ge=0)
    usd_per_kwh: float = Field(default=0.30, ge=0)
    usd_per_hour: float = Field(default=0.0, ge=0)  # of the machine itself; 0: it is yours
    cloud_usd_per_hour: float = Field(default=0.10, ge=0)  # a rented one like it (2 virtual cores)


@dataclass(frozen=True)
class Amount:
    """Seconds of the machine, tokens made or trained on, floating-point operations, seconds of processors and
    GPUs; joules that were measured, and of the seconds those in which all of the machine's were; USD paid to
    endpoints."""

    seconds: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0
    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    joules: float = 0.0
    measured_s: float = 0.0
    paid: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def part(self, share: float) -> "Amount":
        return Amount(*(value * share for value in vars(self).values()))


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
    """What a run took, by (stage, kind of work), and the part of it that was spent on nothing, by reason.
    beside: seconds of its processes that others' lines are billed for, since both were at work in them.
    partly: of the machine's seconds those in which the energy of only so much of it was measured, by what."""

    used: Mapping[tuple[str, str], Amount]
    wasted: Mapping[str, Amount]
    prices: Prices
    peak: float | None = None  # FLOP/s, what the machine's probe measured; None: it was not measured
    beside: float = 0.0
    partly: Mapping[str, float] = field(default_factory=dict)

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
        """As measured, and for the seconds in which nothing measured it at the stated watts."""
        return (amount.joules + (amount.seconds - amount.measured_s) * self.prices.watts) / 3.6e6

    def usd(self, amount: Amount) -> float:
        """What the machine takes, and what was paid to endpoints."""
        return self.machine_usd(amount) + amount.paid

    def machine_usd(self, amount: Amount) -> float:
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

    @property
    def utilisation(self) -> float | None:
        """Share of the peak that counted operations took, of all seconds of the machine, in which several
        processes may have been at work; None where no peak was measured."""
        if not self.peak or not self.total.seconds:
            return None
        return self.total.flops / self.total.seconds / self.peak

    def energy_basis(self) -> str:
        total = self.total
        if total.measured_s and total.measured_s >= 0.999 * total.seconds:
            return "measured by the machine's own counters"
        whose = {"the machine's": total.measured_s}
        whose |= {f"its {part}'": seconds for part, seconds in self.partly.items()}
        counted = [
            f"measured by {owner} own counters in {seconds / total.seconds:.0%} of the seconds"
            for owner, seconds in whose.items()
            if seconds
        ]
        return ", ".join([*counted, ("all else " if counted else "") + self.basis("watts")])

    def time_basis(self) -> str:
        if self.beside < BESIDE_S:
            return "measured"
        return f"measured, once where several processes were at work ({self.beside:,.0f} s of theirs)"

    def figures(self) -> list[Figure]:
        total = self.total
        rate = total.flops / total.seconds / 1e9 if total.seconds else 0.0
        measured = [
            Figure(name, value, "s", "measured")
            for name, value in (("processors", total.core_seconds), ("GPUs", total.gpu_seconds))
            if value
        ]
        used = self.utilisation
        shares = (
            []
            if used is None or self.peak is None
            else [
                Figure(
                    "of the measured peak",
                    100 * used,
                    "%",
                    f"over {self.peak / 1e9:,.0f} GFLOP/s of the probe",
                )
            ]
        )
        machine = self.basis("watts", "usd_per_kwh", "usd_per_hour")
        paid = [Figure("of it paid to endpoints", total.paid, "USD", PAID)] if total.paid else []
        return [
            Figure("time", total.seconds, "s", self.time_basis()),
            *measured,
            Figure("tokens", total.tokens, "tokens", "measured"),
            Figure("operations", total.flops, "FLOP", "counted"),
            Figure("mean rate", rate, "GFLOP/s", "counted operations over measured seconds"),
            *shares,
            Figure("energy", self.kwh(total), "kWh", self.energy_basis()),
            Figure("money", self.usd(total), "USD", machine + (" and what was paid" if paid else "")),
            *paid,
            Figure("the same hours rented", self.cloud_usd(total), "USD", self.basis("cloud_usd_per_hour")),
        ]


def _price_words(name: str, value: float) -> str:
    units = {"watts": "W", "usd_per_kwh": "USD/kWh", "usd_per_hour": "USD/h", "cloud_usd_per_hour": "USD/h"}
    return f"{value:g} {units[name]}"


def make_bill(usage: Iterable[Mapping[str, Any]], prices: Prices, peak: float | None = None) -> Bill:
    """From the lines of usage.jsonl, of which each second of a machine is in one (`budget.usage`).

    A line's `wasted` are tokens among its own; their share of the line's seconds and operations is wasted
    with them (each token is taken to cost the same). Where reasons overlap, together they never pass the
    line. A line marked `redone` is wasted whole, and its other reasons are not counted again.
    """
    used: dict[tuple[str, str], Amount] = defaultdict(Amount)
    wasted: dict[str, Amount] = defaultdict(Amount)
    beside, partly = 0.0, defaultdict[str, float](float)
    for line in usage:
        amount = _amount(line)
        beside += line.get("beside", 0.0)
        if _measured(line) not in ("", "all"):
            partly[_measured(line)] += amount.seconds
        used[line["stage"], line["kind"]] += amount
        if line.get("redone"):
            wasted[REDONE] += amount
            continue
        lost = sum(line["wasted"].values())
        for reason, tokens in line["wasted"].items():
            if tokens:
                wasted[reason] += amount.part(tokens / max(line["tokens"], lost))
    return Bill(dict(used), dict(wasted), prices, peak, beside, dict(partly))


def _measured(line: Mapping[str, Any]) -> str:
    """Of what the line has the joules: "all" of the machine (lines from before say nothing else), a part of
    it by name, or "" for nothing."""
    return line.get("joules_of", "all") if "joules" in line else ""


def _amount(line: Mapping[str, Any]) -> Amount:
    """Lines of runs before these were metered lack the last ones. Where joules are of a part of the machine,
    the rest is reckoned at the stated watts, as where nothing is measured."""
    measured = line["seconds"] if _measured(line) == "all" else 0.0
    further = line.get("core_seconds", 0.0), line.get("gpu_seconds", 0.0), line.get("joules", 0.0)
    paid = line.get("paid", 0.0)
    return Amount(line["seconds"], line["tokens"], line["flops"], *further, measured, paid)
