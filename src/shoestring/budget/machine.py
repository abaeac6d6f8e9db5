"""How long a model's work takes on a machine: its products at the rates that were measured for their shapes,
the memory that is moved beside them, and what share of those rates this package reaches. The same rules for
every model; nothing here is of one recipe."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

from shoestring.budget import reference
from shoestring.budget.flops import causal_pairs, decode_flops, layer_flops, pair_flops, train_flops
from shoestring.budget.hardware import Chip, Precision
from shoestring.budget.memory import activation_bytes
from shoestring.budget.probe import BUSY, ROWS, WIDTHS, Probe
from shoestring.budget.ranges import Range
from shoestring.models.config import ModelConfig
from shoestring.models.parameters import count_parameters

# Shares of the products' own rate, on a CPU that wasn't measured; of this machine the probe says them:
TRAIN = 0.70  # forward and backward over packed rows, beside what memory takes
GENERATE = 0.55  # of the rate at so many rows: attention to the cache, drawing, sequences that end
RAGGED = 0.8  # of the reference model's decoding, where sequences begin and end one by one and shapes change
TOUCHES = 5  # times that what a layer keeps is written or read between the passes
UPDATE_BYTES = (
    34  # of a parameter in an optimizer step: master, gradient and two moments read and written, bf16 copy
)
# On a GPU, assumed: published utilisations of small models in plain torch are 10 to 45 %
GPU_TRAIN, GPU_GENERATE, GPU_LAUNCH_S = 0.35, 0.35, 1.2e-5
KERNELS = 14  # that a layer launches in a pass
LESS, MORE = 0.25, 0.35  # how far measured runs lay off the middle, with some margin
TABLE_LESS, TABLE_MORE = 0.45, 0.9  # and for a chip that nobody measured here


@dataclass(frozen=True)
class Machine:
    """products: FLOP/s at WIDTHS with many rows; decode: FLOP/s at ROWS. usd_per_hour: of the machine; watts
    at work. less, more: how far a time may lie off, as shares."""

    name: str
    basis: str
    precision: Precision
    products: tuple[float, ...]
    decode: tuple[float, ...]
    bandwidth: float
    disk: float
    memory_bytes: float
    usd_per_hour: Range
    watts: float
    dense: tuple[float, float]  # shares of the products' rate, in training and in generating
    mixed: tuple[float, float]  # with latent attention or experts
    launch_s: float
    less: float
    more: float

    @property
    def width(self) -> int:
        """Bytes of a number of the weights."""
        return 4 if self.precision == "fp32" else 2

    @property
    def peak(self) -> float:
        return max(self.products)

    def shares(self, config: ModelConfig) -> tuple[float, float]:
        return self.mixed if config.is_mla or config.n_routed_experts else self.dense

    def spread(self, seconds: float) -> Range:
        return Range.around(seconds, self.less, self.more)

    def product_rate(self, config: ModelConfig, tokens: int) -> float:
        """FLOP/s of a pass's products, by the narrower side of each: a product is as fast as a square one of
        that side, and no faster than one of as many rows as an expert gets."""
        seconds = flops = 0.0
        for narrow, each, rows in _products(config, tokens):
            rate = min(_between(WIDTHS, self.products, narrow), self._rows_rate(rows))
            seconds, flops = seconds + each / rate, flops + each
        return flops / seconds

    def _rows_rate(self, rows: float) -> float:
        """Many rows are as fast as the widest product; below, as decoding is."""
        if rows >= 4 * ROWS[-1]:
            return max(self.products)
        return _between((*ROWS, 4 * ROWS[-1]), (*self.decode, max(self.products)), rows)

    def train_seconds(self, config: ModelConfig, flops: float, tokens: float, at_once: int) -> float:
        """Of forward and backward passes with so many FLOPs over tokens in micro-batches of `at_once`."""
        moved = tokens * TOUCHES * activation_bytes(config, 1, self.width) / self.bandwidth
        launched = 3 * KERNELS * config.num_hidden_layers * self.launch_s * tokens / max(1, at_once)
        return flops / (self.shares(config)[0] * self.product_rate(config, at_once)) + moved + launched

    def update_seconds(self, parameters: float) -> float:
        return UPDATE_BYTES * parameters / self.bandwidth

    def generate_seconds(self, config: ModelConfig, flops: float, steps: float, rows: float) -> float:
        """Of `steps` decode steps with `rows` sequences on average, prompts' FLOPs among the others'. No step
        is quicker than reading what it needs of the weights once."""
        rows = max(1.0, rows)
        narrow = self.product_rate(config, 4 * ROWS[-1]) / max(
            self.products
        )  # small matrices are slower here too
        seconds = flops / (self.shares(config)[1] * self._rows_rate(rows) * narrow)
        return seconds + steps * KERNELS * config.num_hidden_layers * self.launch_s


def of_probe(probe: Probe, precision: Precision | None = None, watts: float = 65.0) -> Machine:
    """This machine; what its hours cost is for a recipe's prices to say. Where others were at work meanwhile,
    the range is as much wider."""
    chosen: Precision = precision or ("bf16" if "bf16" in probe.products else "fp32")
    crowded = 1 / max(0.25, 1 - probe.busy) if probe.busy > BUSY else 1.0
    machine = Machine(
        name=probe.machine,
        basis=probe.in_words(),
        precision=chosen,
        products=_rising(probe.products[chosen]),
        decode=_rising(probe.decode[chosen]),
        bandwidth=probe.bandwidth,
        disk=probe.disk,
        memory_bytes=probe.memory_bytes,
        usd_per_hour=Range.exact(0.0),
        watts=watts,
        dense=(1.0, 1.0),
        mixed=(1.0, 1.0),
        launch_s=0.0,
        less=1 - (1 - LESS) / crowded**2,  # threads that wait for each other lose more than their share
        more=(1 + MORE) * crowded - 1,
    )
    if chosen != probe.precision:
        return replace(machine, dense=(TRAIN, GENERATE), mixed=(TRAIN, GENERATE))
    return replace(
        machine,
        dense=_shares(machine, reference.DENSE, probe.dense),
        mixed=_shares(machine, reference.MIXED, probe.mixed),
    )


def _shares(machine: Machine, config: ModelConfig, measured: tuple[float, float]) -> tuple[float, float]:
    """What of the products' rate a reference model's update and decoding reached."""
    update_s, generate_s = measured
    tokens = reference.TOKENS
    rows = tokens // reference.ROW
    flops = train_flops(config, tokens, rows * causal_pairs(reference.ROW), tokens - rows)
    beside = machine.update_seconds(count_parameters(config).total)
    beside += machine.train_seconds(config, 0.0, tokens, tokens)
    ideal = flops / machine.product_rate(config, tokens)
    made = reference.STREAMS * decode_flops(config, reference.PROMPT, [reference.NEW])
    written = machine.generate_seconds(config, made, reference.NEW, reference.STREAMS)
    return ideal / max(update_s - beside, 0.5 * update_s), RAGGED * written / generate_s


def of_chip(chip: Chip, wanted: Precision = "bf16") -> Machine:
    """A chip of the table: products at its peak, decoding as fast as it reads weights."""
    precision, peak = chip.rate(wanted)
    bandwidth = chip.bandwidth_gbs * 1e9
    width = 4 if precision == "fp32" else 2
    is_gpu = chip.kind == "gpu"
    assumed = f"; assumed: {', '.join(chip.assumed)}" if chip.assumed else ""
    return Machine(
        name=chip.name,
        basis=f"from the table ({chip.source}; {chip.date}){assumed}",
        precision=precision,
        products=tuple(peak * min(1.0, side / 1024) for side in WIDTHS) if is_gpu else (peak,) * len(WIDTHS),
        decode=tuple(min(peak, 2 * rows * bandwidth / width) for rows in ROWS),
        bandwidth=bandwidth,
        disk=1e9,
        memory_bytes=chip.memory_gib * 2**30,
        usd_per_hour=chip.price,
        watts=chip.watts,
        dense=(GPU_TRAIN, GPU_GENERATE) if is_gpu else (TRAIN, GENERATE),
        mixed=(GPU_TRAIN, GPU_GENERATE) if is_gpu else (TRAIN, GENERATE),
        launch_s=GPU_LAUNCH_S if is_gpu else 0.0,
        less=TABLE_LESS,
        more=TABLE_MORE,
    )


def _products(c: ModelConfig, tokens: int) -> list[tuple[int, float, float]]:
    """(narrower side, FLOPs of a token, rows) of the kinds of product in a pass, the head among them."""
    found: list[tuple[int, float, float]] = [(c.hidden_size, 2.0 * c.hidden_size * c.vocab_size, tokens)]
    for layer in range(c.num_hidden_layers):
        whole = layer_flops(c, layer)
        if c.is_moe(layer):
            inner = c.moe_intermediate_size
            routed = 6.0 * c.num_experts_per_tok * c.hidden_size * inner
            rows = tokens * c.num_experts_per_tok / c.n_routed_experts
            found.append((min(c.hidden_size, inner), routed, rows))
            whole -= int(routed)
        side = c.hidden_size
        if c.kv_lora_rank is not None:
            side = min(c.hidden_size, 2 * c.kv_lora_rank, c.q_lora_rank or c.hidden_size)
        found.append((side, float(whole + 1024 * pair_flops(c)), tokens))
    return found


def _between(places: Sequence[int], values: Sequence[float], at: float) -> float:
    """On straight lines between the logarithms; outside, the end's value."""
    if at <= places[0]:
        return values[0] * at / places[0] if places[0] == 1 and at < 1 else values[0]
    for (a, b), (x, y) in zip(itertools.pairwise(places), itertools.pairwise(values), strict=True):
        if at <= b:
            share = log(at / a) / log(b / a)
            return exp(log(x) + share * (log(y) - log(x)))
    return values[-1]


def _rising(values: Sequence[float]) -> tuple[float, ...]:
    """Wider is never slower: what a busy moment made of a shape is not the shape's."""
    best, found = 0.0, list[float]()
    for value in values:
        best = max(best, value)
        found.append(best)
    return tuple(found)
