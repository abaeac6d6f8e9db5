"""Audit a model: who it says made it, whom it refuses, whether it still chats. Alone, beside another model,
or as a stage of a recipe. docs/audits.md says how to read it."""

import datetime
import json
import os
import re
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from shoestring.engine.engine import Engine
from shoestring.errors import BadInput, Interrupted
from shoestring.evals.audit import Audited, compare, run_audit
from shoestring.evals.audit_figures import Difference
from shoestring.evals.audit_record import AUDIT_FILE, REPLIES_FILE, to_json
from shoestring.evals.audit_rows import PARTS, Part, save_rows
from shoestring.evals.audit_verdicts import Limits
from shoestring.evals.identity_reader import families_in
from shoestring.evals.respondent import LocalRespondent, Respondent, Shown
from shoestring.evals.respondent_kept import KeptRespondent
from shoestring.jobs.audit_server import ServerRespondent
from shoestring.jobs.eval_results import meter
from shoestring.lm import load, weights_sha256
from shoestring.model_files import lineage_at, model_folder
from shoestring.run import Stage, saving, write_atomic
from shoestring.settings import Settings, nearest
from shoestring.text.makers import FAMILIES

AGAINST_FILE = "against.parquet"
SO_FAR_FILE = "audit-so-far.jsonl"  # replies of an audit that isn't finished


class AuditSettings(Settings):
    model: str
    against: str = ""  # a model to stand beside it, asked the same
    only: tuple[Part, ...] = PARTS
    n: int = Field(0, ge=0)  # probes of each part, 0: all
    seed: int = 0
    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(96, ge=1)
    own: tuple[str, ...] = ()  # makers that the model may name beside those of its lineage
    limits: Limits = Limits()
    timeout_s: float = Field(300.0, gt=0)  # of a server's reply
    device: str = "cpu"
    dtype: str = "auto"

    @field_validator("own")
    @classmethod
    def _families(cls, own: tuple[str, ...]) -> tuple[str, ...]:
        """Their keys; each may be given by a model's or a maker's name."""
        found: dict[str, None] = {}
        for name in own:
            keys = [name] if name in FAMILIES else sorted(families_in(name))
            if not keys:
                raise ValueError(f"no maker or model known as {name!r}{nearest(name, list(FAMILIES))}")
            found |= dict.fromkeys(keys)
        return tuple(found)


@dataclass(frozen=True)
class Done:
    """An audit with what it is compared with, and both as JSON."""

    audited: Audited
    against: Audited | None
    changed: list[Difference]
    values: dict[str, Any]


def main(settings: AuditSettings, stage: Stage) -> dict[str, Any]:
    done = audit(settings, stage, stage.folder)
    keep(done, stage.folder)
    for verdict in done.audited.verdicts(settings.limits, done.changed):
        stage.say(f"{done.audited.name}: {verdict.line()}")
    return {"audit": AUDIT_FILE, "verdicts": done.values["verdicts"]}


def check(settings: AuditSettings) -> None:
    """Before anything runs: what can't be asked."""
    if not settings.only:
        raise BadInput(f"only: name at least one of {', '.join(PARTS)}")
    if settings.against == settings.model:
        raise BadInput("against: a model beside itself shows nothing")


def audit(settings: AuditSettings, stage: Stage | None, folder: Path) -> Done:
    """`folder`: where the replies so far lie, for a start after a stop."""
    check(settings)
    for name in (settings.model, settings.against):  # a wrong name is told before the first audit is made
        if name and not is_server(name):
            lineage_at(name)
    audited, sha256 = _one(settings, settings.model, stage, folder)
    against, changed = None, []
    if settings.against:
        against, _ = _one(settings, settings.against, stage, folder)
        changed = compare(audited, against)
    made = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "shoestring": metadata.version("shoestring"),
        "model": settings.model,
        "against": settings.against,
        "parts": list(settings.only),
        "n": settings.n,
        "seed": settings.seed,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
    }
    return Done(audited, against, changed, to_json(audited, sha256, made, settings.limits, against, changed))


def _one(settings: AuditSettings, name: str, stage: Stage | None, folder: Path) -> tuple[Audited, str]:
    """Of one model, and its weights' hash ("" of a server)."""
    if stage is not None and stage.stop_requested:
        raise Interrupted(f"stopped before {name}")
    s, start = settings, time.perf_counter()
    shown = show_in(stage, f"audit of {name}", folder)
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def kept(respondent: Respondent, who: str) -> KeptRespondent:
        identity = json.dumps([who, s.max_tokens, s.temperature, s.seed])
        return KeptRespondent(respondent, folder / SO_FAR_FILE, identity)

    if is_server(name):
        key = os.environ.get("OPENAI_API_KEY", "")
        server = ServerRespondent(name, key, s.max_tokens, s.temperature, s.seed, s.timeout_s)
        return run_audit(kept(server, name), s.only, s.n, s.own, shown), ""
    lm = load(name, dtype=s.dtype, device=s.device)
    local = LocalRespondent(lm, Engine(lm), s.max_tokens, s.temperature, s.seed)
    sha256 = weights_sha256(lm)
    try:
        return run_audit(kept(local, sha256), s.only, s.n, s.own, shown), sha256
    finally:  # what was made is paid for, whether the audit ends or not
        if stage is not None:
            meter(stage, lm, "audit", time.perf_counter() - start, local.work)


def keep(done: Done, folder: Path) -> None:
    """The record, and every reply. The record last: where it is, the replies are."""
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_rows(done.audited.rows, folder / REPLIES_FILE)
        if done.against is not None:
            save_rows(done.against.rows, folder / AGAINST_FILE)
    write_atomic(folder / AUDIT_FILE, json.dumps(done.values, indent=2, ensure_ascii=False) + "\n")
    (folder / SO_FAR_FILE).unlink(missing_ok=True)


def is_server(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def folder_for(settings: AuditSettings) -> Path:
    """Where an audit made on the command line is kept: a whole one in the model's own folder, where a release
    looks for it; one of a part, of a file or of a server under runs/."""
    path = Path(settings.model)
    if not is_server(settings.model) and path.is_dir() and settings.only == PARTS and not settings.n:
        return model_folder(path)
    return Path("runs") / f"audit-{re.sub(r'[^A-Za-z0-9.]+', '-', settings.model).strip('-')}"


def show_in(stage: Stage | None, name: str, folder: Path) -> Shown:
    start = time.perf_counter()

    def shown(done: int, total: int, tokens: int) -> None:
        if stage is None:
            return
        stage.progress(done, total, on=name, **{"tokens/s": tokens / max(time.perf_counter() - start, 1e-9)})
        if stage.stop_requested and done < total:
            raise Interrupted(
                f"stopped in {name}: the replies so far are kept in {folder}; the same again goes on"
            )

    return shown
