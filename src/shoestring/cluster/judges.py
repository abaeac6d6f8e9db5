"""Judges in actors behind one Judge: each keeps scoring processes of its own on its machine.

A reply is judged alike wherever that happens. What a lost judge had is given to another; what one is slow
with is given to a second one as well, and the first verdict counts."""

import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.cluster.look import Look, Seen
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import START_S as UP_S
from shoestring.cluster.members import Member, Members
from shoestring.errors import ShoestringError
from shoestring.tasks.base import SCORING_S, Problem, Verdict
from shoestring.tasks.judge import CHUNK, Judge
from shoestring.tasks.judge_worker import START_S
from shoestring.text.message import Reply

Row = tuple[str, Problem, Reply]
POLL_S = 0.2
SLOW_SHARE = 0.25  # of the time that a chunk may take at most, and a second judge is asked too


@dataclass(frozen=True)
class Scored:
    """retried, deaths: of items and scoring processes, since the judge began."""

    verdicts: dict[str, Verdict]
    retried: int
    deaths: int
    look: Look


@dataclass(frozen=True)
class Home:
    """Where the run was started."""

    folder: str
    path: tuple[str, ...]

    @classmethod
    def here(cls) -> "Home":
        return cls(os.getcwd(), tuple(filter(None, sys.path)))


class JudgeActor(Seen):
    """Scorers of the user's own are imported from where they could be imported at home, so far as that is
    here too."""

    def __init__(self, workers: int, timeout_s: float, home: Home) -> None:
        super().__init__()
        if Path(home.folder).is_dir():
            os.chdir(home.folder)
        sys.path += [path for path in home.path if path not in sys.path]
        self._judge = Judge(workers, timeout_s)
        self._at("waiting for work")

    def score(self, rows: Sequence[Row], lenient: bool) -> Scored:
        self._at(f"judging {len(rows)} replies")
        verdicts = self._judge.score(rows, lenient)
        self._at("waiting for work")
        return Scored(verdicts, self._judge.retried, self._judge.deaths, self.look())


@dataclass
class _Chunk:
    """into: where its verdicts go, those of one `score`."""

    rows: Sequence[Row]
    into: dict[str, Verdict]
    asked: int = 0  # judges that have it

    @property
    def done(self) -> bool:
        return self.rows[0][0] in self.into


@dataclass(frozen=True)
class _Call:
    """Of one judge. began: it has a clock of its own, whenever others were asked for the same."""

    member: Member
    chunk: _Chunk
    began: float


