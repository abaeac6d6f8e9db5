"""A student of a few thousand weights says things, and its teacher says how likely they are."""

import json
from pathlib import Path

import pytest

from shoestring.budget.price import Prices, make_bill
from shoestring.distill.divergence import DivergenceSettings, divergence
from shoestring.distill.teacher import name_of
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs import distill_on_policy as job
from shoestring.jobs.on_policy_teacher import LEDGER
from shoestring.lm import load
from shoestring.origin import Lineage, Origin
from shoestring.origin import Stage as LineageStage
from shoestring.run import read_lines
from shoestring.settings import build
from shoestring.text.declared import lineage_file
from stub_endpoint import Stub, serving
from tiny import byte_tokenizer, tiny_lm
from training_runs import (
    ON_SAMPLES,
    killed,
    metrics,
    run,
    same,
    save_base,
    save_teacher,
    timeless,
    toy_suite,
    weights,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher"))


def settings(base: Path, teacher: Path | dict | str, suite: str, **changed) -> job.OnPolicySettings:
    values = {"model": str(base), "suites": [suite], **ON_SAMPLES}
    values["teacher"] = teacher if isinstance(teacher, dict) else str(teacher)  # an endpoint, a folder
    return build(job.OnPolicySettings, values | changed, "distill")


def reverse_kl(student: Path, teacher: Path) -> float:
    """Exact, of the first token of 60 replies."""
    one, other = load(student, dtype="float32"), load(teacher, dtype="float32")
    values = []
    for i in range(60):
        asked = [{"role": "user", "content": f"Say something about {i}."}]
        ids = one.template.render(asked, add_generation_prompt=True).ids
        s, t = (lm.logits([ids])[:, -1].log_softmax(-1) for lm in (one, other))
        values.append(divergence(s, t, DivergenceSettings(name="reverse_kl"))[0].item())
    return sum(values) / len(values)


@pytest.mark.parametrize("signal", ["token", "distribution"])
def test_the_student_comes_nearer_on_what_it_says(base, teacher, tmp_path, signal):
    changed = {"signal": signal, "steps": 12, "samples_per_prompt": 16, "micro_batch_tokens": 500}
    result = run(settings(base, teacher, toy_suite(tmp_path), **changed), tmp_path / "s")
    assert result == {"steps": 12, "problems": 36}
    assert reverse_kl(tmp_path / "s", teacher) < 0.75 * reverse_kl(base, teacher)
    assert max(row["mismatch_kl"] for row in metrics(tmp_path / "s")) < 1e-3
    own = Lineage.load(tmp_path / "s/model").stages[-1]
    assert (own.job, own.detail["teacher"]) == ("distill", name_of(load(teacher)))
    assert "KL(student || teacher)" in own.detail["loss"]
    assert len(own.detail["teacher_sha256"]) == 64


@pytest.mark.parametrize("signal", ["token", "distribution"])
def test_task_rewards_are_mixed_in_on_request(base, teacher, tmp_path, signal):
    suite = toy_suite(tmp_path)
    for name, weight in (("without", 0.0), ("with", 5.0)):
        chosen = settings(base, teacher, suite, signal=signal, task_weight=weight, steps=2)
        run(chosen, tmp_path / name)
    first = [metrics(tmp_path / name)[0] for name in ("without", "with")]
    assert first[0]["reward"] == first[1]["reward"]  # shown either way
    assert first[0]["grad_norm"] != pytest.approx(first[1]["grad_norm"], rel=1e-2)


def test_several_updates_of_one_sampling(base, teacher, tmp_path):
    run(settings(base, teacher, toy_suite(tmp_path), minibatches=3, steps=2), tmp_path / "s")
    assert metrics(tmp_path / "s")[0]["num_updates"] == 3


def test_what_cant_be_is_refused(base, teacher, tmp_path):
    suite = toy_suite(tmp_path)
    with pytest.raises(BadInput, match="the teacher is what the student is held to"):
        settings(base, teacher, suite, loss={"kl_coefficient": 0.1})
    with pytest.raises(BadInput, match="nosuch"):
        job.check(settings(base, teacher, "nosuch"))
    other = tiny_lm(7)
    other.tokenizer = byte_tokenizer(markers=["<a>", "<b>", "<c>"])
    other.save(tmp_path / "other")
    with pytest.raises(BadInput, match=r"vocabularies .* differ: .*'<\|im_start\|>'.*'<a>'") as told:
        run(settings(base, tmp_path / "other", suite), tmp_path / "s")
    assert str(told.value).endswith(
        "(a stage with job = 'distill-outputs', then sft)"
    )  # and nothing it refuses


def served_by(lm):
    """A stub's answers in vLLM's shape, by a model in this process."""

    def score(path, body):
        ids = body["prompt"]
        logprobs = lm.logits([ids])[0].log_softmax(-1)
        entries = [None, *({str(t): {"logprob": float(logprobs[i, t])}} for i, t in enumerate(ids[1:]))]
        return {"choices": [{"text": "", "prompt_logprobs": entries}]}

    return score


def test_a_teacher_behind_an_endpoint_teaches_as_one_beside_the_student(base, teacher, tmp_path):
    suite = toy_suite(tmp_path)
    run(settings(base, teacher, suite, steps=2), tmp_path / "beside")
    with serving(Stub()) as stub:
        stub.score = served_by(load(teacher, dtype="float32"))
        at = {"url": stub.url, "model": "own-teacher", "tokenizer": str(teacher), "licence": "apache-2.0"}
        run(settings(base, at, suite, steps=2), tmp_path / "http")
        assert len(stub.bodies) == 2 * 3 * 6  # a request a sample
    ours, theirs = metrics(tmp_path / "beside"), metrics(tmp_path / "http")
    for name in ("kl", "loss", "grad_norm", "reward"):
        assert [row[name] for row in theirs] == pytest.approx([row[name] for row in ours], rel=2e-3, abs=1e-5)
    assert [row["teacher_unknown"] for row in theirs] == [0, 0]
    own = Lineage.load(tmp_path / "http/model").stages[-1]
    assert own.detail["teacher"] == "own-teacher"
    assert own.origins[-1].terms == "allowed"


def at_stub(stub: Stub, teacher: Path, **changed) -> dict:
    at = {"url": stub.url, "model": "own-teacher", "tokenizer": str(teacher), "licence": "apache-2.0"}
    return at | {"backoff_s": 0.01, "timeout_s": 1.5} | changed


def test_faults_that_pass_change_no_bit(base, teacher, tmp_path):
    # as threads take turns one text may meet many faults, so few enough that none meets thirteen
    suite, kinds = toy_suite(tmp_path), ["429:0.05", "500", "cut", "malformed", *[None] * 8]
    with serving(Stub()) as stub:
        stub.score = served_by(load(teacher, dtype="float32"))
        at = at_stub(stub, teacher, retries=12)
        run(settings(base, at, suite, steps=1), tmp_path / "calm")
        stub.score_fault = lambda number: kinds[number % len(kinds)]
        run(settings(base, at, suite, steps=1), tmp_path / "stormy")
    assert same(weights(tmp_path / "calm"), weights(tmp_path / "stormy"))


def test_an_endpoint_that_goes_away_leaves_the_step_before_saved(base, teacher, tmp_path):
    suite = toy_suite(tmp_path)
    with serving(Stub()) as stub:
        stub.score = served_by(load(teacher, dtype="float32"))
        wanted = settings(base, at_stub(stub, teacher), suite, steps=3)
        run(wanted, tmp_path / "whole")
        whole, gone_at = len(stub.bodies), len(stub.bodies) + 2 * 18 + 5  # in the third step
        stub.score_fault = lambda number: "429:86400" if number >= gone_at else None
        with pytest.raises(ShoestringError, match=r"1,440 minutes: come back then; step 2 of .* --resume"):
            run(wanted, tmp_path / "cut")
        stub.score_fault = lambda number: None
        before = len(stub.bodies)
        run(wanted, tmp_path / "cut", resume=True)
        assert len(stub.bodies) - before == whole // 3
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_spent_budget_ends_with_the_model_of_the_steps_before(base, teacher, tmp_path):
    suite = toy_suite(tmp_path)
    with serving(Stub()) as stub:
        stub.score = served_by(load(teacher, dtype="float32"))
        run(settings(base, at_stub(stub, teacher), suite, steps=2), tmp_path / "two")
        tokens = sum(len(body["prompt"]) + 1 for body in stub.bodies)
        at = at_stub(stub, teacher, price_in=1.0, price_out=1.0, budget_money=(tokens + 100) / 1e6)
        stub.bodies.clear()
        result = run(settings(base, at, suite, steps=12, optim={"schedule": "constant"}), tmp_path / "s")
        assert result["steps"] == 2
        assert "the budget is spent" in result["ended"]
        assert sum(len(body["prompt"]) + 1 for body in stub.bodies) <= tokens + 100
        with pytest.raises(ShoestringError, match="before the first step"):
            run(settings(base, at_stub(stub, teacher, budget_tokens=60), suite), tmp_path / "none")
    assert Lineage.load(tmp_path / "s/model").stages[-1].detail["steps"] == 2
    paid = sum(json.loads(line)["cost"] for line in (tmp_path / "s" / LEDGER).read_text().splitlines())
    bill = make_bill(read_lines(tmp_path / "s/usage.jsonl"), Prices())
    assert paid > 0
    assert bill.total.paid == pytest.approx(paid)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"signal": "distribution"}, "sampled token alone"),
        ({"temperature": 0.7}, "logprobs are at 1"),
        ({"teacher": "https://api.example.org/v1#m"}, "as a table"),
    ],
)
def test_what_an_endpoint_cant_tell_is_refused(base, changed, said):
    at = {"url": "http://localhost:1/v1", "model": "m", "tokenizer": str(base)}
    with pytest.raises(BadInput, match=said):
        settings(base, **{"teacher": at, "suite": "sums"} | changed)


