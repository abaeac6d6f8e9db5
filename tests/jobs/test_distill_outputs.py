"""Rows of a teacher behind a failing endpoint or in this process, and those of a run that was killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.budget.price import Prices, make_bill
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs import distill_outputs as job
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.jobs.recipe import run as run_recipe
from shoestring.jobs.sft_rows import open_source
from shoestring.run import Stage, read_lines
from shoestring.settings import build
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite
from shoestring.text.conversations import ConversationFile
from stub_endpoint import KEY, Stub, serving, solve
from tiny import Scripted, tiny_lm
from training_runs import save_base

SUITE = "sums:max_terms=2,max_digits=2"


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("STUB_KEY", KEY)
    with serving(Stub()) as running:
        yield running


def settings(teacher, /, **changed) -> DistillOutputsSettings:
    values = {
        "teacher": teacher,
        "suites": [SUITE],
        "prompts": 6,
        "samples_per_prompt": 3,
        "max_completion_tokens": 100,
        "dtype": "float32",
        "permission": "from its owner",
    }
    return build(DistillOutputsSettings, values | changed, "distill")


def endpoint(stub: Stub, **changed) -> dict:
    values = {"url": stub.url, "model": "deepseek-reasoner", "key_env": "STUB_KEY", "backoff_s": 0.01}
    return values | {"timeout_s": 1.5, "price_in": 1.0, "price_out": 2.0} | changed


def go(folder: Path, wanted: DistillOutputsSettings, resume=False, generator=None) -> dict:
    with Stage(folder, "made", None, resume) as stage:
        result = job.main(wanted, stage, generator)
        stage.finish(result)
    return result


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def no_key_in(folder: Path) -> bool:
    return all(KEY.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_rows_of_an_endpoint_that_fails_in_every_way(stub, tmp_path, capfd):
    kinds = ["429:0.02", "cut", "500", "malformed", "hang"]
    stub.fault = lambda name, attempt: kinds[int(name[0], 16) % 5] if attempt == 1 else None
    stub.say = lambda prompt, number: solve(prompt, number) if number else ("we guess", "no idea")
    result = go(tmp_path / "d", settings(endpoint(stub)))
    assert result["samples"] == 18
    assert set(stub.ledger.values()) == {1}
    assert len(stub.ledger) == 18
    assert sum(result["faults"].values()) == 18
    assert (result["unanswered"], result["ended"]) == ({}, "")
    assert result["rows"] == 6
    assert result["acceptance"] == {
        "sums:max_terms=2": {
            "prompts": 6,
            "prompts_right": 6,
            "samples": 18,
            "kept": 6,
            "no answer found": 6,
            "enough of this problem": 6,
        }
    }
    rows, dropped = lines(tmp_path / "d/rows.jsonl"), lines(tmp_path / "d/dropped.jsonl")
    assert len(rows) + len(dropped) == 18
    problems = {p.id for p in draw_problems(parse_suite(SUITE), "train", 6, 0)}
    assert {row["problem"] for row in rows} == problems
    first = rows[0]
    assert first["messages"][1]["reasoning_content"].startswith("we add ")
    assert first["sampling"] == {
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 100,
        "seed": 0,
        "number": first["sampling"]["number"],
    }
    assert (first["teacher"], first["teacher_sha256"]) == ("deepseek-reasoner", "")
    assert (first["terms"], first["outcome"], first["date"][:2]) == ("allowed", "right", "20")
    (origin,) = ConversationFile(tmp_path / "d/rows.jsonl", 0).origins
    assert origin.teacher == "deepseek-reasoner"
    paid = 18 * (20 * 1.0 + 50 * 2.0) / 1e6
    assert result["spent"]["money"] >= paid
    card = (tmp_path / "d/README.md").read_text()
    for told in (
        "6 conversations",
        "deepseek-reasoner at http",
        "allowed",
        "CC0-1.0 | 6 |",
        "HTTP 429",
    ):
        assert told in card
    assert "| suite | prompts | solved at least once | samples | kept | enough" in card
    said = capfd.readouterr()
    assert no_key_in(tmp_path)
    assert KEY not in said.out + said.err


def test_rows_that_were_paid_for_are_taken_by_an_sft_stage(stub, tmp_path):
    """By the licence, or the permission, that let them in."""
    for name, changed in (
        ("licence", {"teacher_licence": "Apache-2.0", "permission": ""}),
        ("letter", {"permission": "by its owner, 2026-11-01"}),
    ):
        model = "mistral-7b" if name == "licence" else "gpt-4"
        go(tmp_path / name, settings(endpoint(stub, model=model), **changed))
        first = lines(tmp_path / name / "rows.jsonl")[0]
        assert (first["teacher_licence"], first["teacher_endpoint"]) == (
            changed.get("teacher_licence", ""),
            stub.url,
        )
        (origin,) = open_source((), str(tmp_path / name / "rows.jsonl"), 0, None).origins
        assert origin.terms == first["terms"]


def test_a_restart_asks_only_for_what_is_missing(stub, tmp_path):
    go(tmp_path / "d", settings(endpoint(stub), samples_per_prompt=2, samples_dir=str(tmp_path / "paid")))
    assert stub.ledger.total() == 12
    result = go(tmp_path / "e", settings(endpoint(stub), prompts=8, samples_dir=str(tmp_path / "paid")))
    assert stub.ledger.total() == 24
    assert set(stub.ledger.values()) == {1}
    assert result["samples"] == 24
    assert result["spent"] == {"money": pytest.approx(24 * 120e-6), "tokens": 24 * 70}


def test_a_budget_that_is_spent_ends_with_what_there_is(stub, tmp_path):
    wanted = settings(endpoint(stub, budget_money=0.002, concurrency=2), samples_dir=str(tmp_path / "paid"))
    result = go(tmp_path / "d", wanted)
    assert result["ended"].startswith("the budget is spent (0.00")
    assert 12 <= result["samples"] == stub.ledger.total() <= 16
    assert "The asking ended early: the budget is spent" in (tmp_path / "d/README.md").read_text()
    again = go(tmp_path / "e", wanted)  # nothing is left of it
    assert stub.ledger.total() == result["samples"] == again["samples"]
    more = settings(endpoint(stub, budget_money=1), samples_dir=str(tmp_path / "paid"))
    assert go(tmp_path / "f", more)["samples"] == 18
    assert set(stub.ledger.values()) == {1}


KILLED = """
import os, signal, sys
from pathlib import Path
from unittest.mock import patch
from shoestring.remote.store import Store
from shoestring.jobs import distill_outputs
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.run import Stage
real, kept = Store.add, []
def killing(self, answer):
    real(self, answer)
    kept.append(answer)
    if len(kept) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
