"""Trip wires: limits on what a healthy run's figures do, each with what happens when one is passed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from shoestring.settings import Settings

Action = Literal["off", "warn", "stop", "roll_back"]


class Trip(Settings):
    """roll_back: to the last saved state, at half the learning rate; the second time the run stops."""

    limit: float = Field(ge=0)
    action: Action = "warn"


class TripSettings(Settings):
    """Limits of `drift` and `kl` are nats a token; of `entropy_*` and `length_*` they are times the mean of
    the stage's first BASELINE steps; of `held_out` it is a loss of solve rate since the best measured."""

    drift: Trip = Trip(limit=1.0, action="roll_back")  # the policy before one update, to after it
    kl: Trip = Trip(limit=1.0)  # to the reference, where the loss has one
    entropy_low: Trip = Trip(limit=0.05)
    entropy_high: Trip = Trip(limit=3.0)
    length_low: Trip = Trip(limit=0.2)
    length_high: Trip = Trip(limit=5.0)
    held_out: Trip = Trip(limit=0.1)


BASELINE = 3  # steps whose mean is what later ones are held against
SMALL = 0.02  # nats: less entropy than this at the start is no measure for later


@dataclass(frozen=True)
class Tripped:
    name: str
    value: float
    limit: float
    action: Action

    def __str__(self) -> str:
        return f"trip wire '{self.name}': {self.value:.3g}, the limit is {self.limit:.3g}"


class TripWires:
    """Looks at every step's metrics. A wire that only warns does so once each time it is passed."""

    def __init__(self, settings: TripSettings) -> None:
        self.settings = settings
        self.first: dict[str, list[float]] = {"entropy": [], "length": []}
        self.best = 0.0  # held-out solve rate
        self.out: set[str] = set()  # passed, and not come back since

    def look(self, metrics: Mapping[str, float]) -> list[Tripped]:
        """metrics as they are logged; a value that isn't finite passes every upper limit."""
        own = self.settings
        times = {
            "entropy": self._times("entropy", metrics.get("entropy")),
            "length": self._times("length", metrics.get("completions/mean_length")),
        }
        looked: list[tuple[str, Trip, float | None]] = [
            ("drift", own.drift, metrics.get("drift")),
            ("kl", own.kl, metrics.get("kl")),
            ("entropy_low", own.entropy_low, times["entropy"]),
            ("entropy_high", own.entropy_high, times["entropy"]),
            ("length_low", own.length_low, times["length"]),
            ("length_high", own.length_high, times["length"]),
            ("held_out", own.held_out, self._fall(metrics.get("held_out/solve_rate"))),
        ]
        tripped = []
        for name, trip, value in looked:
            if value is None or trip.action == "off":
                continue
            passed = value < trip.limit if name.endswith("_low") else not value <= trip.limit
            if passed and (name not in self.out or trip.action != "warn"):
                tripped.append(Tripped(name, value, trip.limit, trip.action))
            (self.out.add if passed else self.out.discard)(name)
        return tripped

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "best": self.best, "out": sorted(self.out)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first, self.best, self.out = state["first"], state["best"], set(state["out"])

    def _times(self, name: str, value: float | None) -> float | None:
        if value is None:
            return None
        first = self.first[name]
        if len(first) < BASELINE and math.isfinite(value):
            first.append(value)
            return None
        mean = sum(first) / max(1, len(first))
        return value / mean if mean > SMALL else None

    def _fall(self, solve_rate: float | None) -> float | None:
        if solve_rate is None:
            return None
        self.best = max(self.best, solve_rate)
        return self.best - solve_rate
