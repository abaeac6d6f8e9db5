"""The table of a pipeline's stages, and what may be called learned."""

import dataclasses
import io

import pytest
from rich.console import Console

from run_folders import begin, unit
from scores import score
from shoestring.budget.price import Amount, Prices
from shoestring.evals.shape import Shape
from shoestring.evals.statistics import Estimate, Interval
from shoestring.report.compare import planned
from shoestring.report.html import render_html
from shoestring.report.markdown import render_markdown
from shoestring.report.planned import planned_blocks
from shoestring.report.read import read_run
from shoestring.report.run_report import ChatReport, StageCost, Stages
from shoestring.report.stage_costs import new_stages, read_stages
from shoestring.report.stages import stage_table
from shoestring.report.study import dump, parse
from shoestring.report.terminal import print_report

SHAPE = Shape(0.9, 0.05, 100.0, 80.0, 120.0, 0.02, 0.03, 0)
PIPELINE = [
    {"name": "zero", "job": "grpo", "model": "base"},
    {"name": "cold", "job": "sft", "model": "base", "data": "rows.jsonl"},
    {"name": "rl", "job": "grpo", "model": "stage:cold"},
    {"name": "draw", "job": "sample", "model": "stage:rl"},
    {"name": "more", "job": "sft", "model": "base", "sources": [{"data": "stage:draw"}]},
    {"name": "check", "job": "eval", "models": {"zero": "stage:zero", "dev1": "stage:cold"}},
    {"name": "check2", "job": "eval", "models": {"dev2": "stage:rl", "dev3": "stage:more", "b": "base"}},
]


def seeded(label: str, rights: list[int], suite: str = "sums", arm: str = "", n: int = 100) -> list:
    return [
        dataclasses.replace(score(label, right, n=n, arm=arm, seed=seed, suite=suite), shape=SHAPE)
        for seed, right in enumerate(rights, start=1)
    ]


def cost(*stages: str) -> StageCost:
    return StageCost(stages, Amount(60.0, 1000, 1e9), Amount(15.0, 250, 2.5e8))


@pytest.fixture(scope="module")
def report(run_folder):
    """Two models on three suites with two seeds each, and a base without."""
    scores = (
        *seeded("zero", [40, 44]),
        *seeded("zero", [10, 12], "letters", n=50),
        *seeded("zero", [3, 5], "hard"),
        *seeded("r1", [60, 64]),
        *seeded("r1", [30, 32], "letters", n=50),
        score("base", 20),
        score("base", 5, suite="gym:x"),
    )
    found = read_run(run_folder)
    zero = found.chats[0].unit
    chat = ChatReport(zero, "r1", False, 32, 0.9, 0.0, 0.1, 0.0, 0.0, 1, 0, 4, 50.0, answered=0.875)
    stages = Stages(
        ("base", "zero", "r1"), ("sums", "letters"), ("hard",), (cost(), cost("zero"), cost("cold", "rl"))
    )
    units = tuple(dict.fromkeys([*found.units, *(s.unit for s in scores)]))
    return dataclasses.replace(
        found, scores=scores, chats=(chat,), stages=stages, samples=(), units=units, planned=()
    )


def rows_of(report) -> dict[str, tuple[str, ...]]:
    return {name: tuple(cells) for name, *cells in stage_table(report, report.stages).rows}


