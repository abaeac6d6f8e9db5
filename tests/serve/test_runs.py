"""The Runs page's endpoints."""

import shutil
from urllib.parse import urlencode

import pytest

from run_folders import RECIPE, RIGHT, begin, evaluate, kept_group, train_zero, unit
from shoestring.rl.store import SCHEMA
from shoestring.run import RunFolder

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two runs, one of them in a folder of its own, and what must not be reached beside them."""
    top = tmp_path_factory.mktemp("top")
    folder = begin(top / "runs" / "one")
    train_zero(unit(folder, 1, RECIPE["stage"][0]), 0.3)
    stage = unit(folder, 2, RECIPE["stage"][0] | {"name": "more"})
    for step in range(1, 4):
        stage.rollouts(step, kept_group(step, step, "p", [("<think>a</think>7", 1.0)] * 60), SCHEMA)
        stage.log(step, {"reward": 1.0})
    evaluate(unit(folder, 3, RECIPE["stage"][2]), RIGHT)
    begin(top / "runs" / "deep" / "two")
    begin(top / "outside")
    return top / "runs"


@pytest.fixture(scope="module")
def get(root):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from shoestring.serve.runs import runs_router

    app = FastAPI()
    app.include_router(runs_router(root))
    client = TestClient(app)
    return lambda name="", **query: client.get(f"/runs{name}?{urlencode(query)}")


def test_the_list(get):
    found = get().json()
    assert found["root"] == "runs"
    assert {run["id"] for run in found["runs"]} == {"one", "deep/two"}
    assert next(run for run in found["runs"] if run["id"] == "deep/two")["state"] == "not started"


def test_the_overview(get):
    found = get("/overview", run="one").json()
    assert [stage["name"] for stage in found["stages"]] == ["zero", "cold-start", "check"]
    assert found["stages"][0]["used"]["seconds"] == pytest.approx(400)
    assert found["figures"][0]["name"] == "time"
    assert found["wasted"]["dead_groups"]["tokens"] == pytest.approx(40_000)
    assert {row["model"] for row in found["evals"]} == {"base", "zero"}
    assert found["environment"]["command"].startswith("shoestring run")


def test_curves_have_null_where_a_value_is_not_finite(get):
    plots = get("/curves", run="one").json()
    norm = next(plot for plot in plots if plot["metric"] == "grad_norm")
    assert norm["main"] is True
    assert norm["lines"][0]["values"][8] is None
    assert norm["lines"][0]["steps"] == list(range(1, 21))


def test_a_metric_that_is_not_drawn_comes_when_it_is_asked_for(get, root):
    stage = unit(RunFolder(root / "one"), 4, RECIPE["stage"][0] | {"name": "odd"})
    stage.log(1, {"odd": 2.0})
    for metric, lines in (("", 0), ("odd", 1)):
        plots = get("/curves", run="one", metric=metric).json()
        assert len(next(plot for plot in plots if plot["metric"] == "odd")["lines"]) == lines


def test_rollouts_by_verdict_in_pages(get):
    units = {one["unit"]: one for one in get("/verdicts", run="one").json()}
    assert units["more"]["counts"] == {"right": [60, 60, 60]}
    first = get("/rollouts", run="one", unit="more").json()
    assert (first["step"], first["total"], len(first["samples"])) == (3, 60, 50)
    assert first["samples"][0]["pieces"][1] == ["think", "a"]
    rest = get("/rollouts", run="one", unit="more", step=2, verdict="right", offset=50).json()
    assert (rest["step"], len(rest["samples"])) == (2, 10)
    assert get("/rollouts", run="one", unit="more", verdict="wrong").json()["total"] == 0


@pytest.mark.parametrize("run", ["../outside", "/etc", "deep", "", "one/../one", "a\0b", "x" * 9000])
def test_a_run_is_looked_up_and_never_a_path(get, run):
    for name in ("/overview", "/curves", "/verdicts"):
        assert get(name, run=run).status_code == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"unit": "nope"}, 404),
        ({"unit": "more", "step": 99}, 404),
        ({"unit": "more", "verdict": "nice"}, 404),
        ({"unit": "more", "step": "x"}, 422),
        ({"unit": "more", "step": -1}, 422),
        ({"unit": "more", "offset": 2**40}, 422),
        ({}, 422),
    ],
)
def test_bad_questions_are_refused(get, query, status):
    assert get("/rollouts", run="one", **query).status_code == status


def test_a_damaged_run_is_said_and_not_a_fault(get, root):
    shutil.copytree(root / "one", root / "bad")
    try:
        (root / "bad/stages/01-zero/metrics.jsonl").write_text("no\nno\n")
        (root / "bad/recipe.toml").write_text("not = = toml")
        for name in ("/overview", "/curves"):
            answer = get(name, run="bad")
            assert answer.status_code in (404, 409)
        assert get().status_code == 200  # the others are still shown
    finally:
        shutil.rmtree(root / "bad")
