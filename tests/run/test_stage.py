"""What a job writes, and what is kept of it after a kill."""

import io
import json
import os
import re
import signal
import threading
import time

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from shoestring.errors import BadInput, Interrupted
from shoestring.run import Stage, read_lines
from shoestring.run.progress import duration


def steps(folder):
    return [row["step"] for row in read_lines(folder / "metrics.jsonl")]


def work(stage: Stage, first: int, last: int) -> None:
    for step in range(first, last + 1):
        stage.use("rollout", seconds=1.0, tokens=10 * step, flops=1e6, wasted={"cut": 1})
        stage.rollouts(step, [{"prompt": "1+1", "outcome": "right"}])
        stage.log(step, {"reward": step / 10})


def test_a_resumed_job_has_every_step_once_and_pays_twice(tmp_path):
    work(Stage(tmp_path / "s", "zero"), 1, 5)  # killed here; the last state is of step 3
    stage = Stage(tmp_path / "s", "zero", resume=True)
    stage.truncate_metrics(3)
    assert steps(tmp_path / "s") == [1, 2, 3]
    assert sorted(p.name for p in (tmp_path / "s/rollouts").iterdir()) == [
        "step-000001.parquet",
        "step-000002.parquet",
        "step-000003.parquet",
    ]
    work(stage, 4, 6)
    assert steps(tmp_path / "s") == [1, 2, 3, 4, 5, 6]
    usage = read_lines(tmp_path / "s/usage.jsonl")
    assert [(row["tokens"], row.get("redone", False)) for row in usage] == [
        (10, False),
        (20, False),
        (30, False),
        (40, True),
        (50, True),
        (40, False),
        (50, False),
        (60, False),
    ]


def test_a_job_without_a_state_starts_over_and_its_lines_are_not_doubled(tmp_path):
    work(Stage(tmp_path / "s", "zero"), 1, 2)
    work(Stage(tmp_path / "s", "zero", resume=True), 1, 3)
    assert steps(tmp_path / "s") == [1, 2, 3]
    assert len(list((tmp_path / "s/rollouts").iterdir())) == 3
    redone = [row.get("redone", False) for row in read_lines(tmp_path / "s/usage.jsonl")]
    assert redone == [True, True, False, False, False]


def test_an_eval_that_goes_on_keeps_what_it_had(tmp_path):
    Stage(tmp_path / "s", "eval").use("eval", tokens=7)  # one suite of two, saved by the job
    stage = Stage(tmp_path / "s", "eval", resume=True)
    stage.use("eval", tokens=9)
    stage.finish({"score": 1.0})
    lines = read_lines(tmp_path / "s/usage.jsonl")
    assert [(line["tokens"], line.get("redone", False)) for line in lines] == [(7, False), (9, False)]


def test_only_this_units_usage_is_marked(tmp_path):
    other = Stage(tmp_path / "stages/01-a", "a", run_dir=tmp_path)
    other.use("train", tokens=1)
    stage = Stage(tmp_path / "stages/02-b", "b", run_dir=tmp_path)
    stage.use("train", tokens=2)
    again = Stage(tmp_path / "stages/02-b", "b", resume=True, run_dir=tmp_path)
    again.log(1, {})
    marks = {line["unit"]: line.get("redone", False) for line in read_lines(tmp_path / "usage.jsonl")}
    assert marks == {"stages/01-a": False, "stages/02-b": True}


def test_a_torn_line_is_mended_before_more_is_written(tmp_path):
    stage = Stage(tmp_path / "s", "zero")
    stage.log(1, {"reward": 0.5})
    with open(tmp_path / "s/metrics.jsonl", "a") as file:
        file.write('{"step": 2, "rew')
    stage = Stage(tmp_path / "s", "zero", resume=True)
    stage.truncate_metrics(1)
    stage.log(2, {"reward": 0.25})
    assert [row["reward"] for row in read_lines(tmp_path / "s/metrics.jsonl")] == [0.5, 0.25]


def test_a_value_that_is_not_finite_is_null_and_counted(tmp_path):
    stage = Stage(tmp_path / "s", "sft")
    stage.log(1, {"loss": float("nan"), "grad_norm": float("inf"), "lr": 0.5})
    stage.log(2, {"loss": 1.0})
    first, second = read_lines(tmp_path / "s/metrics.jsonl")
    assert (first["loss"], first["grad_norm"], first["lr"], first["nonfinite"]) == (None, None, 0.5, 2)
    assert "nonfinite" not in second


