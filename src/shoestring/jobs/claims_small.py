"""A study cut down to what some findings need of it, for a look at the mechanics: the first seed, the arms,
stages, models and suites that are named, and what those are built on."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shoestring.jobs.recipe_units import REFERENCE, references
from shoestring.report.claims.finding import Needs
from shoestring.tasks.suite import same_suites

CHECKS = ("identity", "chat")
BEFORE = {"preflight": {"prompts": 0, "max_truncated": 1.0}, "rehearsal": False, "red_team": False}
ASKED = ("suites", "best_of", "variants", "identity_check", "chat_check", "models")


def prune(recipe: Mapping[str, Any], needs: Needs) -> dict[str, Any]:
    """A recipe again. What it was made to compare is left out: the findings compare."""
    labels = {model.partition("/")[0] for model in needs.models}
    arms = {side.partition("/")[2] for side in (*needs.models, *needs.trained)} - {""}
    stages: dict[str, dict[str, Any]] = {}
    for stage in recipe["stage"]:
        kept = _asked(stage, labels, needs) if stage["job"] == "eval" else stage
        if kept is not None:
            stages[stage["name"]] = kept
    own_arms = [arm for arm in recipe.get("arm", []) if arm["name"] in arms]
    wanted = {side.partition("/")[0] for side in needs.trained}
    wanted |= {name for name, stage in stages.items() if stage["job"] == "eval"}
    wanted = _with_what_they_need(wanted, stages, own_arms)
    return {
        "recipe": dict(recipe["recipe"]),
        "stage": [_first_seed(stage) for name, stage in stages.items() if name in wanted],
        "arm": [
            {
                **arm,
                "set": {key: value for key, value in arm["set"].items() if key.partition(".")[0] in wanted},
            }
            for arm in own_arms
        ],
    }


def _asked(stage: Mapping[str, Any], labels: set[str], needs: Needs) -> dict[str, Any] | None:
    """The eval of the models that are needed, None where it asks none of them anything that is."""
    models = {label: model for label, model in stage["models"].items() if label in labels}
    suites = same_suites(needs.suites, stage.get("suites", []))
    checks = [f"{check}_check" for check in CHECKS if check in needs.checks and stage.get(f"{check}_check")]
    if not models or not (suites or checks):
        return None
    rest = {key: value for key, value in stage.items() if key not in ASKED}
    best_of = [label for label in stage.get("best_of", []) if label in models]
    ways = {"best_of": best_of, "variants": stage["variants"]} if best_of else {}
    return {**rest, "models": models, "suites": suites, **dict.fromkeys(checks, True), **ways}


def _with_what_they_need(
    wanted: set[str], stages: Mapping[str, Mapping[str, Any]], arms: Iterable[Mapping[str, Any]]
) -> set[str]:
    while True:
        found = set(wanted)
        for name in wanted:
            own = [arm["set"] for arm in arms if any(key.startswith(f"{name}.") for key in arm["set"])]
            found |= set(_built_on(stages[name])) | {n for values in own for n in _built_on(values)}
        if found == wanted:
            return found
        wanted = found


def _built_on(values: Any) -> Iterator[str]:
    for reference in references(values):
        yield reference.removeprefix(REFERENCE)


def _first_seed(stage: Mapping[str, Any]) -> dict[str, Any]:
    """And without what a grpo stage looks at before its first step, which takes longer than the step."""
    seeds = {"seeds": stage["seeds"][:1]} if stage.get("seeds") else {}
    small = {"small": {**stage.get("small", {}), **BEFORE}} if stage["job"] == "grpo" else {}
    return {**stage, **seeds, **small}
