"""What a recipe asks for: its stages times arms times seeds, each a unit with settings that were checked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring.errors import BadInput
from shoestring.jobs.recipe_file import NAME, Arm, Recipe, StagePlan
from shoestring.settings import Settings, build, nearest, with_overrides

REFERENCE = "stage:"
ROWS_KEY = "data"  # the setting that takes a stage's rows
TAKEN = ("model", "state", "rollouts", "evals")  # folders of the stage that an arm's folder lies in


@dataclass(frozen=True)
class Job:
    settings: type[Settings]
    main: Callable[..., dict[str, Any]]  # of the settings and the stage
    makes_model: bool = True
    check: Callable[[Any], object] | None = None  # what its settings name but can't check: suites, levels
    figures: tuple[str, ...] = ()  # of a unit's training, that a [[contrast]] may name
    makes_rows: str = ""  # the file of conversations in its folder, for `data` of a later stage
    takes_rows: tuple[str, ...] = (ROWS_KEY,)  # settings that take a stage's rows; all others take its model
    takes_handles: bool = False  # main(settings, stage, handles): it can work on a cluster


JobTable = Mapping[str, Callable[[], Job]]


@dataclass(frozen=True)
class Unit:
    """One (stage, arm, seed). `needs` names the unit that each of its references means."""

    number: int  # of the stage, from 1
    stage: str
    job: str
    arm: str
    seed: int | None
    values: dict[str, Any]  # the job's settings as written, references unresolved
    resolved: dict[str, Any]  # the same with every default, as the folder's settings.toml has them
    needs: dict[str, "Unit"] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return " ".join([self.stage, *([self.arm] if self.arm else []), *_seed_words(self.seed)])


def expand(recipe: Recipe, jobs: JobTable) -> list[Unit]:
    """Every unit in order: the recipe as written, then arm by arm, so that what it is about is there first.
    Each one's settings are built once to check them. Raises BadInput before anything runs."""
    _check_arms(recipe)
    units: list[Unit] = []
    made: dict[str, list[Unit]] = {}
    for number, plan in enumerate(recipe.stages, start=1):
        name, where = plan.head.name, f"stage '{plan.head.name}'"
        if plan.head.job not in jobs:
            raise BadInput(f"{where}: unknown job '{plan.head.job}'{nearest(plan.head.job, list(jobs))}")
        job = jobs[plan.head.job]()
        made[name] = []
        for arm in _arms_of(plan, recipe, made):
            values = with_overrides(plan.values, _changes(arm, name))
            for seed in plan.head.seeds or _seeds_of(values, made):
                listed = seed if plan.head.seeds else None
                follows = (
                    seed if seed is not None and (job.makes_model or job.makes_rows) else recipe.head.seed
                )
                own = _with_seed(values, listed, follows, job, where)
                if "device" in job.settings.model_fields:
                    own = {"device": recipe.head.device} | own
                settings = build(job.settings, own, where)
                if job.check is not None:
                    job.check(settings)
                # TOML has no null: a setting that is None stays out
                resolved = {"job": plan.head.job, **settings.model_dump(mode="json", exclude_none=True)}
                unit = Unit(number, name, plan.head.job, arm.name if arm else "", seed, own, resolved)
                unit.needs.update({ref: _find(ref, unit, made) for ref in references(own)})
                _check_products(unit, jobs)
                made[name].append(unit)
        units += made[name]
        if not (job.makes_model or job.makes_rows):
            del made[name]
    _check_contrasts(recipe, units, jobs)
    arms = ["", *(arm.name for arm in recipe.arms)]
    return sorted(units, key=lambda unit: arms.index(unit.arm))


def _check_contrasts(recipe: Recipe, units: Sequence[Unit], jobs: JobTable) -> None:
    """Raises BadInput where no units will ever have what one names."""
    sides = {f"{u.stage}/{u.arm}" if u.arm else u.stage: u for u in units}
    for contrast in recipe.contrasts:
        for side in (contrast.of, contrast.against):
            if side not in sides:
                raise BadInput(f"[[contrast]]: no stage and arm '{side}'{nearest(side, list(sides))}")
            known = jobs[sides[side].job]().figures
            if contrast.metric not in known:
                told = nearest(contrast.metric, list(known)) if known else "; pretrain stages have"
                raise BadInput(f"[[contrast]]: '{side}' has no figure '{contrast.metric}'{told}")
        if contrast.of == contrast.against:
            raise BadInput(f"[[contrast]]: '{contrast.of}' stands against itself")


def references(values: Any) -> Iterator[str]:
    """Each "stage:NAME" in the values, at any depth."""
    if isinstance(values, str) and values.startswith(REFERENCE):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from references(value)
    elif isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            yield from references(value)


