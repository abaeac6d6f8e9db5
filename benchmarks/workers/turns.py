"""What every contender's process speaks with the driver: one JSON line in, one JSON line out. Needs nothing
but Python, for it runs under other interpreters.

The first line in is the spec. `ready` follows once the contender has loaded and warmed up; then each line in
is one turn to measure. What libraries print goes to the error stream, where the driver looks only after a
failure.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata
from typing import Any


class Turns:
    def __enter__(self) -> "Turns":
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.spec: dict[str, Any] = json.loads(sys.stdin.readline())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            traceback.print_exc()
            if isinstance(error, ModuleNotFoundError):
                self._say({"missing": error.name})
            else:
                self._say({"failed": f"{type(error).__name__}: {error}"})
        # not through the interpreter's end: trainers and engines leave threads that may hang there
        sys.stderr.flush()
        os._exit(0 if error is None or isinstance(error, SystemExit) else 1)

    def ready(self, *packages: str) -> None:
        """Loaded and warm. Says what computes: the packages' versions and the number of threads."""
        import torch

        versions = {name: metadata.version(name) for name in ("torch", *packages)}
        versions["python"] = sys.version.split()[0]
        self.loaded(versions, torch.get_num_threads())

    def loaded(self, versions: dict[str, str], threads: int) -> None:
        """The same of a contender without torch."""
        self._say({"versions": versions, "threads": threads})

    def next(self) -> dict[str, Any]:
        """Blocks for the next turn; ends the process when the driver has no more."""
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(0)
        return json.loads(line)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield self.next()

    def answer(self, **measured: Any) -> None:
        self._say(measured)

    def _say(self, values: dict[str, Any]) -> None:
        self._out.write(json.dumps(values) + "\n")
        self._out.flush()
