"""Exported tasks: the same problems and verdicts, as files, and in the harnesses themselves."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripted_engine import ScriptedEngine, house_of, serving
from shoestring.errors import BadInput
from shoestring.evals.evaluate import evaluate
from shoestring.evals.export import export_task
from shoestring.evals.result import Asking, EvalResult
from shoestring.evals.server import Server, mark_server
from shoestring.jobs import export_task as job
from shoestring.jobs.evaluate_server import endpoint_of
from shoestring.lm import LanguageModel, load
from shoestring.settings import build
from shoestring.tasks import FAMILIES, outside
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite, score
from shoestring.text.message import Reply
from tiny import tiny_lm

SRC = Path(__file__).parents[2] / "src"
SUITE = "sums:max_digits=2,max_terms=3"
N = 20
LM = tiny_lm(window=4096)


class Console:
    def print(self, text: str, markup: bool) -> None:
        self.said = text


def exported(folder: Path, harness: str, suite: str = SUITE, **values: Any) -> dict[str, Any]:
    given = {"suite": suite, "harness": harness, "output_dir": folder, "n": N, "max_tokens": 64, **values}
    return job.main(build(job.ExportTaskSettings, given, "test"), Console())


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "problems.jsonl").read_text().split("\n") if line]


def module_at(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("scorer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("suite", [SUITE, *(name for name in FAMILIES if name != "chat")])
def test_problems_are_those_of_an_eval_and_travel_whole(tmp_path, suite) -> None:
    exported(tmp_path / "t", "lm-eval", suite)
    drawn = draw_problems(parse_suite(suite), "test", N, 0)
    assert [row["prompt"] for row in rows(tmp_path / "t")] == [problem.prompt for problem in drawn]
    for problem, row in zip(drawn, rows(tmp_path / "t"), strict=True):
        back = outside.from_row(row)
        assert (back.id, back.held_out, back.origin) == (problem.id, True, problem.origin)
        for text in ("", row["target"], "7", "(3 + 4) * 5", "**no**"):
            assert score(back, Reply(None, text)) == score(problem, Reply(None, text))


def test_a_gym_family_travels_too(tmp_path) -> None:
    pytest.importorskip("reasoning_gym")
    exported(tmp_path / "t", "inspect", "gym:basic_arithmetic", n=4)
    for row in rows(tmp_path / "t"):
        back = outside.from_row(row)
        entry = json.loads(row["problem"])["hidden"]["entry"]
        assert score(back, Reply(None, entry["answer"])).outcome is Outcome.RIGHT
        assert score(back, Reply(None, "-77.5")).outcome is Outcome.WRONG


def test_a_file_of_problems_is_exported_with_its_own_way_of_scoring(tmp_path) -> None:
    file = tmp_path / "p.jsonl"
    lines = [{"question": f"What is {i} halves?", "answer": f"\\frac{{{2 * i + 1}}}{{2}}"} for i in range(3)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    exported(tmp_path / "t", "inspect", f"{file}:test=all", n=3)
    file.unlink()
    for row in rows(tmp_path / "t"):
        assert score(outside.from_row(row), Reply(None, row["target"])).outcome is Outcome.RIGHT
        assert score(outside.from_row(row), Reply(None, "0.25")).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("aime", {"problem": "Nine squared?", "answer": 81}),
        ("gsm8k", {"question": "Two and three?", "answer": "2 + 3 = 5\n#### 5"}),
        (
            "ifeval",
            {"prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        ),
    ],
)
def test_benchmarks_travel_too(tmp_path, name, row) -> None:
    file = tmp_path / "b.jsonl"
    file.write_text(json.dumps(row) + "\n")
    suite = f"{name}:{file}"
    exported(tmp_path / "t", "inspect", suite, n=1)
    problem, back = (
        draw_problems(parse_suite(suite), "test", 1, 0)[0],
        outside.from_row(rows(tmp_path / "t")[0]),
    )
    said = [score(problem, Reply(None, text)) for text in ("\\boxed{81}", "It is 5.", "a, b", "")]
    assert said == [score(back, Reply(None, text)) for text in ("\\boxed{81}", "It is 5.", "a, b", "")]
    assert Outcome.RIGHT in [verdict.outcome for verdict in said]


def test_the_exported_scorer_gives_our_verdicts(tmp_path) -> None:
    exported(tmp_path / "t", "lm-eval")
    scorer = module_at(tmp_path / "t/scorer.py")
    doc = rows(tmp_path / "t")[0]
    value = int(scorer.target_of(doc))
    told = {"right": 0.0, "unparsed": 0.0, "not_judged": 0.0}
    assert scorer.prompt_of(doc) == doc["prompt"]
    assert scorer.process_results(doc, [f"It is {value}."]) == {**told, "right": 1.0}
    assert scorer.process_results(doc, [f"<think>\n{value}\n</think>\n\n{value + 1}"]) == told
    assert scorer.process_results(doc, ["who knows"]) == {**told, "unparsed": 1.0}
    assert scorer.process_results(doc, [None]) == {**told, "unparsed": 1.0}
    assert outside.verdict_of(doc, str(value), thinking="7").outcome is Outcome.RIGHT
    assert outside.verdict_of(doc, "", thinking=str(value)).outcome is Outcome.UNPARSED


def test_bad_input(tmp_path) -> None:
    with pytest.raises(BadInput, match="no harness 'lmeval', did you mean 'lm-eval'"):
        exported(tmp_path / "a", "lmeval")
    exported(tmp_path / "t", "lm-eval")
    with pytest.raises(BadInput, match="is there already"):
        exported(tmp_path / "t", "inspect")
    (tmp_path / "f").write_text("x")
    with pytest.raises(BadInput, match="is there already"):
        exported(tmp_path / "f", "inspect")
    with pytest.raises(BadInput, match="has no right answers"):
        exported(tmp_path / "c", "inspect", "chat")
    with pytest.raises(BadInput, match="must be at least 1"):
        export_task(parse_suite(SUITE), "inspect", 0, 0, 8, 0.0)
    problem = draw_problems(parse_suite(SUITE), "test", 1, 0)[0]
    strange = problem.__class__(**{**problem.__dict__, "hidden": {"answer": {1, 2}}})
    with pytest.raises(BadInput, match="can't be written to a file"):
        outside.to_row(strange)


def total(prompt: str) -> int:
    return sum(int(n) for n in re.findall(r"\d+", prompt.rpartition("What is")[2].split("?")[0]))


def say(prompt: str, _: int) -> str:
    """Right, wrong, unparsed, without thinking, and cut inside the thinking, by the prompt's sum."""
    value = total(prompt)
    return {
        0: f"<think>\nadd\n</think>\n{value}",
        1: str(value + 1),
        2: f"<think>\n{value}\n</think>\nwho knows",
        3: "<think>\n" + "on and on " * 20,
        4: f"It is {value}.\n\nIndeed, {value}.",
    }[value % 5]


