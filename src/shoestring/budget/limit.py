"""A budget that a run keeps to: so many hours, so much money or energy, and it stops in order."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shoestring.budget.price import Amount, Bill, Prices, make_bill
from shoestring.budget.usage import read_usage
from shoestring.errors import BadInput
from shoestring.run.progress import duration

Unit = Literal["s", "usd", "kwh"]
UNITS: dict[str, tuple[Unit, float]] = {
    "s": ("s", 1.0),
    "m": ("s", 60.0),
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "d": ("s", 86400.0),
    "usd": ("usd", 1.0),
    "kwh": ("kwh", 1.0),
    "wh": ("kwh", 0.001),
}


@dataclass(frozen=True)
class Limit:
    text: str
    amount: float
    unit: Unit

    def spent(self, bill: Bill, more_seconds: float) -> float:
        """Of a bill, and of seconds that are not on it yet. Energy as measured where it was."""
        seconds = bill.total.seconds + more_seconds
        if self.unit == "s":
            return seconds
        total = bill.total
        more = total.part(more_seconds / total.seconds) if total.seconds else Amount(seconds=more_seconds)
        if self.unit == "kwh":
            return bill.kwh(total + more)
        return bill.machine_usd(total + more) + total.paid


def parse_limit(text: str) -> Limit:
    """`2h`, `90min`, `5usd`, `1kWh`. Raises BadInput."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    if found is None or found[2].lower() not in UNITS:
        raise BadInput(f"--budget {text}: write a number and a unit: 2h, 90min, 5usd, 1kWh")
    unit, factor = UNITS[found[2].lower()]
    amount = float(found[1]) * factor
    if amount <= 0:
        raise BadInput(f"--budget {text}: it must be above 0")
    return Limit(text.strip(), amount, unit)


class Allowance:
    """What is left of a limit for one run folder. All its processes' lines count, read again when there are
    more; what is done after the last line is added by the clock."""

    def __init__(self, limit: Limit, usage: Path, prices: Prices) -> None:
        self.limit, self.usage, self.prices = limit, usage, prices
        self._size, self._changed = -1, time.monotonic()
        self._bill = make_bill([], prices)

    def over(self) -> bool:
        return self.spent() >= self.limit.amount

    def spent(self) -> float:
        size = self.usage.stat().st_size if self.usage.exists() else 0
        if size != self._size:
            self._size, self._changed = size, time.monotonic()
            self._bill = make_bill(read_usage(self.usage.parent), self.prices)
        return self.limit.spent(self._bill, time.monotonic() - self._changed)

    def in_words(self) -> str:
        shown = {"s": duration(self.spent()), "usd": f"{self.spent():.4f} USD"}
        told = shown.get(self.limit.unit, f"{self.spent():.4f} kWh")
        return f"the budget of {self.limit.text} is used up ({told} spent)"
