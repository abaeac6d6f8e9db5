"""What a model of a run began as: the base that it was trained from, through any number of stages."""

from collections.abc import Collection, Mapping
from typing import Any


def start_of(model: str, arm: str, recipe: Mapping[str, Any], made: Collection[str]) -> str:
    """model: as a stage names it, "stage:NAME" for one that the run made. made: those of them that were made
    from nothing. "" where a stage that made it has no model."""
    models = {stage["name"]: stage.get("model", "") for stage in recipe["stage"]}
    for own in recipe.get("arm", []):
        if own["name"] == arm:
            changed = own.get("set", {})
            models = {name: changed.get(f"{name}.model", before) for name, before in models.items()}
    while model.startswith("stage:") and model not in made:
        model = models.get(model.removeprefix("stage:"), "")
    return model
