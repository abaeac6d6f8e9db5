"""An amount that isn't known exactly: its least, its middle and its most."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """low <= mid <= high. Sums and products are of what belongs together: all low, all middle, all high, so a
    range never gets narrower for being made of many parts."""

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"{self.low} <= {self.mid} <= {self.high} does not hold")

    @classmethod
    def exact(cls, value: float) -> "Range":
        return cls(value, value, value)

    @classmethod
    def around(cls, mid: float, less: float, more: float) -> "Range":
        """less, more: shares of the middle."""
        return cls(mid * (1 - less), mid, mid * (1 + more))

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def __mul__(self, other: "Range | float") -> "Range":
        """Of amounts that are none of them negative."""
        if isinstance(other, Range):
            return Range(self.low * other.low, self.mid * other.mid, self.high * other.high)
        return Range(self.low * other, self.mid * other, self.high * other)

    def over(self, other: "Range") -> "Range":
        """The least over the most: of work and the rate at which it is done."""
        return Range(self.low / other.high, self.mid / other.mid, self.high / other.low)

    def widened(self, factor: float) -> "Range":
        """Its most so many times as large, its least the same share smaller."""
        return Range(self.low / factor, self.mid, self.high * factor)

    def map(self, rule: Callable[[float], float]) -> "Range":
        """Of a rule that may fall in places: the middle's is kept, the ends lie at or beyond it."""
        low, mid, high = rule(self.low), rule(self.mid), rule(self.high)
        return Range(min(low, mid, high), mid, max(low, mid, high))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, float]:
        return {"low": self.low, "mid": self.mid, "high": self.high}


def total(ranges: Iterable[Range]) -> Range:
    return sum(ranges, Range.exact(0.0))
