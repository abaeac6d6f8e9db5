"""Each kind of finding read from a study, a benchmark or a configuration that was made up."""

import dataclasses
import json
from pathlib import Path

import pytest

from scores import score
from shoestring.budget.price import Bill, Prices
from shoestring.errors import BadInput
from shoestring.evals.shape import Shape
from shoestring.report import ablation, study
from shoestring.report.ablation_run import FIGURES, Ablation, Trained
from shoestring.report.claims.claim import KINDS, Outcome, measure, read_claim
from shoestring.report.claims.found import FAILS, HOLDS, NOT_RUN, OPEN
from shoestring.report.claims.page import sentence, table, to_json
from shoestring.report.claims.sources import Missing, Sources
from shoestring.report.run_report import ChatReport, Curve, IdentityReport, RefusalReport, RunReport
from shoestring.report.scores import UnitReport
from shoestring.settings import build

SEEDS = (1, 2, 3)


def unit(stage, arm="", seed=None, job="eval"):
    return UnitReport(1, stage, arm, seed, job, True, "", 0)


def report(**parts) -> RunReport:
    empty = dict.fromkeys(("against_base", "against_recipe", "planned", "chats", "curves", "scores"), ())
    rows = [row for name in ("scores", "chats", "identities", "refusals") for row in parts.get(name, ())]
    units = dict.fromkeys((*(row.unit for row in rows), *parts.pop("units", ())))
    return RunReport(
        **{
            **empty,
            "name": "made-up",
            "description": "",
            "folder": Path("runs/x"),
            "base": "base",
            "state": "finished",
            "command": "shoestring run x",
            "units": tuple(units),
            "samples": (),
            "bill": Bill({}, {}, Prices()),
            "environment": {"cpu": "a chip"},
            "lacking": (),
            **parts,
        }
    )


def home(tmp_path, made: str, name="made-up") -> Sources:
    (tmp_path / "studies/results").mkdir(parents=True)
    (tmp_path / "studies/x.toml").write_text(f'[recipe]\nname = "{name}"\n')
    (tmp_path / "studies/results/x.json").write_text(made)
    return Sources(tmp_path, tmp_path / "runs")


def of_scores(tmp_path, **parts) -> Sources:
    return home(tmp_path, study.dump(report(**parts)))


def finding(kind, **values):
    bound = {} if {"above", "below", "within"} & values.keys() else {"above": 0.0}
    return build(KINDS[kind], {"says": "it", "unit": "points", "study": "x", **bound, **values}, "test")


def of_both(right, against=40, n=100, **options):
    """zero's scores by seed, and the base's."""
    zero = [score("zero", count, n=n, seed=seed, **options) for seed, count in zip(SEEDS, right, strict=True)]
    return (*zero, score("base", against, n=n, **options))


def test_a_comparison_is_paired_by_seed_and_problem(tmp_path):
    sources = of_scores(tmp_path, scores=of_both((60, 70, 80)))
    found = finding("comparison", of="zero", against="base", suites=["sums"]).measure(sources)
    assert found.each == pytest.approx((0.2, 0.3, 0.4))
    assert found.value == pytest.approx(0.3)
    assert found.ci95.low > 0.1
    assert (found.n, found.seeds) == (100, 3)


def test_evals_of_other_lengths_meet_on_the_problems_of_both(tmp_path):
    scores = (
        *(score("zero", 60, n=100, seed=s) for s in SEEDS),
        *(score("base", 20, n=50, seed=s) for s in SEEDS),
    )
    found = finding("comparison", of="zero", against="base", suites=["sums"]).measure(
        of_scores(tmp_path, scores=scores)
    )
    assert found.n == 50
    assert found.value == pytest.approx(1.0 - 0.4)  # the first 50 of zero's are right, 20 of the base's


def test_replies_of_the_loser_that_were_cut_widen_the_interval(tmp_path):
    """30 points ahead, and 35 % of the base's replies cut: they might all have been right."""
    zero, base = of_both((70, 70, 70))[:3], score("base", 40)
    cut = dataclasses.replace(base, truncated=35, lower_bound=True)
    asked = finding("comparison", of="zero", against="base", suites=["sums"])
    claim = read_claim(
        {**HEAD, "finding": [{"kind": "comparison", **asked.model_dump(exclude_none=True)}]}, "x"
    )
    (outcome,) = measure([claim], of_scores(tmp_path, scores=(*zero, cut)))
    found = outcome.results[0].found
    assert found.ci95.low < 0 < found.ci95.high
    assert "cut" in found.method
    assert outcome.verdict == OPEN