class Judges(Judge):
    """timeout_s: a reply's own clock, which its judge keeps."""

    def __init__(self, members: Members, workers: int, timeout_s: float = 5.0) -> None:
        self.members, self.workers, self.timeout_s = members, workers, timeout_s
        self.retried = self.deaths = 0
        self.asked_twice = 0  # chunks that a second judge was asked for
        self._counts: dict[str, tuple[int, int]] = {}
        self._calls: dict[Any, _Call] = {}  # under way; one outlives its `score` where another was faster
        self._starting: dict[Any, tuple[Member, float]] = {}  # in a lost one's place, not up yet
        self._closed = False
        members.start()
        for member in list(members.all):
            try:
                members.greet_one(member)
            except WorkerLost as lost:
                members.greet_one(members.replace(member, lost))

    def score(self, replies: Sequence[Row], lenient: bool = False) -> dict[str, Verdict]:
        """Raises what `Judge.score` raises, and ShoestringError where judges are lost too often."""
        if self._closed:
            raise ShoestringError("the judges are closed")
        if not self.members.all:
            raise ShoestringError("no judge is left")
        count = len(self.members.all) * self.workers
        size = min(CHUNK * self.workers, max(1, -(-len(replies) // (2 * count))) * self.workers)
        verdicts: dict[str, Verdict] = {}
        waiting = deque(_Chunk(replies[i : i + size], verdicts) for i in range(0, len(replies), size))
        while len(verdicts) < len(replies):
            self._hear_starting()
            self._ask_those_free(waiting, verdicts, lenient)
            ready, _ = self.members.ray.wait([*self._calls, *self._starting], timeout=POLL_S)
            for ref in ready:
                if ref in self._calls:
                    self._hear(ref, waiting, verdicts)
            self._look_after_the_late(waiting, verdicts)
        return {name: verdicts[name] for name, _, _ in replies}

    def close(self) -> None:
        self._closed = True
        self.members.close()

    def _ask_those_free(self, waiting: deque[_Chunk], verdicts: dict[str, Verdict], lenient: bool) -> None:
        busy = {id(member) for member, _ in self._starting.values()}
        busy |= {id(call.member) for call in self._calls.values()}
        for member in self.members.all:
            if id(member) in busy:
                continue
            chunk = waiting.popleft() if waiting else self._slowest(verdicts)
            if chunk is None:
                break
            chunk.asked += 1
            member.phase = f"judging {len(chunk.rows)} replies"
            ref = member.actor.score.remote(chunk.rows, lenient)
            self._calls[ref] = _Call(member, chunk, time.monotonic())

    def _hear(self, ref: Any, waiting: deque[_Chunk], verdicts: dict[str, Verdict]) -> None:
        call = self._calls.pop(ref)
        try:
            scored: Scored = self.members.result(call.member, ref)
        except WorkerLost as lost:
            self._replace(call, lost, waiting, verdicts)
            return
        member = call.member
        member.saw(scored.look)
        retried, deaths = self._counts.get(member.title, (0, 0))
        self.retried += max(0, scored.retried - retried)
        self.deaths += max(0, scored.deaths - deaths)
        self._counts[member.title] = scored.retried, scored.deaths
        for name, verdict in scored.verdicts.items():
            call.chunk.into.setdefault(name, verdict)

    def _look_after_the_late(self, waiting: deque[_Chunk], verdicts: dict[str, Verdict]) -> None:
        """One at a time: ending it takes seconds, in which others may have answered."""
        for ref, call in self._calls.items():
            late = time.monotonic() - call.began
            if late > self._allowed(call.chunk) and not self.members.ray.wait([ref], timeout=0)[0]:
                del self._calls[ref]
                self._replace(call, self.members.stalled(call.member, late), waiting, verdicts)
                return

    def _replace(
        self, call: _Call, lost: WorkerLost, waiting: deque[_Chunk], verdicts: dict[str, Verdict]
    ) -> None:
        """Another is started in its place; until it is up the others go on, with what it had too."""
        chunk = call.chunk
        chunk.asked -= 1
        if chunk.into is verdicts and not chunk.asked and not chunk.done:
            waiting.append(chunk)
        self._counts.pop(call.member.title, None)
        fresh = self.members.replace(call.member, lost)
        self._starting[self.members.asked_to_look(fresh)] = fresh, time.monotonic()

    def _hear_starting(self) -> None:
        """Those that are up by now, and those that never will be."""
        for ref, (member, since) in list(self._starting.items()):
            late = time.monotonic() - since > UP_S
            if not late and not self.members.ray.wait([ref], timeout=0)[0]:
                continue
            del self._starting[ref]
            try:
                if late:
                    raise self.members.stalled(member, UP_S)
                member.saw(self.members.result(member, ref))
            except WorkerLost as lost:
                self.members.drop(member)
                self.members.say(f"{lost}; {len(self.members.all)} of {self.members.count} go on without it")
                if not self.members.all:
                    raise ShoestringError(f"{lost}; no judge is left") from None

    def _slowest(self, verdicts: dict[str, Verdict]) -> _Chunk | None:
        """A chunk that its judge is slow with, for one who has nothing to do."""
        now = time.monotonic()
        late = [
            call
            for call in self._calls.values()
            if call.chunk.into is verdicts
            and call.chunk.asked == 1
            and not call.chunk.done
            and now - call.began > SLOW_SHARE * self._allowed(call.chunk)
        ]
        if not late:
            return None
        self.asked_twice += 1
        return min(late, key=lambda call: call.began).chunk

    def _allowed(self, chunk: _Chunk) -> float:
        """Every reply twice up to its clock, in turn, and a scorer to load; or the cluster's deadline."""
        each = (self.timeout_s + p.hidden.get(SCORING_S, 0.0) for _, p, _ in chunk.rows)
        return min(self.members.workers.deadline_s, START_S + 2 * sum(each) / self.workers)