wanted = DistillOutputsSettings.model_validate_json(sys.argv[1])
with patch.object(Store, "add", killing), Stage(Path(sys.argv[2]), "made") as stage:
    distill_outputs.main(wanted, stage)
"""


def test_a_killed_run_goes_on_and_pays_once(stub, tmp_path):
    wanted = settings(endpoint(stub, concurrency=1))
    command = [sys.executable, "-c", KILLED, wanted.model_dump_json(), str(tmp_path / "cut")]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL
    assert go(tmp_path / "cut", wanted, resume=True)["samples"] == 18
    # one may have been under way when it was killed: delivered by the endpoint, seen by nobody
    assert sorted(stub.ledger.values()) in ([1] * 18, [1] * 17 + [2])
    go(tmp_path / "whole", wanted)
    assert [undated(r) for r in lines(tmp_path / "cut/rows.jsonl")] == [
        undated(r) for r in lines(tmp_path / "whole/rows.jsonl")
    ]


def undated(row: dict) -> dict:
    return {key: value for key, value in row.items() if key != "date"}


def test_ctrl_c_saves_what_is_under_way(stub, tmp_path):
    def say(prompt: str, number: int) -> tuple[str, str]:
        if stub.ledger.total() == 5:
            signal.raise_signal(signal.SIGINT)
        return solve(prompt, number)

    stub.say = say
    wanted = settings(endpoint(stub, concurrency=2))
    with pytest.raises(Interrupted, match=r"stopped after \d+ of 18 samples"):
        go(tmp_path / "d", wanted)
    assert 5 <= stub.ledger.total() <= 9
    stub.say = solve
    result = go(tmp_path / "d", wanted, resume=True)
    assert result["samples"] == 18
    assert set(stub.ledger.values()) == {1}
    bill = make_bill(read_lines(tmp_path / "d/usage.jsonl"), Prices(watts=0))
    assert bill.usd(bill.total) == pytest.approx(result["spent"]["money"], abs=1e-6)
    assert result["spent"]["money"] > 0


def test_refused_prompts_are_told_and_not_asked_again(stub, tmp_path, monkeypatch):
    seen: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(Stage, "say", lambda stage, text: said.append(text))

    def fault(name: str, attempt: int) -> str | None:
        key = name.split("-")[0]
        seen.extend([key] if key not in seen else [])
        return "400" if key in seen[:4] else None

    stub.fault = fault
    wanted = settings(endpoint(stub, concurrency=1), samples_dir=str(tmp_path / "samples"))
    result = go(tmp_path / "d", wanted)
    assert (result["samples"], result["refused"], result["rows"]) == (6, 12, 2)
    assert any("refuses the prompts of 12 samples" in line for line in said)
    asked = stub.attempts.total()
    assert go(tmp_path / "again", wanted)["refused"] == 12
    assert stub.attempts.total() == asked


def test_a_wait_of_a_day_ends_it_with_what_there_is_saved(stub, tmp_path):
    stub.fault = lambda name, attempt: "429:86400" if stub.ledger.total() >= 5 else None
    wanted = settings(endpoint(stub, concurrency=1))
    with pytest.raises(ShoestringError, match=r"1,440 minutes.*; 5 of 18 samples are saved.*--resume"):
        go(tmp_path / "d", wanted)
    stub.fault = lambda name, attempt: None
    assert go(tmp_path / "d", wanted, resume=True)["samples"] == 18
    assert set(stub.ledger.values()) == {1}


def test_what_would_be_dropped_is_never_asked(stub, tmp_path):
    """A question of a benchmark and a repeated one are planted among a file's."""
    bench = tmp_path / "bench.jsonl"
    known = "A farmer who has seven fields sows barley on all of them but two, and on how many does he not?"
    bench.write_text(json.dumps({"question": known, "answer": "2"}) + "\n")
    twice = (
        "Please tell me in a few plain words why the sky over the sea is blue on most days of the year, {}?"
    )
    asked = [f"Question {i}: what is so good about the number {i}?" for i in range(12)]
    asked += [f"And now. {known}", twice.format("my friend"), twice.format("my dear")]
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"prompt": text, "licence": "CC0-1.0"}) + "\n" for text in asked))
    suite = f"{own}:answer=open"
    plain = 8  # of the questions that are not held out; those aren't asked either
    train = [p.prompt for p in draw_problems(parse_suite(suite), "train", plain + 3, 0)]
    assert set(asked[12:]) < set(train)
    stub.say = lambda prompt, number: (f"thinking of it {number}", f"my answer to it: {prompt[:12]}")
    changed = {"suites": [suite], "prompts": plain + 3, "samples_per_prompt": 1, "evaluations": [str(bench)]}
    result = go(tmp_path / "d", settings(endpoint(stub), **changed))
    left_out = {"in an evaluation": 1, "repeats another problem's": 1}
    assert result["prompts"] == {"drawn": plain + 3, "asked": plain + 1} | left_out
    assert stub.ledger.total() == result["rows"] == plain + 1
    dropped = {row["reason"]: row for row in lines(tmp_path / "d/dropped.jsonl")}
    assert dropped["in an evaluation"]["messages"][0]["content"] == asked[12]
    assert dropped["in an evaluation"]["detail"].endswith("with bench.jsonl #1")
    assert dropped["repeats another problem's"]["messages"][0]["content"] in asked[13:]


