"""Who waits for whom. Every rank says once a second which phase it is in; when one waits past the deadline,
or loses a neighbour, all of them write their stacks, and one line names the rank that was waited for."""

import faulthandler
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

from shoestring.ops.memory import peak_bytes

IDLE = "waiting for work"  # the one phase without a deadline: a rank may wait long for rollouts
ALARM = "alarm"
LATE = 1.5  # deadlines, after which the watch speaks where no collective has ended in an error
HOLDER = 0  # the rank whose process holds the store
SILENT_S, SILENT_TICKS = 3.0, 6  # without a word when it was asked for one, and a rank counts as gone


@dataclass(frozen=True)
class Word:
    """What a rank says of itself. turn counts the phases that it has entered; broke: its own collective ended
    in an error; at: seconds since the epoch; seconds: in this phase."""

    rank: int
    phase: str
    turn: int
    seconds: float
    peak_bytes: int
    at: float
    broke: bool = False

    def __str__(self) -> str:
        return f"rank {self.rank} is in '{self.phase}' for {self.seconds:.0f} s, {_gib(self.peak_bytes)}"


class Watch:
    """The thread that speaks for a rank. `store` is a client of its own: a thread that waits in the main one
    would hold it up. folder: where rank-N.txt is written."""

    def __init__(
        self, rank: int, size: int, store: Store, deadline_s: float, folder: Path, device: torch.device
    ) -> None:
        self.rank, self.size, self.store, self.deadline_s = rank, size, store, deadline_s
        self.folder, self.device = folder, device
        self._phase, self._since, self._turn, self._broke = IDLE, time.monotonic(), 0, False
        self._ended, self._writing, self._written = threading.Event(), threading.Lock(), False
        self._no_stack = ""  # or why it has none
        self._tick = _tick_s(deadline_s)
        self._wait_s = _wait_s(deadline_s)
        self._say()  # at once: a rank that dies in its first second has been heard of
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @property
    def stack_file(self) -> Path:
        return self.folder / f"rank-{self.rank}.txt"

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What the rank is at inside; a phase within a phase is named alone."""
        before = self._phase
        self._enter(name)
        try:
            yield
        finally:
            if not self._broke:  # the line is about where it broke
                self._enter(before)

    def _enter(self, name: str) -> None:
        self._phase, self._since, self._turn = name, time.monotonic(), self._turn + 1

    def word(self) -> Word:
        waited = time.monotonic() - self._since
        peak = peak_bytes(self.device)
        return Word(self.rank, self._phase, self._turn, waited, peak, time.time(), self._broke)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._tick):
            try:
                self._say()
                # torch's collectives on a CPU end in an error by themselves; a GPU's don't
                late = self._phase != IDLE and time.monotonic() - self._since > LATE * self.deadline_s
                if late and not self.store.check([ALARM]):
                    self.store.set(ALARM, str(self.rank))
                if self.store.check([ALARM]):
                    self._write_stack()
            except RuntimeError:  # the store went with the process that held it
                self._write_stack()
                return

    def _say(self) -> None:
        self.store.set(f"word/{self.rank}", json.dumps(asdict(self.word())))

    def _write_stack(self) -> None:
        with self._writing:
            if self._written:
                return
            self._written = True
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with self.stack_file.open("w", encoding="utf-8") as file:
                    file.write(f"{self.word()} (process {os.getpid()})\n")
                    file.flush()
                    faulthandler.dump_traceback(file, all_threads=True)
            except OSError as error:  # who is to blame says more: this goes with it
                self._no_stack = f"; rank {self.rank} could not write its stack: {error.strerror or error}"

    def explain(self, error: BaseException) -> str:
        """Called where a collective ended in an error: has every rank write its stack -> one line."""
        self._broke = True
        self._write_stack()
        try:
            self.store.set(ALARM, str(self.rank))
            self._say()
            words, silent = self._words()
            self.store.set(f"told/{self.rank}", "")
            if self.rank == HOLDER:
                self._stay_for_the_others()
        except RuntimeError:
            return (
                f"rank {self.rank} lost the others in '{self._phase}': the process that held them "
                f"together is gone ({_first_line(error)})"
            )
        return blame(words, silent, self.size, self.deadline_s, self.folder, error) + self._no_stack

    def _words(self) -> tuple[list[Word], set[int]]:
        """The last of every rank that ever spoke, once those that wait have had time to find out; and who
        said nothing meanwhile, though it was time for some words."""
        before = self._read()
        until = time.monotonic() + self._wait_s
        words = before
        while time.monotonic() < until and not (
            len(words) == self.size and all(word.broke for word in words.values())
        ):
            time.sleep(self._tick / 4)
            words = self._read()
        silent = {rank for rank, word in words.items() if not word.broke and word == before.get(rank)}
        return list(words.values()), silent

    def _stay_for_the_others(self) -> None:
        """The store ends with this process; who found out later than it did still has words to read."""
        until = time.monotonic() + self._wait_s
        while time.monotonic() < until:
            late = [word.rank for word in self._read().values() if word.broke]
            if all(self.store.check([f"told/{rank}"]) for rank in late):
                return
            time.sleep(self._tick / 4)

    def _read(self) -> dict[int, Word]:
        spoke = [rank for rank in range(self.size) if self.store.check([f"word/{rank}"])]
        return {rank: Word(**json.loads(self.store.get(f"word/{rank}"))) for rank in spoke}


def patience_s(deadline_s: float) -> float:
    """How long after a rank stopped the others have said so at the latest: a GPU's ranks are late by the
    watch's word alone, they hear each other out, and who holds the store stays for the rest."""
    return LATE * deadline_s + 2 * _wait_s(deadline_s)


def _tick_s(deadline_s: float) -> float:
    return min(1.0, deadline_s / 4)


def _wait_s(deadline_s: float) -> float:
    return max(SILENT_S, SILENT_TICKS * _tick_s(deadline_s))


def blame(
    words: list[Word], gone: set[int], size: int, deadline_s: float, folder: Path, error: BaseException
) -> str:
    """One line. A rank is at fault that has gone silent; else one that wasn't itself kept waiting; else the
    one that is furthest behind."""
    now = time.time()
    silent = [word for word in words if word.rank in gone]
    never = sorted(set(range(size)) - {word.rank for word in words})
    if silent or never:
        told = [
            f"rank {w.rank} is gone: last heard {now - w.at:.0f} s ago in '{w.phase}', {_gib(w.peak_bytes)}"
            for w in silent
        ] + [f"rank {rank} never said a word" for rank in never]
    else:
        busy = [word for word in words if not word.broke]
        behind = busy or [word for word in words if word.turn == min(w.turn for w in words)]
        told = [f"{word}" for word in behind]
    waiting = [word for word in words if word.broke and word.rank not in gone]
    phases = " and ".join(dict.fromkeys(f"'{word.phase}'" for word in waiting))
    ranks = ", ".join(str(word.rank) for word in waiting)
    return (
        f"{'; '.join(told)}; rank{'s' if len(waiting) > 1 else ''} {ranks} waited in {phases} "
        f"(deadline {deadline_s:g} s; stacks in {folder}/rank-*.txt): {_first_line(error)}"
    )


def _gib(count: int) -> str:
    return f"at most {count / 2**30:.2f} GiB so far"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
