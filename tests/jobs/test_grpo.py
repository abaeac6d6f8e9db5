import io
import json

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs.grpo import After, main, one_step
from shoestring.jobs.grpo_trainer import Trainer
from shoestring.jobs.job_table import JOBS
from shoestring.origin import Lineage
from shoestring.rl.gather import Sampler, gather
from shoestring.rl.held_out import HeldOut
from shoestring.rl.loss_settings import NAMED, formula
from shoestring.rl.monitor import Monitor
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.streams import Streams
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.suite import parse_suite
from shoestring.train.learner import Learner
from tiny import Scripted, tiny_lm
from training_runs import (
    grpo_settings,
    metrics,
    refreshing_grpo_settings,
    run,
    same,
    save_base,
    toy_suite,
    weights,
)

TRL_NAMES = [
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "completions/mean_length",
    "completions/min_length",
    "completions/max_length",
    "completions/clipped_ratio",
    "completions/mean_terminated_length",
    "entropy",
    "kl",
    "clip_ratio/region_mean",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "mismatch_kl",
    "ratio/min",
    "ratio/mean",
    "ratio/max",
    "log_ratio_overflowed",
    "corrected_ratio",
    "sequences",
    "sequences/zero_advantage",
    "num_updates",
    "num_tokens",
    "step_time",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


class PlannedJudge:
    """Right for the first sample of the groups in `live`, wrong for all others; some samples fail."""

    def __init__(self, live: set[int], failing: set[str] = frozenset()) -> None:
        self.live, self.failing = live, failing

    def score(self, rows):
        return {name: self._verdict(name) for name, _, _ in rows}

    def _verdict(self, name: str) -> Verdict:
        index, _, sample = name.split("/")
        if f"{index}/{sample}" in self.failing:
            return Verdict(Outcome.TIMEOUT, 0.0)
        if int(index) in self.live and sample == "0":
            return Verdict(Outcome.RIGHT, 1.0)
        return Verdict(Outcome.WRONG, 0.0)


def trainer(tmp_path, judge: PlannedJudge, **changed) -> Trainer:
    lm = tiny_lm()
    settings = grpo_settings(
        tmp_path, toy_suite(tmp_path), prompts_per_step=4, samples_per_prompt=3, **changed
    )
    generator = Scripted(lm, lambda text, sample: "ok")
    learner = Learner(lm, settings.optim, settings.steps)
    sampler = Sampler(settings, lm, generator, judge, Streams(settings.suites, 0))  # type: ignore[arg-type]
    return Trainer(settings, lm, sampler, learner, None, Monitor(settings, lm, judge), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("live", "refills", "counts"),  # live groups, dropped groups, problems asked
    [
        ({0, 1, 2, 3}, 1, (4, 0, 4)),
        ({0, 1, 5}, 0, (2, 2, 4)),
        ({0, 1, 5}, 1, (3, 3, 6)),  # two were dropped and asked for again: 4 and 5
        ({0, 1, 5, 6}, 2, (4, 3, 7)),
        ({9}, 0, (1, 11, 12)),  # nothing live in two rounds: more are drawn until something is
        (set(), 0, (0, 16, 16)),  # and given up after three
    ],
)
def test_dropped_groups_are_counted_and_refilled(tmp_path, live, refills, counts):
    own = trainer(tmp_path, PlannedJudge(live), refill_rounds=refills)
    gathered = gather(own.sampler, 1)
    assert (len(gathered.live), len(gathered.dead), own.sampler.streams.index) == counts
    assert {int(g.rollouts[0].sequence.row_id.split("/")[0]) for g in gathered.live} == {
        i for i in live if i < own.sampler.streams.index
    }


def test_samples_whose_scorer_failed_are_left_out(tmp_path):
    failing = {"0/0", "1/1"}
    own = trainer(tmp_path, PlannedJudge({0, 1}, failing), refill_rounds=0)
    gathered = gather(own.sampler, 1)
    # the first group lost its only right one, so it is equal now; the second still differs
    assert [g.rewards for g in gathered.live] == [[1.0, 0.0]]
    assert [g.rewards for g in gathered.dead] == [[0.0, 0.0], [0.0] * 3, [0.0] * 3]


def test_the_position_of_the_data_and_its_origins_resume(tmp_path):
    lm = tiny_lm()
    suites = [toy_suite(tmp_path), "sums", "letters"]
    whole, half, rest = (Streams(suites, 3) for _ in range(3))
    names = [a.name for a in whole.take(20, lm, None, 1)]
    half.take(8, lm, None, 1)
    rest.load_state_dict(json.loads(json.dumps(half.state_dict())))
    assert [a.name for a in rest.take(12, lm, None, 1)] == names[8:]
    assert set(rest.origins) == set(whole.origins)
    assert len({a.suite for a in whole.take(20, lm, None, 1)}) == 3


def test_reward_rises_and_everything_is_written(base, tmp_path):
    settings = grpo_settings(
        base, toy_suite(tmp_path), steps=12, optim={"learning_rate": 2e-2, "warmup_steps": 1}
    )
    result = run(settings, tmp_path / "g")
    rows = metrics(tmp_path / "g")
    assert [r["step"] for r in rows] == list(range(1, 13))
    assert sum(r["reward"] for r in rows[-3:]) > sum(r["reward"] for r in rows[:3]) + 0.5  # of 3
    for row in rows:
        assert set(TRL_NAMES) <= set(row)
        assert row["mismatch_kl"] < 1e-8  # fp32: sampler and trainer agree at every step
        assert row["kl"] == 0.0
        assert row["entropy"] > 0
    assert result["steps"] == 12
    first, own = Lineage.load(tmp_path / "g/model").stages
    assert (first.job, own.job, own.detail["steps"]) == ("base", "grpo", 12)
    assert [o.source for o in own.origins] == ["file:toy.jsonl"]
    assert not (tmp_path / "g/state").exists()
    files = sorted(p.name for p in (tmp_path / "g/rollouts").iterdir())
    assert files == [f"step-{s:06d}.parquet" for s in (1, 2, 4, 6, 8, 10, 12)]
    table = pq.read_table(tmp_path / "g/rollouts/step-000004.parquet").to_pylist()
    assert {r["version"] for r in table} == {3}  # made with the weights of the step before
    usage = [json.loads(line) for line in (tmp_path / "g/usage.jsonl").read_text().splitlines()]
    made = sum(u["tokens"] for u in usage if u["kind"] == "generate")
    assert made == sum(r["num_tokens"] for r in rows)
    assert all(sum(u["wasted"].values()) <= u["tokens"] for u in usage)


def test_a_penalty_holds_the_policy_to_where_it_began(base, tmp_path):
    for name, beta in (("free", 1e-9), ("held", 1.0)):
        changed = {"loss": {"kl_coefficient": beta}, "temperature": 0.7, "steps": 5}
        run(grpo_settings(base, toy_suite(tmp_path), **changed), tmp_path / name)
    free, held = ([r["kl"] for r in metrics(tmp_path / name)] for name in ("free", "held"))
    assert free[0] < 1e-8  # equal models, at one temperature
    assert held[0] < 1e-8
    assert free[-1] > 1e-3
    assert held[-1] < 0.7 * free[-1]


@pytest.mark.parametrize("name", NAMED)
def test_every_named_loss_raises_the_reward_and_stands_in_the_lineage(base, tmp_path, name):
    loss = {"name": name} | ({"clip_low": 0.2, "clip_high": 0.28} if name == "gspo" else {})
    settings = grpo_settings(
        base,
        toy_suite(tmp_path),
        loss=loss,
        steps=8,
        minibatches=2,
        optim={"learning_rate": 2e-2, "warmup_steps": 1},
    )
    out = io.StringIO()
    with Stage(tmp_path / "g", "g", Console(file=out, width=400)) as stage:
        result = main(settings, stage)
    rows = metrics(tmp_path / "g")
    assert result["steps"] == 8
    assert [r["step"] for r in rows] == list(range(1, 9))
    assert sum(r["reward"] for r in rows[-2:]) > sum(r["reward"] for r in rows[:2]) + 0.5  # of 2
    assert max(r["ratio/max"] for r in rows) > 1.01  # a second update meets a model that has moved
    assert {r["num_updates"] for r in rows} <= {1, 2}
    assert all(r["mismatch_kl"] < 1e-8 for r in rows)  # of the model before the first one
    assert out.getvalue().count(f"loss {formula(settings.loss)}") == 1
    assert Lineage.load(tmp_path / "g/model").stages[-1].detail["loss"] == formula(settings.loss)


def test_a_refreshed_reference_begins_anew(base, tmp_path):
    """After step 3 the reference is the model: the KL of step 4 is nothing, and of step 3 it is something."""
    run(refreshing_grpo_settings(base, toy_suite(tmp_path)), tmp_path / "g")
    kl = {r["step"]: r["kl"] for r in metrics(tmp_path / "g")}
    assert kl[3] > 1e-4
    assert kl[4] < 0.5 * kl[3]  # not 0: its second mini-batch meets a model that has moved


@pytest.mark.parametrize(
    ("scorer", "tokens", "said"),
    [
        ("never", 24, ["step 1: all 12 groups had equal rewards", "0% right", "easier level"]),
        ("always", 24, ["step 1: constant reward", "earns it too"]),
        ("never", 1, ["step 1: all 12 groups had equal rewards", "truncated", "raise max_completion_tokens"]),
    ],
)
def test_when_no_group_teaches_anything_the_run_ends_in_one_line(tmp_path, scorer, tokens, said):
    base = save_base(tmp_path / "base", short_replies=tokens > 1)
    suite = toy_suite(tmp_path, scorer)
    settings = grpo_settings(base, suite, max_completion_tokens=tokens, refill_rounds=0)
    with pytest.raises(ShoestringError) as caught:
        run(settings, tmp_path / "g")
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in said)
    usage = [json.loads(line) for line in (tmp_path / "g/usage.jsonl").read_text().splitlines()]
    generated = next(u for u in usage if u["kind"] == "generate")
    assert generated["wasted"]["dead_groups"] == generated["tokens"] > 0  # it was paid for all the same
    assert pq.read_table(tmp_path / "g/rollouts/step-000001.parquet").num_rows == 12 * 6


