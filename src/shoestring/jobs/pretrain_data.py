"""What pretraining reads: the corpus that the settings name, as rows of tokens, and its held-out documents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.settings import Settings
from shoestring.tasks.documents import WorkedDocuments
from shoestring.text.corpus import open_corpus, standard_library
from shoestring.text.message import PackedBatch
from shoestring.text.mixture import Document, Mixture, Source
from shoestring.text.packing import RowPacker, pack_documents
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer


SAMPLED = 64  # documents of a source whose mean length stands for all


class CorpusSettings(Settings):
    """One source of documents. worked: solutions of our families, made by code; stdlib: the running Python's
    own library; files: a text, .jsonl or .parquet file, or a folder of these."""

    kind: Literal["worked", "stdlib", "files"]
    weight: float = Field(default=1.0, gt=0)  # share of the tokens
    suites: list[str] = Field(default_factory=list)  # worked
    share_right: float = Field(default=1.0, ge=0, le=1)  # worked: the rest end in a plausible slip
    path: str = ""  # files
    column: str = "text"  # files: of .jsonl and .parquet
    separator: str = ""  # files: the line between documents of a plain text; "": each file is one
    licence: str = "unknown"  # files


def open_mixture(
    corpus: Sequence[CorpusSettings], seed: int, length_of: Callable[[Document], int]
) -> Mixture:
    """Weights are shares of what length_of counts: a mixture draws documents, so each source's share is divided
    by the mean length of its first ones. Raises BadInput where a source is empty, unreadable or wrongly
    described."""
    sources = [_open(settings, seed + number) for number, settings in enumerate(corpus)]
    shares = []
    for settings, source in zip(corpus, sources, strict=True):
        start = dict(source.state_dict())
        lengths = [length_of(source.next()) for _ in range(SAMPLED)]
        source.load_state_dict(start)
        shares.append(settings.weight * SAMPLED / max(1, sum(lengths)))
    return Mixture(sources, shares, seed)


def num_characters(document: Document) -> int:
    parts = [document.text or ""]
    for message in document.messages or []:
        parts += [message["content"], message.get("reasoning_content", "")]
    return sum(map(len, parts))


def _open(settings: CorpusSettings, seed: int) -> Source:
    if (settings.kind == "worked") != bool(settings.suites):
        raise BadInput(f"corpus of kind '{settings.kind}': suites are what 'worked' needs and no other takes")
    if (settings.kind == "files") != bool(settings.path):
        raise BadInput(f"corpus of kind '{settings.kind}': a path is what 'files' needs and no other takes")
    if settings.kind == "worked":
        return WorkedDocuments(settings.suites, seed, settings.share_right)
    if settings.kind == "stdlib":
        return standard_library(seed)
    separator = settings.separator or None
    return open_corpus(Path(settings.path), seed, settings.column, separator, settings.licence)


def document_ids(document: Document, tokenizer: Tokenizer, template: Template) -> list[int]:
    """A text as it is, a conversation as the template renders it."""
    if document.messages is not None:
        return template.render(document.messages, row_id=document.id).ids
    assert document.text is not None
    return tokenizer.encode(document.text)


class TokenRows:
    """Rows of `sequence_length` tokens, without end, from a mixture. Its state is the mixture's place and the
    tokens that wait for a row to fill."""

    def __init__(self, mixture: Mixture, tokenizer: Tokenizer, template: Template, length: int) -> None:
        self.mixture, self.tokenizer, self.template = mixture, tokenizer, template
        eos = template.stop_ids[0] if template.stop_ids else None
        if eos is None:
            raise BadInput("the tokenizer names no end-of-text token: documents could not be told apart")
        bos = tokenizer.special.bos
        self.packer = RowPacker(length, tokenizer.token_id(bos) if bos else None, eos)

    def take(self, rows: int, document_mask: bool) -> PackedBatch:
        while self.packer.rows < rows:
            self.packer.add(document_ids(self.mixture.next(), self.tokenizer, self.template))
        return pack_documents(self.packer.take(rows), document_mask)

    def state_dict(self) -> dict[str, Any]:
        return {"mixture": self.mixture.state_dict(), "packer": self.packer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mixture.load_state_dict(state["mixture"])
        self.packer.load_state_dict(state["packer"])


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents of one kind, packed each as a row of its own, with the bytes of their text."""

    source: str
    packed: PackedBatch
    num_bytes: int


def held_out(rows: TokenRows, documents: int) -> list[HeldOut]:
    """At most so many of the mixture's, by source; one longer than a row is cut to it, bytes counted likewise."""
    by_source: dict[str, list[list[int]]] = {}
    length = rows.packer.sequence_length
    for document in rows.mixture.validation(documents):
        ids = document_ids(document, rows.tokenizer, rows.template)[:length]
        if len(ids) > 1:
            by_source.setdefault(document.source, []).append(ids)
    found = []
    for source, texts in sorted(by_source.items()):
        packed = pack_documents([[ids] for ids in texts], document_mask=True)
        size = sum(len(rows.tokenizer.decode(ids[1:]).encode()) for ids in texts)
        found.append(HeldOut(source, packed, size))
    return found


def corpus_counts(mixture: Mixture, rows: RowPacker) -> Mapping[str, int]:
    """What was read, cut and left out, for the stage's result."""
    counts = {"documents": rows.documents, "documents_split": rows.split, "documents_over_a_row": rows.longer}
    for source in mixture.sources:
        for name, count in getattr(source, "counts", {}).items():
            if name != "documents":
                counts[f"corpus_{name}"] = counts.get(f"corpus_{name}", 0) + count
    return counts
