"""Claims from the command's side: what is run, what is refused, what stops and goes on, what is shown."""

import io
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli_w
from rich.console import Console
from typer.testing import CliRunner

from claims_home import CLAIM, CLAIMS, MORE, STUDY, TREND, home, models_of, table, units_of
from fake_jobs import Calls
from shoestring.cli import app
from shoestring.errors import BadInput, Interrupted
from shoestring.jobs import plan
from shoestring.jobs.claims import ClaimsSettings, listed, main
from shoestring.jobs.claims_file import HOME, read_claims
from shoestring.jobs.claims_small import prune
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import expand
from shoestring.report import study
from shoestring.report.claims.finding import Needs, StudyFinding
from shoestring.report.read import read_run
from shoestring.settings import build, read_toml

REAL = HOME / "claims/claims.toml"
VERDICTS = ("holds here", "does not hold here", "can't tell at this scale", "not run yet")


def claims(place: Path, calls: Calls | None = None, **values):
    """The result and what was printed."""
    settings = build(
        ClaimsSettings, {"output_dir": place / "out", "file": place / "claims/claims.toml", **values}, "test"
    )
    console = Console(file=io.StringIO(), width=200)
    result = main(settings, console, table(calls or Calls()), place)
    return result, console.file.getvalue()


def verdicts(result) -> dict[str, str]:
    return {claim["name"]: claim["verdict"] for claim in result["claims"]}


def test_what_has_no_result_is_not_run_and_the_command_is_said(tmp_path):
    result, printed = claims(home(tmp_path))
    assert set(verdicts(result).values()) == {"not run yet"}
    assert "shoestring run studies/demo.toml" in printed
    assert "Of 3 claims, 3 are not run yet" in printed
    assert not (tmp_path / "out/demo").exists()


@dataclass(frozen=True)
class Done:
    """A laptop run that was stopped once and went on."""

    place: Path
    stopped: str
    result: dict
    printed: str
    made: int


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Done:
    place, calls = home(tmp_path_factory.mktemp("claims")), Calls()
    calls.interrupt_after = 3
    with pytest.raises(Interrupted) as stopped:
        claims(place, calls, scale="laptop")
    between, _ = claims(place, calls)
    assert set(verdicts(between).values()) == {"not run yet"}, "an unfinished run is no result"
    result, printed = claims(place, calls, scale="laptop", page=place / "claims.md")
    return Done(place, str(stopped.value), result, printed, len(calls.made))


def test_ctrl_c_says_how_to_go_on_and_it_does(done):
    assert re.search(r"Go on with: shoestring claims --scale laptop --output-dir \S*out$", done.stopped)
    assert done.made == 6  # of three seeds with two rewards, the stopped one once


def test_laptop_gives_verdicts(done):
    """Right in 51 to 53, 21 and 20 of 60: the random reward brings next to nothing, and RL much."""
    assert (
        verdicts(done.result)
        == {
            "teaches": "holds here",
            "does-nothing": "does not hold here",
            "rises": "can't tell at this scale",  # the seeds don't differ at all
        }
        or verdicts(done.result)["rises"] == "holds here"
    )
    assert "does not hold here" in done.printed
    found = done.result["claims"][0]["findings"][0]
    assert found["value"] == pytest.approx(32 / 60)
    assert found["ci95"][0] > 0.3
    assert done.result["studies"]["demo"]["command"].startswith("shoestring run")


def test_what_is_run_is_not_run_again_and_gives_the_same_whatever_else_is_asked(done):
    calls = Calls()
    result, _ = claims(done.place, calls, scale="laptop", only=["does-nothing"])
    assert not calls.made
    assert result["claims"] == done.result["claims"][1:2]


def test_a_committed_result_is_read_and_nothing_is_run(done, tmp_path):
    place, calls = home(tmp_path), Calls()
    (place / "studies/results/demo.json").write_text(study.dump(read_run(done.place / "out/demo")))
    result, _ = claims(place, calls, scale="laptop")
    assert not calls.made
    assert not (place / "out/demo").exists()
    assert verdicts(result)["teaches"] == "holds here"


