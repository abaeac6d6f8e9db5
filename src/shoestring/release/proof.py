"""Whether an export is the model: what was compared, with which figures, and what follows. Lies in the
artefact as proof.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.model_files import file_sha256
from shoestring.release.reading import Apart
from shoestring.release.weights import WeightsApart
from shoestring.run.files import dumps, write_atomic

PROOF_FILE = "proof.json"
VERSION = 1
TIE = 1e-4  # of float32 logits: below, the order of a sum decides
NEAR = 0.05  # of the model's float32 logits: below, a reader that rounds may take the other token


@dataclass(frozen=True)
class Limits:
    """near: greedy tokens may differ first where the model's two best logits are closer than this; None:
    tokens aren't judged, since rounded weights are other weights. kl: the largest mean divergence in nats.
    weights: the largest relative error of a tensor, root mean square."""

    near: float | None
    kl: float
    weights: float


# of what is read back in float32, by how the weights are kept. A broken tensor is far above: the error of one
# with its sign turned is 2, of one that another was put in place of 1.4
EXACT = Limits(TIE, 1e-5, 0.0)
ROUNDED = Limits(NEAR, 1e-3, 0.005)
LIMITS: Mapping[str, Limits] = {
    "f16": ROUNDED,
    "bf16": ROUNDED,
    "q8_0": Limits(None, 0.05, 0.02),
    "q4_0": Limits(None, 2.0, 0.2),
}


def limits_for(kind: str, exact: bool) -> Limits:
    """kind: the file's or folder's type; exact: whether every number is the model's own."""
    return EXACT if exact else LIMITS.get(kind, ROUNDED)


def looser(limits: Limits) -> Limits:
    """For a reader that rounds what it computes with (llama.cpp's activations, bfloat16)."""
    near = None if limits.near is None else NEAR
    return Limits(near, max(limits.kl, ROUNDED.kl), limits.weights)


def faults_of(found: Apart, limits: Limits) -> list[str]:
    told = [f"{found.reader}: {fault}" for fault in found.faults]
    if limits.near is not None and (worst := found.worst_gap()) >= limits.near:
        first = next(d for d in found.differences if d.gap >= limits.near)
        told.append(
            f"{found.reader}: other greedy tokens in {len(found.differences)} prompts; in prompt "
            f"{first.prompt + 1} token {first.place + 1} is {first.reader}, not {first.model}, where "
            f"the model's two best logits are {first.gap:.3g} apart (at most {worst:.3g}, limit "
            f"{limits.near:g})"
        )
    if not found.kl_mean <= limits.kl:
        told.append(f"{found.reader}: mean KL {found.kl_mean:.3g} nats, above {limits.kl:g}")
    return told


@dataclass(frozen=True)
class Against:
    """The base that the model was trained from. tensors: how many of the export's differ from it. kl: mean
    divergence of the export's distributions from the base's and from the model's."""

    base: str
    tensors: int
    kl_base: float
    kl_model: float

    def faults(self) -> list[str]:
        if self.kl_base <= self.kl_model:
            return [
                f"the export is no nearer to the model than to its base {self.base} (mean KL "
                f"{self.kl_model:.3g} and {self.kl_base:.3g} nats): what training changed is lost"
            ]
        return [] if self.tensors else [f"the export equals the base {self.base}"]


@dataclass
class Proof:
    """readers: ours first. not_checked: what could not be, and why. files: SHA-256 of each."""

    model: str
    format: str
    type: str
    trained: bool
    prompts: int
    skipped: int
    tokens_each: int
    chat: bool
    prompts_sha256: str
    prompt_ids: list[list[int]]
    tokens: list[list[int]]
    gaps: list[list[float]]
    weights: WeightsApart
    notes: list[str] = field(default_factory=list)
    readers: list[Apart] = field(default_factory=list)
    against: Against | None = None
    adapter: Apart | None = None
    not_checked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    made: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        readers = [reader.to_json() for reader in self.readers]
        adapter = self.adapter.to_json() if self.adapter else None
        against = asdict(self.against) if self.against else None
        own = {name: value for name, value in vars(self).items() if name not in ("readers", "weights")}
        own |= {"adapter": adapter, "against": against}
        return {
            "version": VERSION,
            "verdict": "passed" if self.passed else "failed",
            **own,
            "weights": asdict(self.weights),
            "readers": readers,
        }

    def save(self, folder: Path) -> None:
        """With the hashes of what lies in the folder now."""
        self.files = hashes(folder)
        write_atomic(folder / PROOF_FILE, dumps(self.to_json(), indent=1) + "\n")

    def lines(self) -> list[str]:
        """For a terminal and a card."""
        rows = [
            f"proof: {self.prompts} prompts, {self.tokens_each} greedy tokens each"
            + (f" ({self.skipped} prompts too long for the window)" if self.skipped else ""),
            f"  weights: {self.weights.line()}",
        ]
        rows += [f"  {line(reader)}" for reader in self.readers]
        if self.adapter:
            rows.append(f"  the adapter beside its base, unmerged: {line(self.adapter)}")
        if self.against:
            a = self.against
            rows.append(
                f"  base {a.base}: {a.tensors} tensors differ, KL {a.kl_base:.3g} (from the model "
                f"{a.kl_model:.3g})"
            )
        return rows + [f"  not checked {reason}" for reason in self.not_checked]


def line(reader: Apart) -> str:
    count = len(reader.differences)
    same = "same tokens" if not count else f"{count} prompts part, at gaps up to {reader.worst_gap():.3g}"
    return (
        f"{reader.reader} ({reader.precision}): {same}; KL mean {reader.kl_mean:.3g} max {reader.kl_max:.3g} "
        f"nats over {reader.places} places; flips {100 * reader.flips:.1f} %"
    )


def hashes(folder: Path, but: str = PROOF_FILE) -> dict[str, str]:
    """Of every file but the one that keeps them, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: file_sha256(path) for name, path in named.items() if name != but}


def read_proof(folder: Path) -> dict[str, Any]:
    """As it was written. Raises BadInput where there is none, or one that isn't whole."""
    path = folder / PROOF_FILE
    if not path.exists():
        raise BadInput(f"{folder} has no {PROOF_FILE}: it is no export; make one with shoestring export")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not {"verdict", "files", "readers", "tokens", "prompt_ids"} <= found.keys():
            raise ValueError("keys are missing")
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{path} is damaged: {error}") from None
    return found
