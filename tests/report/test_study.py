"""Comparisons fixed beforehand, and a study as one file that says all that its page shows."""

import dataclasses
import json

import numpy as np
import pytest

from scores import score
from shoestring.evals.statistics import bootstrap_p_value, bootstrap_seeds_items
from shoestring.report.compare import planned
from shoestring.report.markdown import render_markdown
from shoestring.report.read import read_run
from shoestring.report.study import dump, main, parse


def seeded(label: str, rights: list[int], arm: str = "") -> list:
    return [score(label, right, arm=arm, seed=seed) for seed, right in enumerate(rights, start=1)]


def test_seeds_pair_and_pool():
    scores = [*seeded("zero", [60, 58, 62]), *seeded("zero", [40, 41, 39], arm="random")]
    (found,) = planned(scores, [{"of": "zero", "against": "zero/random", "suite": "sums"}])
    assert found.seeds == {"1": pytest.approx(0.2), "2": pytest.approx(0.17), "3": pytest.approx(0.23)}
    assert found.difference == pytest.approx(0.2)
    bounds = ((40, 60), (41, 58), (39, 62))
    values = np.array([[float(low <= k < high) for k in range(100)] for low, high in bounds])
    assert found.ci95 == bootstrap_seeds_items(values, seed=0)
    assert found.p_value == found.adjusted == bootstrap_p_value(values, seed=0) == pytest.approx(2 / 10_001)
    assert found.verdict == "better"


def test_a_side_without_seeds_meets_each_seed_and_holm_counts_the_rows():
    scores = [score("base", 40), *seeded("zero", [60, 58]), *seeded("cold", [44, 37])]
    wanted = [{"of": model, "against": "base", "suite": "sums"} for model in ("zero", "cold")]
    zero, cold = planned(scores, wanted)
    assert zero.adjusted == pytest.approx(2 * zero.p_value)
    assert zero.verdict == "better"
    assert cold.seeds == {"1": pytest.approx(0.04), "2": pytest.approx(-0.03)}
    assert cold.verdict == "no difference shown"


def test_what_is_not_there_is_not_compared():
    scores = [*seeded("zero", [60, 58, 62]), *seeded("zero", [40], arm="random")]
    (found,) = planned(scores, [{"of": "zero", "against": "zero/random", "suite": "sums"}])
    assert found.verdict == "not finished"
    other = [dataclasses.replace(s, marks={"another": 1.0}) for s in seeded("zero", [1, 1, 1], arm="random")]
    (found,) = planned([*scores[:3], *other], [{"of": "zero", "against": "zero/random", "suite": "sums"}])
    assert found.verdict == "not finished"


@pytest.mark.parametrize(
    ("truncated", "said"),
    [((30, 10), "better, cut replies granted"), ((60, 20), "not told: zero/random's replies were cut")],
)
def test_a_cut_loser_is_beaten_only_by_more_than_what_was_cut(truncated, said):
    """48 points, of which a fifth of the replies (both seeds together) might have been, or two fifths."""
    cut = [
        dataclasses.replace(s, lower_bound=share > 5, truncated=share)
        for s, share in zip(seeded("zero", [10, 12], arm="random"), truncated, strict=True)
    ]
    wanted = [{"of": "zero", "against": "zero/random", "suite": "sums"}]
    (found,) = planned([*seeded("zero", [60, 58]), *cut], wanted)
    assert found.cut == {"zero/random": sum(truncated) / 200}
    assert found.verdict == said


def test_p_value_of_nothing_and_of_everything():
    assert bootstrap_p_value(np.zeros((3, 50)), seed=0) == 1.0
    even = np.array([[1.0, -1.0] * 50] * 3)
    assert bootstrap_p_value(even, seed=0) > 0.5
    assert bootstrap_p_value(np.ones((3, 50)), seed=0) == pytest.approx(2 / 10_001)


def test_the_file_gives_the_page_that_the_run_gives(run_folder, tmp_path, capsys):
    report = read_run(run_folder)
    suite = report.scores[0].suite
    wanted = [{"of": "zero", "against": "zero/random", "suite": suite}]
    report = dataclasses.replace(report, planned=planned(report.scores, wanted), samples=())
    path = tmp_path / "laptop.json"
    path.write_text(dump(report))
    again = parse(path)
    assert again.scores == report.scores
    assert again.planned == report.planned
    assert again.against_base == report.against_base
    assert again.bill.figures() == report.bill.figures()
    page = render_markdown(again)
    assert "Comparisons fixed before the run" in page
    assert page.split("## Curves")[0] == render_markdown(report).split("## Curves")[0]
    stored = json.loads(path.read_text())
    assert stored["comparisons"][0]["difference"] == pytest.approx(report.planned[0].difference)


def test_the_command(run_folder, tmp_path, capsys):
    target = tmp_path / "results" / "laptop.json"
    target.parent.mkdir()
    assert main([str(run_folder), str(target)]) == 0
    first = target.with_suffix(".md").read_text()
    target.with_suffix(".md").unlink()
    assert main([str(target)]) == 0
    assert target.with_suffix(".md").read_text() == first
    assert main([str(run_folder), str(tmp_path / "x.txt")]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
    (tmp_path / "bad.json").write_text("{}")
    assert main([str(tmp_path / "bad.json")]) == 2
    said = capsys.readouterr().err
    assert "is not a study's file" in said
    assert "can't read" in said
    assert "Traceback" not in said
