"""Contenders side by side: each lives in a process of its own under its own interpreter, loads and warms up
once, and then takes turns. Who isn't on is stopped (SIGSTOP), so that no idle process takes a core."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from shoestring.errors import BadInput, ShoestringError

HERE = Path(__file__).resolve().parent
OURS = Path(sys.executable)


@dataclass(frozen=True)
class Contender:
    name: str
    python: Path
    worker: str  # a file in workers/
    spec: dict[str, Any]
    kit: str  # what benchmarks/install_peers.sh calls the environment it needs; "" for ours
    env: dict[str, str] = field(default_factory=dict)

    @property
    def install(self) -> str:
        command = f"bash benchmarks/install_peers.sh {self.kit}" if self.kit else "make venv"
        return f"install it with: {command}"


class Running:
    """A contender that is loaded, warm and stopped until its turn. `facts`: its versions and threads."""

    def __init__(self, contender: Contender, errors: TextIO) -> None:
        self.contender, self.name, self._errors = contender, contender.name, errors
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **contender.env}
        self._process = subprocess.Popen(
            [str(contender.python), str(HERE / "workers" / contender.worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=env,
            start_new_session=True,  # so that it and its helpers can be stopped as one
        )
        try:
            self.facts = self._exchange(contender.spec)
        except BaseException:  # Ctrl-C while it loads, too: nobody else knows of it yet
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def take_turn(self, request: dict[str, Any]) -> dict[str, Any]:
        self._signal(signal.SIGCONT)
        result = self._exchange(request)
        self._signal(signal.SIGSTOP)
        return result

    def close(self) -> None:
        """End it. Closing twice is allowed: whoever needs its memory for others does so early."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.communicate()

    def _exchange(self, values: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ShoestringError(f"{self.name} ended without an answer: {self._last_words()}")
        answer = json.loads(line)
        if "missing" in answer:
            raise BadInput(
                f"{self.name} lacks the package '{answer['missing']}' in {self.contender.python.parents[1]}; "
                f"{self.contender.install}"
            )
        if "failed" in answer:
            raise ShoestringError(f"{self.name} failed: {answer['failed']}; its output: {self._errors.name}")
        return answer

    def _last_words(self) -> str:
        lines = Path(self._errors.name).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended; the next exchange says so
            os.killpg(self._process.pid, number)


@contextmanager
def running(contenders: Sequence[Contender]) -> Iterator[list[Running]]:
    """Loads and warms them up one after the other; ends them all on the way out, whatever happened."""
    for contender in contenders:  # before the first takes its time to load
        if not contender.python.exists():
            raise BadInput(
                f"{contender.name} is not installed in {contender.python.parents[1]}; {contender.install}"
            )
    with ExitStack() as stack:
        started = []
        for contender in contenders:
            print(f"loading {contender.name}", file=sys.stderr, flush=True)
            path = Path(tempfile.gettempdir()) / f"benchmark-{contender.name.replace(' ', '-')}.log"
            errors = stack.enter_context(path.open("w", encoding="utf-8"))
            one = Running(contender, errors)
            stack.callback(one.close)
            started.append(one)
        yield started


Rounds = list[dict[str, dict[str, Any]]]  # one dict a round: what each contender measured in its turn


def interleave(
    contenders: Sequence[Running], count: int, request: Callable[[str, int], dict[str, Any]]
) -> Rounds:
    """A B C, A B C, ...: what changes on the machine meanwhile meets all of them."""
    rounds: Rounds = []
    for number in range(count):
        rounds.append({})
        for one in contenders:
            rounds[-1][one.name] = answer = one.take_turn(request(one.name, number))
            seconds = f", {answer['seconds']:.2f} s" if "seconds" in answer else ""
            print(f"round {number + 1}/{count}: {one.name}{seconds}", file=sys.stderr, flush=True)
    return rounds


def best_of(variants: Sequence[Contender], speed: Callable[[dict[str, Any]], float]) -> tuple[Contender, Any]:
    """The variant that is fastest in the median of two turns, each loaded alone, and what all of them did."""
    found: dict[str, float] = {}
    for variant in variants:
        with running([variant]) as (one,):
            found[variant.name] = statistics.median(speed(one.take_turn({})) for _ in range(2))
            print(f"{variant.name}: {found[variant.name]:.4g}", file=sys.stderr, flush=True)
    return max(variants, key=lambda v: found[v.name]), found
