"""What a recipe asks for, and what of it is refused before anything runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_jobs import ARMS, PLAIN, Calls, LookSettings, go, write
from shoestring.errors import BadInput
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe import run
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import Job, expand, references, resolve


@pytest.fixture
def calls():
    return Calls()


def test_small_scale_and_overrides(tmp_path, calls):
    assert load_recipe(write(tmp_path), {}, "small").stages[0].values["steps"] == 1
    assert "steps" not in load_recipe(write(tmp_path), {}, "full").stages[0].values
    recipe = load_recipe(write(tmp_path), {"zero.steps": 9}, "small")
    assert recipe.stages[0].values["steps"] == 9


def test_arms_and_seeds_reach_what_is_built_on_them_and_nothing_else(tmp_path, calls):
    units = expand(load_recipe(write(tmp_path, ARMS), {}, "full"), calls.table)
    assert [unit.title for unit in units if unit.stage == "zero"] == [
        "zero seed 1",
        "zero seed 2",
        "zero random seed 1",
        "zero random seed 2",
    ]
    titles = [unit.title for unit in units if unit.stage == "more"]
    assert titles[2:] == ["more random seed 1", "more random seed 2", "more long seed 1", "more long seed 2"]
    assert [unit.title for unit in units if unit.stage == "apart"] == ["apart"]
    by_title = {unit.title: unit for unit in units}
    assert by_title["more random seed 2"].needs["stage:zero"].title == "zero random seed 2"
    assert by_title["more long seed 2"].needs["stage:zero"].title == "zero seed 2"  # no such arm of zero
    assert by_title["more long seed 2"].values["steps"] == 4
    assert by_title["zero random seed 2"].values == {"model": "base", "reward": "random", "seed": 2}
    assert by_title["more seed 2"].values["seed"] == 2  # it follows what it is built on
    assert by_title["apart"].values["seed"] == 4  # the recipe's


def test_the_recipe_as_written_comes_before_any_arm(tmp_path, calls):
    units = expand(load_recipe(write(tmp_path, ARMS), {}, "full"), calls.table)
    assert list(dict.fromkeys(unit.arm for unit in units)) == ["", "random", "long"]
    for arm in ("", "random", "long"):
        numbers = [unit.number for unit in units if unit.arm == arm]
        assert numbers == sorted(numbers)


def test_a_stage_may_stay_out_of_arms_that_do_not_change_it(tmp_path, calls):
    text = ARMS.replace('name = "more"', 'name = "more"\nin_arms = false', 1)
    assert text != ARMS
    units = expand(load_recipe(write(tmp_path, text), {}, "full"), calls.table)
    assert [unit.title for unit in units if unit.stage == "more"] == [
        "more seed 1",
        "more seed 2",
        "more long seed 1",  # changes it
        "more long seed 2",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('job = "look"', 'job = "loook"'), "unknown job 'loook', did you mean 'look'"),
        (("steps = 2", "setps = 2"), "stage 'more': unknown setting 'setps', did you mean 'steps'"),
        (("steps = 2", "steps = 0"), "setting 'steps' = 0"),
        (('"stage:zero"\nsteps', '"stage:zeroo"\nsteps'), "is called 'zeroo', did you mean 'zero'"),
        (
            ('model = "base"', 'model = "stage:more"'),
            "no earlier stage that makes a model or rows is called 'more'",
        ),
        (('name = "more"', 'name = "zero"'), "stage 2 needs a name of its own"),
        (('name = "more"', 'name = "../x"'), "stage 2 needs a name of its own"),
        (("seed = 4", "sed = 4"), "unknown setting 'sed', did you mean 'seed'"),
        (("steps = 2", "seeds = [1]\nseed = 2"), "give 'seed' or 'seeds', not both"),
        (('job = "look"', 'job = "look"\nseeds = [1]'), "has no setting 'seed'"),
        (("[recipe]", "[recipes]"), "unknown table 'recipes', did you mean 'recipe'"),
        (
            ("[recipe]", "[[arm]]\nname='a'\nset={'zro.steps'=1}\n[recipe]"),
            "no stage 'zro', did you mean 'zero'",
        ),
        (("[recipe]", "[[arm]]\nname='model'\nset={}\n[recipe]"), "arm 'model' needs another name"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(tmp_path, calls, change, message):
    old, new = change
    assert old in PLAIN
    with pytest.raises(BadInput, match=message) as caught:
        go(tmp_path, calls, PLAIN.replace(old, new, 1))
    assert "\n" not in str(caught.value)
    assert calls.made == []
    assert not (tmp_path / "out").exists()


def test_an_override_of_no_stage_is_refused(tmp_path, calls):
    with pytest.raises(BadInput, match="no stage 'zer', did you mean 'zero'"):
        go(tmp_path, calls, overrides={"zer.steps": 1})


def test_a_jobs_own_check_runs_first(tmp_path, calls):
    def refuse(settings):
        raise BadInput(f"no such suite: {settings.models}")

    table = calls.table | {"look": lambda: Job(LookSettings, calls.look, False, refuse)}
    with pytest.raises(BadInput, match="no such suite"):
        run(write(tmp_path), tmp_path / "out", jobs=table)
    assert calls.made == []


def test_an_unknown_recipe(tmp_path):
    with pytest.raises(BadInput, match="no such recipe: lapptop"):
        run("lapptop", tmp_path / "out")


def test_the_table_of_jobs_is_lazy():
    assert {"eval", "sft", "grpo", "distill-outputs"} <= set(JOBS)
    assert JOBS["eval"]().makes_model is False


trees = st.recursive(
    st.sampled_from(["stage:a", "stage:b", "x", 3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2),
    max_leaves=8,
)


@given(trees)
def test_every_reference_is_found_and_resolved(tree):
    folders = {"stage:a": "/run/a/model", "stage:b": "/run/b/model"}
    found = list(references(tree))
    assert len(found) == str(tree).count("stage:")
    assert list(references(resolve(tree, folders))) == []
    assert str(resolve(tree, folders)).count("/run/") == len(found)
