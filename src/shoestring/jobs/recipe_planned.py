"""What a recipe says beforehand of what its report has to show: comparisons, controls, the table of stages.

[[comparison]]       of, against = "LABEL[/ARM]", suite: fixed before the run, all seeds together
    against = [..]   one comparison with each
    suites = [..]    instead of suite: the mean over these
    control = true   `of` is called learned only where it beats this one and every other control of its own
[stage_table]        models = [labels, in order], suites = [averaged], harder = [shown beside]"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import model_validator

from shoestring.errors import BadInput
from shoestring.settings import Settings, build, nearest
from shoestring.tasks.suite import parse_suite, same_suites

CONTROLS = ("random", "shuffled", "format")  # rewards that say nothing of what is right


class PlannedComparison(Settings):
    """[[comparison]]: what a study was made to find out, named before it runs. Models are eval labels, with
    the arm after a slash."""

    of: str
    against: str | tuple[str, ...]
    suite: str = ""
    suites: tuple[str, ...] = ()
    control: bool = False

    @model_validator(mode="after")
    def _one_or_several(self) -> "PlannedComparison":
        if bool(self.suite) == bool(self.suites):
            raise ValueError("give suite, or suites (their mean), and not both")
        if not self.others:
            raise ValueError("against names no model")
        return self

    @property
    def others(self) -> tuple[str, ...]:
        return (self.against,) if isinstance(self.against, str) else self.against


class StageTable(Settings):
    """[stage_table]: models in the order in which they were made. `suites` are averaged (default: all
    that are asked and not in `harder`); what else was asked stands beside."""

    models: tuple[str, ...]
    suites: tuple[str, ...] = ()
    harder: tuple[str, ...] = ()


class Evals:
    """What a recipe's eval stages will have scores of."""

    def __init__(self, stages: Mapping[str, Any], arms: Sequence[str]) -> None:
        own = [stage for stage in stages.values() if stage.get("job") == "eval"]
        self.labels = [label for stage in own for label in stage.get("models", {})]
        self.suites = [text for stage in own for text in stage.get("suites", [])]
        self.arms = list(arms)

    def check_model(self, model: str, where: str) -> None:
        label, slash, arm = model.partition("/")
        if label not in self.labels:
            raise BadInput(f"{where}: no eval stage has a model '{label}'{nearest(label, self.labels)}")
        if slash and arm not in self.arms:
            raise BadInput(f"{where}: no arm '{arm}'{nearest(arm, self.arms)}")

    def suite(self, text: str, where: str) -> str:
        """In its canonical spelling."""
        suite = str(parse_suite(text))
        if not same_suites((suite,), self.suites):
            raise BadInput(f"{where}: no eval stage asks '{text}'{nearest(suite, self.suites)}")
        return suite


def read_comparison(values: Mapping[str, Any], evals: Evals, where: str) -> PlannedComparison:
    """Raises BadInput where no eval stage will ever have what it names."""
    comparison = build(PlannedComparison, values, where)
    for model in (comparison.of, *comparison.others):
        evals.check_model(model, where)
    if comparison.of in comparison.others:
        raise BadInput(f"{where}: '{comparison.of}' stands against itself")
    spelled = {"suite": evals.suite(comparison.suite, where)} if comparison.suite else {}
    return comparison.model_copy(
        update={**spelled, "suites": tuple(evals.suite(text, where) for text in comparison.suites)}
    )


def read_stage_table(values: Mapping[str, Any], evals: Evals, where: str) -> StageTable:
    """Raises BadInput where no eval stage will ever have what it names."""
    table = build(StageTable, values, where)
    for model in table.models:
        evals.check_model(model, where)
    several = [tuple(evals.suite(text, where) for text in texts) for texts in (table.suites, table.harder)]
    return table.model_copy(update={"suites": several[0], "harder": several[1]})


def control_arms(stages: Mapping[str, Any], known: Sequence[str]) -> Iterator[dict[str, Any]]:
    """`--controls`: an [[arm]] for each control that the recipe hasn't by that name, in which it takes the
    task's place in every grpo stage. Raises BadInput where there is none."""
    trained = [name for name, stage in stages.items() if stage.get("job") == "grpo"]
    if not trained:
        raise BadInput("--controls: the recipe has no grpo stage, whose reward a control would replace")
    for kind in CONTROLS:
        if kind not in known:
            yield {"name": kind, "set": {f"{name}.reward": kind for name in trained}}


def control_comparisons(stages: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """`--controls`: each evaluated model that a grpo stage made, against itself in the controls' arms, on the
    mean of all suites that it is asked."""
    suites: dict[str, dict[str, None]] = {}
    for stage in stages.values():
        for label, model in stage.get("models", {}).items() if stage.get("job") == "eval" else ():
            made_by = stages.get(model.removeprefix("stage:"), {})
            if model.startswith("stage:") and made_by.get("job") == "grpo":
                suites.setdefault(label, {}).update(dict.fromkeys(stage.get("suites", [])))
    for label, asked in suites.items():
        against = [f"{label}/{kind}" for kind in CONTROLS]
        yield {"of": label, "against": against, "suites": list(asked), "control": True}
