"""A cluster's run as a recipe describes it: sizes, a schedule, stages, and efficiencies that say where they
are from. Nothing here runs: `budget.schedule` reckons with it."""

import itertools
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from shoestring.budget.figures import Figures, Three
from shoestring.budget.ranges import Range
from shoestring.settings import build, read_toml

Kind = Literal["measured", "published", "assumed"]


class Input(Figures):
    """An efficiency: low, middle, high, all above 0, and where it is from."""

    value: Three
    kind: Kind
    source: str = Field(min_length=1)

    @field_validator("value")
    @classmethod
    def _share(cls, value: Three) -> Three:
        if value[2] > 1:
            raise ValueError("write low, middle, high, each above 0 and at most 1")
        return value


class Efficiency(Figures):
    """Shares of what the chip's data sheet says, or of the time."""

    fp8_products: Input
    weight_gradients: Input
    bf16_products: Input
    attention_forward: Input
    attention_backward: Input
    memory: Input
    network: Input
    overlapped: Input
    balance: Input
    gaps: Input
    available: Input


class TrainingStage(Figures):
    name: str
    tokens: float = Field(gt=0)
    sequence: int = Field(ge=1)
    batch: int = Field(ge=1)
    context: int = Field(default=1, ge=1)  # GPUs that share one sequence
    source: str


class PublishedHours(Figures):
    gpu_hours_per_trillion: float = Field(gt=0)
    gpu_hours: float = Field(gt=0)
    usd: float = Field(gt=0)
    pretraining_gpu_hours: float = Field(gt=0)
    context_gpu_hours: float = Field(gt=0)
    post_training_gpu_hours: float = Field(gt=0)
    source: str


class R1Run(Figures):
    gpus: int = Field(ge=1)
    zero_steps: int = Field(ge=1)
    steps: Three
    samples_per_step: int = Field(ge=1)
    samples_per_round: int = Field(ge=1)
    longest: tuple[tuple[int, int], ...] = Field(min_length=1)  # (until this step, tokens), steps rising
    mean_length: Three
    reaches: Three
    tokens_per_s: Three
    kept_samples: int = Field(ge=1)
    kept_tokens: int = Field(ge=1)
    samples_for_a_kept_one: Three
    published_zero_gpu_hours: float = Field(gt=0)
    published_data_gpu_hours: float = Field(gt=0)
    published_gpu_hours: float = Field(gt=0)
    published_usd: float = Field(gt=0)
    source: str

    @field_validator("longest")
    @classmethod
    def _rising(cls, longest: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        before = [(0, 0), *longest]
        if any(until <= last or cap < 1 for (last, _), (until, cap) in itertools.pairwise(before)):
            raise ValueError("write [until this step, tokens], steps rising and tokens above 0")
        return longest


class Serving(Figures):
    gpus: int = Field(ge=1)
    mean_context: int = Field(ge=1)
    streams_per_gpu: Three
    attention_bandwidth: Three
    dispatch_us: Three
    combine_us: Three
    published_tokens_per_s_per_node: float = Field(gt=0)
    published_usd_per_day: float = Field(gt=0)
    published_nodes: float = Field(gt=0)
    published_tokens_out_per_day: float = Field(gt=0)
    source: str


class Cluster(Figures):
    """[cluster] of a recipe that is planned and not run."""

    name: str
    preset: str
    hardware: str
    gpus: int = Field(ge=1)
    gpus_per_node: int = Field(ge=1)
    pipeline: int = Field(ge=1)
    expert: int = Field(ge=1)
    data: int = Field(ge=1)
    schedule: Literal["1f1b", "zero-bubble", "dualpipe"]
    precision: Literal["fp8", "bf16"]
    overlap: bool
    recompute: bool
    communication_sms: int = Field(ge=0)
    sms: int = Field(ge=1)
    nodes_per_token: int = Field(ge=1)
    usd_per_gpu_hour: float = Field(ge=0)
    source: str
    stage: tuple[TrainingStage, ...] = Field(min_length=1)
    efficiency: Efficiency
    published: PublishedHours | None = None
    r1: R1Run | None = None
    serving: Serving | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "Cluster":
        if self.pipeline * self.data != self.gpus:
            raise ValueError(f"pipeline {self.pipeline} times data {self.data} is not gpus {self.gpus}")
        if self.data % self.expert:
            raise ValueError(f"expert {self.expert} does not divide data {self.data}")
        if self.schedule == "dualpipe" and self.pipeline % 2:
            raise ValueError(f"dualpipe needs an even number of stages, not {self.pipeline}")
        return self


def read_cluster(path: Path, where: str = "") -> Cluster | None:
    """None where the file is a recipe that runs. Raises BadInput."""
    raw = read_toml(path)
    if "cluster" not in raw:
        return None
    return build(Cluster, raw["cluster"], where or f"{path} [cluster]")


def three(values: Three) -> Range:
    return Range(*values)