class MasteredJudge(PlannedJudge):
    """As planned for the first four problems; every later sample is right."""

    def _verdict(self, name: str) -> Verdict:
        if "/" not in name:  # a reply that says nothing, tried when all is right
            return Verdict(Outcome.WRONG, 0.0)
        return super()._verdict(name) if int(name.split("/")[0]) < 4 else Verdict(Outcome.RIGHT, 1.0)


def test_a_run_that_has_learnt_all_there_is_ends_early_and_keeps_its_model(tmp_path):
    # what the generator says has no logprobs of the model's: the gap is known
    own = trainer(tmp_path, MasteredJudge({0, 1, 2, 3}), loss={"correction": "token_tis"})
    out = io.StringIO()
    with Stage(tmp_path / "g", "g", Console(file=out, width=200)) as stage:
        assert one_step(own, 1, stage) is After.DONE
        assert one_step(own, 2, stage) is After.MASTERED
    assert "step 2: all 20 groups earned the reward alike" in out.getvalue()
    assert own.learner.step == 1
    assert len(metrics(tmp_path / "g")) == 1


def test_failing_scorers_are_counted_and_the_rest_is_learnt_from(base, tmp_path):
    run(grpo_settings(base, toy_suite(tmp_path, "fails"), steps=2), tmp_path / "g")
    rows = metrics(tmp_path / "g")
    assert all(0 < r["left_out"] < 18 * 5 for r in rows)
    table = pq.read_table(tmp_path / "g/rollouts/step-000002.parquet").to_pylist()
    failed = [r for r in table if r["outcome"] == "error"]
    assert len(failed) == rows[1]["left_out"]
    assert all(r["reward"] is None and "no idea" in r["detail"] for r in failed)


