"""What a recipe will take before it starts, on this machine or on chips of the table; what a preset takes to
train and to serve; what a cluster's run takes."""

from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.budget.cluster_file import read_cluster
from shoestring.budget.flops import forward_flops, mtp_flops
from shoestring.budget.hardware import load_hardware
from shoestring.budget.headline import headline
from shoestring.budget.machine import Machine, of_chip, of_probe
from shoestring.budget.memory import cache_bytes, generating_memory, training_memory
from shoestring.budget.price import Prices
from shoestring.budget.probe import BUSY, probe
from shoestring.errors import BadInput
from shoestring.jobs.plan_cluster import plan_cluster, print_cluster
from shoestring.jobs.plan_print import print_compared, print_headline, print_plan
from shoestring.jobs.plan_recipe import plan_loaded
from shoestring.jobs.recipe_file import SHIPPED, Scale, find_recipe, load_recipe
from shoestring.models.presets import PRESETS
from shoestring.settings import Settings, nearest

PRESET_TOKENS, PRESET_ROW = 4096, 1024  # of the micro-batch and the context that a preset is shown with


class PlanSettings(Settings):
    target: str  # a recipe or a preset
    hardware: str = ""  # of the table; "": this machine, as the probe measured it
    hardware_file: Path | None = None
    compare: list[str] = Field(default_factory=list)
    scale: Scale = "full"
    controls: bool = False
    overrides: dict[str, Any] = Field(default_factory=dict)
    probe: bool = False  # measure this machine anew


def main(settings: PlanSettings, console: Console) -> dict[str, Any]:
    hardware = load_hardware(settings.hardware_file)
    chips = [hardware.find(name) for name in settings.compare]  # refused before anything is measured
    path = _recipe_of(settings.target)
    cluster = read_cluster(path) if path is not None else None
    if cluster is not None:
        if settings.overrides or settings.controls or settings.scale != "full":
            raise BadInput(
                f"{settings.target} is a cluster's: edit its file instead of --set, --scale, --controls"
            )
        chip = hardware.find(settings.hardware or cluster.hardware)
        result = plan_cluster(cluster, chip, hardware, settings.compare)
        print_cluster(result, console)
        return result
    chosen = of_chip(hardware.find(settings.hardware)) if settings.hardware else None
    if path is None:
        _refuse_for_a_preset(settings)
        places = [chosen or this_machine(settings.probe, Prices(), console), *map(of_chip, chips)]
        first, *rest = (plan_preset(settings.target, machine, console) for machine in places)
        return first | ({"compare": rest} if rest else {})
    recipe = load_recipe(path, settings.overrides, settings.scale, settings.controls)
    plan = plan_loaded(recipe, chosen or this_machine(settings.probe, recipe.prices, console))
    print_plan(plan, console)
    result = plan.to_json()
    if chips:
        others = [plan_loaded(recipe, of_chip(chip)) for chip in chips]
        result["compare"] = [other.to_json() for other in others]
        result["beside"] = headline().to_json()
        print_compared([plan, *others], console)
        print_headline(result["beside"], console)
    return result


def _refuse_for_a_preset(settings: PlanSettings) -> None:
    given = {
        "--set": settings.overrides,
        "--controls": settings.controls,
        "--scale": settings.scale != "full",
    }
    named = [name for name, value in given.items() if value]
    if named:
        raise BadInput(f"{settings.target} is a preset and has no stages: leave out {', '.join(named)}")


def this_machine(anew: bool, prices: Prices, console: Console) -> Machine:
    """At the watts of `prices`, as `run` plans for it."""
    found = probe(anew)
    if found.busy > BUSY:
        console.print(
            f"this machine is busy ({found.busy:.0%} taken by others): the range is wider, and the "
            "measurement isn't kept",
            markup=False,
        )
    return of_probe(found, watts=prices.watts)


def _recipe_of(target: str) -> Path | None:
    """None for a preset. A recipe of a preset's name goes before it."""
    known = [*PRESETS, *(path.stem for path in SHIPPED.glob("*.toml"))]
    shipped = SHIPPED / f"{target}.toml"
    if Path(target).exists() or shipped.exists() or target.endswith(".toml"):
        return find_recipe(target)
    if target in PRESETS:
        return None
    raise BadInput(f"nothing to plan: no recipe and no preset '{target}'{nearest(target, known)}")


def plan_preset(name: str, machine: Machine, console: Console) -> dict[str, Any]:
    """A preset's memory and time a token, for training and for generating."""
    config = PRESETS[name]
    mtp = config.num_nextn_predict_layers > 0
    training = training_memory(
        config, PRESET_TOKENS, PRESET_TOKENS, machine.width, mtp, native=machine.launch_s == 0
    )
    serving = generating_memory(config, 16, PRESET_ROW, machine.width)
    tokens = PRESET_TOKENS
    pairs = tokens * PRESET_ROW // 2
    flops = 3 * (forward_flops(config, tokens, pairs, tokens) + mtp_flops(config, tokens, pairs, tokens))
    rate = machine.spread(machine.train_seconds(config, flops, tokens, tokens) / tokens)
    say = lambda text: console.print(text, markup=False)  # noqa: E731
    say(f"{name} on {machine.name}; {machine.basis}")
    for told, memory in (("training, 4,096 tokens at once", training), ("generating, 16 of 1,024", serving)):
        parts = ", ".join(f"{part} {size / 2**30:,.2f}" for part, size in memory.parts.items() if size)
        fits = "fits" if memory.total < machine.memory_bytes else "does not fit"
        say(f"{told}: {memory.total / 2**30:,.2f} GiB, {fits} ({parts})")
    say(
        f"training: {flops / tokens / 1e9:,.2f} GFLOP a token, {rate.mid * 1e6:,.0f} us "
        f"({rate.low * 1e6:,.0f} to {rate.high * 1e6:,.0f}); "
        f"cache {cache_bytes(config, machine.width):,} bytes "
        "a token"
    )
    return {
        "preset": name,
        "machine": {"name": machine.name, "basis": machine.basis},
        "training_memory_bytes": dict(training.parts),
        "generating_memory_bytes": dict(serving.parts),
        "training_flops_per_token": flops / tokens,
        "training_seconds_per_token": rate.to_json(),
        "fits": {
            "training": training.total < machine.memory_bytes,
            "generating": serving.total < machine.memory_bytes,
        },
    }
