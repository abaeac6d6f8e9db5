"""recipes/tiny-v3.toml: what it promises, and all of it at small scale."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import Unit, expand
from shoestring.lm import load

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "tiny-v3.toml"
STAGES = ["tokenizer", "pretrain", "zero", "cold-start", "grpo", "eval"]


@pytest.fixture(scope="module")
def units() -> dict[str, Unit]:
    return {unit.stage: unit for unit in expand(load_recipe(RECIPE, {}, "full"), JOBS)}


def test_its_stages_and_what_they_start_from(units: dict[str, Unit]) -> None:
    assert list(units) == STAGES
    assert units["pretrain"].needs == {"stage:tokenizer": units["tokenizer"]}
    for stage in ("zero", "cold-start"):
        assert units[stage].needs == {"stage:pretrain": units["pretrain"]}
    assert units["grpo"].needs == {"stage:cold-start": units["cold-start"]}
    needed = {unit.stage for unit in units["eval"].needs.values()}
    assert needed == {"pretrain", "zero", "cold-start", "grpo"}


def test_solutions_in_the_corpus_are_of_mixed_quality_and_rl_is_asked_the_same(
    units: dict[str, Unit],
) -> None:
    worked = units["pretrain"].resolved["corpus"][0]
    assert worked["kind"] == "worked"
    assert worked["share_right"] < 0.5
    assert worked["slips"] == "habit"
    for stage in ("zero", "cold-start", "grpo", "eval"):
        assert units[stage].resolved["suites"] == worked["suites"]
    assert units["eval"].resolved["best_of"] == ["pretrained"]


@pytest.mark.slow
def test_small_scale_runs_through_and_chats(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    command = [sys.executable, "-m", "shoestring"]
    words = ["run", str(RECIPE), "--scale", "small", "--output-dir", str(folder)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    lm = load(folder)
    assert lm.config.model_type == "deepseek_v3"
    assert [stage.job for stage in lm.lineage.stages] == ["pretrain", "sft", "grpo"]
    talk = subprocess.run(
        [*command, "chat", str(folder), "--max-tokens", "8"],
        input="What is 2 + 3?\n/exit\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert talk.returncode == 0, talk.stderr
