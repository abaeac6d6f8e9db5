"""What a run will take, before it starts."""

import json
import re
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from budget_machine import EPYC, QUIET
from shoestring.budget import probe as probes
from shoestring.budget.hardware import load_hardware
from shoestring.budget.machine import of_chip, of_probe
from shoestring.budget.memory import Memory
from shoestring.budget.plan import RUNTIME_BYTES, Phase, would_fit
from shoestring.budget.ranges import Range, total
from shoestring.cli import main as cli
from shoestring.errors import BadInput
from shoestring.jobs import plan as job
from shoestring.jobs.plan_models import known_model
from shoestring.jobs.plan_print import most_time
from shoestring.jobs.plan_recipe import plan_recipe
from shoestring.models.parameters import count_parameters
from shoestring.settings import build

ROOT = Path(__file__).parents[2]
MACHINE = of_probe(QUIET)
RECIPES = ["laptop", "tiny-v3", "r1-zero", "r1", "distill", "r1-tiny-v3", "r1-zero-tiny-v3"]


def plan_of(target: str, **values) -> dict:
    console = Console(file=StringIO(), width=200)
    found = job.main(build(job.PlanSettings, {"target": target, **values}, "plan"), console)
    return found | {"said": console.file.getvalue()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_is_reckoned_whole(name):
    plan = plan_recipe(name, MACHINE)
    assert not plan.unknown
    assert not plan.too_large
    assert 0 < plan.seconds.low < plan.seconds.mid < plan.seconds.high
    assert 0 < plan.flops.low <= plan.flops.mid <= plan.flops.high
    assert plan.disk.high >= plan.disk.mid > 0
    assert plan.peak is not None
    assert plan.usd(plan.seconds).mid == pytest.approx(plan.kwh(plan.seconds).mid * 0.30)


def test_tokens_and_operations_of_a_run_that_was_metered():
    """recipes/r1.toml, seed 1, two Xeon cores, 2026-11-27: its usage.jsonl."""
    metered = {  # tokens, FLOP
        ("cold-start", "train"): (284_214, 157.7e12),
        ("rl-1", "generate"): (326_602, 93.9e12),
        ("rl-1", "train"): (193_635, 156.8e12),
        ("sample", "generate"): (329_148, 100.8e12),
        ("sft-2", "train"): (345_601, 193.4e12),
        ("helpful", "train"): (34_653, 22.3e12),
        ("rl-2", "generate"): (277_501, 79.7e12),
        ("rl-2", "train"): (190_437, 154.6e12),
    }
    found = {(p.stage, p.kind): p for p in plan_recipe("r1", MACHINE).phases}
    for place, (tokens, flops) in metered.items():
        phase = found[place]
        assert phase.tokens.mid == pytest.approx(tokens, rel=0.25), place
        assert phase.flops.mid == pytest.approx(flops, rel=0.25), place
        assert phase.tokens.holds(tokens), place


def test_tokens_that_were_read_count_as_they_are_metered():
    """studies/distill.toml's bill: replies and prompts of evaluations and chat checks, rows of a teacher."""
    metered = {
        ("eval-teacher", "eval"): 463_052, ("eval-teacher", "chat"): 10_050,
        ("eval-students", "eval"): 2_909_127, ("eval-students", "chat"): 57_518,
        ("from-distribution", "teach"): 111_027,
    }  # fmt: skip
    phases = plan_recipe(ROOT / "studies" / "distill.toml", MACHINE).phases
    for place, tokens in metered.items():
        planned = total(phase.tokens for phase in phases if (phase.stage, phase.kind) == place)
        assert planned.holds(tokens), place
        assert planned.mid == pytest.approx(tokens, rel=0.25), place


def test_the_time_of_a_run_on_a_quiet_machine():
    """recipes/distill.toml on two EPYC cores, 2026-11-28, probed just before: its report's table."""
    took = {
        "cold-start": 224, "teacher": 306, "outputs": 125, "from-outputs": 296, "from-distribution": 332,
        "on-policy": 890, "both": 318, "rl-alone": 456, "eval": 593, "audit-student": 128,
    }  # fmt: skip
    plan = plan_recipe("distill", of_probe(EPYC), {"on-policy.steps": 16})
    assert {stage for stage, seconds in took.items() if not plan.of_stage(stage).holds(seconds)} == set()
    assert plan.seconds.mid == pytest.approx(sum(took.values()), rel=0.25)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_in_its_header_what_is_planned(name):
    header = (ROOT / "recipes" / f"{name}.toml").read_text(encoding="utf-8").split("[recipe]")[0]
    said = r"on two EPYC cores \([\d-]+\): (\d+) minutes, between (\d+) and (\d+)"
    found = re.search(rf"^#   shoestring plan recipes/{name}\.toml +{said}$", header, re.MULTILINE)
    assert found is not None
    planned = plan_recipe(name, of_probe(EPYC)).seconds
    minutes = [seconds / 60 for seconds in (planned.mid, planned.low, planned.high)]
    assert [int(text) for text in found.groups()] == pytest.approx(minutes, abs=0.6)


def test_the_bases_sizes_are_its_own():
    assert count_parameters(known_model("smollm2-135m").config).total == 134_515_008


def test_more_steps_take_longer_and_small_is_small():
    usual = plan_recipe("laptop", MACHINE)
    longer = plan_recipe("laptop", MACHINE, {"zero.steps": 48})
    assert longer.of("zero").mid > 1.7 * usual.of("zero").mid
    assert longer.of("cold-start") == usual.of("cold-start")
    assert plan_recipe("laptop", MACHINE, scale="small").seconds.mid < usual.seconds.mid / 5
    assert plan_recipe("laptop", MACHINE, controls=True).seconds.mid > 1.5 * usual.seconds.mid


def test_what_does_not_fit_says_what_would():
    tight = replace(MACHINE, memory_bytes=6 << 30)
    plan = plan_recipe("laptop", tight)
    lines = plan.to_json()["what_would_fit"]
    assert all("GiB" in line and "micro_batch_tokens at most" in line for line in lines)
    assert lines
    assert not plan.to_json()["fits"]
    share = min(int(line.split("at most ")[1].split("%")[0]) for line in lines)
    lower = {
        f"{name}.micro_batch_tokens": int(4096 * (share - 8) / 100) for name in ("zero", "cold-start", "grpo")
    }
    assert not plan_recipe("laptop", tight, lower).too_large
    slim = Phase(
        "a", "a", "train", Range.exact(1.0), memory=Memory({"weights": 1 << 30, "activations": 1000})
    )
    nearly = replace(MACHINE, memory_bytes=RUNTIME_BYTES + (1 << 30) + 1)
    assert "micro_batch_tokens at most" not in would_fit(slim, nearly)  # 0 % of it
    giant = Phase("a", "a", "train", Range.exact(1.0), memory=Memory({"weights": 1 << 45}))
    assert "a smaller model" in would_fit(giant, tight)


def test_a_rented_chip_is_paid_by_the_hour():
    plan = plan_recipe("laptop", of_chip(load_hardware().find("h100")))
    hours = plan.seconds.mid / 3600
    assert plan.usd(plan.seconds).mid == pytest.approx(2.95 * hours)


def test_what_a_chips_entry_assumes_is_said():
    told = "this package has no Metal kernels"
    assert told in plan_of("laptop", hardware="m3-max")["said"]
    assert told in plan_of("tiny", hardware="m3-max")["said"]
    compared = plan_of("laptop", hardware="h100", compare=["m3-max"])["said"]
    assert told in " ".join(compared.split())  # lines are broken where the console ends


def test_a_stages_longest_kind_is_of_all_its_parts():
    parts = [Phase("a", "a", kind, Range.exact(s)) for kind, s in (("other", 3), *[("eval", 2)] * 4)]
    assert most_time(parts) == ("eval", 8)
    (row,) = [line for line in plan_of("r1", hardware="h100")["said"].splitlines() if line[:5] == "eval "]
    assert int(re.search(r"eval (\d+)%", row)[1]) > 30  # type: ignore[index]


def test_on_this_machine_and_others(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path))
    monkeypatch.setattr(probes, "measure", lambda folder=None: replace(QUIET, busy=0.6))
    found = plan_of("laptop", compare=["h800", "a100"])
    assert "this machine is busy (60% taken by others)" in found["said"]
    assert "isn't kept" in found["said"]
    assert probes.kept_probe() is None
    assert len(found["compare"]) == 2
    assert "GPT-4" in json.dumps(found["beside"])
    assert "GPT-4 41 to 78" in found["said"]
    assert "what the headline leaves out" in found["said"]
    monkeypatch.setattr(probes, "measure", lambda folder=None: QUIET)
    quiet = plan_of("laptop")
    assert quiet["seconds"]["high"] < found["seconds"]["high"]
    assert probes.kept_probe() == QUIET
    monkeypatch.setattr(probes, "measure", lambda folder=None: pytest.fail("it was measured before"))
    assert plan_of("laptop")["seconds"] == quiet["seconds"]
    dear = plan_of("laptop", overrides={"prices.watts": 130, "prices.usd_per_hour": 2.0})
    assert dear["kwh"]["mid"] == pytest.approx(2 * quiet["kwh"]["mid"])
    hours = dear["seconds"]["mid"] / 3600
    assert dear["usd"]["mid"] == pytest.approx(0.30 * dear["kwh"]["mid"] + 2.0 * hours)  # as the bill adds up


