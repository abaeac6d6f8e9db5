"""`torchrun -m shoestring`: one recipe, several ranks; what a rank's loss, a stop and a wrong word do."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore, PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from typer.testing import CliRunner

from ranks_work import OPTIM
from shoestring.cli.app import app
from shoestring.cluster import leading as leading_module
from shoestring.cluster.leading import LeadingLearner
from shoestring.cluster.torchrun import KEY, NOBODY, Leading, Place, leading
from shoestring.cluster.world import World
from shoestring.errors import ShoestringError
from shoestring.models.checkpoint import load_checkpoint
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from tiny_v3 import tiny_v3

TOLD = {
    "TORCHELASTIC_RUN_ID": "1",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "host",
    "MASTER_PORT": "29",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}


def settings(folder: Path, steps: int = 4) -> Path:
    tiny_v3().save(folder / "start")
    file = folder / "sft.toml"
    file.write_text(
        f'model = "{folder / "start"}"\nsuites = ["sums:max_terms=2"]\nsteps = {steps}\nrows_per_step = 4\n'
        "micro_batch_tokens = 64\nsave_every = 2\n"
        'dtype = "float32"\noptim = { learning_rate = 1e-3, warmup_steps = 0 }\n'
        "objectives = { mtp_weight = 0.3, bias_update_speed = 0.01 }\n"
    )
    return file


def start(ranks: int, *words: str | Path) -> subprocess.Popen[str]:
    run = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "shoestring"]
    command = [sys.executable, *run, *map(str, words)]
    if ranks == 1:
        command = [sys.executable, "-m", "shoestring", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_place_is_what_torchrun_told() -> None:
    assert Place.of(TOLD) == Place(1, 2, "host", 29, False, "0")
    assert Place.of(TOLD | {"WORLD_SIZE": "1"}) is None
    assert Place.of({"RANK": "1", "WORLD_SIZE": "2"}) is None  # somebody else's words
    first = Place.of(TOLD | {"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "False"})
    assert first is not None
    assert first.hosts


def test_ranks_without_torchrun_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["sft", str(tmp_path / "x.toml"), "--ranks", "expert=2"])
    assert done.exit_code == 2
    assert "--ranks expert=2 is for torchrun" in done.output


def test_a_rank_that_goes_home_is_not_torn_down(tmp_path: Path) -> None:
    """A thread of gloo's that outlives the interpreter aborts the process."""
    store = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    PrefixStore("attempt 0", store).set(KEY, NOBODY)
    told = TOLD | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    code = (
        "import sys\n"
        "class Late:\n"
        "    def __del__(self, write=open, path=sys.argv[1]): write(path, 'w')\n"
        "sys.late = Late()\n"
        "from shoestring.cli import main\n"
        "main()"
    )
    left = tmp_path / "torn down"
    done = subprocess.run([sys.executable, "-c", code, left], env=os.environ | told, timeout=120)
    assert done.returncode == 0
    assert not left.exists()


def led_to(error: BaseException, monkeypatch: pytest.MonkeyPatch, update: bool) -> list[str]:
    """What rank 0 tells the others where its command ends in this error, in an update or outside."""
    told: list[str] = []
    monkeypatch.setattr(Place, "store", lambda self: HashStore())
    monkeypatch.setattr(Leading, "close", lambda self: told.append("home"))
    monkeypatch.setattr(leading_module, "give", lambda world, order: told.append(type(order).__name__))
    world = object.__new__(World)
    learner = object.__new__(LeadingLearner)
    learner.world, learner.settings, learner.objectives = world, OPTIM, Objectives()
    learner.step, learner.rate_scale, learner.most_tokens = 0, 1.0, None

    class Fails:
        def update(self, *_: object) -> None:
            raise error

    learner._own = Fails()  # type: ignore[assignment]

    def command() -> None:
        with leading(Place(0, 2, "host", 1, False, "0"), []) as door:
            door.world = world
            if update:
                learner.update([], sft_loss)
            raise error

    with pytest.raises(type(error)):
        command()
    return told


