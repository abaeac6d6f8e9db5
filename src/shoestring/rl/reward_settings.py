"""What a reward is made of besides the verdict: named parts, each with a weight and a gate."""

from typing import Literal

from pydantic import Field, model_validator

from shoestring.errors import BadInput
from shoestring.settings import Settings
from shoestring.tasks.language import PROMPT, check_target

RewardKind = Literal["task", "random", "format", "shuffled"]
Gate = Literal["correct", "none"]
TAKEN = ("task", "control")  # what a rollout calls the verdict, and what is paid in its place
Shape = Literal["format", "language", "language_answer", "length", "repetition"]


class PartSettings(Settings):
    """weight 0: not part of the reward. gate "correct": counts only for a sample that has the full mark, so
    that it can't be earned instead of being right."""

    weight: float = Field(default=0.0, ge=0)
    gate: Gate = "correct"


class LanguageSettings(PartSettings):
    """target: the problem's own language ("prompt") or a code (en, zh, de ...). Paid for every answer, as
    R1's was."""

    gate: Gate = "none"
    target: str = PROMPT

    @model_validator(mode="after")
    def _known(self) -> "LanguageSettings":
        try:
            check_target(self.target)
        except BadInput as error:
            raise ValueError(str(error)) from None
        return self


class LengthSettings(PartSettings):
    """A penalty for the last `cache` tokens before the run's cap. Never above 0, so ungated, as DAPO's is."""

    gate: Gate = "none"
    cache: int = Field(default=0, ge=0)  # 0: a fifth of the cap


class ShapeSettings(Settings):
    """reward = verdict + sum of weight * part. `measure` names parts that are wanted in the metrics though
    their weight is 0. `named` are parts that come from elsewhere: a scorer's own, a preference model's."""

    format: PartSettings = PartSettings()
    language: LanguageSettings = LanguageSettings()  # of the thinking, or of the answer where there is none
    language_answer: LanguageSettings = LanguageSettings()
    length: LengthSettings = LengthSettings()
    repetition: PartSettings = PartSettings()
    named: dict[str, PartSettings] = Field(default={})
    measure: list[Shape] = Field(default=[])

    @model_validator(mode="after")
    def _own_names(self) -> "ShapeSettings":
        for name in {*TAKEN, *self.own()} & set(self.named):
            raise ValueError(f"named.{name}: that name is taken")
        return self

    def own(self) -> dict[str, PartSettings]:
        """The parts computed here, by name."""
        return {
            "format": self.format,
            "language": self.language,
            "language_answer": self.language_answer,
            "length": self.length,
            "repetition": self.repetition,
        }

    def wanted(self) -> dict[str, PartSettings]:
        """Those of `own` that are weighed or measured."""
        return {name: part for name, part in self.own().items() if part.weight or name in self.measure}

    def paid(self) -> dict[str, PartSettings]:
        """All that have a weight."""
        return {name: part for name, part in {**self.own(), **self.named}.items() if part.weight}