def test_anew_runs_what_a_committed_result_answers(done, tmp_path):
    place, calls = home(tmp_path), Calls()
    (place / "studies/results/demo.json").write_text(study.dump(read_run(done.place / "out/demo")))
    result, _ = claims(place, calls, scale="laptop", anew=True)
    assert len(calls.made) == 6
    assert (place / "out/demo").is_dir()
    assert result["studies"]["demo"]["command"].endswith(str(place / "out/demo"))
    again = Calls()
    claims(place, again, scale="laptop", anew=True)
    assert not again.made, "what was run here is kept: it goes on after a stop"
    with pytest.raises(BadInput, match="it goes with --scale laptop"):
        claims(place, anew=True)
    assert "--anew" in ClaimsSettings(scale="laptop", anew=True).command


def test_the_page_shows_what_fails_as_it_shows_what_holds(done):
    page = done.place / "claims.md"
    text, html = page.read_text(), page.with_suffix(".html").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith(("| teaches", "| does"))]
    assert [row[2].strip() for row in rows] == ["holds here", "does not hold here"]
    assert "## teaches: holds here" in text
    assert "## does-nothing: does not hold here" in text
    for shown in ("15.6 to 71.0 (a report, section 2)", "a random reward", "Of 3 claims"):
        assert shown in text
        assert shown in html
    assert "before the study was run" in text
    assert html.count("<svg") == 5  # a drawing for each finding, and a curve
    assert text == (done.place / "out/claims.md").read_text()


def test_small_runs_the_mechanics_alone(tmp_path):
    """One seed, the arms and models that are asked after, and no verdict."""
    place = home(tmp_path, study=STUDY + MORE)
    result, printed = claims(place, scale="small", only=["teaches"])
    assert "nothing about any claim" in printed
    assert "holds" not in json.dumps(result)
    assert [row["read"] for row in result["claims"]] == [True, True]
    (run,) = (tmp_path / "out").glob("small-*/demo")
    assert units_of(run) == [
        "01-zero/random/seed-1",
        "01-zero/seed-1",
        "02-eval/random/seed-1",
        "02-eval/seed-1",
    ]
    assert models_of(run, "02-eval/seed-1").keys() == {"base", "zero"}


def test_small_says_what_could_not_be_read(tmp_path):
    missing = TREND.replace('metric = "reward"', 'metric = "entropy"')
    result, printed = claims(home(tmp_path, CLAIM.format(name="a") + missing), scale="small")
    assert result["claims"][0]["read"] is False
    assert "nothing to read" in printed
    assert "0 of 1 findings read" in printed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.replace('of = "zero"', 'of = "zeor"'),
            "no eval stage has a model 'zeor', did you mean 'zero'",
        ),
        (lambda t: t.replace("zero/random", "zero/randon"), "no arm 'randon', did you mean 'random'"),
        (lambda t: t.replace("max_terms=3", "max_terms=4"), "no eval stage asks 'sums:max_terms=4'"),
        (lambda t: t.replace('study = "demo"', 'study = "dmo"'), "no such study: dmo, did you mean 'demo'"),
        (lambda t: t.replace('stage = "zero"', 'stage = "zreo"'), "no stage 'zreo', did you mean 'zero'"),
        (lambda t: t.replace('metric = "reward"', 'metric = "rewrd"'), "no kept curve 'rewrd'"),
        (lambda t: t + t, "claim 'teaches' is there twice"),
        (lambda t: t + "[[claims]]\n", "unknown table 'claims'"),
        (lambda t: "", r"no \[\[claim\]\]"),
        (lambda t: t.replace('says = "RL teaches."', 'sais = "RL teaches."', 1), "did you mean 'says'"),
    ],
)
def test_what_can_never_be_read_is_refused_before_anything_runs(tmp_path, change, said):
    place, calls = home(tmp_path, change(CLAIMS)), Calls()
    with pytest.raises(BadInput, match=said):
        claims(place, calls, scale="laptop")
    assert not calls.made


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (
            'kind = "contrast"\nof = "zero"\nagainst = "other"\nmetric = "val_bpb"',
            "a contrast is of pretrain stages",
        ),
        (
            'kind = "rate"\ncheck = "refusal"\ncounted = "harmful"\nof = "zero"',
            "refusals are of audit stages",
        ),
        ('kind = "rate"\ncheck = "chat"\ncounted = "answered"\nof = "zero"', "chat_check = true"),
    ],
)
def test_a_finding_of_another_kind_of_stage_is_refused(tmp_path, finding, said):
    text = f'[[claim.finding]]\nsays = "it"\nunit = "points"\nabove = 0.0\nstudy = "demo"\n{finding}\n'
    with pytest.raises(BadInput, match=said):
        claims(home(tmp_path, CLAIM.format(name="a") + text, STUDY + MORE))


