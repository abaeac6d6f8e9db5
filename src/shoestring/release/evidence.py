"""What is known of a model beside its weights: evaluations with their receipts, audits, what it cost. Found
in the run that made it, or named."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.audit_record import AUDIT_FILE, AuditRecord, read_audit
from shoestring.report.model_facts import Cost, model_facts
from shoestring.report.units import read_units
from shoestring.settings import read_toml

ReceiptCheck = Callable[[Path], list[str]]  # a unit's file -> what of its receipt doesn't hold


@dataclass(frozen=True)
class Evaluation:
    """values: an evaluation's JSON. rows: the file of its replies, where it is there. faults: of its receipt;
    None: it has no receipt, or its replies weren't kept."""

    path: Path
    values: Mapping[str, Any]
    rows: Path | None
    faults: tuple[str, ...] | None

    @property
    def weights(self) -> str:
        """The hash of those that made the replies; "" where its receipt has none."""
        return str((self.values.get("receipt") or {}).get("made", {}).get("weights") or "")

    @property
    def asking(self) -> str:
        """The settings that were set."""
        settings = self.values.get("settings", {})
        return ", ".join(
            f"{name} {value}" for name, value in settings.items() if value not in (None, "", [], 0)
        )


@dataclass(frozen=True)
class ModelAudit:
    path: Path
    record: AuditRecord


@dataclass(frozen=True)
class Evidence:
    """run: the folder of the run that made the model. cost: of the stages that made it."""

    evaluations: tuple[Evaluation, ...]
    audits: tuple[ModelAudit, ...]
    run: Path | None
    cost: Cost | None


def gather(
    model: Path | None,
    weights: Collection[str],
    evals: Sequence[Path],
    audits: Sequence[Path],
    check: ReceiptCheck,
) -> Evidence:
    """model: its folder; None: it lies in none. weights: its hashes, by which audits are known. evals and
    audits: files or folders of further ones. Raises BadInput where a named one isn't what it should be."""
    run = stage = None
    if model is not None:
        folder = model.resolve()
        run = next((above for above in folder.parents if (above / "recipe.toml").exists()), None)
        stage = folder.parent if folder.name == "model" else folder
    own = list(_evals_of(run, stage)) if run and stage else []
    wanted = [file for path in evals for file in _eval_files(path, None)]
    found = [file for path, labels in own for file in _eval_files(path, labels)]
    beside = [model / AUDIT_FILE] if model is not None else []
    kept = [*beside, *(sorted(run.glob(f"stages/**/{AUDIT_FILE}")) if run else ())]
    there = [_audit(file) for file in kept if file.exists()]
    own_audits = [audit for audit in there if audit.record.weights_sha256 in weights]
    return Evidence(
        tuple(_evaluation(file, check) for file in [*found, *wanted]),
        (*own_audits, *map(_audit, audits)),
        run,
        model_facts(model).cost if model is not None else None,
    )


def _evals_of(run: Path, stage: Path) -> Iterator[tuple[Path, list[str]]]:
    """The evals that asked this stage's model, in its own arm and seed, with the labels that it has there."""
    units = list(read_units(run))
    own = next((unit for path, unit in units if path.resolve() == stage), None)
    for path, unit in units:
        if own is None or unit.job != "eval" or (unit.arm, unit.seed) != (own.arm, own.seed):
            continue
        named = read_toml(path / "settings.toml").get("models", {})
        labels = [label for label, model in named.items() if model == f"stage:{own.stage}"]
        if labels:
            yield path, labels


def _eval_files(path: Path, labels: Sequence[str] | None) -> list[Path]:
    """Units' JSON files; labels None: of whatever model."""
    if path.is_file():
        return [path]
    folder = path / "evals" if (path / "evals").is_dir() else path
    read = {file: _json(file) for file in sorted(folder.glob("*.json"))}
    found = {file: values for file, values in read.items() if "score" in values}
    kept = [file for file, values in found.items() if labels is None or values.get("model") in labels]
    if labels is None and not kept:
        raise BadInput(f"{path} holds no evaluation; shoestring eval --output-dir makes one")
    return kept


def _evaluation(path: Path, check: ReceiptCheck) -> Evaluation:
    values = _json(path)
    if "score" not in values or "suite" not in values:
        raise BadInput(f"{path} is not an evaluation; shoestring eval --output-dir makes one")
    rows = path.parent / str(values.get("rows", ""))
    rows = rows if rows.is_file() else None
    checked = tuple(check(path)) if rows is not None and values.get("receipt") else None
    return Evaluation(path, values, rows, checked)


def _audit(path: Path) -> ModelAudit:
    return ModelAudit(path / AUDIT_FILE if path.is_dir() else path, read_audit(path))


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"can't read {path}: {error}") from None
    return values if isinstance(values, dict) else {}
