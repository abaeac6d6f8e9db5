"""Differences between scores, paired by problem wherever both models met the same problems."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from shoestring.evals.paired import paired_marks
from shoestring.evals.statistics import (
    Interval,
    bootstrap_families,
    bootstrap_seeds_items,
    holm,
)
from shoestring.report.scores import Comparison, Planned, Score, cut_share

C = TypeVar("C", Comparison, Planned)


def compare(a: Score, b: Score) -> Comparison:
    """a less b on one suite."""
    if len(a.marks) < 2 or a.marks.keys() != b.marks.keys():
        return _unpaired(a, b)
    x = [a.marks[problem] for problem in b.marks]
    y = list(b.marks.values())
    pair = paired_marks(x, y, a.k == b.k == 1)
    return Comparison((a,), b, pair.difference, pair.ci95, True, pair.method, pair.p_value)


def compare_seeds(several: Sequence[Score], b: Score) -> Comparison | None:
    """The mean of several seeds of one model less b. None where they didn't all meet b's problems."""
    if any(not a.marks or a.marks.keys() != b.marks.keys() for a in several):
        return None
    values = np.array([[a.marks[problem] - b.marks[problem] for problem in b.marks] for a in several])
    interval = bootstrap_seeds_items(values, seed=0)
    method = "bootstrap over seeds and problems"
    return Comparison(tuple(several), b, float(values.mean()), interval, True, method, None)


def _unpaired(a: Score, b: Score) -> Comparison:
    """Newcombe's method 10 without correlation: the two intervals joined as squares."""
    difference = a.score - b.score
    below = math.hypot(a.score - a.ci95.low, b.ci95.high - b.score)
    above = math.hypot(a.ci95.high - a.score, b.score - b.ci95.low)
    interval = Interval(difference - below, difference + above)
    return Comparison((a,), b, difference, interval, False, "independent samples", None)


def with_holm(comparisons: Sequence[C]) -> tuple[C, ...]:
    """Each with its p value adjusted for how many comparisons there are."""
    values = {str(i): c.p_value for i, c in enumerate(comparisons) if c.p_value is not None}
    adjusted = holm(values)
    return tuple(dataclasses.replace(c, adjusted=adjusted.get(str(i))) for i, c in enumerate(comparisons))


def against_base(scores: Sequence[Score]) -> tuple[Comparison, ...]:
    """Every trained model less the base at its best on the same suite; then each model's seeds together."""
    result = []
    trained = [score for score in scores if not score.is_base and score.best]
    for score in trained:
        base = base_at_its_best(scores, score)
        if base is not None:
            result.append(compare(score, base))
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in trained:
        if score.unit.seed is not None:
            groups.setdefault((score.suite, score.label, score.unit.arm), []).append(score)
    together = []
    for several in groups.values():
        bases = [base_at_its_best(scores, score) for score in several]
        base = bases[0]
        one = base is not None and all(b is not None and b.marks == base.marks for b in bases)
        if base is not None and one and len(several) > 1:
            together.append(compare_seeds(several, base))
    return (*with_holm(result), *(c for c in together if c is not None))


def base_at_its_best(scores: Sequence[Score], like: Score) -> Score | None:
    """Among the base's scores on the suite, the highest; those on the same problems come first. Of several
    bases it is the one that the model was trained from. A base that the run made has a score for each of its
    seeds, and each model is held against its own."""
    bases = [score for score in scores if score.is_base and score.suite == like.suite]
    bases = [score for score in bases if score.start == like.start] or bases
    own = [score for score in bases if score.unit.seed in (None, like.unit.seed)] or bases
    same = [score for score in own if score.marks and score.marks.keys() == like.marks.keys()]
    return max(same or own, key=lambda score: score.score, default=None)


def against_recipe(scores: Sequence[Score]) -> tuple[Comparison, ...]:
    """Each arm's model less the same model, suite and seed of the recipe as written."""
    result = []
    plain = {(s.label, s.suite, s.unit.seed): s for s in scores if not s.unit.arm and s.best}
    for score in scores:
        other = plain.get((score.label, score.suite, score.unit.seed))
        if score.unit.arm and score.best and not score.is_base and other is not None:
            result.append(compare(score, other))
    return with_holm(result)


def planned(scores: Sequence[Score], wanted: Sequence[Mapping[str, Any]]) -> tuple[Planned, ...]:
    """The comparisons that the recipe names (`of`, `against`, `suite` or `suites`), each over all seeds that
    both sides have, paired by seed and problem; a side without seeds (a base) stands against each seed of the
    other. Holm's correction is over all that are named."""
    found = []
    for one in wanted:
        suites = tuple(one.get("suites") or [one["suite"]])
        others = one["against"]
        for against in [others] if isinstance(others, str) else others:
            made = _planned(scores, one["of"], against, suites)
            found.append(dataclasses.replace(made, control=one.get("control", False)))
    return with_holm(found)


def _planned(scores: Sequence[Score], of: str, against: str, suites: tuple[str, ...]) -> Planned:
    """Several suites weigh alike, whatever their numbers of problems."""
    several = suites if len(suites) > 1 else ()
    name = f"mean of {len(suites)} suites" if several else "".join(suites)
    none = Planned(of, against, name, {}, suites=several)
    rows = [_differences(scores, of, against, suite) for suite in suites]
    seeds = list(rows[0])
    if not seeds or any(own.keys() != rows[0].keys() for own in rows):
        return none
    values = [np.array([own[seed] for seed in seeds]) for own in rows]
    interval, p_value = bootstrap_families(values, seed=0)
    sides = {
        name: [s for suite in suites for s in by_seed(scores, name, suite).values()] for name in (of, against)
    }
    return dataclasses.replace(
        none,
        seeds={
            "" if seed is None else str(seed): float(np.mean([np.mean(own[i]) for own in values]))
            for i, seed in enumerate(seeds)
        },
        n=min(own.shape[1] for own in values),
        difference=float(np.mean([own.mean() for own in values])),
        ci95=interval,
        p_value=p_value,
        cut={
            name: cut_share(side) for name, side in sides.items() if any(score.lower_bound for score in side)
        },
        each={suite: float(own.mean()) for suite, own in zip(several, values, strict=False)},
    )


def _differences(scores: Sequence[Score], of: str, against: str, suite: str) -> dict[int | None, list[float]]:
    """Each seed's differences, problem by problem. {} where a side lacks a seed or the same problems."""
    left, right = by_seed(scores, of, suite), by_seed(scores, against, suite)
    pairs = {
        seed: (left.get(seed) or left.get(None), right.get(seed) or right.get(None))
        for seed in [*left, *(seed for seed in right if seed not in left)]
    }
    if len(pairs) > 1:
        pairs.pop(None, None)
    rows = {
        seed: [a.marks[problem] - b.marks[problem] for problem in b.marks]
        for seed, (a, b) in pairs.items()
        if a and b and a.marks and a.marks.keys() == b.marks.keys()
    }
    return rows if len(rows) == len(pairs) else {}


def by_seed(scores: Sequence[Score], model: str, suite: str) -> dict[int | None, Score]:
    """A model's scores on a suite, as it was asked best. `model`: an eval label, with the arm after a
    slash."""
    label, _, arm = model.partition("/")
    own = [s for s in scores if s.best and (s.label, s.suite) == (label, suite)]
    # the base is asked once, in no arm; an arm that leaves a model alone has no score of its own for it
    return {s.unit.seed: s for s in own if s.unit.arm == (arm if any(o.unit.arm == arm for o in own) else "")}
