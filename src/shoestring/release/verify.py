"""An export or a release looked over by somebody else: every file's hash, the proof and the receipts; on
request the proof made again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel, load
from shoestring.release.bundle import EVALS, MANIFEST
from shoestring.release.evidence import ReceiptCheck
from shoestring.release.peers import read_with_llama_cpp, read_with_transformers
from shoestring.release.prompts import Asked, Questions
from shoestring.release.proof import NEAR, PROOF_FILE, TIE, hashes, read_proof
from shoestring.release.prove import Readers
from shoestring.release.reading import Reading, read_with


@dataclass
class Verified:
    """faults: what isn't as it was. unchecked: what nobody could look at here, and why."""

    held: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def verify(
    folder: Path, rerun: bool, readers: Readers, check: ReceiptCheck, say: Callable[[str], None]
) -> Verified:
    """Raises BadInput where the folder is neither an export nor a release."""
    found = Verified()
    if (folder / MANIFEST).is_file():
        manifest = _manifest(folder)
        _check_files(folder, manifest["files"], MANIFEST, found, "the release")
        _check_gates(manifest, found)
        _check_receipts(folder, check, found)
        exports = [folder / form for form in manifest["formats"]]
    elif (folder / PROOF_FILE).is_file():
        exports = [folder]
    else:
        raise BadInput(f"{folder} has neither {MANIFEST} nor {PROOF_FILE}: it is no release and no export")
    for one in exports:
        _check_export(one, rerun, readers, found, say)
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not {"files", "gates", "formats"} <= values.keys():
            raise ValueError("keys are missing")
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{folder / MANIFEST} is damaged: {error}") from None
    return values


def _check_files(folder: Path, wanted: Mapping[str, str], but: str, found: Verified, what: str) -> None:
    there = hashes(folder, but)
    changed = [name for name, sha in wanted.items() if name in there and there[name] != sha]
    found.faults += [f"{folder / name} was changed" for name in changed]
    found.faults += [f"{folder / name} is missing" for name in wanted if name not in there]
    found.faults += [f"{folder / name} was added" for name in there if name not in wanted]
    if there == dict(wanted):
        found.held.append(f"{what}: all {len(there)} files are as they were")


def _check_gates(manifest: Mapping[str, Any], found: Verified) -> None:
    for gate in manifest["gates"]:
        if not gate["open"] and gate["override"]:
            found.held.append(f"released although {gate['name']} was closed: {gate['override']}")
        elif not gate["open"]:
            found.faults.append(f"gate {gate['name']} was closed and nobody overrode it: {gate['why']}")


def _check_receipts(folder: Path, check: ReceiptCheck, found: Verified) -> None:
    files = sorted((folder / EVALS).glob("*/*.json"))
    if not files:
        found.unchecked.append("evaluations: the release has none")
    for file in files:
        values = json.loads(file.read_text(encoding="utf-8"))
        rows = file.parent / str(values.get("rows", ""))
        if not values.get("receipt") or not rows.is_file():
            found.unchecked.append(
                f"the receipt of {values['suite']}: it has none, or its replies aren't here"
            )
            continue
        faults = check(file)
        found.faults += [f"the receipt of {values['suite']}: {fault}" for fault in faults]
        if not faults:
            found.held.append(f"the receipt of {values['suite']} holds for its replies")


def _check_export(
    folder: Path, rerun: bool, readers: Readers, found: Verified, say: Callable[[str], None]
) -> None:
    try:
        proof = read_proof(folder)
    except BadInput as error:
        found.faults.append(str(error))
        return
    before = len(found.faults)
    _check_files(folder, proof["files"], PROOF_FILE, found, f"the {proof['format']} export")
    found.faults += [f"{folder}: its proof failed: {fault}" for fault in proof["faults"]]
    found.unchecked += [f"when it was made, {proof['format']} {reason}" for reason in proof["not_checked"]]
    if not rerun:
        found.unchecked.append(f"{folder}: the proof wasn't made again (--rerun)")
    elif len(found.faults) > before:
        found.unchecked.append(f"{folder}: the proof isn't made again of files that were changed")
    else:
        _rerun(folder, proof, readers, found, say)


def _rerun(
    folder: Path, proof: Mapping[str, Any], readers: Readers, found: Verified, say: Callable[[str], None]
) -> None:
    """Each reader's likeliest token at every place of the model's text, against what was read then."""
    is_gguf = proof["format"] == "gguf"
    file = next(folder.glob("*.gguf")) if is_gguf else folder
    say(f"reading {file}")
    lm = load(file, dtype="float32")
    if any(token >= lm.config.vocab_size for ids in proof["prompt_ids"] for token in ids):
        found.faults.append(f"{folder}: the proof's prompts aren't of this model's vocabulary")
        return
    asked = _questions(lm, proof)
    texts = proof["tokens"]
    recorded = {reader["reader"].split(" ")[0]: reader for reader in proof["readers"]}
    _compare(folder, recorded["shoestring"], read_with(lm, asked, texts), TIE, found)
    try:
        if is_gguf and readers.llama_cpp is not None:
            say("reading it with llama.cpp")
            program, cache = readers.llama_cpp, "f32" if proof["type"] == "f32" else "f16"
            args = (program, file, asked, texts, lm.tokenizer, readers.threads, cache)
            _compare(folder, recorded.get("llama.cpp"), read_with_llama_cpp(*args), NEAR, found)
        elif not is_gguf and readers.transformers is not None:
            say("reading it with transformers")
            read = read_with_transformers(readers.transformers, folder, asked, texts)
            _compare(folder, recorded.get("transformers"), read, TIE, found)
        else:
            peer = "llama.cpp" if is_gguf else "transformers"
            found.unchecked.append(f"{folder}: not read again with {peer}, which isn't installed here")
    except ShoestringError as error:
        found.faults.append(f"{folder}: {error}")


def _questions(lm: LanguageModel, proof: Mapping[str, Any]) -> Questions:
    """The ids that were read then; who renders them now isn't asked."""
    asked = [Asked("", lm.tokenizer.decode(ids), ids) for ids in proof["prompt_ids"]]
    return Questions(asked, False, 0, proof["tokens_each"])


def _compare(
    folder: Path, recorded: Mapping[str, Any] | None, read: Reading, near: float, found: Verified
) -> None:
    if recorded is None:
        found.unchecked.append(
            f"{folder}: {read.reader} wasn't asked when it was made, so nothing to compare"
        )
        return
    places = wrong = 0
    for number, row in enumerate(read.rows):
        chosen, lead = _likeliest(row)
        then = zip(recorded["choices"][number], recorded["gaps"][number], strict=True)
        for (before, gap), now, now_gap in zip(then, chosen, lead, strict=True):
            places += 1
            wrong += before != now and max(gap, now_gap) >= near
    found.faults += [f"{folder}: {read.reader}: {fault}" for fault in read.faults]
    if wrong:
        found.faults.append(f"{folder}: {read.reader} takes another token at {wrong} of {places} places")
    else:
        found.held.append(f"{folder}: {read.reader} takes the same token at all {places} places as then")


def _likeliest(row: Any) -> tuple[Sequence[int], Sequence[float]]:
    if isinstance(row, torch.Tensor):
        best = row.topk(2, dim=-1)
        return best.indices[:, 0].tolist(), (best.values[:, 0] - best.values[:, 1]).tolist()
    two = [sorted(told.items(), key=lambda item: -item[1])[:2] for told in row]
    return [first[0] for first, _ in two], [first[1] - second[1] for first, second in two]
