"""Killed, stopped and finished runs: what is kept, and that going on gives the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from killed_runs import POINTS, SAVED
from shoestring.cli import app
from shoestring.errors import Interrupted
from shoestring.lm import load
from shoestring.run import Stage
from training_runs import (
    grpo_settings,
    metrics,
    pretrain_settings,
    refreshing_grpo_settings,
    reward_settings,
    run,
    same,
    save_base,
    save_tokenizer,
    sft_settings,
    timeless,
    toy_suite,
    weights,
)

TESTS = Path(__file__).parents[1]


def stopping_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives in the middle of this step."""
    real = Stage.log

    def log(self: Stage, number: int, values: dict[str, float]) -> None:
        real(self, number, values)
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Stage, "log", log)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("job", ["sft", "grpo", "reward"])
def test_a_stopped_run_goes_on_with_the_same_bits(base, tmp_path, monkeypatch, job):
    settings = {
        "sft": sft_settings(base),
        "grpo": grpo_settings(base, toy_suite(tmp_path)),
        "reward": reward_settings(base),
    }[job]
    whole = run(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopping_at(3, patched)
        with pytest.raises(Interrupted, match=r"after step 3 of 'cut'.*--resume"):
            run(settings, tmp_path / "cut")
    assert not (tmp_path / "cut/model").exists()
    assert run(settings, tmp_path / "cut", resume=True) == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


def test_ctrl_c_on_the_command_line(base, tmp_path, monkeypatch):
    settings = sft_settings(base).model_dump(mode="json", exclude_none=True)
    (tmp_path / "s.toml").write_text(tomli_w.dumps(settings))
    words = ["sft", str(tmp_path / "s.toml"), "--output-dir", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        stopping_at(2, patched)
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 130
    last = done.stderr.strip().splitlines()[-1]
    assert "stopped after step 2" in last
    assert "--resume" in last
    assert json.loads((tmp_path / "out/state/progress.json").read_text())["step"] == 2
    assert CliRunner().invoke(app, [*words, "--resume"]).exit_code == 0
    assert [r["step"] for r in metrics(tmp_path / "out")] == list(range(1, 7))


def test_several_updates_a_step_and_a_refreshed_reference_go_on_the_same(base, tmp_path, monkeypatch):
    settings = refreshing_grpo_settings(base, toy_suite(tmp_path))
    whole = run(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopping_at(4, patched)
        with pytest.raises(Interrupted, match="after step 4 of"):
            run(settings, tmp_path / "cut")
    assert (tmp_path / "cut/state/parts.safetensors").exists()
    assert run(settings, tmp_path / "cut", resume=True) == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


@pytest.mark.slow
def test_kill_9_anywhere_and_the_same_bits_after_going_on(base, tmp_path):
    suite = toy_suite(tmp_path)
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    settings = {"sft": sft_settings(base), "grpo": refreshing_grpo_settings(base, suite)}
    settings |= {"pretrain": pretrain_settings(tokenizer), "reward": reward_settings(base)}
    for job in settings:
        run(settings[job], tmp_path / job)
    command = [sys.executable, "-m", "killed_runs", str(base), suite, str(tokenizer)]
    command.append(str(tmp_path / "killed"))
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=600)
    folders = sorted((tmp_path / "killed").iterdir())
    assert len(folders) == len(POINTS) + 6
    for folder in folders:
        job, _, point = folder.name.partition("-")
        assert not (folder / "model").exists()
        done: list[int] = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Stage, "truncate_metrics", recording(done))
            run(settings[job], folder, resume=True)
        # a grpo run saves its beginning too, so its third rename is of a step's save before
        before = 2 if folder.name == "grpo-before-rename-3" else 0
        assert done == [SAVED[point] - before], folder.name
        assert same(weights(tmp_path / job), weights(folder)), folder.name
        assert timeless(tmp_path / job) == timeless(folder), folder.name
        left = {p.name for p in folder.iterdir()}
        assert not {"state", "state.tmp", "state.new", "state.old", "model.tmp"} & left, folder.name


def recording(done: list[int]):
    real = Stage.truncate_metrics

    def truncate(self: Stage, step: int) -> None:
        done.append(step)
        real(self, step)

    return truncate


def test_a_kill_while_the_old_state_is_dropped_is_mended(base, tmp_path):
    """The model is in place, result.json isn't yet: the stage is run again from the start."""
    settings = sft_settings(base, steps=3)
    whole = run(settings, tmp_path / "whole")
    run(settings, tmp_path / "cut")
    (tmp_path / "cut/result.json").unlink()
    (tmp_path / "cut/state").mkdir()
    (tmp_path / "cut/state/optimizer.safetensors").write_bytes(b"half")
    assert run(settings, tmp_path / "cut", resume=True) == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


@pytest.mark.slow
@pytest.mark.parametrize("job", ["sft", "grpo"])
def test_the_finished_model_loads_in_transformers(base, tmp_path, job):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = (
        sft_settings(base, steps=2) if job == "sft" else grpo_settings(base, toy_suite(tmp_path), steps=2)
    )
    run(settings, tmp_path / "s")
    folder = tmp_path / "s/model"
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[5, 80, 3, 256, 99, 12, 7]])
    with torch.no_grad():
        wanted = theirs(ids).logits
    ours = load(folder, dtype="float32")
    assert torch.allclose(ours.logits(ids), wanted, atol=1e-4)
    assert wanted.abs().max() > 0.1
    assert AutoTokenizer.from_pretrained(folder).encode("hello", add_special_tokens=False) == (
        ours.tokenizer.encode("hello")
    )