def test_an_endpoint_of_other_terms_is_refused_before_anything_is_asked(base, teacher, tmp_path):
    at = {"url": "https://api.openai.com/v1", "model": "gpt-4o", "tokenizer": str(teacher)}
    with pytest.raises(BadInput, match="OpenAI"):
        run(settings(base, at, toy_suite(tmp_path)), tmp_path / "s")


KILLED = """
import sys
from pathlib import Path
from unittest.mock import patch
from killed_runs import killing
from shoestring.run import Stage
from test_distill_on_policy import run, settings
with patch.object(Stage, "log", killing(Stage.log, 6)):
    run(settings({base!r}, {teacher!r}, {suite!r}), Path({out!r}))
"""


def test_killed_it_goes_on_to_the_same_bits(base, teacher, tmp_path):
    suite = toy_suite(tmp_path)
    run(settings(base, teacher, suite), tmp_path / "whole")
    where = {"base": str(base), "teacher": str(teacher), "suite": suite, "out": str(tmp_path / "cut")}
    code = KILLED.format(**where)
    killed(code)
    run(settings(base, teacher, suite), tmp_path / "cut", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


def test_a_barred_teacher_is_refused_and_an_allowed_one_is_in_the_lineage(base, teacher, tmp_path):
    suite = toy_suite(tmp_path)
    lm = tiny_lm(seed=7)
    written = Origin("file:chats.jsonl", "CC0-1.0", teacher="gpt-4o")
    lm.lineage = lm.lineage.then(LineageStage("taught", "sft", "2026-01-01", origins=(written,)))
    lm.save(tmp_path / "barred")
    with pytest.raises(BadInput, match=r"gpt-4o.*'permission' in the settings"):
        run(settings(base, tmp_path / "barred", suite), tmp_path / "refused")
    known = Lineage((), {"ab": (LineageStage("writer", "base", ""),)}).to_json()  # of who wrote the problems
    lineage_file(tmp_path / "toy.jsonl").write_text(json.dumps(known))
    run(settings(base, teacher, suite, steps=1), tmp_path / "s")
    lineage = Lineage.load(tmp_path / "s/model")
    (origin,) = [o for o in lineage.stages[-1].origins if o.teacher]
    assert origin.teacher == name_of(load(teacher))
    assert set(lineage.teachers) == {"ab", origin.teacher_sha256}
