"""The eval job: what it plans, refuses, keeps, and does again after a kill."""

import dataclasses
import json
import re

import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput, Interrupted
from shoestring.evals.receipt import made_by
from shoestring.jobs import evaluate as job
from shoestring.jobs import handles
from shoestring.run import Stage, read_lines
from shoestring.settings import build
from shoestring.tasks.suite import parse_suite
from tiny import Scripted, tiny_lm

SUITE = "sums:max_terms=3"
HARD = "sums:max_digits=3"


def right(prompt: str, _: int) -> str:
    return str(sum(int(n) for n in re.findall(r"\d+", prompt.rsplit("What is", 1)[1].split("?")[0])))


@pytest.fixture
def loads(monkeypatch):
    """Fakes by name: "good" knows sums, "fewshot" after an example, "bad" never. Lists what was loaded."""
    loaded: list[str] = []
    lm = tiny_lm()
    made = made_by(lm)
    say = {
        "good": right,
        "bad": lambda p, _: "no",
        "words": lambda p, _: "I think that I can not tell what it is.",
        "fewshot": lambda p, s: right(p, s) if p.count("What is") > 1 else "no",
    }

    def load(name: str, dtype: str, device: str, quantize: None):
        loaded.append(name)
        return name

    class Named(Scripted):
        def __init__(self, name: str, max_batch: int) -> None:
            super().__init__(
                lm,
                lambda p, s: (
                    say[name](p, s) if ("What is" in p and "+" in p) or name == "words" else "Hello."
                ),
            )

    asked.clear()

    def ask(name, *args):
        asked.append((name, str(args[0])))
        return real_ask(lm, *args)

    def chat_check(name, *args, **kwargs):
        return real_chat(lm, *args, **kwargs)

    def identity_check(name, *args):
        return real_identity(lm, *args)

    real_ask, real_mark, real_chat, real_identity = job.ask, job.mark, job.chat_check, job.identity_check
    real_meter, real_meter_replies = job.meter, job.meter_replies
    monkeypatch.setattr(job, "load", load)
    monkeypatch.setattr(handles, "Engine", Named)
    monkeypatch.setattr(job, "made_by", lambda name: dataclasses.replace(made, model=name))
    monkeypatch.setattr(job, "ask", ask)
    monkeypatch.setattr(job, "mark", lambda name, *args: real_mark(lm, *args))
    monkeypatch.setattr(
        job, "meter_replies", lambda stage, name, replies: real_meter_replies(stage, lm, replies)
    )
    monkeypatch.setattr(job, "chat_check", chat_check)
    monkeypatch.setattr(job, "identity_check", identity_check)
    monkeypatch.setattr(job, "meter", lambda stage, name, *args: real_meter(stage, lm, *args))
    return loaded


asked: list[tuple[str, str]] = []  # (model, suite) of each time that a model was asked


def settings(**values) -> job.EvaluateSettings:
    base = {"models": {"base": "fewshot", "zero": "good"}, "suites": [SUITE], "n": 5, "workers": 1}
    return build(job.EvaluateSettings, {**base, **values}, "test")


VARIANTS = {
    "best_of": ["base"],
    "variants": [
        {"name": "plain"},
        {"name": "few-shot", "few_shot": 2},
        {"name": "long", "max_tokens": 512, "temperature": 0.5},
    ],
}


def test_every_model_suite_and_variant_is_scored_and_the_best_is_marked(loads, tmp_path):
    with Stage(tmp_path, "eval") as stage:
        result = job.main(settings(suites=[SUITE, HARD], **VARIANTS, chat_check=True), stage)
    rows = {(r["model"], r["suite"], r["variant"]): r for r in result["evals"]}
    assert list(rows) == [
        ("base", SUITE, "plain"),
        ("base", SUITE, "few-shot"),
        ("base", SUITE, "long"),
        ("base", HARD, "plain"),
        ("base", HARD, "few-shot"),
        ("base", HARD, "long"),
        ("zero", SUITE, ""),
        ("zero", HARD, ""),
    ]
    assert [r["score"] for r in rows.values()] == [0, 1, 0, 0, 1, 0, 1, 1]
    assert [key for key, r in rows.items() if r["best"]] == [
        ("base", SUITE, "few-shot"),
        ("base", HARD, "few-shot"),
        ("zero", SUITE, ""),
        ("zero", HARD, ""),
    ]
    assert rows["base", SUITE, "long"]["settings"]["max_tokens"] == 512
    assert [rows["base", SUITE, name]["settings"]["temperature"] for name in ("plain", "long")] == [0.0, 0.5]
    assert loads == ["fewshot", "good"]  # each once
    assert set(result["chat"]) == {"base", "zero"}
    assert result["chat"]["base"]["n"] == 32
    json.dumps(result)
    items = pq.read_table(tmp_path / result["items"])
    assert items.num_rows == 8 * 5
    assert items.column_names[:4] == ["model", "suite", "variant", "problem"]


