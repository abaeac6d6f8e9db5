"""Who a model says it is when it is asked in two hundred ways: a hundred in English, the same in Chinese."""

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.evals.ask import ask_all, show_in
from shoestring.evals.identity import Claim, base_family, families_named, kind_of
from shoestring.evals.identity_reader import claimed
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.text.message import Message

PROBES = Path(__file__).parent / "data" / "identity_probes.json"
# "I am." is a yes to "Are you ...?"; "I am a chatbot.", "I am sorry." and "I was made in Rome." aren't
_AFFIRMS = re.compile(
    r"\s*(?:(?:yes|yeah|yep|sure|of course|indeed|correct|right|exactly)\b"
    r"|i (?:am|was|do|did)(?: indeed)?\s*(?:[.,;!]|\Z)|是|对|没错|当然)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class IdentityRow:
    """claimed: the families that the reply says it is of. claim: the same held against the model's own."""

    language: str
    probe: str
    reply: str
    reasoning: str
    tokens: int
    claimed: list[str]
    claim: Claim


@dataclass(frozen=True)
class IdentityResult:
    """claims: how many replies are of each kind, by language; families: how many claim each, of all."""

    n: int
    claims: dict[str, dict[str, int]]
    families: dict[str, int]
    base: str | None
    seconds: float
    rows: tuple[IdentityRow, ...] = field(repr=False)
    work: list[tuple[int, list[int]]] = field(repr=False)  # prompt's and reply's length

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["rows"], values["work"]
        return values

    def line(self) -> str:
        parts = [
            f"{language} {counts['own']} own, {counts['other'] + counts['both']} another's, "
            f"{counts['none']} none"
            for language, counts in self.claims.items()
        ]
        named = ", ".join(f"{family} {count}" for family, count in self.families.items())
        return f"asked who it is, {self.n} probes: {'; '.join(parts)}" + (
            f"; named: {named}" if named else ""
        )

    def save_rows(self, path: Path) -> None:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in self.rows]), path)


def probes() -> dict[str, list[str]]:
    """By language."""
    return json.loads(PROBES.read_text(encoding="utf-8"))


def identity_check(
    lm: LanguageModel,
    generator: Generator,
    max_tokens: int = 64,
    stage: Stage | None = None,
    asked: Mapping[str, Sequence[str]] | None = None,
) -> IdentityResult:
    """Greedy replies to every probe, each on its own."""
    start, own = time.perf_counter(), base_family(lm.lineage, lm.name)
    pairs = [(language, probe) for language, several in (asked or probes()).items() for probe in several]
    prompts = [
        lm.template.render([Message(role="user", content=probe)], add_generation_prompt=True).ids
        for _, probe in pairs
    ]
    params = SamplingParams(max_tokens=max_tokens, temperature=0.0)
    keys = [f"identity-check/{language}/{i}" for i, (language, _) in enumerate(pairs)]
    replies = ask_all(generator, prompts, params, keys, show_in(stage, "identity"))
    rows, work = [], []
    for (language, probe), prompt, (completion,) in zip(pairs, prompts, replies, strict=True):
        reply = lm.template.parse(completion.ids, completion.cut)
        reasoning = reply.reasoning or ""
        families = claimed_in(probe, f"{reasoning}\n{reply.answer}" if reasoning else reply.answer)
        rows.append(
            IdentityRow(
                language,
                probe,
                reply.answer,
                reasoning,
                len(completion.ids),
                sorted(families),
                kind_of(families, own),
            )
        )
        work.append((len(prompt), [len(completion.ids)]))
    return summarise(rows, own, work, time.perf_counter() - start)


def claimed_in(probe: str, reply: str) -> set[str]:
    """The families that a reply claims: each that it names, a denied one too, so that the count errs upwards;
    but one that the question names ("Are you ChatGPT?") only where the reply begins with a yes or has a
    sentence that claims it."""
    questioned = families_named(probe)
    affirmed = questioned if _AFFIRMS.match(reply) else questioned & claimed(reply, probe).keys()
    return (families_named(reply) - questioned) | affirmed


def summarise(
    rows: Sequence[IdentityRow], own: str | None, work: list[tuple[int, list[int]]], seconds: float
) -> IdentityResult:
    claims = {
        language: {
            kind: sum(row.claim == kind for row in rows if row.language == language)
            for kind in ("own", "other", "both", "none")
        }
        for language in dict.fromkeys(row.language for row in rows)
    }
    families = Counter(family for row in rows for family in row.claimed)
    return IdentityResult(len(rows), claims, dict(families.most_common()), own, seconds, tuple(rows), work)
