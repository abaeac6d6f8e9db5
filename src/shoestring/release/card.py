"""A model's card, all of it made from what is known: the header that hubs read, and the text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoestring.origin import Lineage
from shoestring.provenance.card import provenance_card
from shoestring.provenance.naming import proper_name
from shoestring.provenance.reach import TAKEN
from shoestring.release.evidence import Evaluation, Evidence
from shoestring.release.gates import Gate
from shoestring.run.progress import duration

LEFT_OUT = (
    "Left out: evaluations and audits, runs that were tried before this one, what the base and teachers "
    "from elsewhere cost to make, the machine itself, and people's time"
)


@dataclass(frozen=True)
class Described:
    """parameters: all of them; proofs: the lines of each format's proof. licence: SPDX, "" where unknown."""

    name: str
    lineage: Lineage
    licence: str
    parameters: int
    window: int
    chat: bool
    mtp_left_out: bool
    proofs: Mapping[str, Sequence[str]]
    files: Mapping[str, str]  # by format, what a program opens
    evidence: Evidence


def card(model: Described, gates: Sequence[Gate]) -> str:
    """Markdown with the YAML header of a model repository."""
    head, _, reached = provenance_card(model.lineage, model.name).partition("\n## ")
    sections = [
        _header(model),
        head.rstrip() + "\n",
        _summary(model),
        *_overridden(gates),
        _section("How to run it", _use(model)),
        _section("Evaluations", _evaluations(model.evidence)),
        _section("Audits", _audits(model.evidence)),
        _section("Proof that the files are the model", _proofs(model)),
        _section("How it was made", _recipe(model)),
        "## " + reached,
        _section("What it cost", _cost(model.evidence)),
        _section("Limits", _limits(model, gates)),
        _section("Licence", _licence(model)),
    ]
    return "\n".join(sections)