@pytest.mark.slow
@pytest.mark.base
@pytest.mark.parametrize("job", ["sft", "grpo"])
def test_the_real_base_in_its_own_precision_goes_on_with_the_same_bits(tmp_path, monkeypatch, job):
    """Products large enough that they are split over threads, and bf16 where the machine has it."""
    changed = {"model": "smollm2-135m", "steps": 3, "dtype": "auto", "save_every": 9}
    if job == "sft":
        settings = sft_settings(tmp_path, **changed, optim={"learning_rate": 1e-4})
    else:
        changed |= {"optim": {"learning_rate": 1e-5}, "reward": "random", "prompts_per_step": 2}
        settings = grpo_settings(tmp_path, "sums", **changed)
    run(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopping_at(1, patched)
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "cut")
    run(settings, tmp_path / "cut", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


LORA = {"lora": {"rank": 2, "alpha": 4, "targets": ["q_proj", "down_proj"]}}


@pytest.mark.parametrize("job", ["sft", "grpo"])
def test_an_adapter_is_trained_stopped_and_saved_both_ways(base, tmp_path, monkeypatch, job):
    kl = {"loss": {"kl_coefficient": 0.05}}
    settings = (
        sft_settings(base, **LORA) if job == "sft" else grpo_settings(base, toy_suite(tmp_path), **LORA, **kl)
    )
    whole = run(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopping_at(3, patched)
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "cut")
    state = load_file(tmp_path / "cut/state/optimizer.safetensors")
    assert all(".low_rank." in name for name in state)  # the adapter and its moments, nothing of the base
    assert run(settings, tmp_path / "cut", resume=True) == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")

    merged, adapter = (
        weights(tmp_path / "whole"),
        load_file(tmp_path / "whole/adapter/adapter_model.safetensors"),
    )
    for name, tensor in load_file(base / "model.safetensors").items():
        prefix = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        if prefix + "A.weight" in adapter:
            change = 2.0 * adapter[prefix + "B.weight"] @ adapter[prefix + "A.weight"]
            assert change.abs().max() > 1e-4, name
            assert torch.allclose(merged[name], tensor + change, atol=1e-6), name
        else:
            assert torch.equal(merged[name], tensor), name
    config = json.loads((tmp_path / "whole/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)


def test_the_reference_of_an_adapters_run_is_the_base(base, tmp_path):
    """KL to the first model: 0 in the first step, then as of a second copy of it."""
    changed = LORA | {"loss": {"kl_coefficient": 0.05}}
    run(grpo_settings(base, toy_suite(tmp_path), **changed), tmp_path / "run")
    kl = [row["kl"] for row in metrics(tmp_path / "run")]
    assert kl[0] < 1e-6
    assert kl[-1] > 1e-5
    assert max(row["mismatch_kl"] for row in metrics(tmp_path / "run")) < 1e-5


def test_a_rehearsal_comes_once_and_changes_nothing(base, tmp_path, monkeypatch):
    suite = toy_suite(tmp_path)
    run(grpo_settings(base, suite, rehearsal=False), tmp_path / "without")
    assert not (tmp_path / "without/rehearsal.json").exists()
    with monkeypatch.context() as patched:
        stopping_at(3, patched)
        with pytest.raises(Interrupted):
            run(grpo_settings(base, suite), tmp_path / "with")
    told = (tmp_path / "with/rehearsal.json").read_text()
    run(grpo_settings(base, suite), tmp_path / "with", resume=True)
    assert (tmp_path / "with/rehearsal.json").read_text() == told
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))
    values = json.loads(told)
    assert values["tokens"] <= 120
    assert values["peak_bytes"] > 0
    assert values["seconds"] > 0
