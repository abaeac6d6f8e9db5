"""What a run takes of a cluster: `--workers KEY=VALUE`. A recipe knows nothing of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from shoestring.settings import Settings


class Workers(Settings):
    """Counts of processes and what each of them holds. `engine`: what makes tokens. `ahead` 1: a step's
    samples are made while the step before is trained, with weights one version old. `hand_over`: how weights
    go from trainers to generators; "auto" takes the object store while it has room, else the `folder` that
    every host sees. A process that says nothing for `deadline_s` is taken for lost; one that is lost is
    started again, `restarts` times of each kind in a stage."""

    generators: int = Field(2, ge=1)
    trainers: int = Field(1, ge=1)
    expert: int = Field(1, ge=1)  # trainers that share a layer's experts
    recompute: Literal["none", "attention", "layers"] = "none"  # in a trainer's backward pass
    judges: int = Field(1, ge=1)  # processes that each keep scorers of their own
    cpus: float = Field(1.0, gt=0)  # of a generator, a trainer, a judge
    gpus: float = Field(0.0, ge=0)  # of a generator, a trainer
    engine: Literal["shoestring", "vllm", "vllm-server"] = "shoestring"
    vllm_python: Path | None = None  # that runs vLLM's server; None: the one that runs the generator
    cache_gib: float | None = Field(None, gt=0)  # of a generator's keys and values; None: what is free
    ahead: int = Field(0, ge=0, le=1)
    hand_over: Literal["auto", "store", "disk"] = "auto"
    folder: Path | None = None  # on a disk that all hosts share; None: with `local` one in the stage's own
    deadline_s: float = Field(600.0, gt=0)
    restarts: int = Field(3, ge=0)
    store_gib: float = Field(0.5, gt=0)  # object store of a Ray that `--cluster local` starts

    @model_validator(mode="after")
    def _share_experts(self) -> "Workers":
        if self.trainers % self.expert:
            have, size = f"{self.trainers} trainer{'s' if self.trainers > 1 else ''}", self.expert
            raise ValueError(
                f"expert={size}: {have} can't be parted into groups of {size}; "
                f"add --workers trainers={size}, or leave out expert"
            )
        return self
