"""Scores replies in a pool of processes that can be killed, so that no scorer can stop or fool a job.

An item's clock starts when its worker turns to it (waiting in the queue costs nothing) and is kept here,
outside the worker. Nothing uses signals: it works from any thread and beside asyncio. A scorer that
- raises: ERROR, with what it raised;
- ends its process: ERROR, and the rest of the chunk goes on in a new one;
- runs past the clock: its process is killed and the item tried once more, alone in a fresh one. If it hangs
  again the answer itself is at fault and is WRONG, so that hanging never pays.
"""

import queue
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shoestring.errors import ShoestringError
from shoestring.tasks.base import SCORING_S, Outcome, Problem, Verdict
from shoestring.tasks.judge_worker import CLOSED, Worker, WorkerGone, WorkerLate
from shoestring.tasks.worker import Item
from shoestring.text.message import Reply

CHUNK = 64


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
        self, worker: Worker, items: list[Item], lenient: bool, verdicts: dict[int, Verdict]
    ) -> WorkerLate | WorkerGone | None:
        """Fill in `verdicts` up to the first fault, which is given back; the worker is then a fresh one."""
        try:
            worker.begin(lenient, items)
            for _, problem, _ in items:
                message = worker.receive(self.timeout_s + problem.hidden.get(SCORING_S, 0.0))
                verdicts[message["index"]] = _verdict(message)
        except (WorkerLate, WorkerGone) as fault:
            worker.restart()
            return fault
        return None

    def _count(self, retried: int = 0, deaths: int = 0) -> None:
        with self._counting:
            self.retried += retried
            self.deaths += deaths

    def _try_again(self, worker: Worker, item: Item, lenient: bool) -> Verdict:
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


def _end_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.end()


def _verdict(message: dict[str, Any]) -> Verdict:
    outcome, said = Outcome(message["outcome"]), message["said"]
    return Verdict(outcome, message["value"], message["parts"], message["detail"], said)