@pytest.mark.parametrize("kind", ["random", "format"])
def test_controls(base, tmp_path, kind):
    suite = toy_suite(tmp_path, "unreadable")
    run(grpo_settings(base, suite, reward=kind, steps=2), tmp_path / kind)
    for row in metrics(tmp_path / kind):
        assert 0 < row["reward"] < 1  # though nothing is ever right
        assert row["solve_rate"] == 0
        if kind == "format":
            assert row["reward"] == pytest.approx(1 - row["unparsed_ratio"], abs=0.06)  # but for cut ones


def test_the_control_of_shuffled_answers_runs(base, tmp_path):
    suite = (
        "letters:question=count,min_length=3,max_length=3"  # answers are 0 to 3, so many are met by chance
    )
    settings = grpo_settings(base, suite, reward="shuffled", steps=2, shape={"measure": ["language"]})
    assert (
        run(settings, tmp_path / "g")["steps"] == 2
    )  # a random model answers nothing: no step has an update
    found = [json.loads(line) for line in (tmp_path / "g/findings.jsonl").read_text().splitlines()]
    named = [(f["step"], f["name"]) for f in found]
    assert named == [(1, "no live group"), (2, "no live group"), (2, "time")]
    assert [r["groups/live"] for r in metrics(tmp_path / "g")] == [0, 0]


