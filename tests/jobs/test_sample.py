"""Rejection sampling: what is asked, kept and dropped, and that a killed one ends alike."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs import sample as job
from shoestring.jobs.handles import HERE, Here
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe import run as run_recipe
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import expand
from shoestring.jobs.sample import SampleSettings, check
from shoestring.jobs.sample_rows import PARQUET
from shoestring.jobs.sft_rows import open_source
from shoestring.origin import Lineage
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.suite import parse_suite
from shoestring.text.conversations import ConversationFile
from shoestring.text.declared import lineage_file
from tiny import BASE, Scripted, tiny_lm
from training_runs import save_base, toy_suite

SUITE = "sums:max_terms=2,max_digits=1"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """For replies from a script."""
    return save_base(tmp_path_factory.mktemp("base"), short_replies=False)


@pytest.fixture(scope="module")
def speaking(tmp_path_factory) -> Path:
    return save_base(tmp_path_factory.mktemp("speaking"))


def settings(base: Path, **changed) -> SampleSettings:
    values = {
        "model": str(base),
        "suites": [SUITE],
        "prompts": 6,
        "samples_per_prompt": 3,
        "prompts_per_chunk": 2,
        "max_completion_tokens": 200,
        "dtype": "float32",
    }
    return build(SampleSettings, values | changed, "sample")


class Saying(Here):
    """A generator with a script."""

    def __init__(self, say) -> None:
        self.say = say

    def generator(self, lm, max_batch=256) -> Scripted:
        return Scripted(tiny_lm(), self.say)


def go(folder: Path, wanted: SampleSettings, say=None, resume=False) -> dict:
    with Stage(folder, "sample", None, resume) as stage:
        result = job.main(wanted, stage, Saying(say) if say else HERE)
        stage.finish(result)
    return result


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def undated(path: Path) -> list[dict]:
    """Two runs write at two times, and nothing else of theirs differs."""
    return [{name: value for name, value in row.items() if name != "date"} for row in lines(path)]


def solving(prompt: str, sample: int) -> str:
    """Sample 0 is right and long, 1 right and short, 2 wrong."""
    question = prompt.split("What is ")[1].split("?")[0]
    answer = eval(question)
    thought = {0: f"we add {question} and find {answer}", 1: f"{question} = {answer}", 2: "hm"}[sample]
    return f"<think>\n{thought}\n</think>\n\n{answer + (sample == 2)}"


def test_rows_and_reasons(base, tmp_path):
    result = go(tmp_path / "s", settings(base), solving)
    rows, dropped = lines(tmp_path / "s/rows.jsonl"), lines(tmp_path / "s/dropped.jsonl")
    stream = ProblemStream([parse_suite(SUITE)], 0)
    problems = [stream.item(i) for i in range(6)]
    distinct = {p.id for p in problems}
    assert {row["problem"] for row in rows} == distinct
    assert result["rows"] == len(rows) == len(distinct)
    assert result["samples"] == 18 == len(rows) + len(dropped)
    assert len(distinct) == 5  # one comes twice, its terms in the other order
    assert result["acceptance"] == {
        "sums:max_digits=1,max_terms=2": {
            "prompts": 6,
            "prompts_right": 6,
            "samples": 18,
            "kept": 5,
            "wrong": 6,
            "enough of this problem": 5 + 2,
        }
    }
    assert {row["reason"] for row in dropped} == {"wrong", "enough of this problem"}
    first = rows[0]
    assert first["messages"][0] == {"role": "user", "content": problems[0].prompt}
    assert first["messages"][1]["reasoning_content"].count("=") == 1  # the shorter one
    assert (first["source"], first["licence"], first["outcome"]) == ("procedural:sums", "CC0-1.0", "right")
    assert first["teacher"] == result["teacher"]
    assert first["teacher"] == "smollm2-135m"
    assert first["teacher_sha256"] == result["teacher_sha256"]
    assert len(first["teacher_sha256"]) == 64
    assert (first["sampling"]["temperature"], first["sampling"]["number"], first["terms"]) == (
        1.0,
        1,
        "allowed",
    )
    (origin,) = ConversationFile(tmp_path / "s/rows.jsonl", 0).origins
    assert (origin.source, origin.teacher) == ("procedural:sums", result["teacher"])
    assert first["sampling"] == {
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": settings(base).max_completion_tokens,
        "seed": 0,
        "number": 1,
    }
    assert (first["terms"], origin.terms, origin.date) == ("allowed", "allowed", first["date"][:10])
    assert (first["teacher_licence"], first["teacher_endpoint"]) == (BASE.detail["licence"], "")
    known = ConversationFile(tmp_path / "s/rows.jsonl", 0).teachers
    assert known == {first["teacher_sha256"]: (BASE,)}
    usage = lines(tmp_path / "s/usage.jsonl")
    assert sum(line["kind"] == "generate" for line in usage) == 3
    assert all(line["flops"] > 0 for line in usage if line["kind"] == "generate")


def test_the_parquet_file_is_the_same_data(base, tmp_path):
    go(tmp_path / "s", settings(base), solving)
    jsonl, parquet = (ConversationFile(tmp_path / "s" / name, 0) for name in ("rows.jsonl", "rows.parquet"))
    assert parquet.rows == jsonl.rows
    assert parquet.teachers == jsonl.teachers


def test_a_parquet_file_that_cant_be_written_leaves_the_old_one(base, tmp_path, monkeypatch):
    go(tmp_path / "s", settings(base), solving)
    before = (tmp_path / "s" / PARQUET).read_bytes()

    def half(table, where, **_):
        where.write(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shoestring.jobs.sample_rows.pq.write_table", half)
    with pytest.raises(OSError, match="No space left"):
        go(tmp_path / "s", settings(base), solving, resume=True)
    assert (tmp_path / "s" / PARQUET).read_bytes() == before


def test_a_larger_number_a_problem_and_a_system_prompt(base, tmp_path):
    wanted = settings(base, prompts=2, keep={"keep_per_problem": 2}, system="Think first.")
    assert go(tmp_path / "s", wanted, solving)["rows"] == 4
    assert lines(tmp_path / "s/rows.jsonl")[0]["messages"][0] == {"role": "system", "content": "Think first."}


def test_nothing_kept_is_an_error_that_says_where_the_reasons_are(base, tmp_path):
    with pytest.raises(ShoestringError, match=r"none of 6 samples was kept.*dropped\.jsonl"):
        go(tmp_path / "s", settings(base, prompts=2), lambda prompt, sample: "no idea")
    assert {row["reason"] for row in lines(tmp_path / "s/dropped.jsonl")} == {"no answer found"}
    assert lines(tmp_path / "s/rows.jsonl") == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"suites": ["sum"]}, "did you mean 'sums'"),
        ({"temperature": 0}, "all the same"),
    ],
)
def test_faults_are_found_before_anything_runs(base, changed, said):
    with pytest.raises(BadInput, match=said):
        check(settings(base, **changed))


def test_a_model_of_unknown_making_teaches_nobody_without_a_permission(tmp_path):
    lm = tiny_lm()
    lm.save(tmp_path / "found")
    (tmp_path / "found/lineage.json").unlink()
    wanted = settings(tmp_path / "found", prompts=2)
    with pytest.raises(BadInput, match=r"no rule is known.*'permission' in the settings"):
        go(tmp_path / "s", wanted, solving)
    allowed = wanted.model_copy(update={"permission": "J. Doe allows it, 2026-11-01"})
    go(tmp_path / "s", allowed, solving)
    assert lines(tmp_path / "s/rows.jsonl")[0]["terms"] == "permitted: J. Doe allows it, 2026-11-01"
    assert open_source((), str(tmp_path / "s/rows.jsonl"), 0, None).origins
    lineage_file(tmp_path / "s/rows.jsonl").unlink()  # a row alone isn't believed
    with pytest.raises(BadInput, match=r"What its rows say was permitted is in no \S+rows\.jsonl\.lineage"):
        open_source((), str(tmp_path / "s/rows.jsonl"), 0, None)
    (tmp_path / "found/origin.toml").write_text('source = "me/mine"\nlicence = "MIT"\n')
    go(tmp_path / "t", wanted, solving)
    assert lines(tmp_path / "t/rows.jsonl")[0]["terms"] == "allowed"


@pytest.mark.parametrize("bad", [{"prompts": 0}, {"suites": []}, {"keep": {"rigth": True}}, {"top_p": 0}])
def test_settings_out_of_range(base, bad):
    with pytest.raises(BadInput, match=next(iter(bad))):
        settings(base, **bad)


LOOSE = {"right": False, "uncut": False, "thinking": False, "readable": False, "min_language": 0.0}


def loose(base: Path, folder: Path, **changed) -> SampleSettings:
    values = {
        "suites": [toy_suite(folder)],
        "max_completion_tokens": 6,
        "keep": LOOSE | {"max_repetition": 1.0},
    }
    return settings(base, **(values | changed))


def test_a_killed_run_goes_on_to_the_same_rows(speaking, tmp_path):
    """kill -9 while the second chunk's file is written."""
    wanted = loose(speaking, tmp_path)
    go(tmp_path / "whole", wanted)
    script = f"""
import os, signal
from pathlib import Path
from unittest.mock import patch
from shoestring.jobs import sample
from shoestring.run import Stage
real, calls = sample.write_atomic, []
def killing(path, text):
    calls.append(path)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, text)
wanted = sample.SampleSettings.model_validate_json({wanted.model_dump_json()!r})
with patch.object(sample, "write_atomic", killing), Stage(Path({str(tmp_path / "cut")!r}), "sample") as stage:
    sample.main(wanted, stage)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "cut/samples").rglob("*.json"))) == 1
    assert go(tmp_path / "cut", wanted, resume=True)["rows"] > 0
    for name in ("rows.jsonl", "dropped.jsonl"):
        assert undated(tmp_path / "cut" / name) == undated(tmp_path / "whole" / name)
    generated = [line for line in lines(tmp_path / "cut/usage.jsonl") if line["kind"] == "generate"]
    assert len(generated) == 4  # the chunk that was lost was paid for twice


def test_ctrl_c_keeps_whole_chunks(base, tmp_path):
    asked = []

    def say(prompt: str, sample: int) -> str:
        asked.append(prompt)
        if len(asked) == 8:
            signal.raise_signal(signal.SIGINT)
        return solving(prompt, sample)

    with pytest.raises(Interrupted, match="after 2 of 6 prompts"):
        go(tmp_path / "s", settings(base), say)
    go(tmp_path / "s", settings(base), solving, resume=True)
    go(tmp_path / "whole", settings(base), solving)
    assert undated(tmp_path / "s/rows.jsonl") == undated(tmp_path / "whole/rows.jsonl")


def test_other_settings_or_weights_are_not_mixed_with_what_is_there(base, tmp_path):
    go(tmp_path / "s", settings(base), solving)
    (tmp_path / "s/result.json").unlink()
    go(tmp_path / "s", settings(base, seed=1), solving)
    go(tmp_path / "whole", settings(base, seed=1), solving)
    assert undated(tmp_path / "s/rows.jsonl") == undated(tmp_path / "whole/rows.jsonl")


RECIPE = """
[recipe]
name = "loop"

