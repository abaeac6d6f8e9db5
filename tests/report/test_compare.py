"""What may be called better, and against what."""

import dataclasses
import random

import pytest

from scores import score
from shoestring.evals.statistics import Interval
from shoestring.report.compare import against_base, against_recipe, base_at_its_best, compare, compare_seeds
from shoestring.report.scores import Comparison


def test_paired_by_problem_whatever_their_order():
    a, b = score("zero", 60), score("base", 40)
    shuffled = list(a.marks.items())
    random.Random(0).shuffle(shuffled)
    a.marks.clear()
    a.marks.update(shuffled)
    found = compare(a, b)
    assert found.paired
    assert found.difference == pytest.approx(0.2)
    assert found.p_value == pytest.approx(2 * 0.5**20)  # 20 problems for a alone, none for b
    assert found.verdict == "better"
    assert compare(b, a).verdict == "worse"


def test_never_better_where_the_interval_holds_zero():
    found = compare(score("zero", 43), score("base", 42))
    assert found.ci95.low < 0 < found.ci95.high
    assert found.verdict == "no difference shown"


def test_never_better_where_problems_do_not_pair():
    found = compare(score("zero", 95), score("base", 5, kept=False))
    assert not found.paired
    assert found.ci95.excludes_zero
    assert found.verdict == "differs, but the problems do not pair"
    # Newcombe's independent interval of 56/70 - 48/80 is 0.0524 to 0.3339 (1998, table II, method 10)
    known = compare(score("a", 56, 70, kept=False), score("b", 48, 80, kept=False))
    assert (known.ci95.low, known.ci95.high) == (
        pytest.approx(0.0524, abs=1e-4),
        pytest.approx(0.3339, abs=1e-4),
    )


def test_a_base_that_was_cut_loses_only_by_more_than_what_was_cut():
    """60 to 40 of 100, interval from 10 points on: 6 cut replies could not have made up for it, 15 could."""
    cut = dataclasses.replace(score("base", 40), lower_bound=True, truncated=6)
    assert compare(score("zero", 60), cut).ci95.low == pytest.approx(0.106, abs=0.03)
    assert compare(score("zero", 60), cut).verdict == "better, cut replies granted"
    more = dataclasses.replace(cut, truncated=15)
    assert compare(score("zero", 60), more).verdict == "not told: base's replies were cut"
    assert compare(score("zero", 20), more).verdict == "worse"


def test_several_samples_pair_by_the_problems_means():
    a, b = score("zero", 0, n=4, k=2), score("base", 0, n=4, k=2)
    a.marks.update({"p0": 1.0, "p1": 0.5, "p2": 0.5, "p3": 0.0})
    b.marks.update({"p0": 0.5, "p1": 0.5, "p2": 0.0, "p3": 0.0})
    found = compare(a, b)
    assert found.difference == pytest.approx(0.25)
    # differences 0.5, 0, 0.5, 0: sd 0.28868, /2, times 1.96
    assert found.ci95.high - found.difference == pytest.approx(1.96 * 0.144338, rel=1e-3)
    assert found.p_value == pytest.approx(0.0833, abs=1e-4)


def test_the_base_is_taken_at_its_best():
    scores = [score("base", 30, variant="plain", best=False), score("base", 45, variant="longer")]
    assert base_at_its_best(scores, score("zero", 60)) is scores[1]
    assert base_at_its_best(scores, score("zero", 60, suite="words")) is None


def test_of_two_bases_it_is_the_one_that_the_model_was_trained_from():
    small, large = (
        dataclasses.replace(score("base", right), label=name, start=name)
        for name, right in (("small", 5), ("large", 40))
    )
    student = dataclasses.replace(score("student", 20), start="small")
    assert base_at_its_best([small, large], student) is small
    assert base_at_its_best([large], student) is large  # nobody asked its own


def test_a_base_that_was_made_seed_by_seed_is_each_models_own():
    bases = [score("base", right, seed=i) for i, right in enumerate((20, 40))]
    seeds = [score("zero", right, seed=i) for i, right in enumerate((60, 65))]
    found = against_base([*bases, *seeds])  # and no mean over seeds against one of two bases
    assert [(c.of[0], c.against) for c in found] == [(seeds[0], bases[0]), (seeds[1], bases[1])]
    alike = [dataclasses.replace(base, marks=bases[0].marks) for base in bases]
    assert [len(c.of) for c in against_base([*alike, *seeds])] == [1, 1, 2]


def test_many_comparisons_raise_the_bar():
    rng = random.Random(1)
    many = [score(f"m{i}", 42 + rng.randrange(3)) for i in range(30)]
    alone = against_base([score("base", 40), score("m", 46)])
    together = against_base([score("base", 40), score("m", 46), *many])
    assert alone[0].verdict == "better"
    assert together[0].difference == alone[0].difference
    assert together[0].verdict == "no difference shown (Holm)"


def test_seeds_are_also_taken_together():
    base = score("base", 40)
    seeds = [score("zero", right, seed=i) for i, right in enumerate((55, 60, 65))]
    found = against_base([base, *seeds])
    assert [len(c.of) for c in found] == [1, 1, 1, 3]
    assert found[-1].difference == pytest.approx(0.2)
    assert found[-1].ci95.low < 0.2 < found[-1].ci95.high
    assert compare_seeds([score("zero", 50, kept=False)], base) is None


def test_arms_stand_beside_the_same_seed():
    scores = [score("zero", 60, seed=1), score("zero", 50, seed=2), score("zero", 30, arm="random", seed=2)]
    (found,) = against_recipe(scores)
    assert found.against is scores[1]
    assert found.difference == pytest.approx(-0.2)


def test_a_verdict_needs_all_three():
    a, b = score("zero", 60), score("base", 40)
    wide = Comparison((a,), b, 0.2, Interval(-0.01, 0.4), True, "", 0.001, 0.001)
    assert wide.verdict == "no difference shown"
