"""The plan of a cluster's run: simulated beside published, and what the simulation is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from shoestring.budget.cluster_file import Cluster
from shoestring.budget.hardware import Chip, Hardware
from shoestring.budget.headline import headline
from shoestring.budget.ranges import Range
from shoestring.budget.rollouts import TooSmall, r1_hours, served
from shoestring.budget.simulate import Simulated, simulate
from shoestring.jobs.plan_print import figures, print_headline
from shoestring.models.presets import preset_config


def plan_cluster(cluster: Cluster, chip: Chip, hardware: Hardware, compare: Sequence[str]) -> dict[str, Any]:
    """JSON: `simulated.gpu_hours`, `simulated.usd`, `published.*` and all inputs with where they are from."""
    found = simulate(cluster, chip)
    price = _price(cluster, chip, hardware)
    result: dict[str, Any] = {
        "name": cluster.name,
        "hardware": chip.name,
        "gpus": cluster.gpus,
        "simulated": {
            "gpu_hours": found.gpu_hours.to_json(),
            "usd": (found.gpu_hours * price).to_json(),
            "gpu_hours_per_trillion": found.per_trillion.to_json(),
            "stages": {name: hours.to_json() for name, hours in found.hours.items()},
            "days": (found.gpu_hours * (1 / 24 / cluster.gpus)).to_json(),
            "kwh": (found.gpu_hours * (chip.watts / 1000)).to_json(),
            "step": found.step.parts() | {"seconds": found.step.seconds, "all_to_all": found.step.all_to_all},
            "utilisation_of_bf16_peak": found.utilisation,
        },
        "inputs": {
            "efficiencies": cluster.efficiency.model_dump(mode="json"),
            "sizes": {"kind": "published", "source": cluster.source},
            "stages": {stage.name: stage.source for stage in cluster.stage},
            "chip": {"source": chip.source, "date": chip.date, "assumed": list(chip.assumed)},
            "usd_per_gpu_hour": price.to_json(),
            "swings": {name: list(ends) for name, ends in found.swings.items()},
        },
        "beside": headline().to_json(),
    }
    told = cluster.published
    if told is not None:
        result["published"] = {
            "gpu_hours_per_trillion": told.gpu_hours_per_trillion,
            "gpu_hours": told.gpu_hours,
            "usd": told.usd,
            "stages": {
                "pretraining": told.pretraining_gpu_hours,
                "context": told.context_gpu_hours,
                "post-training": told.post_training_gpu_hours,
            },
            "source": told.source,
        }
    result |= _rollouts(cluster, chip, found, price)
    others = {name: hardware.find(name) for name in compare}
    result["compare"] = [
        {"hardware": name, **_elsewhere(cluster, other, _price(cluster, other, hardware))}
        for name, other in others.items()
    ]
    return result


def _price(cluster: Cluster, chip: Chip, hardware: Hardware) -> Range:
    """USD a GPU hour: what the recipe states for its own chip, of another what the table says."""
    own = chip == hardware.find(cluster.hardware)
    return Range.exact(cluster.usd_per_gpu_hour) if own else chip.price


def _rollouts(cluster: Cluster, chip: Chip, found: Simulated, price: Range) -> dict[str, Any]:
    """`unknown`: why there is no serving, and no R1, whose rows are made by such nodes."""
    if cluster.serving is None:
        return {"unknown": []}
    config, wanted = preset_config(cluster.preset), cluster.serving
    try:
        serving = served(cluster, wanted, config, chip, price)
    except TooSmall as why:
        also = "" if cluster.r1 is None else " and R1, whose rows are written so"
        return {"unknown": [f"serving{also}: DOES NOT FIT: {why}"]}
    result: dict[str, Any] = {
        "unknown": [],
        "serving": {
            "tokens_per_s_per_node": serving.tokens_per_s.to_json(),
            "tokens_per_s_per_user": serving.per_user.to_json(),
            "usd_per_million_out": serving.usd_per_million.to_json(),
            "streams_that_fit": serving.fits_streams,
            "published": {
                "tokens_per_s_per_node": wanted.published_tokens_per_s_per_node,
                # all nodes of the day, those that read prompts too, over all that was written
                "nodes": wanted.published_nodes,
                "usd_per_million_out": wanted.published_usd_per_day
                / wanted.published_tokens_out_per_day
                * 1e6,
            },
            "source": wanted.source,
        },
    }
    if cluster.r1 is not None:
        hours = r1_hours(cluster.r1, found.per_trillion, serving.tokens_per_s, cluster.gpus_per_node)
        result["r1"] = {
            **{name: part.to_json() for name, part in vars(hours).items()},
            "gpu_hours": hours.gpu_hours.to_json(),
            "usd": (hours.gpu_hours * price).to_json(),
            "published": {
                "zero": cluster.r1.published_zero_gpu_hours,
                "data": cluster.r1.published_data_gpu_hours,
                "gpu_hours": cluster.r1.published_gpu_hours,
                "usd": cluster.r1.published_usd,
            },
            "source": cluster.r1.source,
        }
    return result


def _elsewhere(cluster: Cluster, chip: Chip, price: Range) -> dict[str, Any]:
    found = simulate(cluster, chip)
    return {
        "name": chip.name,
        "gpu_hours": found.gpu_hours.to_json(),
        "usd": (found.gpu_hours * price).to_json(),
        "kwh": (found.gpu_hours * (chip.watts / 1000)).to_json(),
    }


def print_cluster(result: Mapping[str, Any], console: Console) -> None:
    say = lambda text: console.print(text, markup=False)  # noqa: E731
    simulated, published = result["simulated"], result.get("published", {})
    say(f"{result['name']} on {result['gpus']:,} x {result['hardware']}: planned, nothing is run")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title in ("simulated", "least to most", "published", "off"):
        table.add_column(title, justify="right")
    rows = [
        ("GPU hours a trillion tokens", simulated["gpu_hours_per_trillion"], "gpu_hours_per_trillion"),
        ("GPU hours in all", simulated["gpu_hours"], "gpu_hours"),
        ("USD", simulated["usd"], "usd"),
    ]
    for name, amount, key in rows:
        table.add_row(*_beside(name, amount, published.get(key)))
    for name, amount in simulated["stages"].items():
        table.add_row(*_beside(f"  {name}", amount, None))
    if "r1" in result:
        r1 = result["r1"]
        table.add_row(*_beside("R1 on it, GPU hours", r1["gpu_hours"], r1["published"]["gpu_hours"]))
        table.add_row(*_beside("R1 on it, USD", r1["usd"], r1["published"]["usd"]))
    if "serving" in result:
        serving = result["serving"]
        for told, key in (
            ("tokens/s of a node", "tokens_per_s_per_node"),
            ("USD a million out (published: with the nodes that read prompts)", "usd_per_million_out"),
        ):
            table.add_row(*_beside(f"serving: {told}", serving[key], serving["published"][key]))
    console.print(table)
    for line in result["unknown"]:
        say(f"not reckoned: {line}")
    step = simulated["step"]
    parts = ", ".join(
        f"{name} {value:.2f}" for name, value in step.items() if name not in ("seconds", "all_to_all")
    )
    say(
        f"a step of pretraining: {step['seconds']:.1f} s ({parts}); "
        f"{simulated['utilisation_of_bf16_peak']:.1%} of bf16's peak"
    )
    _print_inputs(result["inputs"], console)
    for row in result["compare"]:
        usd, hours = Range(**row["usd"]), Range(**row["gpu_hours"])
        say(
            f"on {row['name']}: {figures(hours * 1e-3, 0)} thousand GPU hours, "
            f"{figures(usd * 1e-6, 2)} million USD"
        )
    print_headline(result["beside"], console)


def _print_inputs(inputs: Mapping[str, Any], console: Console) -> None:
    console.print("inputs, each with what it moves the sum by:", markup=False)
    for name, given in inputs["efficiencies"].items():
        low, mid, high = given["value"]
        down, up = inputs["swings"][name]
        console.print(
            f"  {name.replace('_', ' ')} {mid:g} ({low:g} to {high:g}), {given['kind']}: {given['source']} "
            f"[{down - 1:+.1%} to {up - 1:+.1%}]",
            markup=False,
        )


def _beside(name: str, amount: Mapping[str, float], published: float | None) -> tuple[str, ...]:
    digits = 2 if amount["high"] < 100 else 0
    span = f"{amount['low']:,.{digits}f} to {amount['high']:,.{digits}f}"
    told = "" if published is None else f"{published:,.{digits}f}"
    off = "" if published is None else f"{amount['mid'] / published - 1:+.1%}"
    return name, f"{amount['mid']:,.{digits}f}", span, told, off
