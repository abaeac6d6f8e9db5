"""Which tokens of a row the loss counts, made visible."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from shoestring.jobs.sft_rows import WorkedRows
from shoestring.lm import LanguageModel
from shoestring.text.bilingual import is_part, part
from shoestring.text.conversations import read_rows
from shoestring.text.conversations import rows_of as rows_as_read
from shoestring.text.message import Message, Rendered

DATA_SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True)
class MaskedRow:
    """One row as the trainer sees it. end_trained: each trained turn ends in a trained end-of-turn id."""

    row_id: str
    tokens: int
    trained: int
    end_trained: bool
    pieces: tuple[tuple[str, bool], ...]  # text, whether it is trained; neighbours alike are joined

    @property
    def share(self) -> float:
        return self.trained / self.tokens


def rows_of(source: str, n: int, seed: int) -> list[tuple[str, list[Message]]]:
    """(row id, conversation) as SFT takes them: a file's first rows, or a suite's worked solutions."""
    if source.endswith(DATA_SUFFIXES):
        file = Path(source)
        found = rows_as_read(read_rows(file), file, trained=False)
        return [(f"{source}#{i}", messages) for i, (messages, _) in enumerate(found[:n], start=1)]
    if is_part(source):
        return [(f"{source}#{i}", messages) for i, (messages, _) in enumerate(part(source)[:n], start=1)]
    rows = WorkedRows([source], seed, system=None)
    return [(row_id, messages) for messages, row_id in (rows.next() for _ in range(n))]


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
    end = (
        "end-of-turn is trained"
        if row.end_trained
        else "END-OF-TURN IS NOT TRAINED: the model won't learn to stop"
    )
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
