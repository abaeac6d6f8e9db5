"""studies/*.toml: that each can run, and that what is kept of a finished one is what its page says. There are
those of scores, with [[comparison]], and those of pretraining itself, with [[contrast]]."""

import tomllib
from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import expand
from shoestring.report import ablation
from shoestring.report.markdown import render_markdown
from shoestring.report.study import parse
from shoestring.tasks.suite import parse_suite

STUDIES = Path(__file__).parents[1] / "studies"
RECIPES = sorted(STUDIES.glob("*.toml"))
ABLATIONS = [path for path in RECIPES if "contrast" in tomllib.loads(path.read_text(encoding="utf-8"))]
OF_SCORES = [path for path in RECIPES if path not in ABLATIONS]
TAUGHT = ("sft", "sample", "grpo")
RESULTS = sorted((STUDIES / "results").glob("*.json"))


def averaged(recipe) -> set[str]:
    """The suites that a comparison is about."""
    return {suite for c in recipe.comparisons for suite in (c.suite, *c.suites) if suite}


def recipe_of(path: Path, scale: str):
    """The study's recipe; the test is skipped where it asks for reasoning-gym, which isn't everywhere."""
    if '"gym:' in path.read_text(encoding="utf-8"):
        pytest.importorskip("reasoning_gym", reason="the extra `gym` is not installed")
    return load_recipe(path, {}, scale)


def suites_of(unit) -> set[str]:
    return {str(parse_suite(suite)) for suite in unit.values["suites"]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["full", "small"])
def test_it_names_its_comparisons_and_every_unit_is_ready_to_run(path, scale):
    recipe = recipe_of(path, scale)
    units = expand(recipe, JOBS)
    assert recipe.contrasts if path in ABLATIONS else recipe.comparisons
    seeds = {unit.seed for unit in units if unit.job in ("sft", "grpo") or path in ABLATIONS} - {None}
    assert len(seeds) >= 3
    if scale == "full":
        compared = {
            label
            for c in recipe.comparisons
            for model in (c.of, *c.others)
            for label in [model.split("/")[0]]
        }
        asked = [unit for unit in units if unit.job == "eval" and compared & set(unit.values["models"])]
        assert all(unit.values["n"] >= 512 for unit in asked if suites_of(unit) & averaged(recipe))


@pytest.mark.parametrize("path", OF_SCORES, ids=lambda path: path.stem)
def test_the_harder_level_is_trained_on_by_no_stage(path):
    units = expand(recipe_of(path, "full"), JOBS)
    trained = {str(parse_suite(s)) for u in units if u.job in TAUGHT for s in u.values.get("suites", [])}
    asked = {str(parse_suite(s)) for u in units if u.job == "eval" for s in u.values["suites"]}
    assert asked - trained


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_kept_page_is_worked_out_from_its_file(path):
    kept = path.with_suffix(".md").read_text(encoding="utf-8")
    if path.stem in {study.stem for study in ABLATIONS}:
        assert kept == ablation.render(ablation.parse(path))
    else:
        assert kept == render_markdown(parse(path))


RECIPE = """
[recipe]
name = "x"
[[stage]]
name = "zero"
job = "grpo"
[[stage]]
name = "eval"
job = "eval"
models = { zero = "stage:zero" }
suites = ["sums:max_terms=3"]
[[arm]]
name = "random"
set = { "zero.reward" = "random" }
[[comparison]]
"""


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (
            "of = 'zeor'\nagainst = 'zero/random'\nsuite = 'sums:max_terms=3'",
            "no eval stage has a model 'zeor'",
        ),
        ("of = 'zero'\nagainst = 'zero/rnadom'\nsuite = 'sums:max_terms=3'", "no arm 'rnadom'"),
        ("of = 'zero'\nagainst = 'zero/random'\nsuite = 'sums:max_terms=4'", "no eval stage asks"),
        ("of = 'zero'\nagainst = 'zero/random'", "suite"),
    ],
)
def test_a_comparison_that_can_never_be_made_is_refused(tmp_path, comparison, said):
    path = tmp_path / "x.toml"
    path.write_text(RECIPE + comparison)
    with pytest.raises(BadInput, match=said):
        load_recipe(path, {}, "full")


def test_a_comparison_is_kept_in_the_resolved_recipe(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(RECIPE + "of = 'zero'\nagainst = 'zero/random'\nsuite = 'sums:max_terms=3'")
    recipe = load_recipe(path, {}, "full")
    (kept,) = recipe.to_toml()["comparison"]
    assert kept == {"of": "zero", "against": "zero/random", "suite": "sums:max_terms=3"}
