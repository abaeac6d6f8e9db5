"""What a preset takes to train and to serve, whether it fits, and where it would."""

from typing import Any

from rich.console import Console

from shoestring.budget.flops import forward_flops, mtp_flops
from shoestring.budget.hardware import Hardware
from shoestring.budget.machine import Machine, of_chip
from shoestring.budget.memory import Memory, cache_bytes, generating_memory, training_memory
from shoestring.budget.plan import room_of
from shoestring.models.config import ModelConfig
from shoestring.models.presets import PRESETS

TOKENS, ROW, STREAMS = 4096, 1024, 16  # of the micro-batch, the context, the sequences that are reckoned with
WORK = {"training": f"{TOKENS:,} tokens at once", "generating": f"{STREAMS} of {ROW:,}"}


def plan_preset(name: str, machine: Machine, hardware: Hardware, console: Console) -> dict[str, Any]:
    """A preset's memory and time a token, for training and for generating."""
    config = PRESETS[name]
    held = memories(config, machine)
    pairs = TOKENS * ROW // 2
    flops = 3 * (forward_flops(config, TOKENS, pairs, TOKENS) + mtp_flops(config, TOKENS, pairs, TOKENS))
    rate = machine.spread(machine.train_seconds(config, flops, TOKENS, TOKENS) / TOKENS)
    say = lambda text: console.print(text, markup=False)  # noqa: E731
    say(f"{name} on {machine.name}; {machine.basis}")
    advice = {work: would_fit(work, config, machine, hardware) for work in held}
    for work, memory in held.items():
        parts = ", ".join(f"{part} {size / 2**30:,.2f}" for part, size in memory.parts.items() if size)
        fits = f"does not fit: {advice[work]}" if advice[work] else "fits"
        say(f"{work}, {WORK[work]}: {memory.total / 2**30:,.2f} GiB ({parts}); {fits}")
    say(
        f"training: {flops / TOKENS / 1e9:,.2f} GFLOP a token, {rate.mid * 1e6:,.0f} us "
        f"({rate.low * 1e6:,.0f} to {rate.high * 1e6:,.0f}); "
        f"cache {cache_bytes(config, machine.width):,} bytes a token"
    )
    return {
        "preset": name,
        "machine": {"name": machine.name, "basis": machine.basis},
        "training_memory_bytes": dict(held["training"].parts),
        "generating_memory_bytes": dict(held["generating"].parts),
        "training_flops_per_token": flops / TOKENS,
        "training_seconds_per_token": rate.to_json(),
        "fits": {work: not told for work, told in advice.items()},
        "what_would_fit": {work: told for work, told in advice.items() if told},
    }


def memories(config: ModelConfig, machine: Machine) -> dict[str, Memory]:
    mtp = config.num_nextn_predict_layers > 0
    native = machine.launch_s == 0
    return {
        "training": training_memory(config, TOKENS, TOKENS, machine.width, mtp, native=native),
        "generating": generating_memory(config, STREAMS, ROW, machine.width),
    }


def would_fit(work: str, config: ModelConfig, machine: Machine, hardware: Hardware) -> str:
    """Nothing where it fits; else the smallest chip that has the memory."""
    memory = memories(config, machine)[work]
    if memory.total <= room_of(machine):
        return ""
    chips = [of_chip(chip) for chip in hardware.chips.values()]
    enough = [chip for chip in chips if memories(config, chip)[work].total <= room_of(chip)]
    if enough:
        least = min(enough, key=lambda chip: chip.memory_bytes)
        way = f"{least.name}, {least.memory_bytes / 2**30:,.0f} GiB"
    else:
        way = "a smaller preset, or several chips: no single one of the table has as much"
    return f"{machine.name} has {room_of(machine) / 2**30:,.2f} GiB; would fit: {way}"
