"""Scores replies in a pool of processes that can be killed, so that no scorer can stop or fool a job.

An item's clock starts when its worker turns to it (waiting in the queue costs nothing) and is kept here,
outside the worker. Nothing uses signals: it works from any thread and beside asyncio. A scorer that
- raises: ERROR, with what it raised;
- ends its process: ERROR, and the rest of the chunk goes on in a new one;
- runs past the clock: its process is killed and the item tried once more, alone in a fresh one. If it hangs
  again the answer itself is at fault and is WRONG, so that hanging never pays.
"""

import json
import os
import pickle
import queue
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shoestring.errors import BadInput, ShoestringError
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.worker import LENGTH, Item
from shoestring.text.message import Reply

START_S = 120.0  # to start Python, or to import what a scorer needs, on a slow and busy machine
CHUNK = 64
CLOSED = "the judge is closed"


class WorkerGone(Exception):
    """The process ended by itself."""


class WorkerLate(Exception):
    """The process said nothing within the time it had."""


class Judge:
    """`with Judge(workers=2) as judge: verdicts = judge.score([(id, problem, reply), ...])`."""

    def __init__(self, workers: int = 2, timeout_s: float = 5.0) -> None:
        assert workers >= 1, workers
        self.timeout_s = timeout_s
        self.retried = 0  # items that ran past the clock and were tried again
        self.deaths = 0  # items that ended their process
        self._all = [Worker(timeout_s) for _ in range(workers)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="judge")
        self._counting = threading.Lock()
        self._finalizer = weakref.finalize(self, _end_all, self._all)

    def score(
        self, replies: Sequence[tuple[str, Problem, Reply]], lenient: bool = False
    ) -> dict[str, Verdict]:
        """A verdict for every id. `lenient` asks for `score_lenient`. Raises BadInput where a scorer can't be
        loaded at all."""
        if not self._finalizer.alive:
            raise ShoestringError(CLOSED)
        items = [(index, problem, reply) for index, (_, problem, reply) in enumerate(replies)]
        size = min(CHUNK, max(1, -(-len(items) // (2 * len(self._all)))))
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        verdicts: dict[int, Verdict] = {}
        for part in self._threads.map(lambda chunk: self._score_chunk(chunk, lenient), chunks):
            verdicts |= part
        result = {id_: verdicts[index] for index, (id_, _, _) in enumerate(replies)}
        assert len(result) == len(replies), "ids must differ"
        return result

    def close(self) -> None:
        """Kill the workers, whatever they are doing. A `score` under way raises ShoestringError."""
        for worker in self._all:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._finalizer()

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _score_chunk(self, items: list[Item], lenient: bool) -> dict[int, Verdict]:
        worker = self._idle.get()
        try:
            verdicts: dict[int, Verdict] = {}
            late: dict[int, Item] = {}
            while rest := [item for item in items if item[0] not in verdicts and item[0] not in late]:
                fault = self._serve(worker, rest, lenient, verdicts)
                if fault is None:
                    continue
                # items are done in order: the first without a verdict is the one at fault
                culprit = next(item for item in rest if item[0] not in verdicts)
                if isinstance(fault, WorkerLate):
                    late[culprit[0]] = culprit
                    self._count(retried=1)
                else:
                    self._count(deaths=1)
                    verdicts[culprit[0]] = Verdict(Outcome.ERROR, 0.0, detail=f"the scorer's process {fault}")
            for index, item in late.items():
                verdicts[index] = self._try_again(worker, item, lenient)
            return verdicts
        finally:
            self._idle.put(worker)

    def _serve(
        self, worker: "Worker", items: list[Item], lenient: bool, verdicts: dict[int, Verdict]
    ) -> WorkerLate | WorkerGone | None:
        """Fill in `verdicts` up to the first fault, which is given back; the worker is then a fresh one."""
        try:
            worker.begin(lenient, items)
            for _ in items:
                message = worker.receive(self.timeout_s)
                verdicts[message["index"]] = _verdict(message)
        except (WorkerLate, WorkerGone) as fault:
            worker.restart()
            return fault
        return None

    def _count(self, retried: int = 0, deaths: int = 0) -> None:
        with self._counting:
            self.retried += retried
            self.deaths += deaths

    def _try_again(self, worker: "Worker", item: Item, lenient: bool) -> Verdict:
        worker.restart()
        verdicts: dict[int, Verdict] = {}
        fault = self._serve(worker, [item], lenient, verdicts)
        if isinstance(fault, WorkerLate):
            detail = f"scoring it ran past {self.timeout_s:g} s twice, the second time in a fresh process"
            return Verdict(Outcome.WRONG, 0.0, detail=detail)
        if isinstance(fault, WorkerGone):
            detail = f"scoring it ran past {self.timeout_s:g} s, and then its process {fault}"
            return Verdict(Outcome.TIMEOUT, 0.0, detail=detail)
        return verdicts[item[0]]


class Worker:
    """One process and the pipes to it; used by one thread at a time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._closed = False
        self._changing = threading.Lock()  # kill() may come from another thread, in the middle of a restart
        self._start()

    def _start(self) -> None:
        # all that can be imported here can be there; a scorer in the working folder too
        path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), os.getcwd()]))
        command = [sys.executable, "-P", "-m", "shoestring.tasks.worker", str(self._timeout_s)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # a terminal's Ctrl-C is ours alone
        )
        self._received = b""
        self._greeted = False

    def begin(self, lenient: bool, items: list[Item]) -> None:
        """Send a chunk and wait until its scorers are loaded. Raises BadInput where they can't be."""
        if self._closed:
            raise ShoestringError(CLOSED)
        if not self._greeted:
            try:
                self.receive(START_S)
            except (WorkerGone, WorkerLate) as fault:
                raise ShoestringError(f"a scoring process can't start: it {fault}") from None
            self._greeted = True
        body = pickle.dumps((lenient, items))
        assert self._process.stdin is not None
        try:
            frame = memoryview(LENGTH.pack(len(body)) + body)
            while frame:
                frame = frame[self._process.stdin.write(frame) or 0 :]
        except BrokenPipeError:
            raise WorkerGone(self._ending()) from None
        try:
            message = self.receive(START_S)
        except (WorkerGone, WorkerLate) as fault:
            self.restart()
            families = ", ".join(sorted({problem.family for _, problem, _ in items}))
            raise BadInput(f"the scorer of {families} can't be loaded: its process {fault}") from None
        if "bad" in message:
            raise BadInput(message["bad"])

    def receive(self, within_s: float) -> dict[str, Any]:
        """The next message. Raises WorkerLate after `within_s`, WorkerGone when the process ended."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise WorkerLate(f"said nothing for {within_s:g} s")
                data = self._process.stdout.read(1 << 16)
                if not data:
                    raise WorkerGone(self._ending())
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def restart(self) -> None:
        with self._changing:
            self._end()
            if self._closed:
                raise ShoestringError(CLOSED)
            self._start()

    def kill(self) -> None:
        """For good. Its pipes stay open: another thread may be reading them."""
        with self._changing:
            self._closed = True
            self._process.kill()

    def end(self) -> None:
        with self._changing:
            self._closed = True
            self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _ending(self) -> str:
        code = self._process.wait()
        return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


def _end_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.end()


def _verdict(message: dict[str, Any]) -> Verdict:
    return Verdict(Outcome(message["outcome"]), message["value"], message["parts"], message["detail"])