def _section(title: str, lines: Iterator[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def _header(model: Described) -> str:
    """As huggingface_hub reads it; JSON's strings and lists are YAML's too."""
    spdx = model.licence.lower()
    known = spdx not in ("", "unknown")
    values: dict[str, Any] = {"license": spdx if known else "other"}
    base = _base(model.lineage)
    if base:
        values |= {"base_model": base, "base_model_relation": "finetune"}
    values |= {"library_name": "transformers", "pipeline_tag": "text-generation"}
    stages = [stage.job for stage in model.lineage.stages if stage.job not in TAKEN]
    values["tags"] = list(dict.fromkeys(["shoestring", *stages]))
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    if results := [_result(one) for one in model.evidence.evaluations]:
        index = [{"name": proper_name(model.name, ()), "results": results}]
        lines.append(f"model-index: {json.dumps(index, ensure_ascii=False)}")
    return "\n".join(["---", *lines, "---"])


def _result(one: Evaluation) -> dict[str, Any]:
    v = one.values
    name = "at least (replies were cut)" if v.get("lower_bound") else "accuracy"
    metric = {
        "type": "accuracy",
        "value": round(v["score"], 4),
        "name": f"{name}, {_interval(v)}, n = {v['n']}",
    }
    dataset = {"type": "shoestring", "name": v["suite"], "args": {"settings": one.asking, "seed": v["seed"]}}
    return {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": [metric]}


def _base(lineage: Lineage) -> str:
    first = lineage.stages[0] if lineage.stages else None
    return str(first.detail.get("copy_of", first.name)) if first and first.job == "base" else ""


def _summary(model: Described) -> str:
    base = _base(model.lineage)
    made = f"made from {base}" if base else "trained from nothing here"
    if not model.lineage.stages or model.lineage.stages[0].job == "unknown":
        made = "of unknown origin"
    kind = "with a chat template" if model.chat else "without a chat template: it continues text"
    return (
        f"A language model of {model.parameters:,} parameters and a window of {model.window} tokens, "
        f"{made}, {kind}. This card was made by `shoestring release` from the files beside it.\n"
    )


def _overridden(gates: Sequence[Gate]) -> list[str]:
    forced = [gate for gate in gates if not gate.open and gate.override]
    if not forced:
        return []
    lines = [
        f"- **{gate.name}** was closed: {gate.why}. Released all the same: {gate.override}" for gate in forced
    ]
    return [_section("Released although", iter(lines))]


def _use(model: Described) -> Iterator[str]:
    yield "```"
    if "hf" in model.files:
        yield f"vllm serve {model.files['hf']}"
        yield f"shoestring serve {model.files['hf']}"
    if "gguf" in model.files:
        yield f"llama-server -m {model.files['gguf']}" + (" --jinja" if model.chat else "")
    yield "```"


def _evaluations(evidence: Evidence) -> Iterator[str]:
    if not evidence.evaluations:
        yield "None was made."
        return
    yield "Problems held out from training. Cut: met the token limit. Unparsed: no answer was found."
    yield ""
    yield "| suite | score [95 %] | n | samples | cut | unparsed | asked with | seed | receipt |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in evidence.evaluations:
        v = one.values
        least = "at least " if v.get("lower_bound") else ""
        kept = "none" if one.faults is None else "holds" if not one.faults else "; ".join(one.faults)
        score = f"{least}{100 * v['score']:.1f} % {_interval(v)}"
        row = (v["suite"], score, v["n"], v["k"], v["truncated"], v["unparsed"], one.asking, v["seed"], kept)
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def _interval(values: Mapping[str, Any]) -> str:
    low, high = values["ci95"]
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _audits(evidence: Evidence) -> Iterator[str]:
    if not evidence.audits:
        yield "None was made: nobody has looked at who it says it is, or whom it refuses."
    for audit in evidence.audits:
        record = audit.record
        yield f"Of {record.date}, weights `{record.weights_sha256[:12]}`:"
        yield ""
        yield from (f"- {verdict.on}: **{verdict.outcome}**, {verdict.why}" for verdict in record.verdicts)
        yield from (f"- {note}" for note in record.raw.get("notes", []))
        yield ""


def _proofs(model: Described) -> Iterator[str]:
    yield (
        "Greedy tokens and distributions of the model against the files as they are read back. "
        "`shoestring verify FOLDER --rerun` makes them again."
    )
    for form, lines in model.proofs.items():
        yield f"\n{form}:\n\n```"
        yield from lines
        yield "```"


def _recipe(model: Described) -> Iterator[str]:
    yield "| stage | job | date | detail |"
    yield "|---|---|---|---|"
    for stage in model.lineage.stages:
        detail = ", ".join(f"{name} {str(value)[:40]}" for name, value in stage.detail.items())
        yield f"| {stage.name} | {stage.job} | {stage.date} | {detail.replace('|', '/')} |"
    if model.evidence.run is not None:
        yield ""
        yield "`recipe.toml` has every setting of the run."


def _cost(evidence: Evidence) -> Iterator[str]:
    cost = evidence.cost
    if cost is None:
        yield "Not known: no run of this package made it, or its records aren't here."
        return
    yield (
        f"{duration(cost.seconds)} of this machine's time, {cost.kwh:.3g} kWh and {cost.usd:.3g} USD of "
        f"electricity and hired hours at the recipe's prices, for the stages {', '.join(cost.stages)}."
    )
    yield f"{LEFT_OUT}."


def _limits(model: Described, gates: Sequence[Gate]) -> Iterator[str]:
    yield (
        f"- {model.parameters:,} parameters: expect it to be wrong about facts, and outside of what it was "
        "trained and evaluated on to be no better than chance."
    )
    yield f"- Texts beyond {model.window} tokens are cut or refused."
    suites = list(dict.fromkeys(one.values["suite"] for one in model.evidence.evaluations))
    yield f"- Evaluated on {', '.join(suites) or 'nothing'}, and nothing else is claimed."
    if model.mtp_left_out:
        yield "- The GGUF file lacks the modules that predict further tokens (MTP)."
    for gate in gates:
        if not gate.open:
            yield f"- {gate.name}: {gate.why}."


def _licence(model: Described) -> Iterator[str]:
    known = model.licence.lower() not in ("", "unknown")
    yield f"{model.licence}." if known else "Nobody has said under which licence it may be used."
    yield "What its base and teachers ask of those who pass it on stands above. Facts, not legal advice."
