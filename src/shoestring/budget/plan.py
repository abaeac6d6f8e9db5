"""What a run will take, by unit and kind of work, before it starts."""

from dataclasses import dataclass
from typing import Any

from shoestring.budget.machine import Machine
from shoestring.budget.memory import Memory
from shoestring.budget.price import Prices
from shoestring.budget.ranges import Range, total

NOTHING = Range.exact(0.0)
RUNTIME_BYTES = 450 << 20  # python, torch and the kernels, before any model


def room_of(machine: Machine) -> float:
    """Bytes for models and work."""
    return machine.memory_bytes - RUNTIME_BYTES


@dataclass(frozen=True)
class Phase:
    """One kind of work of one unit, with the words of usage.jsonl. memory: held at its peak, None: little."""

    unit: str
    stage: str
    kind: str
    seconds: Range
    tokens: Range = NOTHING
    flops: Range = NOTHING
    memory: Memory | None = None


@dataclass(frozen=True)
class Plan:
    """unknown: what could not be reckoned, and why. advice: settings that would take less, by unit. disk:
    bytes at the end, and the most that is there meanwhile."""

    name: str
    machine: Machine
    prices: Prices
    phases: tuple[Phase, ...]
    disk: Range
    unknown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def seconds(self) -> Range:
        return total(phase.seconds for phase in self.phases)

    def of(self, unit: str) -> Range:
        return total(phase.seconds for phase in self.phases if phase.unit == unit)

    def of_stage(self, stage: str) -> Range:
        """All its arms and seeds."""
        return total(phase.seconds for phase in self.phases if phase.stage == stage)

    @property
    def units(self) -> list[str]:
        return list(dict.fromkeys(phase.unit for phase in self.phases))

    @property
    def tokens(self) -> Range:
        return total(phase.tokens for phase in self.phases)

    @property
    def flops(self) -> Range:
        return total(phase.flops for phase in self.phases)

    def kwh(self, seconds: Range) -> Range:
        return seconds * (self.machine.watts / 3.6e6)

    def usd(self, seconds: Range) -> Range:
        """Electricity where the machine is one's own; where it is rented, its hours, electricity included."""
        hours = seconds * (1 / 3600)
        if self.machine.usd_per_hour.high:
            return hours * self.machine.usd_per_hour
        return self.kwh(seconds) * self.prices.usd_per_kwh + hours * self.prices.usd_per_hour

    @property
    def peak(self) -> Phase | None:
        """The phase that holds most."""
        held = [phase for phase in self.phases if phase.memory is not None]
        return max(held, key=lambda phase: phase.memory.total if phase.memory else 0, default=None)

    @property
    def too_large(self) -> list[Phase]:
        """Phases that need more than the machine has."""
        room = room_of(self.machine)
        return [phase for phase in self.phases if phase.memory is not None and phase.memory.total > room]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "machine": {"name": self.machine.name, "basis": self.machine.basis},
            "seconds": self.seconds.to_json(),
            "tokens": self.tokens.to_json(),
            "flops": self.flops.to_json(),
            "kwh": self.kwh(self.seconds).to_json(),
            "usd": self.usd(self.seconds).to_json(),
            "disk_bytes": self.disk.to_json(),
            "stages": {
                name: self.of_stage(name).to_json() for name in dict.fromkeys(p.stage for p in self.phases)
            },
            "phases": [
                {
                    "unit": p.unit,
                    "stage": p.stage,
                    "kind": p.kind,
                    "seconds": p.seconds.to_json(),
                    "tokens": p.tokens.to_json(),
                    "flops": p.flops.to_json(),
                    "memory_bytes": None if p.memory is None else dict(p.memory.parts),
                }
                for p in self.phases
            ],
            "fits": not self.too_large,
            "what_would_fit": [would_fit(phase, self.machine) for phase in self.too_large],
            "unknown": list(self.unknown),
            "assumed": list(self.assumed),
        }


def would_fit(phase: Phase, machine: Machine) -> str:
    """One line: what takes most, and what would make it fit."""
    assert phase.memory is not None
    room = room_of(machine)
    need, parts = phase.memory.total, dict(phase.memory.parts)
    told = (
        f"{phase.unit} ({phase.kind}) needs {need / 2**30:.1f} GiB, {machine.name} has {room / 2**30:.1f}: "
    )
    ways: list[str] = []
    batch = sum(parts.get(n, 0) for n in ("activations", "allocator's slack", "logits and their gradient"))
    trained = sum(parts.get(n, 0) for n in ("optimizer moments", "master weights", "gradients"))
    over = need - room
    if whole_percents(over, batch):
        ways.append(f"micro_batch_tokens at most {whole_percents(over, batch)}% of what it is")
    if 0 < over < 0.98 * trained:
        ways.append("an adapter instead of all weights (lora)")
    cache = parts.get("cache", 0)
    if whole_percents(over, cache):
        ways.append(f"max_batch at most {whole_percents(over, cache)}% of what it is")
    if not ways and over < batch + 0.98 * trained + cache:
        ways.append("an adapter (lora) together with smaller micro_batch_tokens and max_batch")
    return told + (" or ".join(ways) if ways else "a smaller model, or a machine with more memory")


def whole_percents(over: float, part: float) -> int:
    """Of a part that is left where so much of it has to go; 0 where that is none to speak of."""
    return int(100 * (1 - over / part)) if 0 < over < part else 0
