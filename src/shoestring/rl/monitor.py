"""Looks at a run while it goes: faults by name, trip wires, why rewards are zero, a gamed reward model."""

import math
from collections.abc import Mapping
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.rl.explain import explain
from shoestring.rl.faults import Fault, end_not_trained, exploded
from shoestring.rl.gather import Gathered
from shoestring.rl.group_faults import babbling, cut_short, group_faults
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.trips import Tripped, TripWires
from shoestring.rl.update import Updated
from shoestring.rl.watch import HackWatch
from shoestring.tasks.judge import Judge

EXPLAIN_AT = 5  # the step at which zero rewards are explained, where more than half are zero


class Monitor:
    """State: the wires, the watch for hacking, and how often the run was rolled back."""

    def __init__(self, settings: GRPOSettings, lm: LanguageModel, judge: Judge) -> None:
        self.settings, self.lm, self.judge = settings, lm, judge
        self.wires, self.hacking = TripWires(settings.trips), HackWatch()
        self.rolled_back = 0
        self.cut = False  # whether too short a cap was told

    def groups(self, gathered: Gathered, version: int) -> list[Fault]:
        """Before the update: what makes these groups no ground for one."""
        return group_faults(gathered.groups, self.judge, version, self.settings.reward != "task")

    def notes(self, step: int, gathered: Gathered) -> list[tuple[str, str]]:
        """(name, text) of what is no reason to stop but should be known."""
        notes = []
        short, babble = (
            cut_short(gathered.groups, self.settings.max_completion_tokens),
            babbling(gathered.groups),
        )
        if short is not None and not self.cut:
            notes.append((short.name, str(short)))
        self.cut = short is not None
        if babble is not None:
            notes.append((babble.name, str(babble)))
        if step == EXPLAIN_AT:
            found = explain(gathered.groups, self.judge)
            if found.zero > found.total / 2:
                notes += [("zero rewards", line) for line in found.lines()]
        return notes

    def updated(self, gathered: Gathered, updated: Updated) -> list[Fault]:
        fault = end_not_trained(gathered.live, updated.batches, self.lm.template.stop_ids)
        return [] if fault is None else [fault]

    def tripped(self, metrics: Mapping[str, float]) -> list[Tripped]:
        return self.wires.look(metrics)

    def why(self, tripped: Tripped, learning_rate: float) -> str:
        """A drift past its wire has a name of its own."""
        fault = exploded(tripped.value, learning_rate) if tripped.name == "drift" else None
        return str(fault or tripped)

    def state_dict(self) -> dict[str, Any]:
        return {
            "wires": self.wires.state_dict(),
            "hacking": self.hacking.state_dict(),
            "rolled_back": self.rolled_back,
            "cut": self.cut,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.wires.load_state_dict(state["wires"])
        self.hacking.load_state_dict(state["hacking"])
        self.rolled_back, self.cut = state["rolled_back"], state["cut"]

    @property
    def rate_scale(self) -> float:
        """Each roll-back halves the learning rate."""
        return math.ldexp(1.0, -self.rolled_back)
