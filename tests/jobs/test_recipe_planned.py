"""Comparisons, controls and the table of stages as a recipe names them."""

import pytest

from shoestring.errors import BadInput
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe import command_line
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_planned import CONTROLS
from shoestring.jobs.recipe_units import expand

HEAD = """
[recipe]
name = "x"
[[stage]]
name = "zero"
job = "grpo"
model = "smollm2-135m"
suites = ["sums:max_terms=3"]
steps = 1
seeds = [1, 2]
[[stage]]
name = "cold"
job = "sft"
model = "smollm2-135m"
suites = ["sums:max_terms=3"]
steps = 1
[[stage]]
name = "rl"
job = "grpo"
model = "stage:cold"
suites = ["sums:max_terms=3"]
steps = 1
[[stage]]
name = "eval"
job = "eval"
models = { base = "smollm2-135m", zero = "stage:zero", cold = "stage:cold", r1 = "stage:rl" }
suites = ["sums:max_terms=3", "letters"]
n = 16
"""


@pytest.fixture
def load(tmp_path):
    def loaded(text: str = "", controls: bool = False):
        path = tmp_path / "x.toml"
        path.write_text(HEAD + text)
        return load_recipe(path, {}, "full", controls)

    return loaded


def test_several_suites_controls_and_the_table_are_kept(load, tmp_path):
    recipe = load("""
[[arm]]
name = "random"
set = { "zero.reward" = "random" }
[[comparison]]
of = "zero"
against = ["zero/random", "cold"]
suites = ["letters:", "sums:max_terms=3"]
control = true
[stage_table]
models = ["zero", "cold", "r1"]
suites = ["letters"]
harder = ["sums:max_terms=3"]
""")
    (found,) = recipe.comparisons
    assert (found.others, found.suites, found.control) == (
        ("zero/random", "cold"),
        ("letters", "sums:max_terms=3"),
        True,
    )
    kept = recipe.to_toml()
    assert kept["comparison"][0] == {
        "of": "zero",
        "against": ["zero/random", "cold"],
        "suites": ["letters", "sums:max_terms=3"],
        "control": True,
    }
    assert kept["stage_table"] == {
        "models": ["zero", "cold", "r1"],
        "suites": ["letters"],
        "harder": ["sums:max_terms=3"],
    }


COMPARISON = "[[comparison]]\nof = 'zero'\nagainst = 'cold'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COMPARISON, "give suite, or suites"),
        (COMPARISON + "suite = 'letters'\nsuites = ['letters']", "give suite, or suites"),
        (COMPARISON + "suites = ['letters', 'countdown']", "no eval stage asks 'countdown'"),
        (COMPARISON.replace("'cold'", "[]") + "suite = 'letters'", "against names no model"),
        (COMPARISON.replace("'cold'", "['cold', 'clod']") + "suite = 'letters'", "did you mean 'cold'"),
        (COMPARISON.replace("'cold'", "'zero'") + "suite = 'letters'", "stands against itself"),
        ("[stage_table]\nmodels = ['zreo']", "did you mean 'zero'"),
        ("[stage_table]\nmodels = ['zero/random']", "no arm 'random'"),
        ("[stage_table]\nmodels = ['zero']\nharder = ['countdown']", "no eval stage asks 'countdown'"),
        ("[stage_table]\nmodel = ['zero']", "did you mean 'models'"),
    ],
)
def test_what_can_never_be_shown_is_refused(load, text, said):
    with pytest.raises(BadInput, match=said) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_controls_are_one_switch(load, tmp_path):
    recipe = load(controls=True)
    assert [arm.name for arm in recipe.arms] == list(CONTROLS)
    assert recipe.arms[0].set == {"zero.reward": "random", "rl.reward": "random"}
    zero, r1 = recipe.comparisons
    assert (zero.of, r1.of) == ("zero", "r1")  # not the base, nor what sft made
    assert zero.others == ("zero/random", "zero/shuffled", "zero/format")
    assert zero.suites == ("sums:max_terms=3", "letters")
    assert zero.control
    units = expand(recipe, JOBS)
    assert [u.arm for u in units if u.stage == "rl"] == ["", *CONTROLS]
    assert {u.arm for u in units if u.stage == "cold"} == {""}
    shuffled = [u for u in units if u.stage == "zero" and u.arm == "shuffled"]
    assert [u.resolved["reward"] for u in shuffled] == ["shuffled"] * 2
    # going on is the same command, and what was run can be run again from what was kept
    assert "--controls" in command_line("x", tmp_path, {}, "full", controls=True)
    assert load().arms == ()


def test_controls_leave_an_arm_of_that_name_as_it_is(load):
    recipe = load('[[arm]]\nname = "random"\nset = { "rl.reward" = "random" }', controls=True)
    assert [arm.name for arm in recipe.arms] == ["random", "shuffled", "format"]
    assert recipe.arms[0].set == {"rl.reward": "random"}


def test_controls_need_something_to_control(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('[recipe]\nname = "x"\n[[stage]]\nname = "cold"\njob = "sft"\nmodel = "m"\n')
    with pytest.raises(BadInput, match="no grpo stage"):
        load_recipe(path, {}, "full", controls=True)
