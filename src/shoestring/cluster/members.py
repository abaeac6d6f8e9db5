"""Actors of one kind, as who started them sees them: placed, watched, lost for a reason, replaced."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoestring.cluster.exits import ending, watch
from shoestring.cluster.look import Look
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.parcel import LostParcel
from shoestring.cluster.workers import Workers
from shoestring.errors import BadInput, ShoestringError

START_S = 300.0  # to start Python, import torch and build a network, on a slow and busy machine
STACK_S = 5.0  # for a process that is thought to stall to say where it is
WATCH = "watch"  # the concurrency group of what may be asked beside the work


@dataclass(eq=False)
class Member:
    """One actor. `last` is what it said of itself last; `phase` what it was asked to do then."""

    title: str
    actor: Any
    place: int  # its bundle of the placement group
    last: Look | None = None
    phase: str = "starting"
    watched: int | None = None  # a pidfd, where it runs on this machine

    def saw(self, look: Look) -> None:
        if self.last is None and look.host == os.uname().nodename:
            self.watched = watch(look.pid)
        self.last = look

    def forget(self) -> None:
        if self.watched is not None:
            os.close(self.watched)
            self.watched = None


@dataclass
class Members:
    """`kind` in the singular, as in "generator 2 of 4". make: the class and arguments of an actor. `say`
    hears of each that is lost; `stacks` is the folder for what stalled ones are at."""

    ray: Any
    kind: str
    count: int
    workers: Workers
    cpus: float
    gpus: float
    make: tuple[type, Sequence[Any]]
    say: Callable[[str], None]
    stacks: Path
    all: list[Member] = field(default_factory=list)
    lost: int = 0
    _group: Any = None

    def start(self) -> None:
        """All of them. Raises BadInput where the cluster has no room, which is known only after waiting."""
        placement = self.ray.util.placement_group
        bundle = {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        self._group = placement([bundle] * self.count, strategy="PACK")
        wait_s = min(START_S, self.workers.deadline_s)
        if not self._group.wait(wait_s):
            has = self.ray.cluster_resources()
            need = f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
            raise BadInput(
                f"the cluster has no room for {self.count} {self.kind}s of {need} each (in all it has "
                f"{has.get('CPU', 0):g} CPU and {has.get('GPU', 0):g} GPU): ask for fewer with "
                f"--workers {self.kind}s=N, or for less with cpus=X"
            )
        self.all = [self._started(place) for place in range(self.count)]

    def _started(self, place: int) -> Member:
        ray, (cls, arguments) = self.ray, self.make
        strategies = ray.util.scheduling_strategies
        where = strategies.PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=place)
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "scheduling_strategy": where}
        options |= {"max_restarts": 0, "max_task_retries": 0}
        actor = ray.remote(concurrency_groups={WATCH: 1})(cls).options(**options).remote(*arguments)
        return Member(f"{self.kind} {place + 1} of {self.count}", actor, place)

    def greet_one(self, member: Member) -> None:
        """Wait until it is up. Raises WorkerLost."""
        member.saw(self.result(member, self.asked_to_look(member), START_S))

    def asked_to_look(self, member: Member) -> Any:
        return member.actor.look.options(concurrency_group=WATCH).remote()

    def result(self, member: Member, ref: Any, within_s: float | None = None) -> Any:
        """What a call gave. Raises what the actor raised, and WorkerLost where there is no actor any more or
        it says nothing in time, LostParcel where what it was sent is gone."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(ref, timeout=within_s or self.workers.deadline_s)
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.ObjectLostError):
                raise LostParcel("what was sent is no longer in the object store") from None
            if isinstance(error.cause, WorkerLost):  # the actor is there, what it works with isn't
                raise WorkerLost(f"{self._who(member)} can't go on {member.phase}: {error.cause}") from None
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except errors.ObjectLostError:
            raise LostParcel("what was sent is no longer in the object store") from None
        except errors.GetTimeoutError:
            raise self.stalled(member, within_s or self.workers.deadline_s) from None
        except (
            errors.RayActorError,
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,  # by Ray's memory monitor: no kind of the others
        ) as error:
            raise self.died(member, error) from None

    def looks(self, members: Sequence[Member]) -> list[Look | None]:
        """What each says of itself now; None where it says nothing for STACK_S seconds."""
        asked = [self.asked_to_look(member) for member in members]
        ready, _ = self.ray.wait(asked, num_returns=len(asked), timeout=STACK_S)
        return [self._looked(ref) if ref in ready else None for ref in asked]

    def _looked(self, ref: Any) -> Look | None:
        try:
            return self.ray.get(ref)
        except self.ray.exceptions.RayError:  # it is gone: its own call says how
            return None

    def died(self, member: Member, error: Exception) -> WorkerLost:
        """The line on a process that ended by itself, or with its machine."""
        return WorkerLost(
            f"{self._who(member)} died while it was {member.phase}: {self._cause(member, error)}"
        )

    def stalled(self, member: Member, seconds: float) -> WorkerLost:
        """The line on one that says nothing. Every member writes where it is, and this one is ended."""
        path = self._write_stacks()
        self.ray.kill(member.actor)
        held = "" if member.last is None else f"; it last held {member.last.memory}"
        return WorkerLost(
            f"{self._who(member)} said nothing for {round(seconds, 1):g} s while it was {member.phase}{held}"
            f"; where each {self.kind} was is in {path}"
        )

    def _who(self, member: Member) -> str:
        if member.last is None:
            return member.title
        return f"{member.title} (process {member.last.pid} on {member.last.host})"

    def _cause(self, member: Member, error: Exception) -> str:
        told, last = [], member.last
        gone = last is not None and last.node not in self._nodes()
        code = ending(member.watched) if member.watched is not None and _ends(member.watched) else ""
        if isinstance(error, self.ray.exceptions.OutOfMemoryError) or "memory monitor" in str(error):
            told.append("Ray ended it because its machine had no memory left")
        elif gone:
            told.append("its machine left the cluster")
        elif code:
            told.append(code)
        else:
            told.append("its exit code is not known (" + _short(str(error)) + ")")
        if last is not None:
            told.append(f"it last held {last.memory}")
        return "; ".join(told)

    def _nodes(self) -> set[str]:
        return {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}

    def _write_stacks(self) -> Path:
        path = self.stacks / f"stacks-{self.kind}s.txt"
        asked = [m.actor.stack.options(concurrency_group=WATCH).remote() for m in self.all]
        lines = []
        for member, ref in zip(self.all, asked, strict=True):
            try:
                said = self.ray.get(ref, timeout=STACK_S)
            except Exception as error:  # whatever Ray raises: it is what there is to say
                said = f"doesn't answer ({type(error).__name__})\n"
            lines.append(f"== {self._who(member)}: {said}")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def replace(self, member: Member, why: ShoestringError) -> Member:
        """A new one in the place of one that was lost. Raises ShoestringError, with the reason, where that
        was done often enough."""
        self.say(str(why))
        self.lost += 1
        self.ray.kill(member.actor)
        member.forget()
        if self.lost > self.workers.restarts:
            raise ShoestringError(
                f"{why}; {self.kind}s were lost {self.lost} times in this stage, more than restarts = "
                f"{self.workers.restarts} allows"
            )
        fresh = self._started(member.place)
        self.all[self.all.index(member)] = fresh
        return fresh

    def start_again(self, why: ShoestringError) -> None:
        """All of them, where one's loss makes the others useless. Raises as `replace` does."""
        for member in self.all:
            self.ray.kill(member.actor)
            member.forget()
        self.all = [self.replace(self.all[0], why), *(self._started(m.place) for m in self.all[1:])]

    def drop(self, member: Member) -> None:
        """Go on without it."""
        self.ray.kill(member.actor)
        member.forget()
        self.all.remove(member)

    def close(self) -> None:
        for member in self.all:
            self.ray.kill(member.actor)
            member.forget()
        self.all = []
        if self._group is not None:
            self.ray.util.remove_placement_group(self._group)
            self._group = None


def _ends(watched: int, within_s: float = 2.0) -> bool:
    """A pidfd is readable once its process has ended; its exit code is there once Ray has reaped it."""
    until = time.monotonic() + within_s
    while not ending(watched) and time.monotonic() < until:
        time.sleep(0.05)
    return bool(ending(watched))


def _short(text: str) -> str:
    """Ray's own words, of which one sentence says it: of an error in an actor's start its last line."""
    if "error raised in its creation task" in text:
        return text.strip().splitlines()[-1].strip()[:300]
    line = " ".join(text.split())
    for mark in ("Worker exit detail: ", "Worker exit type: "):
        if mark in line:
            return line.partition(mark)[2].partition(". Some common causes")[0][:160]
    return line[:160]
