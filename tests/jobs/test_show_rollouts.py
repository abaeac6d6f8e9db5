"""`show RUN --rollouts`: what the terminal says of what was written."""

import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from run_folders import RECIPE, begin, kept_group, train_sft, unit
from shoestring.cli import app
from shoestring.errors import BadInput
from shoestring.jobs.show_rollouts import ShowRolloutsSettings, main
from shoestring.report.rollouts import visible
from shoestring.rl.store import SCHEMA
from shoestring.settings import build


@pytest.fixture(scope="module")
def run_path(tmp_path_factory) -> str:
    folder = begin(tmp_path_factory.mktemp("runs") / "r")
    zero, cold, _ = RECIPE["stage"]
    for arm in ("", "random"):
        stage = unit(folder, 1, zero, arm)
        for step in (1, 2, 5):
            said = "<think>hm</think>" if step == 1 else "<think>wait, let me see</think>"
            rows = kept_group(step, step, "ab12", [(f"{said}7<|im_end|>", 1.0), (f"{said}\x1b[2J8", 0.0)])
            rows += kept_group(step, step + 9, f"cd{step}", [(f"{said}{i}[bold]", 0.0) for i in range(6)])
            rows += kept_group(step, step + 99, "ef", [("never", None)])
            stage.rollouts(step, rows, SCHEMA)
    train_sft(unit(folder, 2, cold))
    return str(folder.path)


def show(run: str, colour: bool = False, **values) -> tuple[dict, str]:
    out = io.StringIO()
    console = Console(
        file=out,
        highlight=False,
        soft_wrap=True,
        width=100,
        force_terminal=colour,
        color_system="standard" if colour else None,
    )
    return main(build(ShowRolloutsSettings, {"run": run, **values}, "show"), console), out.getvalue()


def test_the_last_step_of_the_recipes_own_unit(run_path):
    values, text = show(run_path)
    assert (values["stage"], values["steps"], values["samples"], values["found"]) == ("zero", [5], 9, 9)
    assert "stage zero; there are also zero random (--stage)" in text
    assert "step 5 of zero: 9 of 9 samples asked for" in text
    assert text.count("What is cd5?") == 1  # a group's prompt stands once
    assert "right  reward 1  advantage +0.5  (format 0.25)" in text
    assert "wrong  reward 0  (format 0.25)  38 tokens  dead group" in text
    assert "timeout cut  no reward" in text
    assert "[bold]" in text  # what a model writes is no markup
    assert "\x1b" not in text
    assert "␛[2J8" in text
    json.dumps(values)


def test_thinking_is_dim_the_answer_bold_the_verdict_coloured(run_path):
    _, text = show(run_path, colour=True, problem="ab12")
    assert "\x1b[2mwait, let me see\x1b[0m" in text
    assert "\x1b[1m7\x1b[0m" in text
    assert "\x1b[1;32mright\x1b[0m" in text
    assert "\x1b[2J" not in text


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"step": "1:2"}, 18),
        ({"step": "1", "verdict": "right"}, 1),
        ({"problem": "cd"}, 6),
        ({"prompt": "ef"}, 1),
        ({"live": True}, 2),
        ({"live": False}, 7),
        ({"stage": "zero random", "verdict": "timeout"}, 1),
        ({"prompt": "there is no such prompt"}, 0),
    ],
)
def test_filters(run_path, values, found):
    got, text = show(run_path, n=100, **values)
    assert got["found"] == len(got["rows"]) == found
    assert f": {found} of {got['samples']} samples" in text


def test_n_and_sort(run_path):
    values, text = show(run_path, sort="length", n=2)
    assert "9 of 9 samples asked for, 2 shown (-n)" in text
    lengths = [row["tokens"] for row in values["rows"]]
    assert lengths == sorted(lengths, reverse=True)
    assert values["rows"][0]["completion"].endswith("<|im_end|>")


def test_what_changed_since(run_path):
    values, text = show(run_path, since=1, n=1)
    assert "step 1 (9 samples) and step 5 (9 samples):" in text
    assert values["problems"] == ("ab12", "ef")
    assert "1 more problems are in both (-n)" in text
    assert values["more"][0] == {"text": "let me see", "before": 0, "after": 8}
    assert values["less"][0] == {"text": "<think> hm </think>", "before": 8, "after": 0}
    pair = values["pairs"][0]
    assert (pair["before"]["step"], pair["after"]["step"]) == (1, 5)
    assert text.index("before, step 1") < text.index("after, step 5")
    right = next(line for line in text.splitlines() if line.startswith("right"))
    assert right.split() == ["right", "11.1%", "11.1%"]
    json.dumps(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"step": "3"}, "step 3 of zero isn't kept; kept are 1, 2, 5"),
        ({"step": "x"}, "write a step as 7"),
        ({"since": 4}, "step 4 of zero isn't kept"),
        ({"since": 1, "prompt": "nope"}, "nothing to compare: 0 samples of step 1, 0 of step 5"),
        ({"stage": "zeor"}, "no rollouts of a stage 'zeor', did you mean 'zero'"),
        ({"verdict": "wright"}, "did you mean 'right'"),
        ({"sort": "lenght"}, "did you mean 'length'"),
        ({"n": 0}, "'n' = 0"),
    ],
)
def test_wrong_values_are_one_line(run_path, values, words):
    with pytest.raises(BadInput, match=words) as caught:
        show(run_path, **values)
    assert "\n" not in str(caught.value)


def test_folders_without_rollouts(tmp_path):
    with pytest.raises(BadInput, match="is not a run folder"):
        show(str(tmp_path))
    folder = begin(tmp_path / "r")
    train_sft(unit(folder, 2, RECIPE["stage"][1]))
    with pytest.raises(BadInput, match="has no rollouts yet"):
        show(str(folder.path))


def test_the_command_line(run_path, tmp_path):
    runner = CliRunner()
    target = tmp_path / "out.json"
    line = ["show", run_path, "--rollouts", "--step", "1", "--dead", "-n", "3", "--json", str(target)]
    assert runner.invoke(app, line).exit_code == 0
    assert len(json.loads(target.read_text())["rows"]) == 3
    for wrong, words in (
        (["--step", "1"], "--step chooses among rollouts: add --rollouts"),
        (["--rollouts", "--verdict", "rigth"], "verdict 'rigth', did you mean 'right'?"),
    ):
        result = runner.invoke(app, ["show", run_path, *wrong])
        assert result.exit_code == 2
        assert words in result.output


def test_the_pictures_of_signs_are_one_sign_each():
    assert len(visible("".join(map(chr, range(32))))) == 32
