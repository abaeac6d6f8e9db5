"""How far the work is: a live bar on a terminal, a plain line now and then without one."""

import time
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

HEARTBEAT_S = 10.0


@dataclass(frozen=True)
class Pace:
    """Rate and time left, from what was done since this process began (work before a resume is left out)."""

    done: int
    total: int
    elapsed_s: float
    eta_s: float | None  # None until one unit of work has been timed


def duration(seconds: float) -> str:
    """75 -> '1m15s'; 3720 -> '1h02m'."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def shown_text(shown: dict[str, float | str]) -> str:
    """'reward 0.312  tokens/s 1,240': three significant figures, thousands grouped."""
    words = {name: name.replace("_per_s", "/s").replace("_", " ") for name in shown}
    return "  ".join(f"{words[name]} {_value(value)}" for name, value in shown.items())


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class ProgressLine:
    """One stage's bar or heartbeat. Silent without a console."""

    def __init__(self, console: Console | None, title: str) -> None:
        self._console, self._title = console, title
        self._began: tuple[float, int] | None = None  # monotonic seconds, work already done then
        self._last_done = 0
        self._last_beat = -HEARTBEAT_S
        self._bar: Progress | None = None

    def update(self, done: int, total: int, shown: dict[str, float | str]) -> Pace:
        pace = self._pace(done, total)
        if self._console is not None and self._console.is_terminal:
            self._draw(self._console, pace, shown)
        elif self._console is not None:
            self._beat(self._console, pace, shown)
        return pace

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._console is not None:
            _print(self._console, text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _pace(self, done: int, total: int) -> Pace:
        now = time.monotonic()
        if self._began is None or done < self._last_done:  # an eval's next suite counts from 0 again
            self._began = (now, done)
        self._last_done = done
        elapsed, fresh = now - self._began[0], done - self._began[1]
        return Pace(done, total, elapsed, elapsed / fresh * (total - done) if fresh > 0 else None)

    def _draw(self, console: Console, pace: Pace, shown: dict[str, float | str]) -> None:
        if self._bar is None:
            self._bar = self._start_bar(console, pace.total)
        left = f"  {duration(pace.eta_s)} left" if pace.eta_s else ""
        task = self._bar.task_ids[0]
        text = escape(shown_text(shown))
        self._bar.update(task, completed=pace.done, total=pace.total, shown=text, left=left)

    def _start_bar(self, console: Console, total: int) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}  {task.fields[shown]}{task.fields[left]}"),
        )
        bar = Progress(*columns, console=console, refresh_per_second=2)
        bar.add_task(escape(self._title), total=total, shown="", left="")
        bar.start()
        return bar

    def _beat(self, console: Console, pace: Pace, shown: dict[str, float | str]) -> None:
        now = time.monotonic()
        if now - self._last_beat < HEARTBEAT_S and pace.done < pace.total:
            return
        self._last_beat = now
        parts = [f"[{self._title}] {pace.done}/{pace.total}", shown_text(shown)]
        if pace.eta_s:
            parts.append(f"{duration(pace.eta_s)} left")
        line = "  ".join(part for part in parts if part)
        _print(console, line)


def _print(console: Console, text: str) -> None:
    """As it is: ":x:" is no emoji. To look for some rich loads a module when it first prints, and a signal
    that comes just then finds it half loaded when it has something to say."""
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
