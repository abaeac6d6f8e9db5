"""vLLM's own server as an engine, the real one, in its own environment (`benchmarks/install_peers.sh vllm`,
or SHOESTRING_VLLM names its Python): greedy tokens are ours, logprobs are of what was sampled from, new
weights are taken in place and named, an abort leaves nothing, a server that dies takes no sample with it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ray_runs import handles_in
from shoestring.cluster.kept import Kept
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.vllm_line import Line
from shoestring.cluster.vllm_server import ServedEngine, VLLMServer
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from tiny_v3 import tiny_v3
from vllm_models import PROMPTS, made, wide

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("SHOESTRING_VLLM", ROOT / ".venv-vllm/bin/python"))
needs_vllm = pytest.mark.skipif(
    not PYTHON.exists(), reason="no vLLM: bash benchmarks/install_peers.sh vllm, or set SHOESTRING_VLLM"
)
GREEDY = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server_of(actor: int) -> tuple[int, int]:
    """(the keeper's outer process, the server)."""
    (keeper,) = children(actor)
    (inner,) = children(keeper)
    (server,) = children(inner)
    return keeper, server


def pid_of(generators) -> int:
    return generators.members.all[0].last.pid


def gone(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return not path.exists() or ") Z" in path.read_text()


def until(true, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def engine():
    one = VLLMServer(Skeleton.of(wide(0)), 16, 0.1, PYTHON, 600.0).make()
    yield one
    one.close()


@pytest.mark.slow
@needs_vllm
def test_a_server_is_an_engine_like_ours(engine):
    for version in (1, 2):
        lm = wide(version)
        engine.load_weights(lm.network.public_tensors(), version)
        ours = Engine(lm).generate(PROMPTS, GREEDY, [str(i) for i in range(4)])
        theirs = made(engine, GREEDY)
        assert [c.ids for (c,) in theirs] == [c.ids for (c,) in ours]
        for (a,), (b,) in zip(theirs, ours, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
            assert a.weights_version == version

    warm = SamplingParams(max_tokens=8, temperature=0.7, n=3, seed=4, ignore_eos=True)
    theirs = made(engine, warm)
    assert len({tuple(c.ids) for c in theirs[2]}) == 3
    for prompt, several in zip(PROMPTS, theirs, strict=True):
        for completion in several:
            logits = lm.logits([prompt + completion.ids])[0, len(prompt) - 1 : -1]
            own = torch.log_softmax(logits / 0.7, -1)
            said = own.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
            assert completion.logprobs == pytest.approx(said.tolist(), abs=1e-3)
            assert completion.logprob_meaning == "tempered"
    assert [[c.ids for c in s] for s in made(engine, warm)] == [[c.ids for c in s] for s in theirs]


@pytest.mark.slow
@needs_vllm
def test_a_prompt_seen_before_is_cached_until_the_weights_are_new(engine):
    long = [5 + i % 200 for i in range(200)]

    def cached() -> int:
        engine.submit(long, SamplingParams(max_tokens=2, ignore_eos=True), "x")
        while not engine.idle:
            engine.step()
        ((_, (completion,)),) = engine.take_finished()
        return completion.cached_tokens

    assert [cached(), cached() > 0] == [0, True]
    engine.load_weights(wide(1).network.public_tensors(), 3)
    assert cached() == 0


@pytest.mark.slow
@needs_vllm
def test_an_abort_ends_what_runs_and_drops_what_waits(engine):
    number = engine.submit(PROMPTS[0], SamplingParams(max_tokens=200, n=24, ignore_eos=True), "y")
    engine.step()
    engine.abort(number)
    assert engine.idle
    assert engine.take_finished() == []
    engine.load_weights(wide(2).network.public_tensors(), 4)  # which needs a server that holds nothing
    assert [c.weights_version for (c,) in made(engine, GREEDY)] == [4] * 4


@pytest.mark.slow
@needs_vllm
def test_a_server_that_is_killed_costs_time_and_no_sample(ray, tmp_path):
    asked = {"engine": "vllm-server", "vllm_python": PYTHON, "cache_gib": 0.1, "deadline_s": 300.0}
    params = SamplingParams(max_tokens=8, n=2, seed=1, ignore_eos=True)
    keys = [str(i) for i in range(len(PROMPTS))]
    with handles_in(ray, tmp_path, generators=1, **asked) as handles:
        generators = handles.generator(wide(1), 16)
        before = generators.generate(PROMPTS, params, keys)
        said = []
        generators.members.say = said.append
        actor = pid_of(generators)
        keeper, server = server_of(actor)
        os.kill(server, signal.SIGKILL)
        until(lambda: gone(keeper))
        after = generators.generate(PROMPTS, params, keys)
        assert generators.members.lost == 1
        keeper, server = server_of(pid_of(generators))
    assert [[c.ids for c in s] for s in after] == [[c.ids for c in s] for s in before]
    assert said[0].startswith(f"generator 1 of 1 (process {actor} on ")
    assert "its vLLM server is gone: signal 9 (SIGKILL)" in said[0]
    until(lambda: gone(keeper) and gone(server))


def test_a_server_ends_with_who_started_it(tmp_path):
    (tmp_path / "say.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    kept = Kept([sys.executable, str(tmp_path / "say.py")], os.environ, tmp_path / "log")
    until(lambda: (tmp_path / "log").read_text().strip() != "")
    server = int((tmp_path / "log").read_text())
    assert kept.runs
    kept.close()
    until(lambda: gone(server))


def test_a_server_ends_with_an_actor_whose_children_are_killed_first(tmp_path):
    """As Ray does it."""
    (tmp_path / "say.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    actor = (
        "import os, sys; from pathlib import Path; from shoestring.cluster.kept import Kept\n"
        f"home = Path({str(tmp_path)!r})\n"
        "kept = Kept([sys.executable, str(home / 'say.py')], os.environ, home / 'log')\n"
        "input(); os.kill(kept.pid, 9); os.kill(os.getpid(), 9)"
    )
    started = subprocess.Popen([sys.executable, "-c", actor], stdin=subprocess.PIPE)
    until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip() != "")
    server = int((tmp_path / "log").read_text())
    started.communicate(b"\n")
    until(lambda: gone(server))


def test_how_a_server_ended_is_told_with_its_last_error(tmp_path):
    kept = Kept([sys.executable, "-c", "print('a'); raise OSError('no room')"], os.environ, tmp_path / "log")
    until(lambda: not kept.runs)
    assert kept.ending() == "exit code 1: OSError: no room"
    kept.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit(255)", "exit code 255"),
        ("import sys; sys.exit(193)", "exit code 193"),
        ("import os; os.kill(os.getpid(), 40)", "signal 40"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)"),
    ],
)
def test_how_a_server_ended_is_told_for_every_code(tmp_path, code, told):
    kept = Kept([sys.executable, "-c", code], os.environ, tmp_path / "log")
    until(lambda: not kept.runs)
    assert kept.ending() == told
    kept.close()


@pytest.fixture
def hung():
    """A socket that takes connections and never answers, as a stopped server's does."""
    with tempfile.TemporaryDirectory(prefix="sv-") as folder, socket.socket(socket.AF_UNIX) as door:
        path = Path(folder) / "s"
        door.bind(str(path))
        door.listen(64)
        yield path


def served(line):
    """An engine whose one sample never comes."""
    engine = object.__new__(ServedEngine)
    engine._line, engine._asked, engine._finished = line, {1: [Future()]}, deque()
    return engine


def test_a_server_that_is_silent_is_lost_after_the_deadline(hung):
    server = SimpleNamespace(runs=True)
    engine = served(Line(hung, server, 0.8))
    began = time.monotonic()

    def run():
        while time.monotonic() < began + 20:
            engine.step()

    with pytest.raises(WorkerLost, match=r"its vLLM server answered nothing for \d\.\d s"):
        run()
    assert 0.8 < time.monotonic() - began < 10
    with pytest.raises(WorkerLost, match=r"answered nothing to /inference/v1/abort_requests for 0\.8 s"):
        Line(hung, server, 0.8).post("/inference/v1/abort_requests", {})


def test_a_server_that_answers_may_take_its_time_with_a_sample(hung, monkeypatch):
    line = Line(hung, SimpleNamespace(runs=True), 0.4)
    monkeypatch.setattr(line, "_ask", lambda *_: (200, b""))
    engine, until = served(line), time.monotonic() + 1.5
    while time.monotonic() < until:
        engine.step()
    assert not engine.idle


def test_without_vllm_the_line_says_what_to_install(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -c "import vllm"\n')
    bare.chmod(0o755)
    with pytest.raises(BadInput, match=r"engine=vllm-server.*No module named 'vllm'.*pip install vllm"):
        VLLMServer(Skeleton.of(wide(0)), 16, 0.1, bare, 600.0).make()
    with pytest.raises(BadInput, match=r"engine=vllm-server: .*nowhere"):
        VLLMServer(Skeleton.of(wide(0)), 16, 0.1, tmp_path / "nowhere", 600.0).make()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it is not refused")
def test_a_v3_on_a_cpu_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(BadInput, match="can't be given a DeepSeek-V3's new weights in place"):
        VLLMServer(Skeleton.of(tiny_v3()), 16, 0.1, tmp_path / "nowhere", 600.0).make()
