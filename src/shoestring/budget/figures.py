"""Settings that a plan reckons with: no figure of theirs is endless or no number at all."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict

from shoestring.settings import Settings


class Figures(Settings):
    model_config = ConfigDict(allow_inf_nan=False)


def _ordered(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if not 0 < value[0] <= value[1] <= value[2]:
        raise ValueError("write low, middle, high, each above 0")
    return value


Three = Annotated[tuple[float, float, float], AfterValidator(_ordered)]
