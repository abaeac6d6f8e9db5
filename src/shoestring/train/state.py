"""What a stopped run needs to go on, bit for bit. Random numbers are keyed, so no generator's state is in
it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from shoestring.errors import ShoestringError

TENSORS = "optimizer.safetensors"
PART_TENSORS = "parts.safetensors"  # of the parts that have tensors to keep; missing where none has


@dataclass(frozen=True)
class TrainState:
    """step: optimizer steps done; bad_steps: the latest of them without a finite gradient, in a row. tensors:
    float32 masters and AdamW's moments by name. most_tokens: of a micro-batch, where more ran out of
    memory. write: where the tensors lie in several processes, none is here and this writes their file."""

    step: int
    bad_steps: int
    tensors: Mapping[str, Tensor]
    most_tokens: int | None = None
    write: Callable[[Path], None] | None = None


class StateFile(Mapping[str, Tensor]):
    """The saved tensors, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = safe_open(path, framework="pt")  # type: ignore[no-untyped-call]
        self._names: list[str] = list(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def rows(self, name: str, begin: int, end: int) -> Tensor:
        """Of the first dimension; the others aren't read."""
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_slice(name)[begin:end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Stateful(Protocol):
    """A part of a run that isn't the learner: the data's position, the curriculum. Its state is plain values
    and tensors."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def save_state(folder: Path, state: TrainState, parts: Mapping[str, Stateful]) -> None:
    """Write into an existing folder; the caller renames it into place once it is whole."""
    if state.write is not None:
        state.write(folder / TENSORS)
    else:
        save_file({k: v.contiguous() for k, v in state.tensors.items()}, folder / TENSORS)
    plain: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        values = part.state_dict()
        plain[name] = {k: v for k, v in values.items() if not isinstance(v, Tensor)}
        tensors |= {f"{name}/{k}": v.contiguous() for k, v in values.items() if isinstance(v, Tensor)}
    if tensors:
        save_file(tensors, folder / PART_TENSORS)
    progress = {
        "step": state.step,
        "bad_steps": state.bad_steps,
        "most_tokens": state.most_tokens,
        "parts": plain,
    }
    text = json.dumps(progress)
    (folder / "progress.json").write_text(text + "\n", encoding="utf-8")


def load_state(folder: Path, parts: Mapping[str, Stateful]) -> TrainState:
    """The learner's state; the parts are set back in place. Raises ShoestringError where it can't be read."""
    try:
        progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        state = TrainState(
            progress["step"],
            progress["bad_steps"],
            StateFile(folder / TENSORS),
            progress.get("most_tokens"),
        )
        tensors = load_file(folder / PART_TENSORS) if (folder / PART_TENSORS).exists() else {}
        for name, part in parts.items():
            own = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            part.load_state_dict(progress["parts"][name] | own)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ShoestringError(
            f"the saved state in {folder} can't be read ({error}): "
            "remove that folder to start the stage again"
        ) from None
    return state
