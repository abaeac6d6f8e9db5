"""Chips by name, from hardware.toml or a file of the user's own: what a plan reckons with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from shoestring.budget.figures import Figures
from shoestring.budget.ranges import Range
from shoestring.errors import BadInput
from shoestring.settings import build, nearest, read_toml

OURS = Path(__file__).with_name("hardware.toml")
Precision = Literal["fp8", "bf16", "fp32"]


class Chip(Figures):
    """One chip or machine. Rates are of dense products, in TFLOP/s; bandwidths in GB/s."""

    name: str
    kind: Literal["gpu", "cpu"] = "gpu"  # a CPU launches no kernels, and its small products are as fast
    tflops: dict[Precision, float] = Field(min_length=1)
    memory_gib: float = Field(gt=0)
    bandwidth_gbs: float = Field(gt=0)
    link_gbs: float = Field(gt=0)  # to the other chips of its node, one direction
    network_gbs: float = Field(gt=0)  # to other nodes, one direction
    usd_per_hour: tuple[float, float, float] | Literal["own"]
    watts: float = Field(gt=0)
    source: str = Field(min_length=1)
    date: str = Field(pattern=r"^\d{4}(-\d\d)?(-\d\d)?$")
    assumed: tuple[str, ...] = ()

    @field_validator("tflops")
    @classmethod
    def _rates(cls, rates: dict[str, float]) -> dict[str, float]:
        if any(rate <= 0 for rate in rates.values()):
            raise ValueError("every rate must be above 0")
        return rates

    @field_validator("usd_per_hour")
    @classmethod
    def _price(cls, price: tuple[float, float, float] | str) -> tuple[float, float, float] | str:
        if not isinstance(price, str) and not 0 <= price[0] <= price[1] <= price[2]:
            raise ValueError('write low, middle and high, none below 0, or "own"')
        return price

    @property
    def price(self) -> Range:
        """USD an hour; of one's own nothing."""
        return Range.exact(0.0) if isinstance(self.usd_per_hour, str) else Range(*self.usd_per_hour)

    def rate(self, wanted: Precision) -> tuple[Precision, float]:
        """The format that products are in here where `wanted` is asked for, and FLOP/s in it: the next wider
        one that the chip has."""
        order: tuple[Precision, ...] = ("fp8", "bf16", "fp32")
        for precision in order[order.index(wanted) :]:
            if precision in self.tflops:
                return precision, self.tflops[precision] * 1e12
        for precision in reversed(order):  # it has none as wide: its widest
            if precision in self.tflops:
                return precision, self.tflops[precision] * 1e12
        raise AssertionError("a chip has at least one rate")


@dataclass(frozen=True)
class Hardware:
    chips: Mapping[str, Chip]

    def find(self, name: str) -> Chip:
        """Raises BadInput that names the nearest."""
        if name not in self.chips:
            raise BadInput(f"no hardware '{name}'{nearest(name, list(self.chips))}")
        return self.chips[name]


def load_hardware(own: Path | None = None) -> Hardware:
    """What comes with the package, and over it the user's own. Raises BadInput, one line."""
    chips = dict(_read(OURS))
    if own is not None:
        chips |= _read(own)
    return Hardware(chips)


def _read(path: Path) -> dict[str, Chip]:
    raw = read_toml(path)
    unknown = [key for key in raw if key != "chip"]
    if unknown or not isinstance(raw.get("chip"), dict):
        found = f"unknown table '{unknown[0]}'" if unknown else "nothing"
        raise BadInput(f"{path}: {found}; hardware is written as [chip.NAME] tables (docs/cost.md)")
    chips: dict[str, Chip] = {}
    for name, values in raw["chip"].items():
        if not isinstance(values, dict):
            raise BadInput(f"{path}: chip '{name}' is not a table; write [chip.{name}]")
        chips[name] = build(Chip, values, f"{path} [chip.{name}]")
    return chips
