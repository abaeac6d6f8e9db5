"""What a preset takes, and where it fits."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from budget_machine import QUIET
from shoestring.budget.hardware import Hardware
from shoestring.budget.machine import of_probe
from shoestring.budget.plan import RUNTIME_BYTES
from shoestring.errors import BadInput
from shoestring.jobs import plan as job
from shoestring.jobs.plan_models import known_model
from shoestring.jobs.plan_preset import memories, would_fit
from shoestring.settings import build

MACHINE = of_probe(QUIET)


def plan_of(target: str, **values) -> dict:
    console = Console(file=StringIO(), width=200)
    found = job.main(build(job.PlanSettings, {"target": target, **values}, "plan"), console)
    return found | {"said": console.file.getvalue()}  # type: ignore[attr-defined]


def slim_file(folder: Path) -> Path:
    path = folder / "slim.toml"
    path.write_text(
        """[chip.slim]
name = "a slim processor"
kind = "cpu"
tflops = { bf16 = 1 }
memory_gib = 20
bandwidth_gbs = 50
link_gbs = 1
network_gbs = 1
usd_per_hour = "own"
watts = 65
source = "made up"
date = "2026"
"""
    )
    return path


def test_a_preset_fits_by_the_rule_of_recipes():
    """Python, torch and the kernels take their part before any model."""
    config = known_model("tiny").config
    held = memories(config, MACHINE)["generating"].total
    nothing = Hardware({})
    assert would_fit("generating", config, replace(MACHINE, memory_bytes=held), nothing)
    enough = replace(MACHINE, memory_bytes=held + RUNTIME_BYTES)
    assert not would_fit("generating", config, enough, nothing)


def test_a_preset_is_shown_with_what_it_takes(tmp_path):
    found = plan_of("tiny", hardware="h100")
    assert found["fits"] == {"training": True, "generating": True}
    assert not plan_of("v3-16b", hardware="rtx-4090")["fits"]["training"]
    lines = plan_of("v3-16b", hardware="rtx-4090")["what_would_fit"]
    assert lines["generating"].endswith("would fit: NVIDIA GeForce RTX 5090 32 GB, 32 GiB")
    assert "no single one of the table" in lines["training"]
    on_slim = plan_of("v3-16b", hardware="slim", hardware_file=slim_file(tmp_path))["what_would_fit"]
    assert "would fit: NVIDIA GeForce RTX 5090" in on_slim["generating"]
    # torch's own products keep more between the passes than our kernels, and no allocator's slack
    kept = plan_of("tiny", hardware="h100")["training_memory_bytes"]
    assert (
        kept["activations"]
        == 2 * plan_of("tiny", hardware="cpu-cloud-2")["training_memory_bytes"]["activations"]
    )
    assert kept["allocator's slack"] == 0


def test_a_preset_on_several_chips():
    found = plan_of("tiny", hardware="h100", compare=["rtx-4090"])
    assert [other["machine"]["name"] for other in found["compare"]] == ["NVIDIA GeForce RTX 4090 24 GB"]
    assert "tiny on NVIDIA GeForce RTX 4090" in found["said"]
    with pytest.raises(BadInput, match="tiny is a preset and has no stages: leave out --set, --scale"):
        plan_of("tiny", hardware="h100", overrides={"a.b": 1}, scale="small")
    with pytest.raises(BadInput, match="leave out --controls"):
        plan_of("tiny", hardware="h100", controls=True)
