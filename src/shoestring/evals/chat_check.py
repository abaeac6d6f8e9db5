"""Whether a model still chats after training on puzzles: does it stop, say something, not loop, and still say
who it is? Only what a machine can tell; no taste."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.engine.engine import Engine
from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.evals.ask import ask_all, show_in
from shoestring.evals.chat_prompts import CHAT_PROMPTS, ChatPrompt
from shoestring.evals.identity import MAKERS, Claim, base_family, claim
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.text.message import Message

LOOP = 0.5  # share of repeated 4-grams above which a reply counts as a loop
# what training on maths leaves and a chat has no use for: a boxed or marked answer, tags, equations
MATHS_FORMAT = re.compile(
    r"\\boxed|####|</?think>|</?answer>|^\s*(?:final )?answer\s*[:=]"
    r"|\d\s*[-+*/×]\s*\d+\s*=|^[\s\d+*/=().-]+$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class ChatRow:
    """The last reply to one prompt. repetition is the share of its 4-grams that occurred before in it."""

    kind: str
    prompt: str
    reply: str
    reasoning: str
    finish_reason: str
    tokens: int
    repetition: float
    thinks: bool
    maths_format: bool
    claim: str


@dataclass(frozen=True)
class ChatCheckResult:
    """Shares of the prompts, but identity: how many of the "who are you" replies name its own maker or base,
    another's, both or none. answered: those that stop by themselves, say something and don't loop."""

    n: int
    answered: float
    stopped: float
    empty: float
    looped: float
    thinks: float
    maths_format: float
    identity: dict[str, int]
    base: str | None
    tokens: float
    seconds: float
    rows: tuple[ChatRow, ...] = field(repr=False)
    work: list[tuple[int, list[int]]] = field(repr=False)  # prompt's and reply's length, each turn

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["rows"], values["work"]
        return values

    def line(self) -> str:
        asked = sum(self.identity.values())
        whom = MAKERS[self.base][0] if self.base else "its own base (not known)"
        return (
            f"chat, {self.n} prompts: {self.stopped:.0%} stop by themselves, {self.empty:.0%} empty, "
            f"{self.looped:.0%} loop, {self.thinks:.0%} think, {self.maths_format:.0%} in maths format, "
            f"{self.identity['own']} of {asked} say it is {whom}, {self.identity['other']} name another, "
            f"{self.tokens:.0f} tokens a reply"
        )

    def save_rows(self, path: Path) -> None:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in self.rows]), path)


def chat_check(
    lm: LanguageModel,
    generator: Generator | None = None,
    max_tokens: int = 192,
    stage: Stage | None = None,
    prompts: Sequence[ChatPrompt] = CHAT_PROMPTS,
) -> ChatCheckResult:
    """Greedy replies to ordinary prompts, follow-ups after the model's own first reply."""
    engine = generator if generator is not None else Engine(lm)
    start = time.perf_counter()
    own = base_family(lm.lineage, lm.name)
    histories: list[list[Message]] = [[] for _ in prompts]
    last: dict[int, Completion] = {}
    work: list[tuple[int, list[int]]] = []
    for turn in range(max(len(p.turns) for p in prompts)):
        asked = [i for i, p in enumerate(prompts) if len(p.turns) > turn]
        for i in asked:
            histories[i].append({"role": "user", "content": prompts[i].turns[turn]})
        ids = [lm.template.render(histories[i], add_generation_prompt=True).ids for i in asked]
        params = SamplingParams(max_tokens=max_tokens, temperature=0.0)
        keys = [f"chat-check/{i}/{turn}" for i in asked]
        replies = ask_all(engine, ids, params, keys, show_in(stage, "chat"))
        for i, (completion,) in zip(asked, replies, strict=True):
            last[i] = completion
            reply = lm.template.parse(completion.ids, completion.cut)
            histories[i].append({"role": "assistant", "content": reply.answer})
        work += [(len(p), [len(c.ids)]) for p, (c,) in zip(ids, replies, strict=True)]
    rows = [_row(lm, p, last[i], own) for i, p in enumerate(prompts)]
    return summarise(rows, own, work, time.perf_counter() - start)


def _row(lm: LanguageModel, prompt: ChatPrompt, completion: Completion, own: str | None) -> ChatRow:
    reply = lm.template.parse(completion.ids, completion.cut)
    whole = f"{reply.reasoning or ''}\n{reply.answer}"
    named: Claim | str = claim(whole, own) if prompt.kind == "identity" else ""
    return ChatRow(
        kind=prompt.kind,
        prompt=prompt.turns[-1],
        reply=reply.answer,
        reasoning=reply.reasoning or "",
        finish_reason=completion.finish_reason.value,
        tokens=len(completion.ids),
        repetition=repetition(completion.ids),
        thinks=reply.reasoning is not None,
        maths_format=MATHS_FORMAT.search(reply.answer) is not None,
        claim=named,
    )


def repetition(ids: Sequence[int], size: int = 4) -> float:
    """Share of the n-grams that occurred before; 0 for a reply with fewer than 5 n of them."""
    grams = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) >= 5 * size else 0.0


def summarise(
    rows: Sequence[ChatRow], own: str | None, work: list[tuple[int, list[int]]], seconds: float
) -> ChatCheckResult:
    n = len(rows)
    claims = Counter(row.claim for row in rows if row.claim)
    return ChatCheckResult(
        n=n,
        answered=sum(
            row.finish_reason == FinishReason.STOP and bool(row.reply.strip()) and row.repetition <= LOOP
            for row in rows
        )
        / n,
        stopped=sum(row.finish_reason == FinishReason.STOP for row in rows) / n,
        empty=sum(not row.reply.strip() for row in rows) / n,
        looped=sum(row.repetition > LOOP for row in rows) / n,
        thinks=sum(row.thinks for row in rows) / n,
        maths_format=sum(row.maths_format for row in rows) / n,
        identity={kind: claims[kind] for kind in ("own", "other", "both", "none")},
        base=own,
        tokens=sum(row.tokens for row in rows) / n,
        seconds=seconds,
        rows=tuple(rows),
        work=work,
    )
