"""Whether a model is as often right as it says it is: calibration of stated confidence."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shoestring.evals.resample import bootstrap
from shoestring.evals.statistics import Interval

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Replies whose confidence lies in [low, high), the last one's in [low, high]."""

    low: float
    high: float
    n: int
    confidence: float  # mean
    right: float  # share


@dataclass(frozen=True)
class Calibration:
    """stated: replies with a confidence that could be read, of `asked`. Figures are of those.

    ece: the mean over replies of |share right - mean confidence| of their bin (10 of equal width, as in Guo
    et al. 2017). brier: the mean squared difference of confidence and 1 or 0 (Brier 1950). auroc: the
    chance that a right reply is stated with more confidence than one that isn't, ties as half; None where
    all are right or none is. Intervals: 95 %, bootstrap over problems; None where it can't tell."""

    asked: int
    stated: int
    right: float
    confidence: float
    ece: float
    ece_ci95: Interval | None
    brier: float
    brier_ci95: Interval | None
    auroc: float | None
    auroc_ci95: Interval | None
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        for name in ("ece_ci95", "brier_ci95", "auroc_ci95"):
            found: Interval | None = getattr(self, name)
            values[name] = None if found is None else [found.low, found.high]
        return {**values, "bins": [asdict(b) for b in self.bins]}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Calibration":
        """From its `to_json`."""
        names = ("ece_ci95", "brier_ci95", "auroc_ci95")
        sure = {name: None if raw[name] is None else Interval(*raw[name]) for name in names}
        return cls(**{**raw, **sure, "bins": tuple(Bin(**b) for b in raw["bins"])})

    def line(self) -> str:
        told = [
            f"says it is {100 * self.confidence:.1f} % sure and is right in {100 * self.right:.1f} %",
            _told("ECE", self.ece, self.ece_ci95),
            _told("Brier", self.brier, self.brier_ci95),
            "AUROC can't be told: all are alike"
            if self.auroc is None
            else _told("AUROC", self.auroc, self.auroc_ci95),
        ]
        return f"confidence: {', '.join(told)}; stated in {self.stated} of {self.asked} replies"


def calibration(
    confidences: Sequence[float | None], right: Sequence[bool], problems: Sequence[Hashable], seed: int = 0
) -> Calibration | None:
    """Of replies, each with the confidence that it states (0 to 1, None: none could be read), whether it is
    right and which problem it is a reply to. None where no reply states one."""
    told = [i for i, confidence in enumerate(confidences) if confidence is not None]
    if not told:
        return None
    p = np.array([confidences[i] for i in told], dtype=float)
    y = np.array([right[i] for i in told], dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a confidence lies from 0 to 1")
    names = {name: place for place, name in enumerate(dict.fromkeys(problems[i] for i in told))}
    owner = np.array([names[problems[i]] for i in told])
    once = np.ones((1, len(names)))
    figures = {"ece": expected_error, "brier": brier, "auroc": auroc}
    values = {name: float(of(p, y, once[:, owner])[0]) for name, of in figures.items()}
    sure = {
        name: bootstrap(lambda drawn, of=of: of(p, y, drawn[:, owner]), len(names), seed)
        for name, of in figures.items()
    }
    return Calibration(
        asked=len(confidences),
        stated=len(told),
        right=float(y.mean()),
        confidence=float(p.mean()),
        ece=values["ece"],
        ece_ci95=sure["ece"],
        brier=values["brier"],
        brier_ci95=sure["brier"],
        auroc=None if np.isnan(values["auroc"]) else values["auroc"],
        auroc_ci95=sure["auroc"],
        bins=_bins(p, y),
    )


def expected_error(p: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ECE: sum over bins of |sum of w (y - p)| / sum of w. p, y (n,); weights (draws, n) -> (draws,)."""
    apart = np.zeros((len(p), BINS))
    apart[np.arange(len(p)), _bin_of(p)] = y - p
    return np.abs(weights @ apart).sum(1) / _total(weights)


def brier(p: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights @ (p - y) ** 2 / _total(weights)


def auroc(p: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mann and Whitney's U over the number of pairs; nan where a draw has but one kind of reply."""
    levels, level = np.unique(p, return_inverse=True)
    at = np.zeros((len(p), len(levels)))
    at[np.arange(len(p)), level] = 1.0
    yes, no = (weights * y) @ at, (weights * (1 - y)) @ at  # (draws, levels)
    below = no.cumsum(1) - no
    pairs = yes.sum(1) * no.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (yes * (below + no / 2)).sum(1) / pairs, np.nan)


def _total(weights: np.ndarray) -> np.ndarray:
    return np.maximum(weights.sum(1), 1e-12)


def _bin_of(p: np.ndarray) -> np.ndarray:
    return np.minimum((p * BINS + 1e-9).astype(int), BINS - 1)  # 0.3 * 10 is a little under 3


def _bins(p: np.ndarray, y: np.ndarray) -> tuple[Bin, ...]:
    """Those that hold any."""
    place = _bin_of(p)
    found = []
    for i in sorted(set(place.tolist())):
        own = place == i
        found.append(
            Bin(i / BINS, (i + 1) / BINS, int(own.sum()), float(p[own].mean()), float(y[own].mean()))
        )
    return tuple(found)


def _told(name: str, value: float, sure: Interval | None) -> str:
    return f"{name} {value:.3f}" + (f" [{sure.low:.3f}, {sure.high:.3f}]" if sure else "")
