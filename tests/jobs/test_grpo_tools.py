"""GRPO and the cold start with tools, of a random model that is taken to call at nearly every turn."""

import pyarrow.parquet as pq
import pytest

from shoestring.engine import episode
from shoestring.errors import BadInput, Interrupted
from shoestring.jobs import grpo
from shoestring.jobs.sft_rows import SourceSettings, open_sources
from shoestring.run import Stage
from shoestring.text.tool_calls import Asked, ToolCall
from tiny import tiny_lm
from training_runs import (
    grpo_settings,
    metrics,
    run,
    same,
    save_base,
    sft_settings,
    timeless,
    toy_suite,
    weights,
)

TOOLS = {"tools": ["calculator"], "max_tool_calls": 2, "max_completion_tokens": 90}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def eager(monkeypatch):
    def read(answer: str) -> Asked:
        text = str(len(answer)) if len(answer) % 3 else "1/0"
        return Asked(answer, (ToolCall("calculator", text, "expression"),) if len(answer) % 4 else ())

    monkeypatch.setattr(episode, "read_calls", read)


def settings_of(base, tmp_path, **changed):
    return grpo_settings(base, toy_suite(tmp_path), micro_batch_tokens=2000, **{**TOOLS, **changed})


def test_a_stopped_run_with_tools_goes_on_with_the_same_bits(base, tmp_path, monkeypatch, eager):
    settings = settings_of(base, tmp_path, steps=4, optim={"learning_rate": 1e-2, "warmup_steps": 1})
    whole = run(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopping_at(2, patched)
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "cut")
    assert run(settings, tmp_path / "cut", resume=True) == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


def stopping_at(step: int, patched: pytest.MonkeyPatch) -> None:
    log = Stage.log

    def stop(self, number, values):
        log(self, number, values)
        if number == step:
            patched.setattr(Stage, "stop_requested", True)

    patched.setattr(Stage, "log", stop)


def test_what_a_run_with_tools_writes(base, tmp_path, eager):
    run(settings_of(base, tmp_path, steps=2), tmp_path / "g")
    first = metrics(tmp_path / "g")[0]
    assert 0 < first["tools/calls_mean"] <= 2
    assert 0 < first["tools/error_ratio"] < 1
    assert first["tools/calculator/calls"] > 0
    assert first["time/tools"] >= 0
    assert first["mismatch_max"] < 1e-3  # the trainer reads what the sampler read, results included
    rows = pq.read_table(tmp_path / "g/rollouts/step-000001.parquet").to_pylist()
    assert max(row["turns"] for row in rows) == 3
    assert sum(row["tokens"] for row in rows) == first["num_tokens"]
    template, decode = tiny_lm().template, tiny_lm().tokenizer.decode
    for row in rows:
        assert len(row["ids"]) == len(row["trained"]) == len(row["logprobs"]) <= 90
        assert row["tokens"] == sum(row["trained"])
        assert "You can use tools:\n- calculator:" in decode(row["prompt_ids"])
        said = [i for i, made in zip(row["ids"], row["trained"], strict=True) if not made]
        results = [c["result"] for c in row["tool_calls"]][: row["turns"] - 1]
        assert said == [i for result in results for i in template.after_calls([result])[0]]


def test_without_tools_nothing_is_said_of_them(base, tmp_path):
    run(settings_of(base, tmp_path, steps=1, tools=[], max_completion_tokens=8), tmp_path / "g")
    assert not any(name.startswith("tools/") for name in metrics(tmp_path / "g")[0])
    rows = pq.read_table(tmp_path / "g/rollouts/step-000001.parquet").to_pylist()
    assert all(row["trained"] is None and row["tool_calls"] is None and row["turns"] == 1 for row in rows)


def test_python_is_refused_before_anything_runs_where_nothing_isolates(base, tmp_path, monkeypatch):
    monkeypatch.setattr("shoestring.tasks.sandbox.missing", lambda way: "not here")
    with pytest.raises(BadInput, match="can't isolate"):
        grpo.check(settings_of(base, tmp_path, tools=["python"]))


def test_a_cold_start_learns_calls(base, tmp_path):
    run(sft_settings(base, suites=["sums", "products"], tools=["calculator"]), tmp_path / "s")
    rows = metrics(tmp_path / "s")
    assert rows[-1]["loss"] < rows[0]["loss"]
    with pytest.raises(BadInput, match="'letters' has no worked solutions with the calculator"):
        run(sft_settings(base, suites=["letters"], tools=["calculator"]), tmp_path / "no")
    with pytest.raises(BadInput, match="tools are for worked solutions"):
        run(sft_settings(base, suites=[], data="bilingual", tools=["calculator"]), tmp_path / "no2")


def test_sources_with_and_without_the_calculator_are_two():
    plain, called = SourceSettings(suites=["sums"]), SourceSettings(suites=["sums"], tools=["calculator"])
    rows = open_sources([plain, called], 0, None)
    assert {rows.next()[0][0]["role"] for _ in range(30)} == {"user", "system"}
    assert list(rows.by_source()) == ["sums", "sums by calculator"]
    with pytest.raises(ValueError, match="only worked solutions"):
        SourceSettings(data="bilingual", tools=["calculator"])
