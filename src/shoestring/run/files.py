"""Writing that survives kill -9 and a full disk: a file or folder is the old or the new one, never half."""

import errno
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from shoestring.errors import BadInput, ShoestringError

DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would pass this system's size limit",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk reports an input/output error",
}


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turns a disk's refusal while writing `path` into one line for the user; other errors pass."""
    try:
        yield
    except OSError as error:
        code, shown = error.errno, Path(error.filename) if isinstance(error.filename, str) else path
        if code not in DISK_TROUBLE:
            raise
    except SafetensorError as error:  # wraps the system's error in text: "... (os error 28)"
        found = re.search(r"os error (\d+)|code: (\d+)", str(error))
        code, shown = int(found[1] or found[2]) if found else 0, path
        if code not in DISK_TROUBLE:
            raise
    else:
        return
    raise ShoestringError(
        f"could not save {shown}: {DISK_TROUBLE[code]}; what was saved before is whole: "
        "set that right and go on with --resume"
    )


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path`, its folder made, against other processes, or with `wait` off say whether it
    could be had. The system lets go of it when a process dies, however it dies; the empty file stays."""
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with saving(path), open(path, "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            got = True
        except BlockingIOError:
            got = False
        yield got


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content`, a text as UTF-8, beside `path`, flush it to the disk, rename it into place."""
    raw = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with saving(path):
        try:
            with open(temporary, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def replace_folder(tmp: Path, final: Path) -> None:
    """Put the finished folder `tmp` in the place of `final` (same disk). Killed at any point, `settle_folder`
    finds the old folder or the new one whole: the name FINAL.new is only given to what is complete."""
    new = final.with_name(final.name + ".new")
    with saving(final):
        settle_folder(final)
        for file in sorted(tmp.rglob("*")):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        os.rename(tmp, new)
        settle_folder(final)


def settle_folder(final: Path) -> None:
    """Finish a replacement that a kill broke off; does nothing where none was."""
    new, old = final.with_name(final.name + ".new"), final.with_name(final.name + ".old")
    with saving(final):
        if new.exists():
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.rename(final, old)
            os.rename(new, final)
        elif old.exists() and not final.exists():
            os.rename(old, final)
        shutil.rmtree(old, ignore_errors=True)


def dumps(values: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON that every reader accepts: NaN and infinities are null."""
    return json.dumps(_finite(values), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(v) for v in value]
    return value


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """One JSON line at the end of `path`, handed to the system at once so that kill -9 can't lose it."""
    with saving(path), open(path, "a", encoding="utf-8") as file:
        file.write(dumps(values) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file's rows; none where there is no file. A torn last line (killed while writing) is left out;
    one inside the file raises BadInput."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number == len(lines) - 1:  # no newline after it: never finished
                break
            raise BadInput(f"{path}, line {number + 1}: not JSON") from None
    return rows


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(dumps(row) + "\n" for row in rows))
