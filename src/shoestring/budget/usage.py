"""usage.jsonl as a bill takes it: a machine's second once, however many processes of the run were at work in
it."""

import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shoestring.run import read_lines

Window = tuple[float, float]


def read_usage(folder: Path) -> list[dict[str, Any]]:
    """Of a run's folder. Whoever wants some of the lines takes them from these: alone, they wouldn't say who
    was at work beside them."""
    return billed_once(read_lines(folder / "usage.jsonl"))


def billed_once(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each moment of a machine is shared alike among the sittings that were open on it then. A sitting's
    seconds are all scaled to what it gets of its time, so that they add up to the moments' shares; joules,
    which every process reads of the whole machine, by those of the line's own time. `beside`: the seconds
    that are billed with others' lines. Seconds of processors and GPUs are a process's own. Lines of runs
    before sittings were noted count as they are."""
    rows = [dict(line) for line in lines]
    windows = _windows(rows)
    crowds = {
        machine: Crowd([window for (at, _), window in windows.items() if at == machine])
        for machine in {machine for machine, _ in windows}
    }
    shares = {key: crowds[key[0]].share(*window) for key, window in windows.items()}
    for row in rows:
        if "sitting" not in row:
            continue
        seconds = row["seconds"]
        row["seconds"] = seconds * shares[row["machine"], row["sitting"]]
        row["beside"] = seconds - row["seconds"]
        if "joules" in row:
            row["joules"] *= crowds[row["machine"]].share(row["began"], row["time"])
    return rows


def _windows(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Window]:
    """From each sitting's opening to its last line."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if "sitting" in row:
            found[row["machine"], row["sitting"]] += [row["began"], row["time"]]
    return {key: (min(times), max(times)) for key, times in found.items()}


class Crowd:
    """Sittings on one machine: how many were open when."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._edges = sorted({edge for window in windows for edge in window})
        self._open = [
            sum(begin <= left and right <= end for begin, end in windows)
            for left, right in itertools.pairwise(self._edges)
        ]

    def share(self, begin: float, end: float) -> float:
        """What one that is open from `begin` to `end` gets of that time: all of it where it is alone."""
        whole, at = 0.0, begin
        place = bisect_right(self._edges, begin) - 1
        while at < end:
            until = min(end, self._edges[place + 1])
            whole += (until - at) / self._open[place]
            at, place = until, place + 1
        return round(whole / (end - begin), 9) if end > begin else 1.0
