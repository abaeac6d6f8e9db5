"""Scores made up for tests of comparisons."""

from shoestring.evals.statistics import wilson
from shoestring.report.scores import Score, UnitReport


def score(label, right, n=100, arm="", seed=None, variant="", best=True, suite="sums", kept=True, k=1):
    """Problem i is right for the first `right` of n, or for a share of its k samples."""
    unit = UnitReport(1, "check", arm, seed, "eval", True, "", 0)
    marks = {f"p{i}": float(i < right) for i in range(n)} if kept else {}
    share = right / n
    return Score(
        unit=unit,
        label=label,
        is_base=label == "base",
        suite=suite,
        variant=variant,
        best=best,
        n=n,
        k=k,
        seed=0,
        correct=right,
        score=share,
        ci95=wilson(right, n),
        truncated=0,
        unparsed=0,
        lost=0,
        lower_bound=False,
        asking="",
        marks=marks,
    )
