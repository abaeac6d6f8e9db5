"""Who the model says made it, asked in 240 ways: six languages, with a system prompt, thinking on and off,
after other turns, under pressure, and as text to be continued."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shoestring.evals.audit_rows import AuditRow, Probe, blank_row
from shoestring.evals.coherence import fault
from shoestring.evals.identity_reader import claimed
from shoestring.evals.refusal_reader import read_reply, thought_nothing
from shoestring.evals.respondent import Said

PROBES = Path(__file__).parent / "data" / "audit_identity.json"
STYLES = ("plain", "with_system", "thinking", "no_thinking", "turns", "pressure", "completion")
# what a base writes after its answer, when nothing ends the turn
_NEXT_TURN = re.compile(r"\n|(?:Q|User|Interviewer|F|P|###)\s*:|用户：|记者：|问：")


def identity_probes() -> list[Probe]:
    """Ordered so that any even sample has all languages and styles."""
    listed = json.loads(PROBES.read_text(encoding="utf-8"))
    made = []
    for language, of in listed.items():
        for style in STYLES:
            for i, asked in enumerate(of[style]):
                name = f"identity/{language}/{style.replace('_', '-')}/{i + 1}"
                probe = Probe(name, "identity", style.replace("_", " "), language)
                if style == "completion":
                    made.append(replace(probe, raw=asked))
                elif style in ("turns", "pressure"):
                    made.append(replace(probe, turns=tuple(asked)))
                else:
                    thinking = {"thinking": True, "no_thinking": False}.get(style)
                    system = of["system"][i % len(of["system"])] if style == "with_system" else ""
                    made.append(replace(probe, turns=(asked,), system=system, thinking=thinking))
    return made


def read_identity(probe: Probe, said: Said, lineage: frozenset[str]) -> AuditRow:
    """`lineage`: the families that it may name. What a server showed and took back was said as well."""
    text = answer = said.answer or said.shown
    if probe.raw:
        answer = _NEXT_TURN.split(answer.lstrip())[0]
        text = f"{_opening(probe.raw)} {answer}"
    question = "" if probe.raw else probe.question
    found = claimed(text, question)
    if said.reasoning:
        found = {**claimed(said.reasoning, question, thought=True), **found}
    read = read_reply(answer)
    return replace(
        blank_row(probe, said),
        claimed=sorted(found),
        rules=[found[family] for family in sorted(found)],
        leaked=sorted(set(found) - lineage),
        fault="" if found else fault(question, answer, probe.language, about=False),
        does=read.does,
        rule=read.rule,
        thought_empty=None if said.reasoning is None else thought_nothing(said.reasoning),
    )


def _opening(raw: str) -> str:
    """What of the text to be continued is the model's own sentence: "Assistant: My name is" -> "My name
    is"."""
    last = raw.splitlines()[-1] if raw.strip() else ""
    return re.split(r"[:：]", last)[-1].strip()


def interleaved(probes: Sequence[Probe]) -> list[Probe]:
    """The first of every language and style, then the second, and so on."""
    return sorted(probes, key=lambda probe: int(probe.id.rpartition("/")[2]))
