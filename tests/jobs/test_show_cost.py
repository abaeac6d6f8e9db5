"""What a run cost, and a folder of runs."""

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import run_folders
from shoestring.budget.price import Prices, make_bill
from shoestring.errors import BadInput
from shoestring.jobs.show_cost import show_cost
from shoestring.report.ledger import gains, tokens_by_fate
from shoestring.report.read import read_run
from shoestring.run import open_run


def shown(path: Path) -> tuple[dict, str]:
    console = Console(file=StringIO(), width=200)
    return show_cost(path, console), console.file.getvalue()  # type: ignore[attr-defined]


def made(path: Path, state: str = "finished") -> Path:
    folder = run_folders.begin(path)
    zero, _cold, check = run_folders.RECIPE["stage"]
    with run_folders.unit(folder, 1, zero) as stage:
        stage.use("generate", 60.0, 1000, 6e12, {"dead_groups": 100, "cut": 50})
        stage.use("train", 40.0, 800, 1e13)
    with run_folders.unit(folder, 3, check) as stage:
        run_folders.evaluate(stage, run_folders.RIGHT)
    folder.status(state)
    return path


def test_tokens_by_fate_and_points_by_cost(tmp_path):
    found, said = shown(made(tmp_path / "laptop"))
    evaluated = sum(kind["tokens"] for kind in found["bill"]["kinds"] if kind["stage"] == "check")
    assert found["tokens"]["made"] == 1000 + evaluated
    assert found["tokens"]["trained"] == 800
    assert found["tokens"]["thrown away, dead_groups"] == 100
    assert found["tokens"]["thrown away, cut"] == 50
    gained = {(g["model"], g["suite"]): g for g in found["gains"]}
    one = gained["zero", run_folders.SUITES[0]]
    assert one["points"] == pytest.approx(100 * (130 - 64) / 256)  # over the base at its best
    assert one["seconds"] == pytest.approx(100.0, abs=1.0)  # what the eval took is not the model's
    assert one["usd_per_point"] == pytest.approx(one["usd"] / one["points"])
    assert found["bill"]["stages"]["zero"]["core_seconds"] >= 0
    assert "What a point cost" in said
    assert "thrown away, dead_groups" in said


def test_a_stage_without_seeds_is_whole_in_each_seeds_point(tmp_path):
    """A cold start that is made once, RL on it with two seeds: a point costs the whole of the one and half
    of the other."""
    cold = {"name": "cold-start", "job": "sft", "model": "smollm2-135m"}
    zero = {"name": "zero", "job": "grpo", "model": "stage:cold-start", "seeds": [1, 2]}
    check = {"name": "check", "job": "eval", "models": {"base": "smollm2-135m", "zero": "stage:zero"}}
    folder = open_run(tmp_path / "run", resume=False)
    folder.begin({"recipe": {"name": "x"}, "prices": {}, "stage": [cold, zero, check]}, "shoestring run x")
    lines = [
        {"stage": stage, "unit": f"stages/{unit}", "kind": "train", "seconds": 100.0, "tokens": 10}
        | {"flops": 1e9, "wasted": {}}
        for stage, unit in (
            ("cold-start", "01-cold-start"), ("zero", "02-zero/seed-1"), ("zero", "02-zero/seed-2"),
            ("zero", "02-zero/random/seed-1"),
        )
    ]  # fmt: skip
    first = SimpleNamespace(label="zero", suite="sums", unit=SimpleNamespace(arm=""))
    report = SimpleNamespace(
        folder=folder.path,
        against_base=[SimpleNamespace(of=[first], difference=0.1)],
        bill=make_bill(lines, Prices()),
    )
    (gain,) = gains(report, lines)  # type: ignore[arg-type]
    assert gain.amount.seconds == pytest.approx(100 + 200 / 2)
    assert gain.seconds_per_point == pytest.approx(20.0)


def test_a_folder_of_runs_counts_those_that_failed(tmp_path):
    made(tmp_path / "a")
    made(tmp_path / "deep" / "b", state="failed")
    found, said = shown(tmp_path)
    assert [run["state"] for run in found["runs"]] == ["finished", "failed"]
    each = found["runs"][0]["bill"]["figures"][0]["value"]
    assert found["total"]["seconds"] == pytest.approx(2 * each, rel=0.05)
    assert found["unfinished"]["runs"] == 1
    assert "1 of 2 runs did not finish" in said


def test_what_is_no_run(tmp_path):
    with pytest.raises(BadInput, match="no run in it"):
        show_cost(tmp_path, Console())
    with pytest.raises(BadInput, match="no such folder"):
        show_cost(tmp_path / "nosuch", Console())


def test_the_report_sets_the_plan_beside_what_it_took(tmp_path):
    path = made(tmp_path / "laptop")
    assert not read_run(path).plan
    seconds = {"low": 50.0, "mid": 90.0, "high": 130.0}
    wrong = {"low": 1.0, "mid": 2.0, "high": 3.0}
    (path / "plan.json").write_text(
        json.dumps({"stages": {"zero": seconds, "check": wrong, "cold-start": seconds}})
    )
    (path / "machine.json").write_text(json.dumps({"peak": 1e12}))
    assert not read_run(path).planned_amounts  # a plan from before these were kept
    report = read_run(path)
    assert report.plan["zero"].holds(report.bill.of_stage("zero").seconds)
    found, said = shown(path)
    assert found["bill"]["utilisation"] == pytest.approx(
        report.bill.total.flops / report.bill.total.seconds / 1e12
    )
    rows = [line for line in said.splitlines() if line.startswith(("zero ", "check ", "cold-start "))]
    assert any("50s to 1m30s" in row or row.rstrip().endswith("yes") for row in rows)
    assert any(row.rstrip().endswith("no") for row in rows)
    assert "of the measured peak" in said


def test_an_audits_tokens_are_made(tmp_path):
    usage = {"stage": "audit", "unit": "a", "kind": "audit", "seconds": 1.0, "tokens": 70, "flops": 1.0}
    fate = tokens_by_fate(make_bill([usage | {"wasted": {}}], Prices()))
    assert fate == {"made": 70, "trained": 0, "other": 0}


def test_the_report_sets_all_that_was_planned_beside_what_it_took(tmp_path):
    path = made(tmp_path / "laptop")
    plan = {"stages": {"zero": span(50, 100, 150), "cold-start": span(10, 20, 30)}, "usd": span(0, 0.6, 0.9)}
    plan |= {"seconds": span(60, 120, 180), "kwh": span(0.001, 0.0024, 0.0036)}
    phase = {"stage": "zero", "tokens": span(500, 1000, 1500), "flops": span(1e12, 2e12, 3e12)}
    late = {"stage": "cold-start", "tokens": span(1, 2, 3), "flops": span(1, 2, 3)}  # never ran
    (path / "plan.json").write_text(json.dumps(plan | {"phases": [phase, phase, late]}))
    _, said = shown(path)
    lines = said[said.index("of all these") :].splitlines()[1:]
    wanted = ("tokens ", "FLOP ", "kWh ", "USD of")
    tokens, flops, kwh, usd = (next(li for li in lines if li.startswith(name)).split() for name in wanted)
    assert tokens[:6] == ["tokens", "2,000", "1,000", "to", "3,000", "1,800"]
    assert (tokens[-1], flops[-1]) == ("yes", "no")  # 1.6e13 where 4e12 were planned
    assert kwh[1] == "0.002"
    assert usd[:5] == ["USD", "of", "the", "machine", "0.5"]


def span(low: float, mid: float, high: float) -> dict[str, float]:
    return {"low": low, "mid": mid, "high": high}
