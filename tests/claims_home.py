"""A place with one study and claims of it, and jobs that take no time to run it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from fake_jobs import Calls, TrainSettings
from run_folders import item
from shoestring.evals.statistics import wilson
from shoestring.jobs.recipe_units import Job
from shoestring.run import Stage
from shoestring.settings import Settings, read_toml

SUITE, N = "sums:max_terms=3", 60
STUDY = f"""
[recipe]
name = "demo-study"

[[stage]]
name = "zero"
job = "grpo"
model = "base"
seeds = [1, 2, 3]
steps = 4

[[stage]]
name = "eval"
job = "eval"
models = {{ base = "base", zero = "stage:zero" }}
suites = ["{SUITE}"]

[[arm]]
name = "random"
set = {{ "zero.reward" = "random" }}
"""
# what no claim is about
MORE = """
[[stage]]
name = "other"
job = "grpo"
model = "base"

[[stage]]
name = "eval-other"
job = "eval"
models = { other = "stage:other", zero = "stage:zero" }
suites = ["equations"]

[[arm]]
name = "unasked"
set = { "zero.reward" = "format" }
"""
CLAIM = """
[[claim]]
name = "{name}"
says = "RL teaches."
published = "15.6 to 71.0 (a report, section 2)"
control = "a random reward"
"""
FINDING = f"""
[[claim.finding]]
kind = "comparison"
says = "RL less {{against}}"
study = "demo"
of = "zero"
against = "{{against}}"
suites = ["{SUITE}"]
unit = "points"
{{bound}}
"""
TREND = """
[[claim.finding]]
kind = "trend"
says = "reward"
study = "demo"
stage = "zero"
metric = "reward"
steps = 2
unit = "points"
above = 0.0
"""
CLAIMS = (
    CLAIM.format(name="teaches")
    + FINDING.format(against="base", bound="above = 0.0")
    + FINDING.format(against="zero/random", bound="above = 0.0")
    + CLAIM.format(name="does-nothing")
    + FINDING.format(against="zero/random", bound="within = [-0.01, 0.01]")
    + CLAIM.format(name="rises")
    + TREND
)


class GRPOSettings(TrainSettings):
    preflight: dict[str, float] = Field(default={})
    rehearsal: bool = True
    red_team: bool = True


class EvalSettings(Settings):
    models: dict[str, str]
    suites: list[str]


def home(tmp_path: Path, claims: str = CLAIMS, study: str = STUDY) -> Path:
    for folder in ("studies/results", "claims"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "studies/demo.toml").write_text(study)
    (tmp_path / "claims/claims.toml").write_text(claims)
    return tmp_path


def right(label: str, folder: Path) -> int:
    """Of N problems: what RL with the right reward brings."""
    random = "random" in folder.as_posix()
    seed = int(folder.name.removeprefix("seed-")) if folder.name.startswith("seed-") else 0
    return {"base": 20, "zero": 21 if random else 50 + seed, "other": 20}[label]


def evaluate(settings: EvalSettings, stage: Stage) -> dict[str, Any]:
    rows, items = [], []
    for label in settings.models:
        for suite in settings.suites:
            count = right(label, stage.folder)
            low_high = wilson(count, N)
            score = {"model": label, "suite": suite, "variant": "", "best": True, "n": N, "k": 1, "seed": 0}
            score |= {"correct": count, "score": count / N, "ci95": [low_high.low, low_high.high]}
            score |= {"truncated": 0, "unparsed": 0, "outcomes": {"timeout": 0, "error": 0}}
            rows.append(score | {"lower_bound": False, "settings": {}})
            items += [item(label, suite, "", i, i < count) for i in range(N)]
    (stage.folder / "evals").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(items), stage.folder / "evals/items.parquet")
    return {"evals": rows, "items": "evals/items.parquet"}


def table(calls: Calls) -> dict[str, Any]:
    return {
        "grpo": lambda: Job(GRPOSettings, calls.train),
        "eval": lambda: Job(EvalSettings, evaluate, makes_model=False),
    }


def units_of(run: Path) -> list[str]:
    """The stages' units of a run folder that are there, from its settings files."""
    stages = run / "stages"
    return sorted(path.parent.relative_to(stages).as_posix() for path in stages.rglob("settings.toml"))


def models_of(run: Path, unit: str) -> dict[str, str]:
    return read_toml(run / "stages" / unit / "settings.toml")["models"]
