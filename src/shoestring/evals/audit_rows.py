"""What is put to a model in an audit, and the rows that are kept of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.evals.respondent import Ask, Respondent, Said, Shown
from shoestring.text.message import Message, assistant, user

Part = Literal["identity", "refusal", "regression", "confidence"]
PARTS: tuple[Part, ...] = ("identity", "refusal", "regression", "confidence")


@dataclass(frozen=True)
class Probe:
    """turns: the user's, with the model's own replies between. raw: text to continue, instead of turns. pair
    and side: of questions that are asked of two."""

    id: str
    part: Part
    group: str
    language: str
    turns: tuple[str, ...] = ()
    raw: str = ""
    system: str = ""
    thinking: bool | None = None
    pair: str = ""
    side: str = ""

    @property
    def question(self) -> str:
        return self.turns[-1] if self.turns else self.raw


@dataclass(frozen=True)
class AuditRow:
    """A reply with what was read in it. `fault` is why it is incoherent, "" where it isn't. `does`: answer,
    refusal, evasion, withdrawn. `claimed`: the families that it says it is of, `rules` what saw each.
    `leaked`: those of them that aren't in the lineage. `thought_empty`: a thinking opened and nothing in it,
    None: none was opened. `slogans`: those of the list that it has; `canned`: mostly what other replies say
    too. `took_back`: what a server had shown before it replaced it. Asked how sure it is: `first`, its answer
    before, whether that was `right`, how `sure` it says it is (0 to 1, None: it can't be read)."""

    part: Part
    id: str
    group: str
    language: str
    pair: str
    side: str
    prompt: str
    system: str
    answer: str
    reasoning: str
    thinking: str
    thought_empty: bool | None
    cut: bool
    tokens: int
    thinking_tokens: int
    model: str
    took_back: str
    fault: str
    does: str
    rule: str
    claimed: list[str]
    rules: list[str]
    leaked: list[str]
    slogans: list[str]
    canned: bool
    loops: bool
    mixed: bool | None
    maths_format: bool
    first: str | None = None
    right: bool | None = None
    sure: float | None = None


def converse(respondent: Respondent, probes: Sequence[Probe], shown: Shown) -> list[Said]:
    """The last reply to each. Turn by turn, so that all that can be asked at once is."""
    total = sum(max(len(p.turns), 1) for p in probes)
    histories: list[list[Message]] = [
        [Message(role="system", content=p.system)] if p.system else [] for p in probes
    ]
    last: list[Said] = [Said("")] * len(probes)
    had = 0
    for turn in range(max((max(len(p.turns), 1) for p in probes), default=0)):
        places = [i for i, p in enumerate(probes) if max(len(p.turns), 1) > turn]
        asks = []
        for i in places:
            probe = probes[i]
            if probe.turns:
                histories[i].append(user(probe.turns[turn]))
            asks.append(Ask(f"audit/{probe.id}/{turn}", tuple(histories[i]), probe.raw, probe.thinking))
        before = had
        replies = respondent.ask(
            asks, lambda done, _, tokens, before=before: shown(before + done, total, tokens)
        )
        had += len(places)
        for i, said in zip(places, replies, strict=True):
            last[i] = replace(said, before=(*last[i].before, last[i].answer) if turn else ())
            histories[i].append(assistant(said.answer))
    return last


def blank_row(probe: Probe, said: Said) -> AuditRow:
    """What is known of a reply before anybody has read it."""
    thinking = {None: "as it likes", True: "on", False: "off"}[probe.thinking]
    return AuditRow(
        part=probe.part,
        id=probe.id,
        group=probe.group,
        language=probe.language,
        pair=probe.pair,
        side=probe.side,
        prompt="\n".join(probe.turns) or probe.raw,
        system=probe.system,
        answer=said.answer,
        reasoning=said.reasoning or "",
        thinking=thinking,
        thought_empty=None,
        cut=said.cut,
        tokens=said.tokens,
        thinking_tokens=said.thinking_tokens,
        model=said.model,
        took_back=said.shown,
        fault="",
        does="answer",
        rule="",
        claimed=[],
        rules=[],
        leaked=[],
        slogans=[],
        canned=False,
        loops=False,
        mixed=None,
        maths_format=False,
    )


SCHEMA = pa.schema(
    [
        (name, pa.list_(pa.string()))
        if name in ("claimed", "rules", "leaked", "slogans")
        else (name, pa.bool_())
        if name in ("thought_empty", "cut", "canned", "loops", "mixed", "maths_format", "right")
        else (name, pa.float64())
        if name == "sure"
        else (name, pa.int64() if name in ("tokens", "thinking_tokens") else pa.string())
        for name in AuditRow.__dataclass_fields__
    ]
)


def save_rows(rows: Sequence[AuditRow], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA), path, compression="zstd")


def read_rows(path: Path) -> list[AuditRow]:
    values: list[dict[str, Any]] = pq.read_table(path, schema=SCHEMA).to_pylist()
    return [AuditRow(**value) for value in values]


def some_of(probes: Sequence[Probe], n: int) -> list[Probe]:
    """About n of them (0: all), evenly through their order, and a pair's sides and languages together."""
    if n <= 0 or n >= len(probes):
        return list(probes)
    units = list(dict.fromkeys(p.pair or p.id for p in probes))
    size = len(probes) / len(units)
    wanted = max(1, min(len(units), round(n / size)))
    kept = {units[int(i * len(units) / wanted)] for i in range(wanted)}
    return [p for p in probes if (p.pair or p.id) in kept]
