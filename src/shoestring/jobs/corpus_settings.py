"""What a recipe says of a corpus, and what of it can be refused before anything is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.settings import Settings
from shoestring.tasks.documents import Slips, WorkedDocuments
from shoestring.text.corpus_origins import corpus_origins
from shoestring.text.declared import declared


class CorpusSettings(Settings):
    """One source of documents. worked: solutions of our families, made by code; stdlib: the running Python's
    own library; bilingual: everyday questions in English and Chinese, written for this package; files: a
    text, .jsonl or .parquet file, or a folder of these."""

    kind: Literal["worked", "stdlib", "bilingual", "files"]
    weight: float = Field(default=1.0, gt=0)  # share of the tokens
    suites: list[str] = Field(default_factory=list)  # worked
    share_right: float = Field(default=1.0, ge=0, le=1)  # worked: the rest are wrong, as `slips` says
    slips: Slips = "any"  # worked: each time another slip, or the habit of each family wherever it shows
    path: str = ""  # files
    column: str = "text"  # files: of .jsonl and .parquet
    separator: str = ""  # files: the line between documents of a plain text; "": each file is one
    licence: str = ""  # files: SPDX name, "unknown" where nobody says; "": what PATH.origin.toml declares


def check_corpus(corpus: Sequence[CorpusSettings]) -> None:
    """Raises BadInput on a source that is wrongly described, or whose suites or path don't exist."""
    for settings in corpus:
        kind = settings.kind
        if (kind == "worked") != bool(settings.suites):
            raise BadInput(f"corpus of kind '{kind}': suites are what 'worked' needs and no other takes")
        if (kind == "files") != bool(settings.path):
            raise BadInput(f"corpus of kind '{kind}': a path is what 'files' needs and no other takes")
        if kind == "worked":
            worked_documents(settings, seed=0)
        if kind == "files" and not Path(settings.path).exists():
            raise BadInput(f"no such file or folder of texts: {settings.path}")
        # else its rows may say it, which are read whole only where that is needed
        if kind == "files" and not settings.licence and declared(Path(settings.path)) is None:
            corpus_origins(Path(settings.path), settings.licence)


def worked_documents(settings: CorpusSettings, seed: int) -> WorkedDocuments:
    return WorkedDocuments(settings.suites, seed, settings.share_right, slips=settings.slips)
