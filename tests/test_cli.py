"""The command line: exit codes, one line for each mistake, and a quick start."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from shoestring import cli
from shoestring.errors import BadInput, Interrupted, ShoestringError
from tiny import tiny_lm

KEYS = [
    *("suite", "n", "k", "seed", "correct", "score", "ci95"),
    *("truncated", "unparsed", "tokens", "seconds", "settings"),
]
runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_lm().save(folder)
    return str(folder)


def call(*arguments: str):
    return runner.invoke(cli.app, list(arguments))


def test_every_verb_is_there_and_has_help():
    verbs = (
        "run",
        "sft",
        "grpo",
        "distill",
        "eval",
        "chat",
        "show",
        "scan",
        "audit",
        "get",
        "doctor",
        "verifier",
        "export",
        "release",
        "verify",
    )
    for verb in verbs:
        done = call(verb, "--help")
        assert done.exit_code == 0, verb
        assert "Usage" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval", "no-model", "--suite", "sums"], "no model 'no-model'"),
        (["eval", "no-model", "--suite", "smus"], "did you mean 'sums'"),
        (["eval", "no-model", "--suite", "sums:max_trems=2"], "did you mean 'max_terms'"),
        (["eval", "no-model", "--suite", "sums", "--few-shot-style", "x"], "'answer' or 'reasoning'"),
        (["show", "sums", "-n", "0"], "'n' = 0"),
        (["chat", "no-model"], "no model 'no-model'"),
        (["chat", "no-model", "--top-p", "2"], "'top_p' = 2.0"),
        (["run", "no-recipe.toml"], "no such recipe"),
        (["run", "laptop", "--scale", "tiny"], "full or small"),
        (["sft", "no-file.toml"], "no such file"),
        (["get", "smollm"], "did you mean 'smollm2-135m'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, words):
    done = call(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["eval"], ["eval", "m"], ["eval", "m", "--suite", "s", "-n", "x"]]
)
def test_usage_errors_exit_2(arguments):
    assert call(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("no\nsuch thing"), 2, "error: no such thing\n"),
        (ShoestringError("the disk is full"), 1, "error: the disk is full\n"),
        (Interrupted("saved; go on with --resume"), 130, "saved; go on with --resume\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_codes(monkeypatch, error, code, line):
    def failing(*args):
        raise error

    monkeypatch.setattr("shoestring.jobs.get.main", failing)
    done = call("get")
    assert (done.exit_code, done.stderr) == (code, line)


def test_our_own_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("shoestring.jobs.get.main", lambda name: 1 / 0)
    assert isinstance(call("get").exception, ZeroDivisionError)


def test_eval_writes_json(model, tmp_path):
    target = tmp_path / "out.json"
    arguments = ["eval", model, "--suite", "sums", "-n", "3", "--max-tokens", "4", "--seed", "7"]
    done = call(*arguments, "--json", str(target), "--items", str(tmp_path / "items.parquet"))
    assert done.exit_code == 0, done.stderr
    values = json.loads(target.read_text())
    assert list(values)[: len(KEYS)] == KEYS
    assert (values["suite"], values["n"], values["seed"], values["settings"]["max_tokens"]) == (
        "sums",
        3,
        7,
        4,
    )
    assert done.stdout.startswith("tiny: sums: ")
    assert done.stdout.splitlines()[1].startswith("  replies: 0.0 % in the thinking format, ")
    assert (tmp_path / "items.parquet").exists()


def test_eval_of_several_samples_says_pass_at_1_and_at_k(model):
    options = "--suite sums -n 2 -k 4 --temperature 1 --max-tokens 4"
    done = call("eval", model, *options.split())
    assert done.exit_code == 0, done.stderr
    assert "pass@1 0.0 % [0.0, 65.8], pass@4 0.0 % [0.0, 65.8]" in done.stdout


def test_eval_is_kept_judged_again_and_compared(model, tmp_path):
    base = ["eval", model, "--suite", "sums", "-n", "2", "--max-tokens", "4", "--temperature", "1"]
    done = call(*base, "--output-dir", str(tmp_path / "a"))
    assert done.exit_code == 0, done.stderr
    assert "--rescore" in done.stdout
    again = call("eval", "--rescore", str(tmp_path / "a"), "--json", str(tmp_path / "r.json"))
    assert again.exit_code == 0, again.stderr
    assert "0 verdicts are other ones now" in again.stdout
    assert json.loads((tmp_path / "r.json").read_text())["rescored"][0]["changed"] == []
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    same = call("eval", "--compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert same.exit_code == 0, same.stderr
    assert "no difference shown" in same.stdout
    assert "the same tokens" in same.stdout
    begun = call(*base, "--output-dir", str(tmp_path / "a"))
    assert begun.exit_code == 2
    assert "--resume" in begun.stderr


def test_several_suites_have_a_mean(model, tmp_path):
    options = ["-n", "3", "--max-tokens", "3", "--suite", "sums", "--suite", "letters", "--suite", "clock"]
    done = call("eval", model, *options, "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.stderr
    assert [row["suite"] for row in json.loads((tmp_path / "out.json").read_text())["evals"]] == [
        *("sums", "letters", "clock")
    ]
    assert "tiny: mean of 3 suites, each weighing alike: 0.0 % [0.0, 29.9]" in done.stdout
    assert call("eval", model, *options, "--items", str(tmp_path / "i.parquet")).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MODEL"], "eval needs --suite"),
        ([], "eval takes a MODEL with --suite, or --rescore FOLDER, or --compare A B"),
        (["MODEL", "--rescore", "x"], "eval takes a MODEL"),
        (["MODEL", "--suite", "smus"], "did you mean 'sums'"),
        (["MODEL", "--suite", "gsm8k:none.jsonl"], "no such file"),
        (["MODEL", "--suite", "sums", "--protocol", "deepsek"], "protocol"),
        (["MODEL", "--suite", "sums", "--effect", "0"], "effect"),
        (["MODEL", "--suite", "sums", "--effect", "0.001"], "needs more than 1,000,000 problems"),
        (["MODEL", "--suite", "sums", "--few-shot-style", "x"], "few_shot_style"),
        (["--rescore", "none"], "no such evaluation"),
    ],
)
def test_what_eval_refuses(model, arguments, words):
    done = call("eval", *(model if word == "MODEL" else word for word in arguments))
    assert done.exit_code == 2, done.stdout
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_benchmark_by_deepseeks_protocol(model, tmp_path):
    rows = [{"problem": f"What is {a} times 3?", "answer": 3 * a} for a in range(4)]
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": "So what is 2 times 3? It is 6."}) + "\n")
    base = ["eval", model, "--suite", f"aime:{tmp_path / 'aime.jsonl'}", "--protocol", "deepseek"]
    options = ["-k", "4", "--max-tokens", "8", "--against", str(tmp_path / "train.jsonl")]
    done = call(*base, *options, "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.stderr
    values = json.loads((tmp_path / "out.json").read_text())
    asked = values["settings"]
    assert (values["n"], values["k"], asked["temperature"], asked["top_p"]) == (4, 4, 0.6, 0.95)
    assert values["departures"] == ["max_tokens 8 instead of 32768", "k 4 instead of 64"]
    assert values["cons_at_k"][0] == 0.0
    assert values["overlap"]["share"] == 0.25
    assert "at least 0.0 %" in done.stdout
    assert "cut 16 (100.0 %)" in done.stdout
    assert "not the deepseek protocol: max_tokens 8 instead of 32768" in done.stdout
    assert "1 problems (25.0 %) were met in 1 texts of training" in done.stdout
    assert call(*base, *options, "-n", "9").stderr.startswith("error: suite 'aime:")


def test_json_to_stdout_is_nothing_but_json(model):
    done = call("eval", model, "--suite", "sums", "-n", "2", "--max-tokens", "4", "--json", "-")
    assert json.loads(done.stdout)["n"] == 2
    assert "tiny: sums: " in done.stderr
    done = call("show", "sums:max_terms=3", "--json", "-")
    assert json.loads(done.stdout)["suite"] == "sums:max_terms=3"


def test_json_into_no_folder(model, tmp_path):
    done = call("show", "sums", "--json", str(tmp_path / "no" / "out.json"))
    assert done.exit_code == 2
    assert "no such folder" in done.stderr


def test_sft_runs_one_stage_and_resumes(model, tmp_path, monkeypatch):
    settings = tmp_path / "tune.toml"
    settings.write_text(f'model = "{model}"\nsuites = ["sums:max_terms=3"]\nsteps = 2\nrows_per_step = 2\n')
    folder = tmp_path / "out"
    base = ["sft", str(settings), "--output-dir", str(folder), "--set", "seed=5"]
    done = call(*base, "--json", str(tmp_path / "result.json"))
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 2
    assert (folder / "model" / "lineage.json").exists()
    again = call(*base)
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    assert call(*base, "--resume").exit_code == 0
    other = call(*base, "--set", "steps=3", "--resume")
    assert other.exit_code == 2
    assert "begun with other settings" in other.stderr
    wrong = call(*base[:2], "--set", "stpes=3")
    assert wrong.exit_code == 2
    assert "did you mean 'steps'" in wrong.stderr


def test_start_up_is_quick_and_without_torch():
    code = (
        "import sys, shoestring.cli; print([m for m in ('torch', 'pydantic', 'pyarrow') if m in sys.modules])"
    )
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert done.stdout == "[]\n"
    empty = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert best - (time.perf_counter() - empty) < 1.0  # 0.2 s on a free machine; this one may be busy


@pytest.mark.slow
def test_ctrl_c_during_eval_exits_130(model):
    program = subprocess.Popen(
        [sys.executable, "-m", "shoestring", "eval", model, "--suite", "sums", "-n", "2000"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None
    program.stderr.readline()  # the first heartbeat: it is generating
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=120)
    assert program.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""


def test_distill_names_its_ways(tmp_path):
    settings = tmp_path / "d.toml"
    settings.write_text('teacher = "nobody"\nsuites = ["sums"]\nprompts = 4\n')
    done = call("distill", str(settings), "--from", "books")
    assert (done.exit_code, done.stderr) == (2, "error: --from books: outputs, distribution or on-policy\n")
    done = call("distill", str(settings), "--output-dir", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "nobody" in done.stderr