def test_one_seed_is_no_interval(tmp_path):
    sources = of_scores(tmp_path, scores=(score("zero", 90, seed=1), score("base", 10)))
    found = finding("comparison", of="zero", against="base", suites=["sums"]).measure(sources)
    assert found.ci95 is None


def test_a_vote_is_set_against_the_mean_of_its_samples(tmp_path):
    voted = {f"p{i}": 1.0 for i in range(100)}
    scores = [dataclasses.replace(s, k=4, majority=voted) for s in of_both((60, 60, 60))[:3]]
    found = finding("majority", of="zero", suites=["sums"]).measure(of_scores(tmp_path, scores=tuple(scores)))
    assert found.value == pytest.approx(0.4)  # all that 40 wrong ones lacked


def test_without_votes_it_says_so(tmp_path):
    sources = of_scores(tmp_path, scores=of_both((60, 60, 60)))
    with pytest.raises(BadInput, match="votes of zero"):
        finding("majority", of="zero", suites=["sums"]).measure(sources)


def shaped(tokens, seed, label="zero"):
    shape = Shape(1.0, None, tokens, None, tokens, 0.0, 0.0, 0)
    return dataclasses.replace(score(label, 50, seed=seed), shape=shape)


def test_replies_are_compared_by_seed(tmp_path):
    scores = tuple(shaped(30.0 + s, s) for s in SEEDS) + tuple(shaped(20.0, s, "base") for s in SEEDS)
    asked = {"of": "zero", "against": "base", "suites": ["sums"], "unit": "tokens"}
    sources = of_scores(tmp_path, scores=scores)
    assert finding("reply", metric="tokens_wrong", **asked).measure(sources).each == (11.0, 12.0, 13.0)
    with pytest.raises(BadInput, match="mixed of replies"):
        finding("reply", metric="mixed", **asked).measure(sources)


def test_names_given_are_counted_by_seed_and_the_base_stands_against_each(tmp_path):
    def who(label, others, seed=None, arm=""):
        claims = {"en": {"own": 100 - others, "other": others - 1, "both": 1, "none": 0}}
        return IdentityReport(unit("eval", arm, seed), label, label == "base", 100, claims, {})

    rows = (who("base", 1), *(who("student", 30 + s, s) for s in SEEDS))
    rows += tuple(who("student", 2, s, "scanned") for s in SEEDS)
    sources = of_scores(tmp_path, identities=rows)
    asked = {"check": "identity", "counted": "other", "of": "student"}
    assert finding("rate", **asked).measure(sources).each == (0.31, 0.32, 0.33)
    found = finding("rate", **asked, against="base").measure(sources)
    assert found.each == pytest.approx((0.30, 0.31, 0.32))
    scanned = finding("rate", **asked, against="student/scanned").measure(sources)
    assert scanned.each == pytest.approx((0.29, 0.30, 0.31))


def test_chats_and_refusals_are_rates_too(tmp_path):
    def chat(seed, answered):
        return ChatReport(
            unit("eval", "", seed), "zero", False, 32, 1.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 9.0, answered
        )

    def audit(stage, refused, seed=None):
        groups = {"harmful": {"refusal": refused, "answer": 40 - refused}, "neutral": {"answer": 5}}
        return RefusalReport(unit(stage, "", seed, "audit"), groups)

    refusals = (audit("audit-base", 2), *(audit("audit-taught", 30, s) for s in SEEDS))
    sources = of_scores(tmp_path, chats=tuple(chat(s, 0.75) for s in SEEDS), refusals=refusals)
    found = finding("rate", check="chat", counted="answered", of="zero").measure(sources)
    assert found.each == (0.75, 0.75, 0.75)
    asked = {"check": "refusal", "counted": "harmful", "of": "audit-taught", "against": "audit-base"}
    assert finding("rate", **asked).measure(sources).each == pytest.approx((0.7, 0.7, 0.7))
    with pytest.raises(BadInput, match="refusal check of audit-taught with 'harmfull'"):
        finding("rate", **{**asked, "counted": "harmfull"}).measure(sources)


