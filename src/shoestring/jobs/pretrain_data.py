"""What pretraining reads: the corpus of the settings as rows of tokens, and its held-out documents."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.jobs.corpus_settings import CorpusSettings, check_corpus, worked_documents
from shoestring.jobs.origins import require_problems, require_terms, teachers_of_problems
from shoestring.origin import Origin
from shoestring.origin import Stage as LineageStage
from shoestring.tasks.suite import parse_suite
from shoestring.text.bilingual import BilingualDocuments
from shoestring.text.corpus import open_corpus, standard_library
from shoestring.text.declared import teachers_of
from shoestring.text.message import PackedBatch
from shoestring.text.mixture import Document, Mixture, Source
from shoestring.text.packing import Row, RowPacker, pack_documents
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer

SAMPLED = 64  # documents of a source whose mean length stands for all


def open_mixture(corpus: Sequence[CorpusSettings], seed: int) -> Mixture:
    """Documents, weights as shares of characters: each source's is divided by the mean length of its first
    documents. Raises BadInput where a source is empty, unreadable or wrongly described."""
    sources = open_sources(corpus, seed)
    shares = []
    for settings, source in zip(corpus, sources, strict=True):
        start = dict(source.state_dict())
        length = sum(num_characters(source.next()) for _ in range(SAMPLED))
        source.load_state_dict(start)
        shares.append(settings.weight * SAMPLED / max(1, length))
    return Mixture(sources, shares, seed)


def open_sources(corpus: Sequence[CorpusSettings], seed: int) -> list[Source]:
    check_corpus(corpus)
    return [_open(settings, seed + number) for number, settings in enumerate(corpus)]


def num_characters(document: Document) -> int:
    parts = [document.text or ""]
    for message in document.messages or []:
        parts += [message["content"], message.get("reasoning_content", "")]
    return sum(map(len, parts))


def _open(settings: CorpusSettings, seed: int) -> Source:
    if settings.kind == "worked":
        require_problems(map(parse_suite, settings.suites))
        return worked_documents(settings, seed)
    if settings.kind == "stdlib":
        return standard_library(seed)
    if settings.kind == "bilingual":
        return BilingualDocuments(seed)
    separator = settings.separator or None
    corpus = open_corpus(Path(settings.path), seed, settings.column, separator, settings.licence)
    require_terms(corpus.origins, teachers_of(Path(settings.path)), settings.path)
    return corpus


def _teachers(corpus: Sequence[CorpusSettings]) -> dict[str, tuple[LineageStage, ...]]:
    """The stages of the models that wrote texts or problems of the corpus, where they are known."""
    found: dict[str, tuple[LineageStage, ...]] = {}
    for settings in corpus:
        found |= teachers_of(Path(settings.path)) if settings.path else {}
        found |= teachers_of_problems(map(parse_suite, settings.suites))
    return found


def document_ids(document: Document, tokenizer: Tokenizer, template: Template) -> list[int]:
    """A text as it is, a conversation as the template renders it."""
    if document.messages is not None:
        return template.render(document.messages, row_id=document.id).ids
    assert document.text is not None
    return tokenizer.encode(document.text)


class TokenRows:
    """Rows of `length` tokens, without end. A number keyed on (seed, i) says which source row i is filled
    from, by its weight, and a source's documents go on from row to row. So weights are shares of tokens, and
    a long text is spread over steps: drawn by documents, one file of Python filled whole steps, and the loss
    jumped by a factor of five."""

    def __init__(
        self,
        corpus: Sequence[CorpusSettings],
        seed: int,
        tokenizer: Tokenizer,
        template: Template,
        length: int,
    ) -> None:
        if not template.stop_ids:
            raise BadInput("the tokenizer names no end-of-text token: documents could not be told apart")
        self.sources, self.seed, self.index = open_sources(corpus, seed), seed, 0
        self.teachers = _teachers(corpus)
        self.weights = [settings.weight for settings in corpus]
        self.tokenizer, self.template, self.length = tokenizer, template, length
        bos = tokenizer.token_id(tokenizer.special.bos) if tokenizer.special.bos else None
        self.packers = [RowPacker(length, bos, template.stop_ids[0]) for _ in corpus]

    @property
    def origins(self) -> tuple[Origin, ...]:
        return tuple(dict.fromkeys(origin for source in self.sources for origin in source.origins))

    def take(self, rows: int, document_mask: bool) -> PackedBatch:
        return pack_documents([self._row() for _ in range(rows)], document_mask)

    def _row(self) -> Row:
        rng = random.Random(f"rows:{self.seed}:{self.index}")
        (chosen,) = rng.choices(range(len(self.sources)), self.weights)
        self.index += 1
        packer = self.packers[chosen]
        while not packer.rows:
            packer.add(document_ids(self.sources[chosen].next(), self.tokenizer, self.template))
        (row,) = packer.take(1)
        return row

    def in_words(self) -> str:
        """`counts` for a reader."""
        found = self.counts()
        left_out = [
            f"{count:,} {name.removeprefix('corpus_').replace('_', ' ')}"
            for name, count in found.items()
            if name.startswith("corpus_") and count
        ]
        return (
            f"{found['documents']:,} documents read, {found['documents_split']:,} of them split over rows "
            f"and {found['documents_over_a_row']:,} longer than a row of {self.length} tokens"
            + (f"; not trained on: {', '.join(left_out)}" if left_out else "")
        )

    def without_held_out(self) -> list[str]:
        """Sources that hold no document out, by name."""
        return [source.origins[0].source for source in self.sources if not source.validation(1)]

    def counts(self) -> dict[str, int]:
        """What was read, cut and left out."""
        found = {
            "documents": sum(packer.documents for packer in self.packers),
            "documents_split": sum(packer.split for packer in self.packers),
            "documents_over_a_row": sum(packer.longer for packer in self.packers),
        }
        for source in self.sources:
            for name, count in getattr(source, "counts", {}).items():
                if name != "documents":
                    found[f"corpus_{name}"] = found.get(f"corpus_{name}", 0) + count
        return found

    def state_dict(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "tokenizer": self.tokenizer.fingerprint,
            "sources": [dict(source.state_dict()) for source in self.sources],
            "packers": [packer.state_dict() for packer in self.packers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["tokenizer"] != self.tokenizer.fingerprint:
            raise BadInput(
                "the tokenizer has changed since the state was saved: put the same one back, or start the "
                "stage again"
            )
        self.index = state["index"]
        for source, saved in zip(self.sources, state["sources"], strict=True):
            source.load_state_dict(saved)
        for packer, saved in zip(self.packers, state["packers"], strict=True):
            packer.load_state_dict(saved)


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents of one kind as ids, laid as in training, and the bytes of their text. Every token
    but a document's first is predicted, roles and end of text too; those are no text and have no bytes."""

    source: str
    texts: list[list[int]]
    num_bytes: int


def held_out(rows: TokenRows, documents: int) -> list[HeldOut]:
    """About so many, of every source by its weight; one longer than a row is cut to it, bytes likewise."""
    by_source: dict[str, list[list[int]]] = {}
    for source, weight, packer in zip(rows.sources, rows.weights, rows.packers, strict=True):
        share = max(1, round(documents * weight / sum(rows.weights)))
        for document in source.validation(share):
            ids = packer.framed(document_ids(document, rows.tokenizer, rows.template))[: rows.length]
            by_source.setdefault(document.source, []).append(ids)
    return [
        HeldOut(source, texts, sum(rows.tokenizer.num_bytes(ids[1:]) for ids in texts))
        for source, texts in sorted(by_source.items())
    ]
