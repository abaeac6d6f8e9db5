"""The card of a distilled data set: what it holds, who wrote it and how, and what was left out and why."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.jobs.sample_rows import DROPPED, ROWS
from shoestring.origin import Origin

COLUMNS = ("prompts", "prompts_right", "samples", "kept")


def card(
    name: str,
    settings: DistillOutputsSettings,
    where: str,
    origins: Mapping[Origin, int],  # of the kept rows, with how many
    result: Mapping[str, Any],  # the job's
) -> str:
    """Markdown with the header that dataset hubs read."""
    licences = sorted({origin.licence for origin in origins})
    s = settings.sampling
    sha = f", weights' SHA-256 `{result['teacher_sha256']}`" if result["teacher_sha256"] else ""
    at = f" at {where}" if where else ""
    prompts = result["prompts"]
    lines = [
        "---",
        f"license: {licences[0].lower() if len(licences) == 1 else 'other'}",
        "tags: [distillation, reasoning]",
        "configs:",
        f"- {{config_name: default, data_files: {ROWS}}}",
        "---",
        f"# {name}",
        "",
        f"{result['rows']} conversations that a model wrote: `messages` with the thinking in "
        "`reasoning_content`, and with each row its source, licence, teacher, sampling, date, the teacher's "
        "terms and the verifier's verdict.",
        "",
        "## Teacher",
        "",
        f"- {result['teacher']}{at}{sha}",
        f"- its terms on training with outputs: {result['terms']}",
        f"- sampling: temperature {s.temperature:g}, top_p {s.top_p:g}, at most {s.max_tokens} tokens, "
        f"{settings.samples_per_prompt} samples a prompt, seed {s.seed}",
        *([f"- system prompt: {settings.system!r}"] if settings.system else []),
        *([f"- spent: {_spent(result['spent'])}"] if result["spent"] else []),
        "",
        "## Prompts",
        "",
        f"{prompts['drawn']} drawn, {prompts['asked']} asked"
        + "".join(f"; {reason}: {n}" for reason, n in prompts.items() if reason not in ("drawn", "asked"))
        + ". Held-out problems are never among them.",
        "",
        "| source | licence | rows |",
        "|---|---|---|",
        *(f"| {o.source} | {o.licence} | {n} |" for o, n in sorted(origins.items(), key=str)),
        "",
        "## Samples",
        "",
        *_acceptance(result["acceptance"]),
        "",
        f"Every sample that was left out is in `{DROPPED}` with its reason. Of near-duplicates (Jaccard "
        f"index of {settings.max_similarity:g} over runs of {settings.similar_words} words, the same "
        f"numbers) the first is kept. Left out is what shares {settings.tested_words} words in a row with a "
        f"held-out problem of {', '.join([*settings.suites, *settings.evaluations])}.",
        *_incomplete(result),
    ]
    return "\n".join(lines) + "\n"


def _acceptance(table: Mapping[str, Mapping[str, int]]) -> list[str]:
    reasons = sorted({name for row in table.values() for name in row} - set(COLUMNS))
    heads = ["suite", "prompts", "solved at least once", "samples", "kept", *reasons]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for suite, row in table.items():
        counts = [row.get(name, 0) for name in (*COLUMNS, *reasons)]
        lines.append(f"| {suite} | " + " | ".join(map(str, counts)) + " |")
    return lines


def _incomplete(result: Mapping[str, Any]) -> list[str]:
    """What wasn't had, if anything."""
    told = [f"The asking ended early: {result['ended']}."] if result["ended"] else []
    for name, what in (("unanswered", "Samples that could not be had"), ("faults", "Faults made good")):
        counts = Counter(result[name])
        if counts:
            told.append(f"{what}: {', '.join(f'{kind} {n}' for kind, n in counts.items())}.")
    return ["", *told] if told else []


def _spent(spent: Mapping[str, Any]) -> str:
    return f"{spent['money']:g} in money, {spent['tokens']} tokens in and out"