def test_a_trend_is_of_the_last_steps_less_the_first_and_less_the_controls(tmp_path):
    def curve(seed, values, arm=""):
        line = f"{arm} seed {seed}".strip()
        return Curve("zero", "completions/mean_length", line, (1, 2, 3, 4), values)

    units = [unit("zero", arm, s, "grpo") for arm in ("", "random") for s in SEEDS]
    curves = [curve(s, (10.0, 12.0, 20.0 + s, 22.0 + s)) for s in SEEDS]
    curves += [curve(s, (10.0, 12.0, 11.0, 13.0), "random") for s in SEEDS]
    sources = of_scores(tmp_path, curves=tuple(curves), units=units)
    asked = {"stage": "zero", "metric": "completions/mean_length", "steps": 2, "unit": "tokens"}
    assert finding("trend", **asked).measure(sources).each == (11.0, 12.0, 13.0)
    found = finding("trend", **asked, against="random").measure(sources)
    assert found.each == (10.0, 11.0, 12.0)
    with pytest.raises(BadInput, match="arm 'shuffled'"):
        finding("trend", **asked, arm="shuffled").measure(sources)


def trained(arm, seed, bits):
    figures = dict.fromkeys(FIGURES) | {"val_bpb": bits}
    return Trained("pretrain", arm, seed, {}, figures, {}, (), {})


def test_a_contrast_is_paired_by_seed(tmp_path):
    units = [trained("", s, 2.0) for s in SEEDS] + [trained("dense", s, 2.0 + s / 10) for s in SEEDS]
    made = ablation.dump(Ablation("made-up", "", "run", {}, tuple(units), ()))
    sources = home(tmp_path, made)
    asked = {"of": "pretrain", "against": "pretrain/dense", "metric": "val_bpb", "unit": "relative"}
    found = finding("contrast", **asked, below=0.0).measure(sources)
    assert found.each == pytest.approx((-0.1, -0.2, -0.3))
    relative = finding("contrast", **asked, below=0.0, relative=True).measure(sources)
    assert relative.each == pytest.approx((-0.1 / 2.1, -0.2 / 2.2, -0.3 / 2.3))
    with pytest.raises(BadInput, match="MTP loss"):
        finding("contrast", **{**asked, "metric": "mtp_loss"}, below=0.0).measure(sources)


def test_rounds_of_a_benchmark_are_read_where_they_lie(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"m": [{"over": {"values": [1.1, 1.2, 1.3]}}]}))
    sources = Sources(tmp_path, tmp_path / "runs")

    def of(key, file="b.json"):
        values = {"says": "it", "unit": "times", "above": 1.0, "file": file, "key": key, "command": "bench"}
        return build(KINDS["figures"], values, "test").measure(sources)

    assert of("m.0.over.values").value == pytest.approx(1.2)
    with pytest.raises(BadInput, match=r"no 'ovre' of 'm\.0\.ovre\.values', did you mean 'over'"):
        of("m.0.ovre.values")
    with pytest.raises(BadInput, match="not a list of figures"):
        of("m.0.over")
    with pytest.raises(Missing, match="bench"):
        of("m.0.over.values", "c.json")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((80, 104, 130), HOLDS),
        ((80, 120, 140), OPEN),  # it holds the figure, but its middle is far off
        ((101, 105, 130), FAILS),
        ((50, 70, 99), FAILS),
    ],
)
def test_a_plan_has_to_hold_the_published_figure(tmp_path, ends, verdict):
    plan = {"usd": dict(zip(("low", "mid", "high"), ends, strict=True)), "published": {"usd": 100}}
    (tmp_path / "p.json").write_text(json.dumps(plan))
    values = {"kind": "plan", "says": "it", "unit": "times", "within": [0.9, 1.1], "file": "p.json"}
    values |= {"key": "usd", "published_key": "published.usd", "command": "plan"}
    claim = read_claim({**HEAD, "finding": [values]}, "x")
    (outcome,) = measure([claim], Sources(tmp_path, tmp_path / "runs"))
    assert outcome.verdict == verdict
    assert "is no 95 % interval but the plan's range" in sentence(outcome.results[0])
    (row,) = table([outcome]).rows
    assert row[3].endswith("no 95 % interval")
    assert "range" in to_json([outcome])[0]["findings"][0]["rule"]


