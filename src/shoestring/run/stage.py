"""An open stage folder that every job writes to, alone or as one unit of a recipe."""

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from shoestring.errors import BadInput, Interrupted
from shoestring.run.files import (
    append_line,
    dumps,
    held,
    read_lines,
    saving,
    settle_folder,
    write_atomic,
    write_lines,
)
from shoestring.run.meter import Meter
from shoestring.run.progress import ProgressLine
from shoestring.run.stop import StopSignal

STATUS_EVERY_S = 1.0
NO_STEP = 0  # steps count from 1: the state of step N is what N steps made


class Stage:
    """Use it as a context (`with Stage(...) as stage`) so that Ctrl-C asks first and the bar is closed.

    Going on after a kill: a job that loads a saved state says so with `truncate_metrics(step)`. One that
    doesn't starts over. Either way the metrics and rollouts of steps done twice are kept once, and usage
    lines of work that was lost stay in usage.jsonl, marked `"redone": true`, for it was paid for. A usage
    line belongs to the step being worked on, so a step's `use` comes before its `log`. A job that logs no
    steps (an eval) meters what it has already saved, so all of its lines count.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        console: Console | None = None,
        resume: bool = False,
        run_dir: Path | None = None,  # holds usage.jsonl and status.json; the stage's own folder if alone
        title: str = "",  # what the bar calls it, e.g. "2/6 zero"
        spent: Callable[[], bool] = lambda: False,  # whether a budget is used up
    ) -> None:
        self.folder, self.name = folder, name
        self._run_dir = run_dir or folder
        self._unit = "." if run_dir is None else folder.relative_to(run_dir).as_posix()
        self._metrics, self._usage = folder / "metrics.jsonl", self._run_dir / "usage.jsonl"
        self._findings = folder / "findings.jsonl"
        if not resume and (self._metrics.exists() or (folder / "result.json").exists()):
            raise BadInput(f"{folder} holds an earlier run: add --resume, or choose another --output-dir")
        with saving(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for checkpoint in (self.model_dir, self.state_dir):
            settle_folder(checkpoint)
        _mend(self._metrics)
        _mend(self._findings)
        with self._usage_held():
            _mend(self._usage)
        # what an earlier attempt left, until it is known which of it is kept
        self._earlier = resume and (self._metrics.exists() or self._has_usage())
        self._earlier_usage = len(read_lines(self._usage))
        self._step, self._opened, self._metered_s = NO_STEP, time.monotonic(), 0.0
        self._spent, self._meter = spent, Meter()
        self._line, self._last_status = ProgressLine(console, title or name), -STATUS_EVERY_S
        self._stop = StopSignal(self.say)

    def __enter__(self) -> "Stage":
        self._stop.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.__exit__(*exc)
        self._line.close()
        rest = time.monotonic() - self._opened - self._metered_s
        if rest > 0.01 and exc[0] in (None, Interrupted):
            # loading, saving, waiting: so that the bill's seconds add up to the clock's
            self.use("other", seconds=rest)

    @property
    def model_dir(self) -> Path:
        return self.folder / "model"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def stop_requested(self) -> bool:
        """True after the first Ctrl-C, or where the run's budget is used up: save and raise Interrupted. A
        second Ctrl-C raises KeyboardInterrupt."""
        return self._stop.requested or self._spent()

    def truncate_metrics(self, step: int) -> None:
        """The job goes on from its state of `step`: forget what was written about later steps."""
        self._earlier = False
        self._step = step
        for path in (self._metrics, self._findings):
            rows = read_lines(path)
            kept = [row for row in rows if row["step"] <= step]
            if len(kept) < len(rows):
                write_lines(path, kept)
        with saving(self.folder):
            for path in (self.folder / "rollouts").glob("step-*.parquet"):
                if int(path.stem.removeprefix("step-")) > step:
                    path.unlink()
        with self._usage_held():
            lines = read_lines(self._usage)
            for line in lines[: self._earlier_usage]:
                if line["unit"] == self._unit and line["after_step"] >= step:
                    line["redone"] = True
            write_lines(self._usage, lines)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One line of metrics.jsonl. A value that isn't finite becomes null and is counted in `nonfinite`."""
        self._begin_at(step)
        values = {name: float(value) for name, value in metrics.items()}
        bad = sum(not math.isfinite(value) for value in values.values())
        counted = {"nonfinite": bad} if bad else {}
        append_line(self._metrics, {"step": step, "time": round(time.time(), 3), **values, **counted})
        self._step = step

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged so far, a row a step."""
        return read_lines(self._metrics)

    def progress(self, done: int, total: int, **shown: float | str) -> None:
        """Move the bar (or print a heartbeat) and write status.json, at most once a second."""
        pace = self._line.update(done, total, shown)
        now = time.monotonic()
        if now - self._last_status < STATUS_EVERY_S and done < total:
            return
        self._last_status = now
        status = {
            "state": "running",
            "stage": self.name,
            "unit": self._unit,
            "done": done,
            "total": total,
            "shown": shown,
            "elapsed_seconds": round(pace.elapsed_s, 1),
            "eta_seconds": None if pace.eta_s is None else round(pace.eta_s, 1),
        }
        self._write_status(status)

    def say(self, text: str) -> None:
        """One line for the user, above the bar."""
        self._line.say(text)

    def finding(self, step: int, name: str, text: str) -> None:
        """Something that the user should know of the run: a line now, and a row of findings.jsonl for the
        report."""
        self._begin_at(step)
        append_line(self._findings, {"step": step, "name": name, "text": text})
        self.say(f"step {step}: {text}" if step else text)

    def rollouts(self, step: int, rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> None:
        """rollouts/step-000010.parquet, under `schema` where there is one. The report needs the columns
        prompt, completion, outcome and value, and shows more where there are more (rl/store.py)."""
        if not rows:
            return
        self._begin_at(step)
        folder = self.folder / "rollouts"
        path, temporary = folder / f"step-{step:06d}.parquet", folder / f".step-{step:06d}.tmp"
        with saving(path):
            folder.mkdir(exist_ok=True)
            table = pa.Table.from_pylist(rows, schema)
            # a dictionary of logprobs, no two alike, makes a step's file 1.4 times as large
            pq.write_table(table, temporary, compression="zstd", use_dictionary=False)
            temporary.replace(path)

    def use(
        self,
        kind: str,
        seconds: float = 0.0,
        tokens: int = 0,
        flops: float = 0.0,
        wasted: dict[str, int] | None = None,  # tokens of these spent on nothing, by reason
        paid: float = 0.0,  # USD, to an endpoint
    ) -> None:
        """One line of usage.jsonl: what a piece of work took. Never rewritten, but for the mark `redone`."""
        self._metered_s += seconds
        line: dict[str, Any] = {"stage": self.name, "unit": self._unit, "kind": kind}
        line |= {"seconds": round(seconds, 4), "tokens": tokens, "flops": float(flops)}
        line |= self._meter.take(seconds) | ({"paid": round(paid, 9)} if paid else {})
        line |= {"wasted": wasted or {}, "after_step": self._step}
        with self._usage_held():
            append_line(self._usage, line)

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json: from here on the stage is done and a resumed recipe skips it."""
        write_atomic(self.folder / "result.json", dumps(result, indent=2) + "\n")
        self._write_status({"state": "finished", "stage": self.name, "unit": self._unit})

    def result(self) -> dict[str, Any] | None:
        path = self.folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _begin_at(self, step: int) -> None:
        if self._earlier:  # the job didn't say what it goes on from: what it redoes replaces what was there
            self.truncate_metrics(step - 1)

    def _write_status(self, values: dict[str, Any]) -> None:
        text = dumps(values | {"time": round(time.time(), 3)}, indent=2)
        write_atomic(self._run_dir / "status.json", text + "\n")

    def _usage_held(self) -> AbstractContextManager[bool]:
        """Other units of the run may be at work in other processes, and a resume rewrites the file."""
        return held(self._run_dir / ".usage.lock")

    def _has_usage(self) -> bool:
        return any(line["unit"] == self._unit for line in read_lines(self._usage))


def _mend(path: Path) -> None:
    """Cut a torn last line off, so that the next one doesn't grow on to it."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        write_lines(path, read_lines(path))
