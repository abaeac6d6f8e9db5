"""Files of conversations for supervised fine-tuning, in the shapes the ecosystem uses."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet as pq

from shoestring.errors import BadInput
from shoestring.origin import Origin, Stage
from shoestring.text.declared import Declaration, declared, origin_of, require_origin, teachers_of
from shoestring.text.message import Message

Row = tuple[list[Message], Origin]


class Conversations:
    """Conversations, forever, in an order shuffled anew each epoch from the seed. `name` stands in their
    ids; `teachers` are the stages of the models that wrote them, where they are known."""

    def __init__(
        self,
        rows: Sequence[Row],
        name: str,
        seed: int,
        teachers: Mapping[str, tuple[Stage, ...]] | None = None,
    ) -> None:
        self.teachers = teachers or {}
        self.rows, self.name, self.seed, self.index = list(rows), name, seed, 0
        self.numbers = list(range(1, len(self.rows) + 1))  # in the file, from 1
        self.origins = tuple({origin: None for _, origin in self.rows})
        self._epoch, self._order = -1, list[int]()

    def next(self) -> tuple[list[Message], str]:
        epoch, place = divmod(self.index, len(self.rows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self.rows)))
            random.Random(f"{self.seed}/{epoch}").shuffle(self._order)
        self.index += 1
        row = self._order[place]
        return self.rows[row][0], self.row_id(row)

    def row_id(self, place: int) -> str:
        return f"{self.name}#{self.numbers[place]}"

    def keep(self, kept: Sequence[tuple[int, list[Message]]]) -> None:
        """Only the rows at these places from now on, with these messages in the place of theirs; before the
        first is taken."""
        self.numbers = [self.numbers[place] for place, _ in kept]
        self.rows = [(messages, self.rows[place][1]) for place, messages in kept]
        self.origins = tuple({origin: None for _, origin in self.rows})

    def state_dict(self) -> dict[str, int]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.index = int(state["index"])


class ConversationFile(Conversations):
    """Rows of a .jsonl or .parquet file.

    Accepted: {"messages": [{role, content, reasoning_content?}]}, minimind's {"conversations": ...},
    {"prompt", "completion"}, {"prompt" | "question", "answer" | "solution"}. A row carries its licence, its
    source and its teacher, or these are declared for the file (text/declared.py). All rows are checked here,
    before anything is trained.
    """

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(rows_of(read_rows(path), path), path.name, seed, teachers_of(path))
        if not self.rows:
            raise BadInput(f"{path} holds no rows")


def rows_of(raw: Iterable[Any], path: Path, trained: bool = True) -> list[Row]:
    """Rows as they stand in `path`, read. Raises BadInput with the first one's number that can't be, or whose
    origin isn't known. trained: False where they are only looked at, which needs no origin."""
    said = declared(path)
    rows = [_conversation(row, path, i, said) for i, row in enumerate(raw, start=1)]
    if trained:
        for number, (_, origin) in enumerate(rows, start=1):
            require_origin(origin, path, number)
    return rows


def read_rows(path: Path) -> Iterable[Any]:
    """The rows of a .jsonl or .parquet file as they are. Raises BadInput, with the line where JSON breaks."""
    if path.suffix not in (".jsonl", ".parquet"):
        raise BadInput(f"{path}: rows are read from .jsonl or .parquet files")
    if not path.is_file():
        raise BadInput(f"no such file: {path}")
    if path.suffix == ".parquet":
        try:
            return pq.read_table(path).to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise BadInput(f"{path} is not a Parquet file: {error}") from None
    rows = []
    # not splitlines(): JSON strings may hold U+2028, which it takes for a line's end
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:  # not UTF-8 is one too
                raise BadInput(f"{path}, line {number}: not JSON ({error})") from None
    return rows


def _conversation(
    row: Any, path: Path, number: int, said: Declaration | None
) -> tuple[list[Message], Origin]:
    where = f"{path}, row {number}"
    if not isinstance(row, dict):
        raise BadInput(f"{where}: not an object with named fields")
    messages = row.get("messages") or row.get("conversations")
    if messages is None:
        question = row.get("prompt") or row.get("question")
        reply = row.get("completion") or row.get("answer") or row.get("solution")
        if not isinstance(question, str) or not isinstance(reply, str):
            raise BadInput(f"{where}: neither messages nor prompt and completion; it has {', '.join(row)}")
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise BadInput(
            f"{where}: each message needs a role and a content, both text, and reasoning_content, where it "
            "has one, is text too"
        )
    # Parquet fills gaps with null
    clean = [cast(Message, {k: v for k, v in m.items() if v is not None}) for m in messages]
    if any(m.get("tool_calls") or "tools" in m for m in clean):
        raise BadInput(f"{where}: calls belong in an assistant's content, see docs/tools.md")
    if not any(m["role"] == "assistant" for m in clean):
        raise BadInput(f"{where}: no assistant's turn, so there is nothing to train on")
    return clean, origin_of(row, path, said)


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("role", "content"))
        and isinstance(value.get("reasoning_content"), str | None)
    )
