"""Jobs that only write down that they ran, and a recipe made of them."""

import json
import os
import signal
from pathlib import Path

from pydantic import Field

from shoestring.errors import Interrupted
from shoestring.jobs.recipe import run
from shoestring.jobs.recipe_units import Job
from shoestring.run import Stage
from shoestring.settings import Settings


class TrainSettings(Settings):
    model: str
    steps: int = Field(3, ge=1)
    reward: str = "exact"
    seed: int = 0


class LookSettings(Settings):
    models: dict[str, str]


class Calls:
    """The jobs that were run, and a place to make one of them misbehave."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.trouble: dict[str, Exception] = {}
        self.interrupt_after = 0

    def train(self, settings: TrainSettings, stage: Stage) -> dict:
        state = stage.state_dir / "step"
        done = int(state.read_text()) if state.exists() else 0
        stage.truncate_metrics(done)
        for step in range(done + 1, settings.steps + 1):
            stage.use("train", seconds=1.0, tokens=10)
            stage.log(step, {"reward": step / 10})
            stage.progress(step, settings.steps)
            stage.state_dir.mkdir(exist_ok=True)
            state.write_text(str(step))
            if stage.name in self.trouble:
                raise self.trouble.pop(stage.name)
            if step == self.interrupt_after:
                self.interrupt_after = 0
                os.kill(os.getpid(), signal.SIGINT)
            if stage.stop_requested:
                raise Interrupted("saved")
        stage.model_dir.mkdir(exist_ok=True)
        text = f"{settings.model}+{settings.reward}/{settings.seed}"
        (stage.model_dir / "weights").write_text(text)
        self.made.append((stage.folder.as_posix(), settings.model))
        return {"steps": settings.steps}

    def look(self, settings: LookSettings, stage: Stage) -> dict:
        self.made.append((stage.folder.as_posix(), json.dumps(settings.models)))
        return {"seen": {name: (Path(m) / "weights").read_text() for name, m in settings.models.items()}}

    @property
    def table(self):
        return {
            "train": lambda: Job(TrainSettings, self.train),
            "look": lambda: Job(LookSettings, self.look, makes_model=False),
        }


PLAIN = """
[recipe]
name = "demo"
seed = 4

[[stage]]
name = "zero"
job = "train"
model = "base"
small = { steps = 1 }

[[stage]]
name = "more"
job = "train"
model = "stage:zero"
steps = 2

[[stage]]
name = "check"
job = "look"
models = { more = "stage:more", zero = "stage:zero" }
"""


def write(tmp_path: Path, text: str = PLAIN) -> Path:
    path = tmp_path / "demo.toml"
    path.write_text(text)
    return path


def go(tmp_path: Path, calls: Calls, text: str = PLAIN, **options):
    return run(write(tmp_path, text), tmp_path / "out", jobs=calls.table, **options)


def seen(tmp_path: Path, unit: str) -> dict:
    return json.loads((tmp_path / "out/stages" / unit / "result.json").read_text())["seen"]


ARMS = (
    PLAIN.replace('name = "zero"', 'name = "zero"\nseeds = [1, 2]')
    + """
[[stage]]
name = "apart"
job = "train"
model = "base"

[[arm]]
name = "random"
set = { "zero.reward" = "random" }

[[arm]]
name = "long"
set = { "more.steps" = 4 }
"""
)