def test_a_column_a_stage_and_seeds_together(report):
    table = stage_table(report, report.stages)
    rows = rows_of(report)
    assert table.header == ("", "base", "zero", "r1")
    assert rows["sums"][0] == "20.0 % [13.3, 28.9]"  # one seed: the score's own interval
    assert rows["sums"][1].startswith("42.0 % [")
    assert rows["mean of 2"][0] == ""  # the base was not asked letters
    assert rows["mean of 2"][1].startswith("32.0 % [")  # (42 + 22) / 2, whatever their numbers of problems
    assert rows["mean of 2"][2].startswith("62.0 % [")
    assert table.rows[min(table.strong)][0] == "mean of 2"
    assert rows["hard (harder)"][1].startswith("4.0 % [")
    assert rows["hard (harder)"][2] == ""
    assert rows["gym:x (not in the mean)"][0] == "5.0 % [2.2, 11.2]"
    assert rows["in the thinking format"] == ("", "90.0 %", "90.0 %")
    assert rows["mixes languages"] == ("", "5.0 %", "5.0 %")
    assert rows["tokens when not"] == ("", "120", "120")
    assert rows["chat prompts answered"] == ("", "", "87.5 %")
    assert rows["made by"] == ("nothing more", "zero", "cold, rl")
    assert rows["of the time spent on nothing"] == ("25.0 %",) * 3
    assert float(rows["USD"][1]) == pytest.approx(60 * 40 / 3.6e6 * 0.3, abs=1e-4)


def test_pass_at_k_has_a_row_where_several_were_drawn(report):
    point = {"1": Estimate(0.4, Interval(0.3, 0.5)), "16": Estimate(0.8, Interval(0.7, 0.9))}
    drawn = [dataclasses.replace(s, pass_at=point) if s.label == "zero" else s for s in report.scores]
    rows = rows_of(dataclasses.replace(report, scores=tuple(drawn)))
    assert rows["pass@16"] == ("", "80.0 %", "")
    assert "pass@16" not in rows_of(report)


def test_a_score_that_is_all_wrong_keeps_an_interval_and_a_cut_one_is_a_bound(report):
    none = seeded("zero", [0, 0])
    cut = [dataclasses.replace(s, lower_bound=True) for s in seeded("r1", [60, 64])]
    rows = rows_of(dataclasses.replace(report, scores=(*none, *cut)))
    assert rows["sums"][1] == "0.0 % [0.0, 3.7]"
    assert rows["sums"][2].startswith("at least 62.0 %")


def test_it_is_in_every_rendering_and_in_the_studys_file(report, tmp_path):
    out = io.StringIO()
    print_report(report, Console(file=out))
    for text in (render_markdown(report), render_html(report), out.getvalue()):
        assert "mean of 2" in text
        assert "chat prompts answered" in text
    path = tmp_path / "study.json"
    path.write_text(dump(report))
    again = parse(path)
    assert again.stages == report.stages
    assert again.scores == report.scores
    assert stage_table(again, again.stages) == stage_table(report, report.stages)


def test_without_one_nothing_is_said(run_folder):
    found = read_run(run_folder)
    assert found.stages is None
    assert "Stage by stage" not in render_markdown(found)


def test_each_stage_is_paid_once():
    made = new_stages(PIPELINE, ["zero", "dev1", "dev2", "dev3", "b"])
    assert made == [("zero",), ("cold",), ("rl",), ("draw", "more"), ()]
    assert new_stages(PIPELINE, ["dev3"]) == [("cold", "rl", "draw", "more")]


def test_costs_are_of_one_seed_and_of_no_arm(tmp_path):
    folder = begin(tmp_path / "r")
    for arm, seconds in (("", 8.0), ("seed-1", 6.0), ("random", 100.0)):
        stage = unit(folder, 1, PIPELINE[0], arm)
        stage.use("rollout", seconds, 100, 1e6, {"dead_groups": 25})
    lines = [
        {"stage": "zero", "unit": f"stages/01-zero/{rest}", "kind": "train", "seconds": s, "tokens": 100}
        | {"flops": 1e6, "wasted": {"cut": 25}}
        for rest, s in (("seed-1", 8.0), ("seed-2", 6.0), ("random/seed-1", 100.0))
    ]
    table = {"stage": PIPELINE, "stage_table": {"models": ["zero", "dev1"]}}
    found = read_stages(table, lines, Prices())
    assert found is not None
    assert found.costs[0].used.seconds == 7.0
    assert found.costs[0].wasted.seconds == pytest.approx(7.0 / 4)
    assert found.costs[1].used == Amount()
    assert read_stages({"stage": PIPELINE}, lines, Prices()) is None