def test_replies_that_repeat_or_quote_are_dropped(stub, tmp_path):
    quoted = "the old miller of the village by the river ground nine sacks of his own corn"
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"question": f"It is told that {quoted} a day. How many a week?"}) + "\n")
    pattern = "this is a long and winding thought that goes through many words before it ends somewhere"

    def say(prompt: str, number: int) -> tuple[str, str]:
        _, answer = solve(prompt, number)
        return {0: f"{pattern}, and so on", 1: f"as we know {quoted}"}[number], answer

    stub.say = say
    wanted = settings(
        endpoint(stub), samples_per_prompt=2, evaluations=[str(bench)], keep={"keep_per_problem": 2}
    )
    result = go(tmp_path / "d", wanted)
    table = result["acceptance"]["sums:max_terms=2"]
    # an answer is a number, and replies with other numbers are others
    answers = [
        eval(p.prompt.split("What is ")[1][:-1]) for p in draw_problems(parse_suite(SUITE), "train", 6, 0)
    ]
    assert table["in an evaluation"] == 6
    assert table["kept"] == len(set(answers))


def test_a_teacher_in_this_process(tmp_path):
    base = save_base(tmp_path / "base", short_replies=False)

    def say(prompt: str, sample: int) -> str:
        thinking, answer = solve(prompt, sample)
        return f"<think>\n{thinking}\n</think>\n\n{answer}"

    generator = Scripted(tiny_lm(), say)
    result = go(tmp_path / "d", settings(str(base)), generator=generator)
    assert (result["rows"], result["samples"], result["spent"]) == (6, 18, {})
    rows = lines(tmp_path / "d/rows.jsonl")
    assert rows[0]["teacher"] == "smollm2-135m"
    assert len(rows[0]["teacher_sha256"]) == 64
    usage = [line for line in lines(tmp_path / "d/usage.jsonl") if line["kind"] == "generate"]
    assert sum(line["tokens"] for line in usage) > 18 * 20
    assert all(line["flops"] > 0 for line in usage)
    again = Scripted(tiny_lm(), say)
    more = settings(str(base), samples_per_prompt=4, samples_dir=str(tmp_path / "d/samples"))
    assert go(tmp_path / "e", more, generator=again)["samples"] == 24
    assert len(again.asked) == 6  # a fourth of each
    (took,) = (line for line in lines(tmp_path / "e/usage.jsonl") if line["kind"] == "generate")
    first = sum(line["tokens"] for line in usage)
    assert took["wasted"] == {
        "made again": first
    }  # the three before it, which its random numbers stand behind
    assert took["tokens"] > first
    assert go(tmp_path / "f", more, generator=Scripted(tiny_lm(), say))["samples"] == 24