def test_a_check_alone_is_an_evaluation_too(loads, tmp_path):
    with Stage(tmp_path, "eval") as stage:
        result = job.main(settings(suites=[], identity_check=True), stage)
    assert result["evals"] == []
    assert "items" not in result
    assert {label: one["n"] for label, one in result["identity"].items()} == {"base": 200, "zero": 200}
    assert pq.read_table(tmp_path / "evals" / result["identity"]["base"]["rows"]).num_rows == 200
    usage = [json.loads(line) for line in (tmp_path / "usage.jsonl").read_text().splitlines()]
    assert "identity" in {row["kind"] for row in usage}


def test_replies_read_in_two_ways_are_made_once(loads, tmp_path):
    variants = [{"name": "strict"}, {"name": "lenient", "lenient": True}, {"name": "few", "few_shot": 1}]
    with Stage(tmp_path, "eval") as stage:
        result = job.main(settings(best_of=["base"], variants=variants), stage)
    assert asked == [("fewshot", SUITE)] * 2 + [("good", SUITE)]
    assert [r["settings"]["lenient"] for r in result["evals"]] == [False, True, False, False]
    assert len([row for row in read_lines(tmp_path / "usage.jsonl") if row["kind"] == "eval"]) == 3


def test_replies_with_and_without_a_language_are_joined_and_so_are_old_ones(loads, tmp_path):
    good = settings(models={"good": "good"}, suites=["equations"], n=3, max_tokens=64)
    with Stage(tmp_path, "eval") as stage:
        job.main(good, stage)
    (old,) = (tmp_path / "evals").glob("good-equations-*.parquet")
    table = pq.read_table(old)
    pq.write_table(table.drop_columns(["format", "disagreed", "language_answer"]), old)
    both = settings(models={"good": "good", "words": "words"}, suites=["equations"], n=3, max_tokens=64)
    with Stage(tmp_path, "eval", resume=True) as stage:
        result = job.main(both, stage)
    rows = pq.read_table(tmp_path / result["items"]).to_pylist()
    assert [row["format"] for row in rows] == [None] * 3 + [0.0] * 3
    assert [row["language_answer"] for row in rows] == [None] * 3 + [1.0] * 3


def test_the_same_problems_for_every_model(loads, tmp_path):
    with Stage(tmp_path, "eval") as stage:
        result = job.main(settings(), stage)
    rows = pq.read_table(tmp_path / result["items"]).to_pylist()
    asked = {label: [r["problem"] for r in rows if r["model"] == label] for label in ("base", "zero")}
    assert asked["base"] == asked["zero"]


def test_a_killed_stage_goes_on_at_the_next_unit(loads, tmp_path, monkeypatch):
    whole = settings(chat_check=True)
    with Stage(tmp_path / "whole", "eval") as stage:
        expected = job.main(whole, stage)
    loads.clear()
    real = job.Bench.unit

    def dying(self, unit):
        if unit.label == "zero":
            raise KeyboardInterrupt
        return real(self, unit)

    with monkeypatch.context() as patch, Stage(tmp_path / "killed", "eval") as stage:
        patch.setattr(job.Bench, "unit", dying)
        with pytest.raises(KeyboardInterrupt):
            job.main(whole, stage)
    with Stage(tmp_path / "killed", "eval", resume=True) as stage:
        again = job.main(whole, stage)
    assert loads == ["fewshot", "good"]  # the base's score and chat were kept
    for a, b in zip(again["evals"], expected["evals"], strict=True):
        timed = {"seconds": 0, "worth": None}
        assert {**a, **timed} == {**b, **timed}
    assert pq.read_table(tmp_path / "killed" / again["items"]) == pq.read_table(
        tmp_path / "whole" / expected["items"]
    )


def test_another_setting_is_another_unit(loads, tmp_path):
    for n in (5, 6):
        with Stage(tmp_path, "eval", resume=True) as stage:
            result = job.main(settings(n=n), stage)
    assert [r["n"] for r in result["evals"]] == [6, 6]


def test_ctrl_c_stops_and_keeps_what_is_finished(loads, tmp_path, monkeypatch):
    class Stopping(Stage):
        stop_requested = True

    with pytest.raises(Interrupted, match="stopped before base"), Stopping(tmp_path, "eval") as stage:
        job.main(settings(), stage)
    assert loads == []