[[stage]]
name = "gather"
job = "sample"
model = "{base}"
suites = ["{suite}"]
prompts = 4
samples_per_prompt = 2
max_completion_tokens = 6
dtype = "float32"

[stage.keep]
right = false
uncut = false
thinking = false
readable = false
min_language = 0.0
max_repetition = 1.0

[[stage]]
name = "learn"
job = "sft"
model = "{base}"
steps = 3
rows_per_step = 4
dtype = "float32"
sources = [
    {{ data = "stage:gather", weight = 0.5 }},
    {{ data = "bilingual", weight = 0.25 }},
    {{ suites = ["sums"], weight = 0.25 }},
]

[[stage]]
name = "again"
job = "sft"
model = "stage:learn"
data = "stage:gather"
steps = 1
rows_per_step = 2
dtype = "float32"
"""


def recipe(base: Path, folder: Path, *changes: tuple[str, str]) -> Path:
    text = RECIPE.format(base=base, suite=toy_suite(folder))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "loop.toml"
    path.write_text(text)
    return path


def test_a_recipe_trains_on_what_it_sampled(speaking, tmp_path):
    path = recipe(speaking, tmp_path)
    run_recipe(path, tmp_path / "out")
    stages = tmp_path / "out/stages"
    learnt = json.loads((stages / "02-learn/result.json").read_text())
    taken = learnt["rows_by_source"]
    assert sum(taken.values()) == 12
    assert min(taken.values()) > 0
    assert any(title.endswith("01-gather/rows.jsonl") for title in taken)
    teacher = json.loads((stages / "01-gather/result.json").read_text())["teacher"]
    own = Lineage.load(stages / "02-learn/model").stages[-1]
    assert teacher in {origin.teacher for origin in own.origins}
    assert {"shoestring:bilingual", "procedural:sums"} <= {origin.source for origin in own.origins}
    assert json.loads((stages / "03-again/result.json").read_text())["rows"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('data = "stage:gather"\nsteps', 'data = "stage:learn"\nsteps'), "makes a model and no rows"),
        (('model = "stage:learn"', 'model = "stage:gather"'), "makes rows, which go into data"),
        (('data = "stage:gather"\nsteps', 'data = "stage:gathr"\nsteps'), "did you mean 'gather'"),
        (('data = "bilingual"', 'data = "bilingual:fr"'), "no part 'bilingual:fr'"),
        (('data = "bilingual"', 'suites = ["sums"], data = "bilingual"'), "either suites or data"),
        (("weight = 0.5", "weight = 0"), "weight"),
        (('model = "stage:learn"', 'suites = ["sums"]\nmodel = "stage:learn"'), "give either suites or data"),
    ],
)
def test_what_a_recipe_refuses_before_anything_runs(base, tmp_path, change, said):
    with pytest.raises(BadInput, match=said):
        run_recipe(recipe(base, tmp_path, change), tmp_path / "out")
    assert not (tmp_path / "out/stages").exists()


def test_an_eval_may_look_for_its_problems_in_a_stages_rows(base, tmp_path):
    path = recipe(base, tmp_path)
    stage = '\n[[stage]]\nname = "test"\njob = "eval"\nmodels = { m = "stage:learn" }\nsuites = ["sums"]\n'
    path.write_text(path.read_text() + stage + 'against = ["stage:gather"]\n')
    test = expand(load_recipe(path, {}, "full"), JOBS)[-1]
    assert {need.stage for need in test.needs.values()} == {"gather", "learn"}
    path.write_text(path.read_text().replace('against = ["stage:gather"]', 'against = ["stage:learn"]'))
    with pytest.raises(
        BadInput, match="against = 'stage:learn', but stage 'learn' makes a model and no rows"
    ):
        expand(load_recipe(path, {}, "full"), JOBS)