@pytest.mark.parametrize("error", [AssertionError("ours"), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_fault_of_rank_0_alone_does_not_wait_for_the_others(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They sit in a collective of the update, and would be met in another until the deadline."""
    assert led_to(error, monkeypatch, update=True) == ["Call"]
    assert led_to(error, monkeypatch, update=False) == ["home"]


def test_what_all_ranks_find_alike_sends_them_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert led_to(ShoestringError("not finite"), monkeypatch, update=True) == ["Call", "home"]


def test_ranks_that_do_not_go_home_leave_the_error_that_came_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(self: Leading) -> None:
        raise RuntimeError("Timed out")

    monkeypatch.setattr(Place, "store", lambda self: HashStore())
    monkeypatch.setattr(Leading, "close", lost)
    with (
        pytest.raises(ShoestringError, match="no such suite"),
        leading(Place(0, 2, "host", 1, False, "0"), []),
    ):
        raise ShoestringError("no such suite")
    assert capsys.readouterr().err == "the other ranks: Timed out\n"


@pytest.mark.slow
def test_a_stage_over_two_ranks_is_that_of_one_process(tmp_path: Path) -> None:
    file = settings(tmp_path)
    asked = ["sft", file, "--output-dir"]
    alone, led = tmp_path / "alone", tmp_path / "led"
    for process in (start(1, *asked, alone), start(2, *asked, led, "--ranks", "expert=2")):
        said = process.communicate()[0]
        assert process.returncode == 0, said
    assert losses(led) == pytest.approx(losses(alone), abs=1e-5)
    ours, theirs = (load_checkpoint(f / "model", torch.float32, "cpu") for f in (led, alone))
    want = dict(theirs.public_tensors())
    for name, tensor in ours.public_tensors():
        torch.testing.assert_close(tensor, want[name], atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_sigterm_saves_and_one_process_goes_on(tmp_path: Path) -> None:
    file, folder = settings(tmp_path, steps=400), tmp_path / "led"
    process = start(2, "sft", file, "--output-dir", folder)
    _until(lambda: (folder / "metrics.jsonl").exists() and len(losses(folder)) >= 1, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[0]
    done = len(losses(folder))
    assert f"stopped after step {done} of 'sft'; it is saved" in said, said
    progress = json.loads((folder / "state/progress.json").read_text())
    assert progress["step"] == done
    assert done < 400
    then = start(1, "sft", file, "--output-dir", folder, "--resume")
    _until(lambda: len(losses(folder)) > done, then)
    then.send_signal(signal.SIGINT)
    assert f"going on from step {done}" in then.communicate()[0]


@pytest.mark.slow
def test_a_killed_rank_is_named_and_what_was_saved_stays(tmp_path: Path) -> None:
    file, folder = settings(tmp_path, steps=4000), tmp_path / "led"
    process = start(2, "sft", file, "--output-dir", folder)
    _until(lambda: (folder / "state/progress.json").exists(), process)
    os.kill(_follower(process.pid), signal.SIGKILL)
    said = process.communicate()[0]
    assert process.returncode != 0
    assert "exitcode  : -9" in said  # torchrun's word on it
    assert re.search(r"error: rank 1 is gone: last heard \d+ s ago in '", said), said
    assert (folder / "ranks/rank-0.txt").exists()
    assert (folder / "state/progress.json").exists()


@pytest.mark.slow
def test_what_does_not_fit_is_one_line_and_everybody_goes_home(tmp_path: Path) -> None:
    file = settings(tmp_path)
    for words, line in (
        (["expert=3"], "expert 3: 2 ranks can't be parted into groups of 3; write one of 1, 2"),
        (["tensor=2"], "tensor parallelism is planned"),
        (["experts=2"], "unknown setting 'experts'"),
    ):
        asked = [word for one in words for word in ("--ranks", one)]
        process = start(2, "sft", file, "--output-dir", tmp_path / "out", *asked)
        said = process.communicate()[0]
        assert line in said, said
        assert 'Traceback (most recent call last):\n  File "' + str(tmp_path) not in said


def _until(done, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)


def _follower(parent: int) -> int:
    """The process of rank 1 under torchrun."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in map(int, children):
        if b"RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes().replace(b"LOCAL_RANK", b""):
            return child
    raise AssertionError("no rank 1")
