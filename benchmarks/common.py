"""What every benchmark here shares: the machine in words, medians, ratios, tables, result files."""

import argparse
import datetime
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contenders import HERE, OURS, Contender, Rounds, Running
from rich.console import Console
from rich.table import Table

from shoestring.budget.probe import processor_times
from shoestring.errors import BadInput, ShoestringError
from shoestring.run.environment import environment

FLAGS = (  # what decides how fast number formats are; x86, then ARM
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "avx_vnni"),
    *("asimddp", "bf16", "i8mm", "sve"),
)
BUSY_SHARE = 0.1  # of the processors' time taken before the start: the figures are not to be kept
LOOK_S = 3.0
PEAK = "matmul peak"
PLACES = ("PYTHONPATH", "LD_LIBRARY_PATH")  # where things lie on this machine is not kept


def machine() -> dict[str, Any]:
    """Processor, the flags that matter, memory, our versions, and how busy it was before the start."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text(encoding="utf-8").split()) if info.exists() else set()
    taken, found = share_taken(), environment()
    return found | {
        "kernel": platform.release(),
        "cpu_flags": [flag for flag in FLAGS if flag in words],
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "taken_before": round(taken, 3),
        "busy": taken > BUSY_SHARE,
        "ticks_before": ticks(),
    }


def share_taken() -> float:
    """Of all processors' time while this process waits. The load average would count what has just ended: a
    benchmark after another would call the machine busy with itself."""
    before = processor_times()
    time.sleep(LOOK_S)
    worked, passed = (now - then for now, then in zip(processor_times(), before, strict=True))
    return worked / passed if passed else os.getloadavg()[0] / (os.cpu_count() or 1)


def ticks() -> tuple[int, int]:
    """Processor time since the start of the machine: what its host took away from it, and all."""
    info = Path("/proc/stat")
    counted = [int(n) for n in info.read_text().split("\n", 1)[0].split()[1:9]] if info.exists() else [0] * 8
    return counted[7], sum(counted)  # user nice system idle iowait irq softirq steal


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m", help="any model that shoestring loads")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of every contender")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="where TRL and HF lie")
    parser.add_argument("--json", type=Path, help="write what was measured, machine and versions included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak-size", type=int, default=4096, help="of the square matrices of the peak")
    return parser


def python_of(environment_folder: Path) -> Path:
    return environment_folder.absolute() / "bin" / "python"


def matmul_peak(size: int) -> Contender:
    return Contender(PEAK, OURS, "matmul.py", {"size": size, "times": 5}, kit="")


def start(main: Callable[[], None]) -> None:
    """Run it; the user's mistakes and a contender's failure are one line each."""
    # a stopped contender would outlive a driver that ends without its clean-up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except ShoestringError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadInput) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def series(rounds: Rounds, name: str, key: str, per: str | None = None) -> list[float]:
    """`key` of a contender's turns, divided by `per` where that is named."""
    turns = [r[name] for r in rounds]
    return [t[key] / t[per] if per else t[key] for t in turns]


def ratios(ours: Sequence[float], peers: Sequence[float]) -> dict[str, Any]:
    """ours / peer within each round, where both met the same machine."""
    return spread([a / b for a, b in zip(ours, peers, strict=True)])


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=120 if not sys.stdout.isatty() else None).print(table)


def in_words(found: dict[str, Any], digits: int = 0) -> str:
    return f"{found['median']:.{digits}f} ({found['min']:.{digits}f}-{found['max']:.{digits}f})"


def facts(contenders: Sequence[Running]) -> dict[str, Any]:
    """Versions, threads and settings of each. Prompts and rows stay out: a seed says which they were."""
    bulky = {"warmup", "steps", "folder", "model", "binaries"}
    return {
        one.name: one.facts
        | {"settings": {k: v for k, v in one.contender.spec.items() if k not in bulky}}
        | {"env": {k: v for k, v in one.contender.env.items() if k not in PLACES}}
        for one in contenders
    }


def report(
    benchmark: str,
    args: argparse.Namespace,
    described: dict[str, Any],
    results: dict[str, Any],
    timed: bool = True,
) -> None:
    """Say what it ran on, and keep it all in `--json`. timed: other work on the machine spoils it."""
    print(
        f"{described['cpu']}, {described['cores']} cores, {described['memory_gib']} GiB; "
        f"torch {described['packages']['torch']}, {' '.join(described['cpu_flags'])}"
    )
    stolen, passed = (now - before for now, before in zip(ticks(), described["ticks_before"], strict=True))
    described = {k: v for k, v in described.items() if k != "ticks_before"}
    described["stolen_share"] = round(stolen / passed, 3) if passed else 0.0
    print(f"{described['stolen_share']:.1%} of the processors' time went to others on the host meanwhile")
    if timed and described["busy"]:
        taken = f"{described['taken_before']:.0%} of the processors' time was taken before the start"
        print(f"the machine was busy ({taken}): these figures are not to be kept")
    if args.json is None:
        return
    given = {
        k: v.name if isinstance(v, Path) else v
        for k, v in vars(args).items()
        if k not in ("json", "peers", "vllm")
    }
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    whole = {"benchmark": benchmark, "date": date, "machine": described, "asked": given, **results}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(f"written to {os.path.relpath(args.json, HERE.parent)}")