@pytest.mark.parametrize(
    ("suites", "said"),
    [(["sum"], "did you mean 'sums'"), ([], "at least 1"), (["TOY,test=all"], "for testing only")],
)
def test_faults_are_found_before_anything_runs(tmp_path, suites, said):
    job = JOBS["grpo"]()
    assert job.check is not None
    suites = [s.replace("TOY", toy_suite(tmp_path)) for s in suites]
    with pytest.raises(BadInput, match=said):
        job.check(build(GRPOSettings, {"model": "m", "steps": 1, "suites": suites}, "grpo"))


def test_a_level_without_training_problems_is_refused(tmp_path):
    (tmp_path / "one.jsonl").write_text('{"question": "2+2?", "answer": "4", "licence": "MIT"}\n')
    held_out = next(
        row
        for row in (f'{{"question": "{i}+2?", "answer": "4", "licence": "MIT"}}\n' for i in range(100))
        if _held_out(tmp_path, row)
    )
    (tmp_path / "one.jsonl").write_text(held_out)
    settings = grpo_settings(tmp_path, str(tmp_path / "one.jsonl"))
    job = JOBS["grpo"]()
    assert job.check is not None
    with pytest.raises(BadInput, match="no training problems"):
        job.check(settings)


def test_problems_without_an_origin_are_refused_before_anything_runs(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f'{{"question": "{i}?", "answer": "{i}"}}\n' for i in range(30)))
    check = JOBS["grpo"]().check
    assert check is not None
    with pytest.raises(BadInput, match=r"p\.jsonl: problems without a licence.*shoestring audit"):
        check(grpo_settings(tmp_path, str(path)))
    (tmp_path / "p.jsonl.origin.toml").write_text('source = "hub:x/y"\nlicence = "MIT"\n')
    check(grpo_settings(tmp_path, str(path)))
    (problem, *_) = parse_suite(str(path)).family.problems(parse_suite(str(path)).level)  # type: ignore[attr-defined]
    assert (problem.origin.source, problem.origin.licence) == ("hub:x/y", "MIT")
    (tmp_path / "p.jsonl.origin.toml").write_text('source = "x"\nlicence = "MIT"\nteacher = "gpt-4o"\n')
    with pytest.raises(BadInput, match=r"p\.jsonl: teacher 'gpt-4o': OpenAI bars"):
        check(grpo_settings(tmp_path, str(path)))


def _held_out(tmp_path, row: str) -> bool:
    path = tmp_path / "try.jsonl"
    path.write_text(row)
    suite = parse_suite(str(path))
    return suite.family.problems(suite.level)[0].held_out  # type: ignore[attr-defined]


def test_prompts_over_the_window_are_one_line(tmp_path):
    lm = tiny_lm(window=16)
    lm.save(tmp_path / "small")
    with pytest.raises(BadInput, match="the model's window is 16"):
        run(grpo_settings(tmp_path / "small", toy_suite(tmp_path)), tmp_path / "g")


def test_settings_are_strict(tmp_path):
    with pytest.raises(BadInput, match=r"unknown setting 'optim\.lr'"):
        grpo_settings(tmp_path, "sums", optim={"lr": 1.0})
    with pytest.raises(BadInput, match="samples_per_prompt"):
        grpo_settings(tmp_path, "sums", samples_per_prompt=1)


def test_the_model_that_did_best_on_problems_kept_back_is_the_stages(base, tmp_path, monkeypatch):
    rates = iter([0.25, 0.75, 0.5])

    def measure(self, lm, generator, judge, step):
        rate = next(rates)
        if rate > self.best:
            self.best, self.best_step = rate, step
        return {"held_out/solve_rate": rate}

    monkeypatch.setattr(HeldOut, "measure", measure)
    wanted = {"every": 2, "n": 2, "keep": "best"}
    suite = toy_suite(tmp_path)
    run(grpo_settings(base, suite, held_out=wanted), tmp_path / "best")
    assert [r["held_out/solve_rate"] for r in metrics(tmp_path / "best") if "held_out/solve_rate" in r] == [
        0.25,
        0.75,
        0.5,
    ]
    assert not (tmp_path / "best" / "best").exists()
    rates = iter([0.25, 0.75, 0.5])
    run(grpo_settings(base, suite, held_out=wanted | {"keep": "last"}), tmp_path / "last")
    rates = iter([0.25, 0.75])
    run(grpo_settings(base, suite, held_out=wanted, steps=4), tmp_path / "four")
    assert same(weights(tmp_path / "best"), weights(tmp_path / "four"))
    assert not same(weights(tmp_path / "best"), weights(tmp_path / "last"))
    found = [json.loads(line) for line in (tmp_path / "best/findings.jsonl").read_text().splitlines()]
    assert [f["name"] for f in found] == ["held_out", "time", "best kept"]  # 0.75 to 0.5 is a fall