def ours(url: str, folder: Path) -> EvalResult:
    asked = Server(endpoint_of(f"{url}#tiny", {}, "test"), folder)
    return mark_server(asked.ask(parse_suite(SUITE), N, 1, 0, Asking(max_tokens=64), None), False, None)


def harness(module: str, variable: str, arguments: list[str], folder: Path, **environment: str) -> str:
    """Its output, run by the Python that `variable` names, or by this one."""
    python = os.environ.get(variable, sys.executable)
    there = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"{module} can't be imported: name a Python that has it in {variable}")
    given = {**os.environ, "PYTHONPATH": str(SRC), "HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=given, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def agrees(result: EvalResult, marks: dict[str, float]) -> None:
    """Item by item."""
    assert {item.outcome for item in result.items} == {"right", "wrong", "unparsed"}
    assert marks == {item.problem: float(item.outcome == "right") for item in result.items}


@pytest.mark.slow
def test_lm_eval_over_a_server_marks_every_item_as_we_do(tmp_path) -> None:
    name = exported(tmp_path / "t", "lm-eval")["task"]
    with serving(house_of(LM, lambda: ScriptedEngine(LM, say))) as probe:
        url = probe._parts.geturl()
        result = ours(url, tmp_path / "r")
        arguments = ["-m", "lm_eval", "run", "--include_path", ".", "--tasks", name, "--apply_chat_template"]
        arguments += ["--log_samples", "--output_path", "out", "--model", "local-chat-completions"]
        arguments += ["--model_args", f"model=tiny,base_url={url}/chat/completions,num_concurrent=2"]
        harness("lm_eval", "SHOESTRING_CLIENTS_PYTHON", arguments, tmp_path / "t", OPENAI_API_KEY="none")
    log = next((tmp_path / "t/out").rglob("samples_*.jsonl"))
    samples = [json.loads(line) for line in log.read_text().split("\n") if line]
    agrees(result, {sample["doc"]["id"]: sample["right"] for sample in samples})
    found = json.loads(next((tmp_path / "t/out").rglob("results_*.json")).read_text())["results"][name]
    assert found["right,none"] == pytest.approx(result.score)
    assert found["unparsed,none"] == pytest.approx(result.unparsed / N)


@pytest.mark.slow
def test_inspect_over_a_server_marks_every_item_as_we_do(tmp_path) -> None:
    exported(tmp_path / "t", "inspect")
    with serving(house_of(LM, lambda: ScriptedEngine(LM, say))) as probe:
        url = probe._parts.geturl()
        result = ours(url, tmp_path / "r")
        arguments = ["-m", "inspect_ai", "eval", "task.py", "--model", "openai-api/local/tiny"]
        arguments += ["--log-format", "json", "--log-dir", "logs", "--display", "plain"]
        where = {"LOCAL_API_KEY": "none", "LOCAL_BASE_URL": url}
        harness("inspect_ai", "SHOESTRING_INSPECT_PYTHON", arguments, tmp_path / "t", **where)
    log = json.loads(next((tmp_path / "t/logs").glob("*.json")).read_text())
    scores = {sample["id"]: sample["scores"]["by_shoestring"] for sample in log["samples"]}
    agrees(result, {name: float(score["value"] == "C") for name, score in scores.items()})
    outcomes = {item.problem: item.outcome for item in result.items}
    assert {name: score["metadata"]["outcome"] for name, score in scores.items()} == outcomes
    cut = {item.problem for item in result.items if item.finish_reason == "length"}
    assert {name for name, s in scores.items() if s["metadata"]["stop_reason"] == "max_tokens"} == cut
    metrics = log["results"]["scores"][0]["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(result.score)


def under_transformers(lm: LanguageModel, tmp_path: Path, n: int) -> EvalResult:
    """lm-eval renders the prompt, encodes and generates by itself; the folder and the task are ours. What
    is asked: the same texts, but for special tokens that it leaves out of them, and the same marks."""
    lm.save(tmp_path / "model")
    name = exported(tmp_path / "t", "lm-eval", n=n, max_tokens=24)["task"]
    result = evaluate(load(tmp_path / "model", dtype="float32"), SUITE, n=n, max_tokens=24)
    arguments = ["-m", "lm_eval", "run", "--include_path", ".", "--tasks", name, "--apply_chat_template"]
    arguments += ["--log_samples", "--output_path", "out", "--model", "hf", "--device", "cpu"]
    arguments += ["--model_args", f"pretrained={tmp_path / 'model'},dtype=float32", "--batch_size", "1"]
    modules = "lm_eval, torch, transformers, accelerate"
    harness(modules, "SHOESTRING_CLIENTS_PYTHON", arguments, tmp_path / "t", OMP_NUM_THREADS="1")
    log = next((tmp_path / "t/out").rglob("samples_*.jsonl"))
    samples = [json.loads(line) for line in log.read_text().split("\n") if line]
    here = {item.problem: item for item in result.items}
    for sample in samples:
        item = here[sample["doc"]["id"]]
        assert sample["resps"][0][0].strip() == re.sub(r"<\|im_(start|end)\|>|<pad>", "", item.reply).strip()
        assert sample["right"] == float(item.outcome == "right")
        assert sample["unparsed"] == float(item.outcome == "unparsed")
    assert len(samples) == n
    return result


@pytest.mark.slow
def test_lm_eval_with_transformers_says_and_marks_what_the_model_here_does(tmp_path) -> None:
    under_transformers(tiny_lm(seed=3, window=4096), tmp_path, N)


@pytest.mark.slow
@pytest.mark.base
def test_lm_eval_with_transformers_on_a_real_base(tmp_path) -> None:
    result = under_transformers(load("smollm2-135m", dtype="float32"), tmp_path, 12)
    assert result.correct + result.outcomes["wrong"] > 0  # some replies are answers