def test_the_cache_is_counted(tmp_path):
    def of(over):
        values = {"says": "it", "unit": "percent", "below": 1.0, "preset": "v3-671b", "over": over}
        return build(KINDS["size"], values, "test").measure(Sources(tmp_path, tmp_path)).value

    assert of("full") == pytest.approx(576 / (2 * 128 * 128))
    assert of("grouped") == pytest.approx(576 / (2 * 8 * 128))


HEAD = {"name": "c", "says": "it teaches", "published": "a figure", "control": "none"}


def outcome_of(tmp_path, *findings) -> Outcome:
    written = [{"kind": "comparison", **f.model_dump(exclude_none=True, mode="json")} for f in findings]
    claim = read_claim({**HEAD, "finding": written}, "x")
    return measure([claim], of_scores(tmp_path, scores=of_both((60, 70, 80))))[0]


def test_every_finding_counts_towards_the_correction_run_or_not(tmp_path):
    asked = finding("comparison", of="zero", against="base", suites=["sums"])
    claim = read_claim(
        {**HEAD, "finding": [{"kind": "comparison", **asked.model_dump(exclude_none=True)}]}, "x"
    )
    values = {"kind": "figures", "says": "it", "unit": "times", "above": 1.0, "file": "c.json"}
    other = read_claim({**HEAD, "name": "d", "finding": [values | {"key": "a", "command": "bench"}]}, "x")
    sources = of_scores(tmp_path, scores=of_both((60, 70, 80)))
    alone, (both, missing) = measure([claim], sources)[0], measure([claim, other], sources)
    assert both.results[0].adjusted == pytest.approx(2 * alone.results[0].adjusted)
    assert (both.verdict, missing.verdict, missing.commands) == (HOLDS, NOT_RUN, ("bench",))


def test_a_premise_that_does_not_hold_leaves_a_claim_open(tmp_path):
    bad = finding("comparison", of="zero", against="base", suites=["sums"], below=0.0)
    good = finding("comparison", of="zero", against="base", suites=["sums"])
    assert outcome_of(tmp_path / "a", good, bad).verdict == FAILS
    assert outcome_of(tmp_path / "b", good, bad.model_copy(update={"premise": True})).verdict == OPEN
    assert outcome_of(tmp_path / "c", good, good.model_copy(update={"premise": True})).verdict == HOLDS


def test_another_studys_file_is_refused(tmp_path):
    sources = home(tmp_path, study.dump(report(scores=of_both((60, 70, 80)))), name="wanted")
    with pytest.raises(BadInput, match="holds the study 'made-up', not 'wanted'"):
        sources.study("x")


@pytest.mark.parametrize(("text", "said"), [("{", "not a study's file"), ("{}", "not a study's file")])
def test_what_is_no_studys_file_is_refused(tmp_path, text, said):
    with pytest.raises(BadInput, match=said):
        home(tmp_path, text).study("x")


def test_a_kind_of_study_is_not_the_other(tmp_path):
    asked = {"of": "pretrain", "against": "pretrain/dense", "metric": "val_bpb", "below": 0.0}
    with pytest.raises(BadInput, match="no contrasts of pretraining"):
        finding("contrast", **asked).measure(of_scores(tmp_path, scores=of_both((60, 70, 80))))
    made = ablation.dump(Ablation("made-up", "", "run", {}, (trained("", 1, 2.0),), ()))
    with pytest.raises(BadInput, match="no scores"):
        finding("comparison", of="zero", against="base", suites=["sums"]).measure(home(tmp_path / "b", made))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "comparsion"}, "did you mean 'comparison'"),
        ({"kind": "size", "preset": "v3-671", "over": "full"}, "did you mean 'v3-671b'"),
        ({"kind": "size", "preset": "tiny", "over": "full", "below": 1.0}, "one of above, below, within"),
        ({"kind": "size", "preset": "tiny", "over": "full", "sude": 1}, "unknown setting 'sude'"),
        ({"kind": "rate", "study": "x", "check": "chat", "counted": "answer", "of": "a"}, "'answered'"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(values, said):
    values = {"says": "it", "unit": "points", "above": 0.0, **values}
    with pytest.raises(BadInput, match=said):
        read_claim({**HEAD, "finding": [values]}, "x")


def test_a_bound_has_its_ends_in_order():
    with pytest.raises(BadInput, match="the smaller one comes first"):
        finding("comparison", of="a", against="b", suites=["sums"], within=[1.0, 0.0])


def test_a_claim_has_findings():
    with pytest.raises(BadInput, match="at least one"):
        read_claim(HEAD, "x")
