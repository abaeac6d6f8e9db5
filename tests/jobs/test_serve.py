"""The server as a process: what it refuses to start with, how it ends, and that it needs no network."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.serve.probe import Probe
from tiny import tiny_lm

ENDLESS = {"ignore_eos": True, "loop_guard": False, "answer_reserve": 0}
COMMAND = [sys.executable, "-m", "shoestring", "serve"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_lm(window=4096).save(path)
    return path


@contextmanager
def started(*words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], Probe]]:
    """The process, and a probe of the address that it says."""
    server = subprocess.Popen(
        [*COMMAND, *words, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert server.stderr is not None
    try:
        said = ""
        for line in server.stderr:
            said += line
            if found := re.match(r"http://\S+/v1", line):
                yield server, Probe(found[0], timeout=60)
                break
        else:
            raise AssertionError(said)
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


def until_it_runs(probe: Probe) -> None:
    until = time.monotonic() + 30
    while b'num_requests_running{model_name="tiny"} 1.0' not in probe.get("/metrics", root=True).raw:
        assert time.monotonic() < until
        time.sleep(0.02)


def refusal(*words: str) -> str:
    result = CliRunner().invoke(app, ["serve", *words])
    assert result.exit_code == 2, result.output
    return result.output


def test_other_machines_need_a_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOESTRING_API_KEY", raising=False)
    assert "there is no key" in refusal(str(folder), "--host", "0.0.0.0")


def test_a_port_that_is_taken_is_known_at_once(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "choose another --port" in refusal(str(folder), "--port", str(taken.getsockname()[1]))


def test_what_cant_be_served_is_bad_input(folder: Path) -> None:
    assert "name a model" in refusal()
    assert "no model 'nowhere'" in refusal("nowhere", "--port", "0")
    assert "two models are called 'tiny'" in refusal(str(folder), str(folder), "--port", "0")
    assert "max_runnin" in refusal(str(folder), "--set", "max_runnin=3")
    assert "no such file" in refusal(str(folder), "--keys", "nowhere.toml")


def test_a_new_key_is_printed_once() -> None:
    result = CliRunner().invoke(app, ["serve", "--new-key", "alice"])
    assert result.exit_code == 0
    assert result.stdout.startswith('[[key]]\nname = "alice"\nsha256 = "')
    assert "sk-" in result.stderr
    assert "sk-" not in result.stdout


@pytest.mark.slow
def test_sigterm_lets_what_runs_finish_and_refuses_the_rest(folder: Path) -> None:
    with started(str(folder), "--set", "drain_seconds=20") as (server, probe):
        assert probe.chat(max_tokens=2).status == 200
        said: list[Any] = []
        body = {"max_tokens": 2000, "n": 8, **ENDLESS}
        work = threading.Thread(target=lambda: said.append(probe.stream(**body)))
        work.start()
        until_it_runs(probe)
        server.send_signal(signal.SIGTERM)
        while probe.get("/health", root=True).status == 200:
            pass
        got = probe.chat()
        assert (got.status, got.json["error"]["code"]) == (503, "shutting_down")
        work.join(60)
        assert said[0].done
        assert said[0].reasons() == ["length"]
        assert server.wait(30) == 0


@pytest.mark.slow
def test_it_ends_when_nobody_reads_its_lines_any_more(folder: Path) -> None:
    """`shoestring serve ... 2>&1 | head`: a line that can't be written had kept SIGTERM from its work."""
    with started(str(folder), "--set", "log_requests=true") as (server, probe):
        assert server.stderr is not None
        server.stderr.close()
        assert probe.chat(max_tokens=2).status == 200
        assert probe.chat(max_tokens=2).status == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


def long_reply(probe: Probe) -> tuple[threading.Thread, list[Any]]:
    """One that is under way and takes long, and where it is put."""
    said: list[Any] = []
    body = {"max_tokens": 3900, "n": 16, **ENDLESS}
    work = threading.Thread(target=lambda: said.append(probe.chat(**body)))
    work.start()
    until_it_runs(probe)
    time.sleep(0.5)  # some tokens
    return work, said


