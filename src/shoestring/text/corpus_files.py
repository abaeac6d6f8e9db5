"""Files of running text as blocks: stretches that are read at once and always give the same documents.

A plain text file is one document, or several with a separator line between them. A .jsonl or .parquet file
has one in each row's text column. A folder has its files'. The standard library of the running interpreter
is a corpus that is always there."""

import importlib
import inspect
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Protocol

import pyarrow
import pyarrow.parquet as pq

from shoestring.errors import BadInput

BLOCK_BYTES = 1 << 20  # about so much is read at once; a document is never cut
TEXT_SUFFIXES = (".txt", ".md", ".rst", ".py")  # what is taken for text in a folder
Texts = list[str | None]  # documents in order; None: one that can't be read


class Block(Protocol):
    """Part of what `name` names; several blocks of one name are its parts in order."""

    @property
    def name(self) -> str: ...

    def read(self) -> Texts: ...


@dataclass(frozen=True)
class Stretch:
    """Bytes start:end of a file, and how they fall into documents."""

    path: Path
    name: str
    start: int
    end: int
    split: Callable[[bytes], Texts]

    def read(self) -> Texts:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return self.split(file.read(self.end - self.start))


@dataclass(frozen=True)
class RowGroup:
    """One row group of a Parquet file."""

    path: Path
    name: str
    group: int
    column: str

    def read(self) -> Texts:
        try:
            with pq.ParquetFile(self.path) as file:
                values = file.read_row_group(self.group, columns=[self.column]).column(0).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise BadInput(f"{self.path}, row group {self.group}: can't be read ({error})") from None
        return [value if isinstance(value, str) else None for value in values]


@dataclass(frozen=True)
class Docstrings:
    """What a module written in C says of itself: it has no source to read."""

    module: str

    @property
    def name(self) -> str:
        return f"{self.module}.__doc__"

    def read(self) -> Texts:
        members = vars(importlib.import_module(self.module))
        lines = [self.module, inspect.cleandoc(members.get("__doc__") or "")]
        for name, value in sorted(members.items()):
            # an alias is told of under its own name
            if isinstance(value, type | BuiltinFunctionType) and value.__name__ == name:
                lines += _told(f"{self.module}.{name}", value)
                inner = sorted(vars(value).items()) if isinstance(value, type) else []
                for method, does in inner:
                    if isinstance(does, MethodDescriptorType):
                        lines += _told(f"{name}.{method}", does)
        return ["\n".join(lines) + "\n"]


def find_blocks(path: Path, column: str, separator: str | None) -> tuple[list[Block], int]:
    """The blocks of a file or a folder in a fixed order, and how many of the folder's files are of no kind
    that is read (hidden ones too). Raises BadInput."""
    try:
        taken, others = files_of(path)
        return [block for name, f in taken for block in _file_blocks(f, name, column, separator)], others
    except OSError as error:
        raise BadInput(f"{error.filename or path} can't be read: {error.strerror}") from None


def files_of(path: Path) -> tuple[list[tuple[str, Path]], int]:
    """The files of texts of a file or a folder, by name in a fixed order, and how many others the folder has.
    Raises BadInput where there is neither."""
    if not path.exists():
        raise BadInput(f"no such file or folder of texts: {path}")
    if path.is_file():
        return [(path.name, path)], 0
    files = sorted((f.relative_to(path).as_posix(), f) for f in path.rglob("*") if f.is_file())
    taken = [(name, f) for name, f in files if _is_read(name)]
    return taken, len(files) - len(taken)


def standard_library_blocks() -> list[Block]:
    """The interpreter's own sources without tests and what was installed beside them, then the docstrings of
    the modules compiled into it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted((f.relative_to(root).as_posix(), f) for f in _library_files(root))
    sources = [Stretch(f, name, 0, f.stat().st_size, _whole) for name, f in files]
    # what a debugger or a test has hung into sys is no part of the library
    built_in = [name for name in sorted(sys.builtin_module_names) if name != "sys"]
    return [*sources, *(Docstrings(name) for name in built_in if "test" not in name)]


def _file_blocks(path: Path, name: str, column: str, separator: str | None) -> Iterator[Block]:
    if path.suffix == ".parquet":
        yield from _row_groups(path, name, column)
    elif path.suffix == ".jsonl":
        yield from _stretches(path, name, _json_texts(column), lambda line: True)
    elif separator is None:
        yield Stretch(path, name, 0, path.stat().st_size, _whole)
    else:
        mark = separator.strip().encode()
        if not mark:
            raise BadInput("separator: give the text of the line that stands between documents")
        yield from _stretches(path, name, _texts_between(mark), lambda line: line.strip() == mark)


def _stretches(
    path: Path, name: str, split: Callable[[bytes], Texts], ends: Callable[[bytes], bool]
) -> Iterator[Stretch]:
    """The file in stretches of BLOCK_BYTES or a little more, each ended by a line that may end one."""
    start = at = 0
    with path.open("rb") as lines:
        for line in lines:
            at += len(line)
            if at - start >= BLOCK_BYTES and ends(line):
                yield Stretch(path, name, start, at, split)
                start = at
    if at > start:
        yield Stretch(path, name, start, at, split)


def _row_groups(path: Path, name: str, column: str) -> Iterator[RowGroup]:
    try:
        with pq.ParquetFile(path) as file:
            columns, groups = file.schema_arrow.names, file.num_row_groups
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path} is not a Parquet file: {error}") from None
    if column not in columns:
        raise BadInput(f"{path} has no column '{column}'; it has {', '.join(columns)}")
    for group in range(groups):
        yield RowGroup(path, name, group, column)


def _json_texts(column: str) -> Callable[[bytes], Texts]:
    def text_of(line: bytes) -> str | None:
        try:
            text = json.loads(line).get(column)
            text.encode()  # half a surrogate pair is no text
        except (ValueError, AttributeError, RecursionError):
            return None
        return text

    return lambda data: [text_of(line) for line in data.split(b"\n") if line.strip()]


def _texts_between(mark: bytes) -> Callable[[bytes], Texts]:
    def split(data: bytes) -> Texts:
        pieces: list[list[bytes]] = [[]]
        for line in data.split(b"\n"):
            if line.strip() == mark:
                pieces.append([])
            else:
                pieces[-1].append(line)
        if len(pieces) > 1 and not b"".join(pieces[-1]).strip():
            pieces.pop()  # nothing comes after the last separator
        return [_decoded(b"\n".join(lines)) for lines in pieces]

    return split


def _whole(data: bytes) -> Texts:
    return [_decoded(data)]


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_read(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and name.endswith((".jsonl", ".parquet", *TEXT_SUFFIXES))


def _library_files(root: Path) -> Iterator[Path]:
    others = {"test", "tests", "idlelib", "site-packages", "dist-packages"}
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if name not in others]  # not even looked into: some are large
        # _sysconfigdata holds the paths and flags of the machine that built the interpreter
        sources = [name for name in files if name.endswith(".py")]
        yield from (Path(folder, n) for n in sources if not n.startswith(("test_", "_sysconfigdata")))


def _told(name: str, value: object) -> list[str]:
    doc = value.__doc__
    return ["", name, inspect.cleandoc(doc)] if isinstance(doc, str) and doc else []
