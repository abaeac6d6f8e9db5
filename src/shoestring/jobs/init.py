"""An untrained model of a preset that reads as another does: a student from scratch."""

from typing import Any

from pydantic import Field

from shoestring.jobs.pretrain_model import random_model
from shoestring.jobs.pretrain_settings import ArchitectureSettings, planned_config
from shoestring.jobs.training import save_model
from shoestring.lm import precision, reads_at
from shoestring.models.parameters import count_parameters
from shoestring.run import Stage


class InitSettings(ArchitectureSettings):
    """Random weights, the same for the same seed, in the architecture of `preset`."""

    preset: str = "tiny"
    reads_as: str  # a MODEL: its tokenizer and template become the new one's
    window: int = Field(default=1024, ge=2)  # the longest sequence it is to read
    seed: int = 0
    dtype: str = "auto"


def check(settings: InitSettings) -> object:
    """What can be refused before anything runs."""
    return planned_config(settings)


def main(settings: InitSettings, stage: Stage) -> dict[str, Any]:
    tokenizer, template = reads_at(settings.reads_as)
    lm = random_model(settings, tokenizer, template, settings.window, settings.seed)
    lm.network.to(precision(settings.dtype, "cpu"))
    count = count_parameters(lm.config)
    stage.say(f"{settings.preset}, {count.total:,} parameters, reads as {settings.reads_as}")
    save_model(stage, lm, "init", settings, [], 0)
    return {"parameters": count.total}