def test_several_families_weigh_alike():
    suites = ["sums", "letters"]
    ours = [*seeded("r1", [60, 64]), *seeded("r1", [30, 32], "letters", n=50)]
    theirs = [*seeded("zero", [40, 44]), *seeded("zero", [10, 12], "letters", n=50)]
    wanted = [{"of": "r1", "against": "zero", "suites": suites}]
    (found,) = planned([*ours, *theirs], wanted)
    assert found.difference == pytest.approx((0.2 + 0.4) / 2)
    assert found.each == {"sums": pytest.approx(0.2), "letters": pytest.approx(0.4)}
    assert found.seeds == {"1": pytest.approx(0.3), "2": pytest.approx(0.3)}
    assert (found.suite, found.n) == ("mean of 2 suites", 50)
    assert found.verdict == "better"
    assert found.ci95.low < 0.3 < found.ci95.high
    # a seed that was not asked one of the suites, or a suite that nobody was asked
    assert planned([*ours[:-1], *theirs], wanted)[0].verdict == "not finished"
    assert planned([*ours, *theirs[:2]], wanted)[0].verdict == "not finished"


CONTROLS = [{"of": "r1", "against": ["r1/random", "more-sft"], "suites": ["sums"], "control": True}]


@pytest.mark.parametrize(
    ("random", "sft", "verdict"),
    [
        ([20, 22], [40, 41], "learned"),
        ([20, 22], [62, 58], "not shown to have learned: it does not beat more-sft (no difference shown)"),
        ([70, 75], [62, 58], "not shown to have learned: it does not beat r1/random (worse), more-sft"),
        ([20], [40, 41], "not finished"),
    ],
)
def test_learned_is_said_only_where_every_control_is_beaten(report, random, sft, verdict):
    scores = [*seeded("r1", [60, 61]), *seeded("r1", random, arm="random"), *seeded("more-sft", sft)]
    found = dataclasses.replace(report, planned=planned(scores, CONTROLS))
    (learned,) = found.learned
    assert learned.of == "r1"
    assert learned.verdict.startswith(verdict)
    assert (learned.verdict == "learned") == (verdict == "learned")


def test_one_seed_is_said(report):
    scores = [*seeded("r1", [60]), *seeded("r1", [20], arm="random"), *seeded("more-sft", [40])]
    (learned,) = dataclasses.replace(report, planned=planned(scores, CONTROLS)).learned
    assert learned.verdict == "learned, in one seed: another might not have"


def test_the_word_is_not_used_without_controls(report):
    scores = [*seeded("r1", [60, 61]), *seeded("r1", [20, 22], arm="random")]
    wanted = [{"of": "r1", "against": "r1/random", "suite": "sums"}]
    found = dataclasses.replace(report, planned=planned(scores, wanted))
    assert found.learned == ()
    assert "learned" not in repr(list(planned_blocks(found)))
    assert any("no model is called learned" in line for line in report.lacking)
    named = dataclasses.replace(report, planned=planned(scores, [wanted[0] | {"control": True}]))
    assert "r1: learned." in render_markdown(named)


def test_a_studys_file_keeps_controls_and_means(report, tmp_path):
    scores = [
        *report.scores,
        *seeded("r1", [20, 22], arm="random"),
        *seeded("r1", [9, 8], "letters", "random", n=50),
    ]
    wanted = [{"of": "r1", "against": "r1/random", "suites": ["sums", "letters"], "control": True}]
    units = dict.fromkeys([*report.units, *(s.unit for s in scores)])
    found = dataclasses.replace(
        report, scores=tuple(scores), units=tuple(units), planned=planned(scores, wanted)
    )
    path = tmp_path / "study.json"
    path.write_text(dump(found))
    again = parse(path)
    assert again.planned == found.planned
    assert again.learned == found.learned
    assert again.learned[0].verdict == "learned"
