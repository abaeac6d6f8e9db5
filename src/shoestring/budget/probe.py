"""What this machine does, measured in well under a minute: products of several shapes, memory, disk, and how
busy it is meanwhile. Kept, so that it is measured once a machine."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from shoestring.budget import reference
from shoestring.errors import BadInput
from shoestring.ops.hardware import native_bf16
from shoestring.run import write_atomic
from shoestring.run.environment import cpu_model, memory_bytes, usable_cores
from shoestring.settings import cache_folder

WIDTHS = (128, 256, 512, 1024, 2048)  # of square weights, met by MANY rows
ROWS = (1, 8, 64, 256)  # that meet a weight of DECODE_WIDTH, as decoding does
MANY, DECODE_WIDTH = 2048, 1024
SECONDS_EACH = 0.25
LONG_S = 10.0  # for all shapes together; a quiet machine takes 5
BUSY = 0.15  # share of the processors that others take, from which on it is said
_LARGE = 128 << 20  # bytes, beyond any cache


@dataclass(frozen=True)
class Probe:
    """products, decode: FLOP/s by number format, of WIDTHS and ROWS. busy: the share of the processors that
    others had while it was measured."""

    machine: str
    cores: int
    threads: int
    memory_bytes: int
    products: dict[str, list[float]]
    decode: dict[str, list[float]]
    bandwidth: float  # bytes/s of a copy, read and written bytes together
    dense: tuple[float, float]  # seconds of an update and of generating, of a reference model (reference.py)
    mixed: tuple[float, float]  # the same with latent attention and experts
    disk: float  # bytes/s written and flushed
    busy: float
    seconds: float
    date: str

    @property
    def precision(self) -> str:
        """What models are in here where nobody says otherwise."""
        return "bf16" if "bf16" in self.products else "fp32"

    @property
    def peak(self) -> float:
        """FLOP/s, the best of all shapes in `precision`: what utilisation is a share of."""
        return max(self.products[self.precision])

    def in_words(self) -> str:
        rates = ", ".join(f"{max(r) / 1e9:,.0f} GFLOP/s {name}" for name, r in self.products.items())
        said = (
            f"measured {self.date} in {self.seconds:.0f} s, {self.threads} threads: products {rates}; "
            f"memory {self.bandwidth / 1e9:.0f} GB/s, "
            f"disk {self.disk / 1e6:,.0f} MB/s, a 6-layer model trains "
            f"{reference.TOKENS / self.dense[0]:,.0f} and writes "
            f"{reference.STREAMS * reference.NEW / self.dense[1]:,.0f} tokens/s"
        )
        if self.busy > BUSY:
            said += f"; BUSY: others took {self.busy:.0%} of the processors meanwhile, so ranges are wider"
        return said


def measure(folder: Path | None = None, seconds_each: float = SECONDS_EACH) -> Probe:
    """folder: on the disk that runs will be written to."""
    began, before = time.perf_counter(), processor_times()
    own = time.process_time()
    formats = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if native_bf16() else {})
    square = [(MANY, width, width) for width in WIDTHS]
    few = [(rows, DECODE_WIDTH, 2 * DECODE_WIDTH) for rows in ROWS]
    products = {n: _rates(square, d, seconds_each, began) for n, d in formats.items()}
    decode = {n: _rates(few, d, seconds_each, began) for n, d in formats.items()}
    bandwidth = _bandwidth(seconds_each)
    usual = "bf16" if "bf16" in formats else "fp32"
    dense, mixed = (reference.measure(config, usual) for config in (reference.DENSE, reference.MIXED))
    busy = _busy(before, processor_times(), time.process_time() - own)
    return Probe(
        machine=cpu_model(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory_bytes=memory_bytes(),
        products=products,
        decode=decode,
        bandwidth=bandwidth,
        dense=dense,
        mixed=mixed,
        disk=_disk(folder),
        busy=busy,
        seconds=round(time.perf_counter() - began, 2),
        date=time.strftime("%Y-%m-%d"),
    )


def probe_file() -> Path:
    """One a machine and number of threads."""
    told = f"{cpu_model()}|{usable_cores()}|{torch.get_num_threads()}|{memory_bytes()}|{native_bf16()}"
    return cache_folder() / "probes" / f"{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"


def kept_probe() -> Probe | None:
    """This machine's, if it was measured before."""
    path = probe_file()
    if not path.exists():
        return None
    try:
        return read_probe(path)
    except BadInput:  # of an older version: it is measured again
        return None


def probe(anew: bool = False, folder: Path | None = None) -> Probe:
    """The kept one, else measured and kept. A busy machine's is not: the next plan measures again."""
    found = None if anew else kept_probe()
    if found is None:
        found = measure(folder)
        path = probe_file()
        if found.busy <= BUSY:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(asdict(found), indent=2) + "\n")
    return found


def read_probe(path: Path) -> Probe:
    """Raises BadInput."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {name: tuple(values[name]) for name in ("dense", "mixed")}
        return Probe(**values)
    except (OSError, ValueError, TypeError, KeyError):
        raise BadInput(f"{path} is not a kept probe: measure again with shoestring plan --probe") from None


def _rates(
    shapes: list[tuple[int, int, int]], dtype: torch.dtype, seconds: float, began: float
) -> list[float]:
    """FLOP/s of each. Once the shapes have had LONG_S, those that are left are taken to be as the last."""
    found: list[float] = []
    for rows, inner, columns in shapes:
        if found and time.perf_counter() - began > LONG_S:
            found.append(found[-1])
            continue
        found.append(_product(rows, inner, columns, dtype, seconds))
    return found


def _product(rows: int, inner: int, columns: int, dtype: torch.dtype, seconds: float) -> float:
    """FLOP/s of (rows, inner) times (inner, columns): the best of repetitions, so that what others do in
    between counts least."""
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    return 2 * rows * inner * columns / _best(lambda: torch.nn.functional.linear(a, b), seconds)


def _bandwidth(seconds: float) -> float:
    source = torch.ones(_LARGE // 4)
    target = torch.empty_like(source)
    return 2 * _LARGE / _best(lambda: target.copy_(source), seconds)


def _best(work: Callable[[], object], seconds: float) -> float:
    """Seconds of one."""
    work()  # the first compiles, maps and packs
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - began)
        if now >= until:
            return best


def _disk(folder: Path | None, size: int = 32 << 20) -> float:
    """Bytes/s of a file that is written and flushed."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        block = os.urandom(size)
        began = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return size / (time.perf_counter() - began)


def processor_times() -> tuple[float, float]:
    """Seconds at work and in all, of all processors together; zeros where the system doesn't say."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0, 0.0
    ticks = [int(x) for x in stat.read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    each = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - idle) / each, sum(ticks) / each


def _busy(before: tuple[float, float], after: tuple[float, float], own: float) -> float:
    """Of all processors' time, what others than this process took."""
    worked, whole = after[0] - before[0], after[1] - before[1]
    if whole <= 0:
        load, cores = os.getloadavg()[0], usable_cores()
        return min(1.0, max(0.0, load - 1.0) / cores)
    return min(1.0, max(0.0, worked - own) / whole)