def test_an_unknown_claim_names_the_nearest(tmp_path):
    with pytest.raises(BadInput, match="no claim 'teches', did you mean 'teaches'"):
        claims(home(tmp_path), only=["teches"])


@pytest.mark.parametrize("values", [{"only": ["teaches"]}, {"scale": "small"}])
def test_the_page_is_of_all_claims(tmp_path, values):
    with pytest.raises(BadInput, match="verdicts of all claims"):
        claims(home(tmp_path), page=tmp_path / "claims.md", **values)


def test_a_page_needs_a_place(tmp_path):
    with pytest.raises(BadInput, match=r"a \.md file in a folder that is there"):
        claims(home(tmp_path), page=tmp_path / "none/claims.md")


def test_pruning_keeps_what_is_needed_and_what_that_is_built_on():
    raw = tomllib.loads(STUDY + MORE)
    kept = prune(raw, Needs(models=frozenset(("other",)), suites=frozenset(("equations",))))
    assert [stage["name"] for stage in kept["stage"]] == ["other", "eval-other"]
    assert kept["stage"][1]["suites"] == ["equations"]
    assert kept["arm"] == []
    trained = prune(raw, Needs(trained=frozenset(("zero/random",))))
    assert [stage["name"] for stage in trained["stage"]] == ["zero"]
    assert trained["stage"][0]["seeds"] == [1]
    assert [arm["name"] for arm in trained["arm"]] == ["random"]


def test_our_claims_can_all_be_read_and_each_has_its_source():
    ours = read_claims(REAL, HOME)
    assert len(ours) >= 16
    console = Console(file=io.StringIO(), width=200)
    names = [claim["name"] for claim in listed(ClaimsSettings(), console)["claims"]]
    assert names == [claim.name for claim in ours]
    for claim in ours:
        assert any(ch.isdigit() for ch in claim.settings.published), claim.name


def test_our_studies_cut_down_are_recipes(tmp_path):
    """Every unit's settings are checked, at the size at which they are run."""
    needs: dict[str, Needs] = {}
    for claim in read_claims(REAL, HOME):
        for finding in claim.findings:
            if isinstance(finding, StudyFinding):
                needs[finding.study] = needs.get(finding.study, Needs()) | finding.needs
    for name, wanted in needs.items():
        pruned = prune(read_toml(HOME / "studies" / f"{name}.toml"), wanted)
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps(pruned))
        units = expand(load_recipe(path, {}, "small"), JOBS)
        assert len({unit.seed for unit in units} - {None}) <= 2, name  # rl alone may have other seeds
        assert any(unit.job in ("eval", "audit", "pretrain") for unit in units)


def test_the_kept_plan_is_what_the_command_plans():
    """It is worked out from its recipe alone: one that has changed is made again."""
    kept = json.loads((HOME / "claims/v3-671b-plan.json").read_text(encoding="utf-8"))
    planned = plan.main(plan.PlanSettings(target="v3-671b"), Console(file=io.StringIO()))
    assert kept["simulated"]["usd"] == pytest.approx(planned["simulated"]["usd"])
    assert kept["published"] == planned["published"]


def test_the_verb_lists_and_refuses(tmp_path):
    place = home(tmp_path)
    file = str(place / "claims/claims.toml")
    run = CliRunner().invoke(
        app, ["claims", "--list", "--only", "rl-alone", "--json", str(tmp_path / "l.json")]
    )
    assert run.exit_code == 0
    assert json.loads((tmp_path / "l.json").read_text())["claims"][0]["name"] == "rl-alone"
    bad = CliRunner().invoke(app, ["claims", "--scale", "huge"])
    assert bad.exit_code == 2
    assert CliRunner().invoke(app, ["claims", "--file", file + "x"]).exit_code == 2


@pytest.mark.slow
def test_small_scale_runs_real_experiments(tmp_path):
    """All that ours are tested by, cut down: four minutes on two cores."""
    settings = ClaimsSettings(scale="small", output_dir=tmp_path / "out")
    result = main(settings, Console(file=io.StringIO()))
    assert all(row["read"] for row in result["claims"]), result
