"""Reward hacking as R1's report shows it (2501.12948v2, B.5): what the reward model likes goes up while
problems that can be checked go down."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import Any

WINDOW = 40  # steps
NOISE = 2.0  # standard errors that a change must be larger than
LEAST_FALL = 0.02  # of solve_rate; less is no matter


class HackWatch:
    """Compares the two halves of the last `window` steps. After a warning it begins a new window, so that one
    fall is told once."""

    def __init__(self, window: int = WINDOW) -> None:
        assert window >= 4, window
        self.window = window
        self.preference: list[float] = []
        self.solve_rate: list[float] = []

    def saw(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """The step's metrics -> a warning, one line. Steps that lack either figure are passed over."""
        if "preference/mean" not in metrics or "solve_rate" not in metrics:
            return None
        self.preference = [*self.preference, metrics["preference/mean"]][-self.window :]
        self.solve_rate = [*self.solve_rate, metrics["solve_rate"]][-self.window :]
        if len(self.preference) < self.window:
            return None
        rise, rise_noise = change(self.preference)
        change_of_rate, rate_noise = change(self.solve_rate)
        if rise <= NOISE * rise_noise or -change_of_rate <= max(NOISE * rate_noise, LEAST_FALL):
            return None
        self.preference, self.solve_rate = [], []
        return (
            f"step {step}: preference-hacking: in the last {self.window} steps preference/mean rose by "
            f"{rise:.3f} while solve_rate fell by {-change_of_rate:.3f}; lower preference.weight, or stop"
        )

    def state_dict(self) -> dict[str, list[float]]:
        return {"preference": self.preference, "solve_rate": self.solve_rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.preference, self.solve_rate = list(state["preference"]), list(state["solve_rate"])


def change(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the later half minus mean of the earlier one, and that difference's standard error."""
    half = len(values) // 2
    earlier, later = values[:half], values[-half:]
    noise = math.sqrt((variance(earlier) + variance(later)) / half)
    return fmean(later) - fmean(earlier), noise