def test_an_earlier_run_is_not_written_over(tmp_path):
    Stage(tmp_path / "s", "zero").log(1, {})
    with pytest.raises(BadInput, match="--resume, or choose another --output-dir"):
        Stage(tmp_path / "s", "zero")


def test_result_and_status(tmp_path):
    stage = Stage(tmp_path / "s", "zero")
    assert stage.result() is None
    stage.progress(1, 4, reward=0.25, note="warm-up")
    status = json.loads((tmp_path / "s/status.json").read_text())
    assert (status["state"], status["done"], status["total"]) == ("running", 1, 4)
    assert status["shown"] == {"reward": 0.25, "note": "warm-up"}
    stage.finish({"score": 0.5, "loss": float("nan")})
    assert stage.result() == {"score": 0.5, "loss": None}
    assert json.loads((tmp_path / "s/status.json").read_text())["state"] == "finished"


def test_rollouts_keep_what_was_written(tmp_path):
    stage = Stage(tmp_path / "s", "zero")
    rows = [{"prompt": "2+2", "completion": "4", "outcome": "right", "value": 1.0}]
    stage.rollouts(10, rows)
    assert pq.read_table(tmp_path / "s/rollouts/step-000010.parquet").to_pylist() == rows


def test_plain_lines_without_a_terminal(tmp_path):
    out = io.StringIO()
    stage = Stage(tmp_path / "s", "zero", Console(file=out, force_terminal=False, width=40), title="2/6 zero")
    stage.progress(0, 3, reward=0.12345, tokens_per_s=1234.5)
    stage.progress(1, 3, reward=0.2)  # within the heartbeat: silent
    stage.progress(3, 3, reward=0.3)
    assert out.getvalue().splitlines() == [
        "[2/6 zero] 0/3  reward 0.123  tokens/s 1,234",
        "[2/6 zero] 3/3  reward 0.3",
    ]


def test_a_live_bar_on_a_terminal_without_colour_where_asked(tmp_path, monkeypatch):
    def drawn(**env) -> str:
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=100, color_system="standard", _environ=env)
        with Stage(tmp_path / f"s{len(env)}", "zero", console) as stage:
            stage.progress(1, 2, solve_rate=0.5)
            stage.progress(2, 2, solve_rate=0.75)
        return out.getvalue()

    coloured, plain = drawn(), drawn(NO_COLOR="1")
    for text in (coloured, plain):
        assert "2/2" in text
        assert "solve rate 0.75" in text
    colour = re.compile(r"\x1b\[[0-9;]*[39][0-7]m")
    assert colour.search(coloured)
    assert not colour.search(plain)


def test_seconds_outside_the_meter_are_on_the_bill(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Stage(tmp_path / "s", "sft") as stage:
        clock[0] += 5
        stage.use("train", seconds=3.0)
    lines = read_lines(tmp_path / "s/usage.jsonl")
    assert [(line["kind"], line["seconds"]) for line in lines] == [("train", 3.0), ("other", 2.0)]


def test_the_first_interrupt_asks_and_the_second_stops(tmp_path):
    before, out = signal.getsignal(signal.SIGINT), io.StringIO()
    with Stage(tmp_path / "s", "zero", Console(file=out)) as stage:
        assert not stage.stop_requested
        os.kill(os.getpid(), signal.SIGINT)
        assert stage.stop_requested
        assert "Ctrl-C again stops at once" in out.getvalue()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_is_given_back_when_the_job_raises(tmp_path):
    before = signal.getsignal(signal.SIGINT)

    def job():
        with Stage(tmp_path / "s", "zero"):
            assert signal.getsignal(signal.SIGINT) is not before
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        job()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stage_works_outside_the_main_thread(tmp_path):
    seen = []

    def job():
        with Stage(tmp_path / "s", "zero") as stage:
            seen.append(stage.stop_requested)

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (75, "1m15s"), (3720, "1h02m"), (59.6, "1m00s")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_what_a_stage_says_stays_as_it_is(tmp_path):
    console = Console(file=io.StringIO(), width=40)
    with Stage(tmp_path / "s", "zero", console) as stage:
        stage.say("a reply said :warning: [bold]x[/bold]")
        stage.progress(1, 1, shown=":x:")
    said = console.file.getvalue()
    assert "a reply said :warning: [bold]x[/bold]" in said
    assert "shown :x:" in said
