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
from shoestring.cluster.members import Member, Members
from shoestring.errors import ShoestringError
from shoestring.tasks.base import SCORING_S, Problem, Verdict
from shoestring.tasks.judge import CHUNK, Judge
from shoestring.tasks.judge_worker import START_S
from shoestring.text.message import Reply

Row = tuple[str, Problem, Reply]
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
    rows: Sequence[Row]
    began: float = 0.0
    asked: int = 0  # judges that have it


class Judges(Judge):
    """timeout_s: a reply's own clock, which its judge keeps."""

    def __init__(self, members: Members, workers: int, timeout_s: float = 5.0) -> None:
        self.members, self.workers, self.timeout_s = members, workers, timeout_s
        self.retried = self.deaths = 0
        self.asked_twice = 0  # chunks that a second judge was asked for
        self._counts: dict[str, tuple[int, int]] = {}
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
        count = len(self.members.all) * self.workers
        size = min(CHUNK * self.workers, max(1, -(-len(replies) // (2 * count))) * self.workers)
        chunks = [_Chunk(replies[i : i + size]) for i in range(0, len(replies), size)]
        verdicts: dict[str, Verdict] = {}
        waiting, calls = deque(chunks), dict[Any, tuple[Member, _Chunk]]()
        while len(verdicts) < len(replies):
            busy = [member for member, _ in calls.values()]
            for member in [m for m in self.members.all if m not in busy]:
                chunk = waiting.popleft() if waiting else self._slowest(calls, verdicts)
                if chunk is None:
                    break
                calls[self._ask(member, chunk, lenient)] = member, chunk
            ready, _ = self.members.ray.wait(list(calls), timeout=0.2)
            for ref in ready:
                member, chunk = calls.pop(ref)
                try:
                    self._heard(member, self.members.result(member, ref), verdicts)
                except WorkerLost as lost:
                    self._replace(member, lost)
                    self._give_back(chunk, waiting, verdicts)
            for ref, (member, chunk) in list(calls.items()):
                late = time.monotonic() - chunk.began
                if late > self._allowed(chunk):
                    del calls[ref]
                    self._replace(member, self.members.stalled(member, late))
                    self._give_back(chunk, waiting, verdicts)
        return {name: verdicts[name] for name, _, _ in replies}

    def close(self) -> None:
        self._closed = True
        self.members.close()

    def _ask(self, member: Member, chunk: _Chunk, lenient: bool) -> Any:
        member.phase = f"judging {len(chunk.rows)} replies"
        chunk.began, chunk.asked = time.monotonic(), chunk.asked + 1
        return member.actor.score.remote(chunk.rows, lenient)

    def _heard(self, member: Member, scored: Scored, verdicts: dict[str, Verdict]) -> None:
        member.saw(scored.look)
        retried, deaths = self._counts.get(member.title, (0, 0))
        self.retried += max(0, scored.retried - retried)
        self.deaths += max(0, scored.deaths - deaths)
        self._counts[member.title] = scored.retried, scored.deaths
        for name, verdict in scored.verdicts.items():
            verdicts.setdefault(name, verdict)

    def _replace(self, member: Member, lost: WorkerLost) -> None:
        self._counts.pop(member.title, None)
        fresh = self.members.replace(member, lost)
        try:
            self.members.greet_one(fresh)
        except WorkerLost as again:
            self.members.drop(fresh)
            self.members.say(f"{again}; {len(self.members.all)} of {self.members.count} go on without it")
            if not self.members.all:
                raise ShoestringError(f"{again}; no judge is left") from None

    def _give_back(self, chunk: _Chunk, waiting: deque[_Chunk], verdicts: dict[str, Verdict]) -> None:
        chunk.asked -= 1
        if not chunk.asked and chunk.rows[0][0] not in verdicts:
            waiting.append(chunk)

    def _slowest(
        self, calls: dict[Any, tuple[Member, _Chunk]], verdicts: dict[str, Verdict]
    ) -> _Chunk | None:
        """A chunk that its judge is slow with, for one who has nothing to do."""
        now = time.monotonic()
        late = [
            chunk
            for _, chunk in calls.values()
            if chunk.asked == 1
            and chunk.rows[0][0] not in verdicts
            and now - chunk.began > SLOW_SHARE * self._allowed(chunk)
        ]
        if not late:
            return None
        self.asked_twice += 1
        return min(late, key=lambda chunk: chunk.began)

    def _allowed(self, chunk: _Chunk) -> float:
        """Every reply twice up to its clock, in turn, and a scorer to load; or the cluster's deadline."""
        each = (self.timeout_s + p.hidden.get(SCORING_S, 0.0) for _, p, _ in chunk.rows)
        return min(self.members.workers.deadline_s, START_S + 2 * sum(each) / self.workers)
