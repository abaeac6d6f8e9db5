"""Whether A beats B on the same problems, and the word for it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from shoestring.evals.statistics import Z95, Interval, PairedDifference, paired_difference


def paired_marks(a: Sequence[float], b: Sequence[float], single: bool) -> PairedDifference:
    """A's marks less B's, problem by problem: each a share of right samples. `single`: one sample each, so
    marks are 0 or 1 and the exact test applies. Raises ValueError where the problems don't pair."""
    if single:
        return paired_difference([v == 1 for v in a], [v == 1 for v in b])
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"paired problems are needed: {len(a)} against {len(b)}")
    differences = np.subtract(a, b)
    mean, half = float(differences.mean()), Z95 * float(differences.std(ddof=1)) / math.sqrt(len(a))
    p = math.erfc(abs(mean) / half * Z95 / math.sqrt(2)) if half else float(mean == 0)
    return PairedDifference(
        mean,
        Interval(mean - half, mean + half),
        p,
        int((differences > 0).sum()),
        int((differences < 0).sum()),
        len(a),
        "normal interval of the problems' mean differences",
    )


def verdict_of(
    difference: float, ci95: Interval, adjusted: float | None, loser: str, cut: Mapping[str, float]
) -> str:
    """Never "better" or "worse" where the interval holds 0 or several comparisons together could have given
    it by chance. `cut` has the share of cut replies of those with too many for a score: ending early is not
    reasoning, so such a model loses only if it would with every cut reply taken as right."""
    if not ci95.excludes_zero:
        return "no difference shown"
    if adjusted is not None and adjusted >= 0.05:
        return "no difference shown (Holm)"
    word = "better" if difference > 0 else "worse"
    if loser not in cut:
        return word
    nearest = ci95.low if difference > 0 else -ci95.high
    return f"{word}, cut replies granted" if nearest > cut[loser] else f"not told: {loser}'s replies were cut"