def product(job: Job) -> str:
    """What a reference to a unit of this job means, in the unit's folder."""
    return job.makes_rows or "model"


def _check_products(unit: Unit, jobs: JobTable) -> None:
    """Rows where a model is wanted, or a model where rows are, would fail only when the stage starts."""
    for key, reference in _keyed_references(unit.values):
        other = unit.needs[reference]
        rows = bool(jobs[other.job]().makes_rows)
        if rows != (key in jobs[unit.job]().takes_rows):
            raise BadInput(
                f"stage '{unit.title}': {key} = '{reference}', but stage '{other.stage}' makes "
                f"{'rows, which go into ' + ROWS_KEY if rows else 'a model and no rows'}"
            )


def _keyed_references(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _keyed_references(value, name)
    elif isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            yield from _keyed_references(value, key)
    else:
        yield from ((key, reference) for reference in references(values))


def resolve(values: Any, folders: Mapping[str, str]) -> Any:
    """The values with each reference replaced by its folder."""
    if isinstance(values, str):
        return folders.get(values, values)
    if isinstance(values, Mapping):
        return {key: resolve(value, folders) for key, value in values.items()}
    if isinstance(values, Sequence):
        return [resolve(value, folders) for value in values]
    return values


def _check_arms(recipe: Recipe) -> None:
    stages = [plan.head.name for plan in recipe.stages]
    names = [arm.name for arm in recipe.arms]
    for arm in recipe.arms:
        taken = arm.name in TAKEN or arm.name.startswith("seed-") or names.count(arm.name) > 1
        if taken or not NAME.fullmatch(arm.name):
            raise BadInput(
                f"arm {arm.name!r} needs another name: letters, digits, . _ -, and none that is taken"
            )
        for dotted in arm.set:
            stage, _, key = dotted.partition(".")
            if stage not in stages or not key:
                raise BadInput(
                    f"arm '{arm.name}' sets '{dotted}': no stage '{stage}'{nearest(stage, stages)}"
                )


def _arms_of(plan: StagePlan, recipe: Recipe, made: Mapping[str, list[Unit]]) -> list[Arm | None]:
    """None (the recipe as written), then the arms that change this stage or one it is built on."""
    prefix = f"{plan.head.name}."
    below = {u.arm for ref in references(plan.values) for u in made.get(ref.removeprefix(REFERENCE), [])}
    if not plan.head.in_arms:
        below = set()
    own = [arm for arm in recipe.arms if arm.name in below or any(key.startswith(prefix) for key in arm.set)]
    return [None, *own]


def _seeds_of(values: Mapping[str, Any], made: Mapping[str, list[Unit]]) -> list[int | None]:
    """The seeds of the stages it is built on; [None] where they have none."""
    units = [u for ref in references(values) for u in made.get(ref.removeprefix(REFERENCE), [])]
    return list(dict.fromkeys(u.seed for u in units if u.seed is not None)) or [None]


def _changes(arm: Arm | None, stage: str) -> dict[str, Any]:
    prefix = f"{stage}."
    items = arm.set.items() if arm else ()
    return {dotted.removeprefix(prefix): value for dotted, value in items if dotted.startswith(prefix)}


def _with_seed(
    values: dict[str, Any], seed: int | None, default: int, job: Job, where: str
) -> dict[str, Any]:
    """The unit's seed where the stage lists `seeds`; else its own `seed`, else `default`: that of what it is
    built on, or the recipe's. An eval has the recipe's, for all seeds are asked the same problems."""
    takes_seed = "seed" in job.settings.model_fields
    if seed is None:
        return {"seed": default} | values if takes_seed else values
    if not takes_seed:
        raise BadInput(f"{where}: seeds were given, but its job has no setting 'seed'")
    if "seed" in values:
        raise BadInput(f"{where}: give 'seed' or 'seeds', not both")
    return values | {"seed": seed}


def _find(reference: str, unit: Unit, made: Mapping[str, list[Unit]]) -> Unit:
    """The referenced stage's unit of the same arm and seed, else the nearest to it that there is."""
    name = reference.removeprefix(REFERENCE)
    if name not in made or name == unit.stage:
        known = [stage for stage in made if stage != unit.stage]
        hint = nearest(name, known) if known else ""
        raise BadInput(
            f"stage '{unit.stage}': no earlier stage that makes a model or rows is called '{name}'{hint}"
        )
    for arm in dict.fromkeys((unit.arm, "")):
        for seed in dict.fromkeys((unit.seed, None)):
            for other in made[name]:
                if (other.arm, other.seed) == (arm, seed):
                    return other
    raise BadInput(f"stage '{unit.title}': stage '{name}' is not run with seed {unit.seed}")


def _seed_words(seed: int | None) -> list[str]:
    return [] if seed is None else [f"seed {seed}"]