def test_an_old_probe_is_measured_again(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path))
    path = probes.probe_file()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"machine": "of an older version"}))
    assert probes.kept_probe() is None
    path.write_text(json.dumps(asdict(QUIET)))
    assert probes.kept_probe() == QUIET


SERVED = """
[recipe]
name = "served"

[[stage]]
name = "check"
job = "eval"
models = { api = "http://127.0.0.1:1/v1#m", base = "smollm2-135m" }
suites = ["sums"]

[[stage]]
name = "looked-at"
job = "audit"
model = "https://host/v1#m"
"""


def test_what_a_server_takes_is_not_known(tmp_path):
    (tmp_path / "served.toml").write_text(SERVED)
    plan = plan_recipe(tmp_path / "served.toml", MACHINE)
    assert plan.unknown == (
        "check: what the server at http://127.0.0.1:1/v1#m takes and costs",
        "looked-at: what the server at https://host/v1#m takes and costs",
    )
    assert {phase.stage for phase in plan.phases} == {"check"}  # of the base


@pytest.mark.parametrize(("text", "told"), [("{", "is not valid JSON"), ("[]", "a JSON object is wanted")])
def test_a_models_broken_config_is_one_line(tmp_path, text, told):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=told) as caught:
        known_model(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "nothing to plan: no recipe and no preset 'nosuch'"),
        (["laptop", "--hardware", "h8000"], "no hardware 'h8000', did you mean 'h800'?"),
        (["laptop", "--compare", "h100,a10"], "no hardware 'a10', did you mean 'a100'?"),
        (["laptop", "--hardware", "h100", "--set", "zero.stepz=3"], "did you mean 'steps'"),
        (["laptop", "--hardware", "h100", "--set", "prices.watts=-3"], "greater than or equal to 0"),
        (["v3-671b", "--set", "a.b=1"], "edit its file"),
        (["laptop", "--hardware", "h100", "--set", "prices.usd_per_hour=inf"], "finite number"),
        (["qq"], "v3-16b, v3-671b\n"),  # each once
        (["laptop", "--hardware-file", "nosuch.toml"], "no such file"),
    ],
)
def test_bad_input_is_one_line(arguments, told, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["shoestring", "plan", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_a_table_of_chips_keeps_its_brackets_in_the_help(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["shoestring", "plan", "--help"])
    with pytest.raises(SystemExit):
        cli()
    assert "[chip.NAME]" in capsys.readouterr().out
