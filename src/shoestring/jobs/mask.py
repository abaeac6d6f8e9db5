"""Which tokens of a row the loss counts, made visible."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.text import Text

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.tasks.suite import draw_problems, parse_suite
from shoestring.text.message import Message, Rendered

DATA_SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True)
class MaskedRow:
    """One row as the trainer sees it. end_trained: whether every trained turn ends in a trained end-of-turn id."""

    row_id: str
    tokens: int
    trained: int
    end_trained: bool
    pieces: tuple[tuple[str, bool], ...]  # text, whether it is trained; neighbours alike are joined

    @property
    def share(self) -> float:
        return self.trained / self.tokens


def rows_of(source: str, n: int, seed: int) -> list[tuple[str, list[Message]]]:
    """(row id, conversation) of a messages file, or of a suite's worked solutions on its train split."""
    if source.endswith(DATA_SUFFIXES):
        return [(f"{source}:{i + 1}", _messages(row, source, i)) for i, row in enumerate(_read(Path(source), n))]
    suite = parse_suite(source)
    rows = []
    for problem in draw_problems(suite, "train", n, seed):
        worked = suite.family.worked(problem, random.Random(f"show:{seed}:{problem.id}"))
        turn: Message = {"role": "assistant", "content": worked.answer}
        if worked.reasoning is not None:
            turn["reasoning_content"] = worked.reasoning
        question: Message = {"role": "user", "content": problem.prompt}
        rows.append((f"{suite.name}:{problem.id}", [question, turn]))
    return rows


def _read(path: Path, n: int) -> list[dict]:
    """The first n rows as plain values."""
    if not path.is_file():
        raise BadInput(f"no such file: {path}")
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read().slice(0, n).to_pylist()
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() and len(rows) < n:
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise BadInput(f"{path}, line {number}: not JSON: {error}") from None
    return rows


def _messages(row: dict, source: str, index: int) -> list[Message]:
    found = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(found, list) or not all(isinstance(m, dict) and {"role", "content"} <= set(m) for m in found):
        raise BadInput(f"{source}, row {index + 1}: wants messages = [{{role, content}}, ...]")
    # Parquet gives every turn all columns: what a turn hasn't is null there
    return [Message(**{k: v for k, v in m.items() if v is not None and k in Message.__annotations__}) for m in found]


def masked(lm: LanguageModel, row_id: str, messages: list[Message]) -> MaskedRow:
    rendered = lm.template.render(messages, row_id=row_id)
    ends = [i for i, (a, b) in enumerate(_pairs(rendered)) if a and not b]
    return MaskedRow(
        row_id=row_id,
        tokens=len(rendered.ids),
        trained=sum(rendered.trained),
        end_trained=bool(ends) and all(rendered.ids[i] in lm.template.stop_ids for i in ends),
        pieces=tuple(_pieces(lm, rendered)),
    )


def _pairs(rendered: Rendered) -> list[tuple[bool, bool]]:
    """Each token's trained flag with the next one's."""
    return list(zip(rendered.trained, [*rendered.trained[1:], False], strict=True))


def _pieces(lm: LanguageModel, rendered: Rendered) -> list[tuple[str, bool]]:
    """Neighbouring tokens of one kind are decoded together: a character may be spread over several tokens."""
    pieces, start = [], 0
    for i, (own, following) in enumerate(_pairs(rendered)):
        if own != following or i == len(rendered.ids) - 1:
            pieces.append((lm.tokenizer.decode(rendered.ids[start : i + 1]), own))
            start = i + 1
    return pieces


def print_row(row: MaskedRow, console: Console) -> None:
    """Trained text green where there is colour, in [[double brackets]] where there is none."""
    end = "end-of-turn is trained" if row.end_trained else "END-OF-TURN IS NOT TRAINED: the model won't learn to stop"
    share = f"{row.trained} of {row.tokens} tokens in the loss ({row.share:.0%})"
    console.print(f"-- {row.row_id}: {share}, {end}", markup=False)
    text = Text()
    coloured = console.is_terminal and not console.no_color
    for piece, trained in row.pieces:
        if coloured:
            text.append(piece, style="bold green" if trained else "dim")
        else:
            text.append(f"[[{piece}]]" if trained else piece)
    console.print(text)