def test_usage_counts_what_was_read_and_made_and_what_was_cut(loads, tmp_path):
    with Stage(tmp_path, "eval") as stage:
        job.main(settings(models={"bad": "bad"}, max_tokens=2), stage)
    (line,) = [row for row in read_lines(tmp_path / "usage.jsonl") if row["kind"] == "eval"]
    items = pq.read_table(tmp_path / "evals" / "items.parquet").to_pylist()
    assert line["tokens"] == sum(r["prompt_tokens"] + r["tokens"] for r in items)
    assert line["wasted"] == {"cut": 10}
    assert line["flops"] > 2 * 20_000 * line["tokens"]  # weights of the tiny model's matrices


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"suites": []}, "name one, or set chat_check"),
        ({"suites": ["smus"]}, "did you mean 'sums'"),
        ({"best_of": ["bsae"], "variants": [{"name": "a"}]}, "best_of names 'bsae'"),
        ({"best_of": ["base"]}, "go together"),
        ({"best_of": ["base"], "variants": [{"name": "a"}, {"name": "a"}]}, "name of its own"),
        ({"k": 4}, "set a temperature"),
        ({"sutes": []}, "did you mean 'suites'"),
        ({"suites": ["sums:max_digits=1,max_terms=2"]}, "distinct problems"),
        ({"variants": [{"name": "a", "few_shots": 1}], "best_of": ["base"]}, "did you mean 'few_shot'"),
    ],
)
def test_bad_settings_are_one_line_before_any_model_is_loaded(loads, tmp_path, values, words):
    with pytest.raises(BadInput, match=words) as caught, Stage(tmp_path, "eval") as stage:
        job.main(settings(**values), stage)
    assert "\n" not in str(caught.value)
    assert loads == []


def test_examples_that_nobody_has_are_missed_before_anything_is_trained_or_asked(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"{i}+1?", "answer": str(i + 1)}) + "\n" for i in range(300))
    )
    stepwise = {"name": "steps", "few_shot": 2, "few_shot_style": "reasoning"}
    asked = settings(models={"m": "m"}, suites=[str(path)], n=3, best_of=["m"], variants=[stepwise])
    with pytest.raises(BadInput, match="has no worked solutions"):
        job.plan(asked)


def test_a_benchmark_file_need_not_have_twenty_problems_for_each_that_is_tested(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}+1?", "answer": str(i + 1)}) + "\n" for i in range(9)))
    suite = f"{path}:test=all"
    assert [unit.suite for unit in job.plan(settings(models={"m": "m"}, suites=[suite], n=9))] == [suite]


def test_an_eval_that_dies_inside_a_suite_goes_on_there(loads, tmp_path, monkeypatch):
    one = settings(models={"zero": "good"}, n=6)
    with Stage(tmp_path / "whole", "eval") as stage:
        expected = job.main(one, stage)
    sent: list[str] = []

    class Dying(handles.Engine):
        def completed(self):
            for number, (request, done) in enumerate(super().completed()):
                if number == 3:
                    raise KeyboardInterrupt
                yield request, done

    with monkeypatch.context() as patch, Stage(tmp_path / "dead", "eval") as stage:
        patch.setattr(handles, "Engine", Dying)
        with pytest.raises(KeyboardInterrupt):
            job.main(one, stage)
    assert len(list((tmp_path / "dead/evals").glob(".replies-*.jsonl"))) == 1

    class Counting(handles.Engine):
        def submit(self, prompt, params, key=""):
            sent.append(key)
            return super().submit(prompt, params, key)

    with monkeypatch.context() as patch, Stage(tmp_path / "dead", "eval", resume=True) as stage:
        patch.setattr(handles, "Engine", Counting)
        again = job.main(one, stage)
    assert len(sent) == 3
    timed = {"seconds": 0, "worth": None}
    assert {**again["evals"][0], **timed} == {**expected["evals"][0], **timed}
    assert list((tmp_path / "dead/evals").glob(".replies-*.jsonl")) == []


def test_how_many_problems_and_samples():
    suite = parse_suite(SUITE)
    assert settings(n=None).num_problems(suite) == 256
    assert 380 < settings(n=None, effect=10).num_problems(suite) < 420
    deepseek = settings(protocol="deepseek")
    assert (deepseek.num_samples(suite), deepseek.temperature, deepseek.top_p) == (16, 0.6, 0.95)
    assert deepseek.max_tokens == 32768
    assert settings(protocol="deepseek", temperature=0.7, k=2).num_samples(suite) == 2
    assert settings(protocol="deepseek", temperature=0.7).temperature == 0.7
    with pytest.raises(BadInput, match="protocol"):
        settings(protocol="openai")
