"""The plan of a cluster's run: V3 and R1 beside what was published, on its own chips and on others."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs import plan as job
from shoestring.jobs.recipe_file import load_recipe
from shoestring.settings import build

ROOT = Path(__file__).parents[2]


def plan_of(target: str, **values) -> dict:
    console = Console(file=StringIO(), width=200)
    found = job.main(build(job.PlanSettings, {"target": target, **values}, "plan"), console)
    return found | {"said": console.file.getvalue()}  # type: ignore[attr-defined]


def test_v3_beside_what_was_published():
    found = plan_of("v3-671b", compare=["a100"])
    assert found["simulated"]["gpu_hours"]["mid"] == pytest.approx(found["published"]["gpu_hours"], rel=0.10)
    assert found["simulated"]["usd"]["mid"] == pytest.approx(found["published"]["usd"], rel=0.10)
    span = found["simulated"]["gpu_hours_per_trillion"]
    assert span["low"] < found["published"]["gpu_hours_per_trillion"] < span["high"]
    assert found["r1"]["gpu_hours"]["low"] < 147_000 < found["r1"]["gpu_hours"]["high"]
    (elsewhere,) = found["compare"]
    assert (
        elsewhere["gpu_hours"]["mid"] > 3 * found["simulated"]["gpu_hours"]["mid"]
    )  # no FP8, a third of the rate
    for told in ("GPT-4 41 to 78", "Gemini Ultra 30 to 191", "salaries", "assumed", "measured", "published"):
        assert told in found["said"]


def test_v3_on_other_chips_is_paid_at_their_price():
    found = plan_of("v3-671b", hardware="a100")
    assert found["r1"]["usd"]["mid"] == pytest.approx(1.3 * found["r1"]["gpu_hours"]["mid"])
    assert found["serving"]["usd_per_million_out"]["mid"] == pytest.approx(
        1.3 * 8 / 3600 * 1e6 / found["serving"]["tokens_per_s_per_node"]["mid"]
    )
    own = plan_of("v3-671b", compare=["h800"])
    assert own["compare"][0]["usd"] == own["simulated"]["usd"]


def test_v3_on_a_chip_that_cannot_serve_it():
    found = plan_of("v3-671b", hardware="rtx-4090")
    (why,) = found["unknown"]
    assert why.startswith("serving and R1, whose rows are written so: DOES NOT FIT: NVIDIA GeForce RTX 4090")
    assert "has 24.0 GiB" in why
    assert "needs 33.9 GiB" in why
    assert f"not reckoned: {why[:40]}" in found["said"]
    assert found["simulated"]["gpu_hours"]["mid"] > 0
    assert not {"serving", "r1"} & found.keys()


def test_v3_is_not_run():
    with pytest.raises(BadInput, match="planned and not run: shoestring plan v3-671b"):
        load_recipe(ROOT / "recipes" / "v3-671b.toml", {}, "full")
