"""Where a run has kept rollouts."""

from pathlib import Path

from shoestring.errors import BadInput
from shoestring.report.rollouts import RolloutFolder, kept_steps
from shoestring.report.scores import UnitReport
from shoestring.report.units import read_units


def rollout_folders(folder: Path) -> list[RolloutFolder]:
    """Of each unit of a run that has kept some, or of a stage's own folder. Raises BadInput where there are
    none."""
    if kept_steps(folder / "rollouts"):
        name = folder.resolve().name
        return [RolloutFolder(name, name, "", True, folder / "rollouts", kept_steps(folder / "rollouts"))]
    if not (folder / "recipe.toml").exists():
        raise BadInput(f"{folder} is not a run folder (no recipe.toml), nor a stage's (no rollouts in it)")
    found = [rollouts_of(path, unit) for path, unit in read_units(folder)]
    found = [rollouts for rollouts in found if rollouts.steps]
    if not found:
        raise BadInput(f"{folder} has no rollouts yet: stages of reinforcement learning keep them")
    return found


def rollouts_of(path: Path, unit: UnitReport) -> RolloutFolder:
    own, judged = path / "rollouts", unit.job != "pretrain"
    return RolloutFolder(unit.title, unit.stage, unit.arm, judged, own, kept_steps(own))
