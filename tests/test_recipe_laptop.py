"""recipes/laptop.toml: what it promises, and all of it at small scale."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import Unit, expand
from shoestring.report.readme import BEGIN, END
from shoestring.tasks.suite import parse_suite

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "laptop.toml"
STAGES = [
    "eval-base", "audit-base", "zero", "audit-zero", "cold-start", "audit-cold-start", "grpo", "audit-grpo",
    "eval",
]  # fmt: skip


@pytest.fixture(scope="module")
def units() -> dict[str, Unit]:
    return {unit.stage: unit for unit in expand(load_recipe(RECIPE, {}, "full"), JOBS)}


def shoestring(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoestring", *arguments]
    return subprocess.run(command, input=said, capture_output=True, text=True, check=False)


def test_its_stages_and_what_they_start_from(units):
    assert list(units) == STAGES
    assert units["zero"].resolved["model"] == units["cold-start"].resolved["model"] == "smollm2-135m"
    assert units["grpo"].needs == {"stage:cold-start": units["cold-start"]}
    assert {u.stage for u in units["eval"].needs.values()} == {"zero", "cold-start", "grpo"}


def test_base_and_models_meet_the_same_problems(units):
    base, trained = units["eval-base"].resolved, units["eval"].resolved
    for key in ("suites", "n", "seed", "max_tokens", "temperature"):
        assert base[key] == trained[key], key
    assert base["n"] >= 256
    assert base["best_of"] == ["base"]
    asked = {(v["few_shot"], v["few_shot_style"], v["lenient"]) for v in base["variants"]}
    ways = [(0, "answer"), (4, "answer"), (4, "reasoning")]
    assert asked == {(*way, lenient) for way in ways for lenient in (False, True)}
    assert base["chat_check"]
    assert trained["chat_check"]


def test_the_harder_level_is_never_trained_on(units):
    harder = [parse_suite(s) for s in units["eval"].resolved["suites"]][-1]
    trained = {s for u in units.values() if u.job in ("sft", "grpo") for s in u.resolved["suites"]}
    longest = max(suite.level.max_terms for suite in map(parse_suite, trained) if suite.name == "sums")
    assert harder.level.min_terms > longest


def test_the_readme_has_a_place_for_its_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


@pytest.mark.slow
@pytest.mark.base
def test_small_scale_runs_through_and_chats(tmp_path):
    folder = tmp_path / "small"
    done = shoestring("run", str(RECIPE), "--scale", "small", "--output-dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"talk to it: shoestring chat {folder}"
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    report = (folder / "report.md").read_text()
    for label in ("base", "zero", "cold-start", "grpo"):
        assert f"| {label}" in report
    assert "small scale" in report
    assert "<table>" in (folder / "report.html").read_text()

    talk = shoestring("chat", str(folder), "--max-tokens", "8", said="What is 2 + 3?\n/exit\n")
    assert talk.returncode == 0, talk.stderr
    assert "cold-start (sft) -> grpo (grpo)" in talk.stdout
    assert "4-bit copy" in talk.stdout
    assert "tokens/s, context " in talk.stdout

    again = shoestring("run", str(RECIPE), "--scale", "small", "--output-dir", str(folder), "--resume")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before, kept") == len(STAGES)
