"""One sampled reply as it is kept: all that judging it again, pairing it and checking its receipt need."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.errors import BadInput

SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("sample", pa.int32()),
        *((name, pa.string()) for name in ("prompt", "gold", "reply", "outcome", "detail")),
        *((name, pa.int32()) for name in ("prompt_tokens", "tokens")),
        ("finish_reason", pa.string()),
        ("tool_calls", pa.int32()),
        *((name, pa.float64()) for name in ("format", "language_thinking", "language_answer")),
        ("disagreed", pa.bool_()),
        *((name, pa.string()) for name in ("reasoning", "answer")),  # as the template read the reply
        ("cut", pa.bool_()),
        ("said", pa.string()),
        ("parts", pa.map_(pa.string(), pa.float64())),
        ("prompt_sha256", pa.string()),
        ("ids", pa.list_(pa.int32())),
        ("confidence", pa.float64()),
        ("confidence_said", pa.string()),
    ]
)
FIRST = SCHEMA.names[: SCHEMA.names.index("reasoning")]  # what every version kept


@dataclass(frozen=True)
class Item:
    """problem and sample name it, so that two models' rows can be paired. reasoning, answer and cut are the
    reply as tasks judge it; said is the answer that was read, by which votes are counted; prompt_sha256 is of
    the ids that the model read, ids are what it made: a server tells neither ("" and none)."""

    problem: str
    sample: int
    prompt: str
    gold: str
    reply: str
    outcome: str
    detail: str
    prompt_tokens: int
    tokens: int
    finish_reason: str
    tool_calls: int = 0
    format: float = 0.0
    language_thinking: float | None = None
    language_answer: float | None = None
    disagreed: bool = False  # the scorer's two readers differed
    reasoning: str | None = None
    answer: str = ""
    cut: bool = False
    said: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    prompt_sha256: str = ""
    ids: tuple[int, ...] = ()
    confidence: float | None = None  # as it stated it when asked; None: it wasn't, or it didn't
    confidence_said: str = ""  # what it said to that

    @property
    def empty(self) -> bool:
        """It ended by itself and says nothing after its thinking."""
        return self.finish_reason == "stop" and self.tokens > 0 and not self.answer.strip()


def save_items(items: Sequence[Item], path: Path) -> None:
    """One row a reply, in (problem, sample) order, whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    rows = [{**asdict(item), "parts": list(item.parts.items())} for item in items]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary, compression="zstd")
    temporary.replace(path)


def load_items(path: Path) -> list[Item]:
    """Raises BadInput where the file isn't there, isn't one of items, or is of a version that kept less."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise BadInput(f"no such file of replies: {path}") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} is no file of replies: {error}") from None
    lacking = [name for name in SCHEMA.names if name not in table.column_names]
    if lacking:
        why = "it is another table" if set(lacking) & set(FIRST) else "an earlier version kept it"
        raise BadInput(f"{path} lacks {', '.join(lacking)}: {why}, so evaluate again")
    rows = table.select(SCHEMA.names).to_pylist()
    return [
        Item(**{**row, "parts": dict(row["parts"] or ()), "ids": tuple(row["ids"] or ())}) for row in rows
    ]
