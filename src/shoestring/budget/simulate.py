"""Hours and ranges of a cluster's run: every stage's steps, and by how much each efficiency moves the sum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log, sqrt

from shoestring.budget.cluster_file import Cluster, Efficiency, TrainingStage
from shoestring.budget.hardware import Chip
from shoestring.budget.ranges import Range
from shoestring.budget.schedule import Shares, Step, step_of
from shoestring.models.config import ModelConfig
from shoestring.models.presets import preset_config


def hours_of(
    cluster: Cluster, config: ModelConfig, chip: Chip, shares: Shares, stage: TrainingStage
) -> float:
    """GPU hours of all of the stage's tokens."""
    step = step_of(cluster, config, chip, shares, stage)
    return stage.tokens / (stage.batch * stage.sequence) * step.seconds * cluster.gpus / 3600


@dataclass(frozen=True)
class Simulated:
    """hours: of each stage. per_trillion: of the first. swings: by how much each input moves the sum, low and
    high, all others at their middle."""

    hours: Mapping[str, Range]
    gpu_hours: Range
    per_trillion: Range
    swings: Mapping[str, tuple[float, float]]
    step: Step
    utilisation: float  # of the dense bf16 peak, as it is usually stated


def simulate(cluster: Cluster, chip: Chip) -> Simulated:
    """Inputs are unlike each other, so their effects are joined as independent ones are: the root of the sum
    of squares, of logarithms."""
    config = preset_config(cluster.preset)
    first = cluster.stage[0]

    def hours(shares: Shares) -> float:
        return sum(hours_of(cluster, config, chip, shares, stage) for stage in cluster.stage)

    middle = middle_of(cluster.efficiency)
    step = step_of(cluster, config, chip, middle, first)
    per_stage = {
        stage.name: joined(
            cluster.efficiency, lambda s, stage=stage: hours_of(cluster, config, chip, s, stage)
        )
        for stage in cluster.stage
    }
    return Simulated(
        hours=per_stage,
        gpu_hours=joined(cluster.efficiency, hours),
        per_trillion=per_stage[first.name] * (1e12 / first.tokens),
        swings=swings(cluster.efficiency, hours),
        step=step,
        utilisation=step.flops / step.seconds / chip.rate("bf16")[1],
    )


def middle_of(efficiency: Efficiency) -> Shares:
    return Shares(**{name: getattr(efficiency, name).value[1] for name in type(efficiency).model_fields})


def swings(efficiency: Efficiency, rule: Callable[[Shares], float]) -> dict[str, tuple[float, float]]:
    """Each input at its low and its high, as factors of what the middle gives."""
    middle = middle_of(efficiency)
    base = rule(middle)
    found: dict[str, tuple[float, float]] = {}
    for name in type(efficiency).model_fields:
        low, _, high = getattr(efficiency, name).value
        ends = [rule(Shares(**(vars(middle) | {name: value}))) / base for value in (low, high)]
        found[name] = (min(ends), max(ends))
    return found


def joined(efficiency: Efficiency, rule: Callable[[Shares], float]) -> Range:
    base = rule(middle_of(efficiency))
    ends = swings(efficiency, rule).values()
    down = exp(-sqrt(sum(log(min(low, 1.0)) ** 2 for low, _ in ends)))
    up = exp(sqrt(sum(log(max(high, 1.0)) ** 2 for _, high in ends)))
    return Range(base * down, base, base * up)
