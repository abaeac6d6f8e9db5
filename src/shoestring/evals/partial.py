"""Replies as they are made, so that an evaluation that dies midway goes on where it was.

A file of JSON lines: first what is being asked, then each prompt's samples once all of them are done. A file
that was begun for something else is begun anew; a line torn by the kill is asked again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoestring.engine.request import Completion, FinishReason
from shoestring.run.files import append_line, read_lines, write_lines


class Partial:
    def __init__(self, path: Path, identity: str) -> None:
        """identity: of all that decides the replies."""
        self._path = path
        head: dict[str, Any] = {"identity": identity}
        rows = read_lines(path)
        if rows[:1] != [head]:
            rows = [head]
        write_lines(path, rows)  # whole lines only: what is appended begins a new one
        self._done = {row["key"]: [_completion(sample) for sample in row["samples"]] for row in rows[1:]}

    def __len__(self) -> int:
        return len(self._done)

    def have(self, key: str) -> list[Completion]:
        """[] where the prompt's samples aren't all there."""
        return self._done.get(key, [])

    def add(self, key: str, completions: Sequence[Completion]) -> None:
        append_line(self._path, {"key": key, "samples": [_plain(c) for c in completions]})


def _plain(completion: Completion) -> dict[str, Any]:
    return {
        "ids": completion.ids,
        "finish_reason": completion.finish_reason.value,
        "stopped_by": completion.stopped_by,
        "weights_version": completion.weights_version,
    }


def _completion(sample: dict[str, Any]) -> Completion:
    """Without logprobs, which no evaluation reads."""
    reason = FinishReason(sample["finish_reason"])
    return Completion(
        sample["ids"], [], "", reason, sample["weights_version"], stopped_by=sample["stopped_by"]
    )
