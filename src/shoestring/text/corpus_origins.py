"""Where the texts of a corpus came from: what is declared of the file or folder, and what rows of it say of
themselves."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.corpus_files import files_of
from shoestring.text.declared import ORIGIN_FIELDS, declared, how_to_declare, origin_fields, origin_of

MARKS = tuple(f'"{name}"'.encode() for name in ORIGIN_FIELDS)  # most lines have none and needn't be parsed


def corpus_origins(path: Path, licence: str = "") -> tuple[Origin, ...]:
    """The distinct origins of the texts of a file or folder: what a row says of itself, else `licence`, else
    what is declared. Raises BadInput where a text has none."""
    said, found = declared(path), dict[Origin, None]()
    for name, row in _rows(path):
        origin = origin_of({"licence": licence} | origin_fields(row), path, said)
        if not origin.licence:
            raise BadInput(
                f"{path}: nothing says what licence {name} is under, so it can't be trained on; set licence, "
                f"or declare it once: {how_to_declare(path)}"
            )
        found[origin] = None
    return tuple(found)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each file or row says of itself, with its name; the text's column isn't read."""
    for name, file in files_of(path)[0]:
        if file.suffix == ".parquet":
            yield from _of_parquet(file, name)
        elif file.suffix == ".jsonl":
            yield from _of_lines(file, name)
        else:
            yield name, {}


def _of_parquet(path: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with pq.ParquetFile(path) as file:
            columns = [column for column in file.schema_arrow.names if column in ORIGIN_FIELDS]
            if not columns:
                yield name, {}
                return
            rows = (row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{name}#{number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{path} can't be read: {error}") from None


def _of_lines(path: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row: Any = {}
            if any(mark in line for mark in MARKS):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue  # no document either: the corpus counts it as unreadable
            if line.strip() and isinstance(row, dict):
                yield f"{name}, line {number}", row