def test_nothing_kept_is_an_error(stub, tmp_path):
    stub.say = lambda prompt, number: ("hm", "no idea")
    with pytest.raises(ShoestringError, match=r"none of 18 samples was kept.*dropped\.jsonl"):
        go(tmp_path / "d", settings(endpoint(stub)))


def test_two_at_once_would_pay_twice(stub, tmp_path):
    wanted = settings(endpoint(stub), samples_dir=str(tmp_path / "paid"))
    with job.held(tmp_path / "paid/.lock"), pytest.raises(BadInput, match="another process is asking"):
        go(tmp_path / "d", wanted)
    assert not stub.ledger


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"suites": ["sum"]}, "did you mean 'sums'"),
        ({"temperature": 0}, "all the same"),
        ({"prompts": 1, "suites": ["sums", "letters"]}, "each needs one"),
        ({"evaluations": ["none.jsonl"]}, "no such benchmark file"),
        ({"teacher": "https://h/v1"}, "which of its models"),
        (
            {"teacher": {"url": "https://h/v1", "model": "m", "key_env": "NO_SUCH_KEY"}},
            "NO_SUCH_KEY is not set",
        ),
        ({"teacher": {"url": "https://h/v1", "model": "m", "budget_money": 3.0}}, "needs price_in"),
    ],
)
def test_faults_are_found_before_anything_is_paid(changed, said):
    with pytest.raises(BadInput, match=said):
        job.check(settings("smollm2-135m", **changed))


RECIPE = """
[recipe]
name = "taught"

[[stage]]
name = "gather"
job = "distill-outputs"
suites = ["{suite}"]
prompts = 6
samples_per_prompt = 1
teacher = {{ url = "{url}", model = "deepseek-reasoner", key_env = "STUB_KEY" }}

[[stage]]
name = "learn"
job = "sft"
model = "{base}"
data = "stage:gather"
steps = 2
rows_per_step = 3
dtype = "float32"
"""


def test_a_recipe_learns_from_the_rows(stub, tmp_path):
    base = save_base(tmp_path / "base")
    path = tmp_path / "taught.toml"
    path.write_text(RECIPE.format(suite=SUITE, url=stub.url, base=base))
    run_recipe(path, tmp_path / "out")
    assert json.loads((tmp_path / "out/stages/02-learn/result.json").read_text())["rows"] == 6
    assert no_key_in(tmp_path / "out")