@pytest.mark.slow
def test_what_runs_too_long_after_sigterm_ends_with_what_it_has(folder: Path) -> None:
    with started(str(folder), "--set", "drain_seconds=0.2") as (server, probe):
        work, said = long_reply(probe)
        server.send_signal(signal.SIGTERM)
        work.join(60)
        choice = said[0].json["choices"][0]
        assert (choice["finish_reason"], choice["finish_details"]["reason"]) == ("length", "shutdown")
        assert server.wait(30) == 0


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(folder: Path) -> None:
    with started(str(folder), "--set", "drain_seconds=600") as (server, probe):
        work, _ = long_reply(probe)
        server.send_signal(signal.SIGTERM)
        while probe.get("/health", root=True).status == 200:
            pass
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        work.join(60)


ALONE = """
import ctypes, fcntl, os, socket, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x40000000):  # CLONE_NEWNET
    print("no namespace"); sys.exit(0)
with socket.socket() as s:  # lo is down in a new one
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
assert open("/proc/net/route").read().count("\\n") == 1
server = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
address = next(line for line in server.stderr if line.startswith("http://")).split()[0]
from shoestring.serve.probe import Probe
probe = Probe(address)
said = [probe.chat(max_tokens=3).status, *(probe.get(path, root=True).status for path in ("/", "/metrics"))]
server.terminate(); server.communicate()
def tried():  # the kernel's own counts of this namespace; what found no way out is counted too
    rows = [line.split() for line in open("/proc/net/snmp")]
    pairs = zip(rows[::2], rows[1::2])
    count = {head[0] + name: int(n) for head, row in pairs for name, n in zip(head[1:], row[1:])}
    if os.path.exists("/proc/net/snmp6"):
        count |= {name: int(n) for name, n in map(str.split, open("/proc/net/snmp6"))}
    both = lambda name: count[name.replace(" ", ":")] + count.get(name.replace(" ", "6"), 0)
    return count["Tcp:ActiveOpens"], both("Udp OutDatagrams"), both("Ip OutNoRoutes")
print(*said, *tried())
away, here = "192.0.2.1", "127.0.0.1"
for kind, address in ((socket.SOCK_STREAM, away), (socket.SOCK_DGRAM, away), (socket.SOCK_DGRAM, here)):
    with socket.socket(socket.AF_INET, kind) as s:
        try:
            s.connect((address, 53)); s.send(b"?")
        except OSError:
            pass
print(*tried())
"""


@pytest.mark.slow
def test_it_serves_without_a_network(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *COMMAND, str(folder), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    if "no namespace" in done.stdout:
        pytest.skip("a network namespace can't be made here")
    served, wrong = done.stdout.splitlines()
    # the probe's requests, before the first of which it asks for the model's name, are four connections;
    # nothing else was opened, sent, or tried without a way there
    assert served.split() == ["200", "200", "200", "4", "0", "0"], done.stderr[-2000:]
    # and these counts do see a connection out and a question to a name server
    assert wrong.split() == ["4", "1", "2"]


@pytest.mark.slow
def test_bench_conformance_tells_and_writes_what_it_found(folder: Path, tmp_path: Path) -> None:
    with started(str(folder)) as (_, probe):
        path = tmp_path / "found.json"
        only = ["--only", "models_are_listed", "--only", "unknown_field"]
        words = ["bench", "conformance", probe._parts.geturl(), *only, "--json", str(path)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert "2 checks of tiny" in result.output
        assert json.loads(path.read_text())["passed"] == 2
        result = CliRunner().invoke(app, ["bench", "conformance", "http://127.0.0.1:1/v1"])
        assert result.exit_code == 1
        assert "nothing listens" in result.output


HELPERS = """
import os, time, torch
from shoestring.jobs.serve import _apart
torch.set_num_threads(2)
def threads():
    return len(os.listdir("/proc/self/task"))
def compute():
    return torch.nn.functional.silu(torch.ones(1 << 20))
before = threads()
_apart(compute)
until = time.monotonic() + 10
while threads() > before and time.monotonic() < until:  # they end a moment later
    time.sleep(0.01)
apart = threads()
compute()
print(before, apart, threads())
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to count threads in")
def test_what_loads_a_model_leaves_no_helpers_that_slow_the_engines_down():
    done = subprocess.run([sys.executable, "-c", HELPERS], capture_output=True, text=True, check=True)
    before, apart, here = map(int, done.stdout.split())
    assert apart == before
    assert here > before  # else the test shows nothing
