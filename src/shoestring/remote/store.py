"""Samples of a teacher, each kept the moment it comes: a restart asks only for what is missing.

    DIR/MARK/3f.jsonl     the samples of prompts whose hash begins 3f, one a line
    DIR/MARK/lost.jsonl   attempts that may be charged and gave nothing
    DIR/MARK/refused.jsonl  samples that the endpoint won't make for their prompt's sake
    DIR/MARK/of.json      whose samples they are, and how they were sampled

MARK is a hash of of.json, so that samples of another teacher or temperature lie beside these and are never
read for them.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.remote.asked import Answer, Ask, Sampling
from shoestring.run import read_lines, saving, write_atomic

LOST, REFUSED, OF = "lost.jsonl", "refused.jsonl", "of.json"


class Store:
    def __init__(self, root: Path, identity: Sequence[str], sampling: Sampling) -> None:
        of = json.dumps({"teacher": list(identity), "sampling": dataclasses.asdict(sampling)}, sort_keys=True)
        self.folder = root / hashlib.sha256(of.encode()).hexdigest()[:12]
        with saving(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / OF).exists():
            write_atomic(self.folder / OF, of + "\n")
        self._kept: dict[tuple[str, int], Answer] = {}
        self._refused: set[tuple[str, int]] = set()
        for path in sorted(self.folder.glob("*.jsonl")):
            _cut_torn_line(path)
            if path.name == REFUSED:
                self._refused = {(row["key"], row["number"]) for row in read_lines(path)}
            elif path.name != LOST:
                rows = [_answer(row, path) for row in read_lines(path)]
                self._kept.update({(row.key, row.number): row for row in rows})

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, number: int) -> Answer | None:
        return self._kept.get((key, number))

    def refused(self, asks: Sequence[Ask]) -> int:
        """How many of these the endpoint would not make."""
        return len({(ask.key, n) for ask in asks for n in ask.numbers} & self._refused)

    def missing(self, asks: Sequence[Ask]) -> list[Ask]:
        """What isn't there yet and wasn't refused, each prompt once."""
        wanted: dict[str, Ask] = {}
        for ask in asks:
            earlier = wanted[ask.key].numbers if ask.key in wanted else ()
            had = {n for n in ask.numbers if (ask.key, n) in self._kept or (ask.key, n) in self._refused}
            numbers = [n for n in ask.numbers if n not in earlier and n not in had]
            if numbers or earlier:
                wanted[ask.key] = Ask(ask.messages, (*earlier, *numbers))
        return list(wanted.values())

    def add(self, answer: Answer) -> None:
        """Raises ShoestringError where the disk takes no more; the file then ends with the sample before."""
        _append(self.folder / f"{answer.key[:2]}.jsonl", dataclasses.asdict(answer))
        self._kept[answer.key, answer.number] = answer

    def refuse(self, key: str, number: int, why: str) -> None:
        _append(self.folder / REFUSED, {"key": key, "number": number, "why": why})
        self._refused.add((key, number))

    def lose(self, attempt: Answer, fault: str) -> None:
        _append(self.folder / LOST, dataclasses.asdict(attempt) | {"fault": fault})


def spent(root: Path, where: str) -> tuple[float, int]:
    """Money and tokens that all samples of the endpoint `where` took under `root`, of every mark, lost ones
    too: a budget isn't new after a restart."""
    of = [path for path in sorted(root.glob(f"*/{OF}")) if where in json.loads(path.read_text())["teacher"]]
    shards = [s for path in of for s in sorted(path.parent.glob("*.jsonl")) if s.name != REFUSED]
    rows = [row for shard in shards for row in read_lines(shard)]
    return sum(r["cost"] for r in rows), sum(r["prompt_tokens"] + r["completion_tokens"] for r in rows)


def _append(path: Path, values: Mapping[str, Any]) -> None:
    """One line, on the disk before this returns: it may have been paid for."""
    line = json.dumps(values, ensure_ascii=False).encode() + b"\n"
    with saving(path), open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            written = 0
            while written < len(line):
                written += file.write(line[written:]) or 0
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _cut_torn_line(path: Path) -> None:
    """What a kill left of a line: the next one must not grow on to it."""
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        with saving(path), open(path, "r+b") as file:
            file.truncate(end)


def _answer(row: Mapping[str, Any], path: Path) -> Answer:
    try:
        return Answer(**row)
    except TypeError:
        raise BadInput(f"{path} holds something else than a teacher's samples") from None
