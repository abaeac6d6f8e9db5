"""Shoestring: take a real base model, make it reason measurably better, see the proof and the bill."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoestring.engine.engine import Engine
    from shoestring.engine.request import SamplingParams
    from shoestring.evals.evaluate import evaluate
    from shoestring.jobs.recipe import run
    from shoestring.lm import LanguageModel, load

__all__ = ["Engine", "LanguageModel", "SamplingParams", "evaluate", "load", "run"]

_HOMES = {
    "load": "shoestring.lm",
    "LanguageModel": "shoestring.lm",
    "Engine": "shoestring.engine.engine",
    "SamplingParams": "shoestring.engine.request",
    "run": "shoestring.jobs.recipe",
    "evaluate": "shoestring.evals.evaluate",
}


def __getattr__(name: str) -> Any:
    """Names are fetched when first used: `import shoestring` alone doesn't import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'shoestring' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


class _Door(ModuleType):
    """`shoestring.run` is the function that runs a recipe, though a module of that name lies in the package:
    importing the module would put it in the function's place."""

    @property
    def run(self) -> Any:
        return __getattr__("run")

    @run.setter
    def run(self, module: ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Door
