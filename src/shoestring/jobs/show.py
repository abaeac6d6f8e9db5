"""Show what a thing is: a model, a preset, a run, a suite of problems, a policy loss, or what is trained of
a suite's or file's rows."""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.evals.marking import gold_text
from shoestring.jobs.describe import headline, lineage_lines, sizes
from shoestring.jobs.mask import masked, print_row, rows_of
from shoestring.jobs.show_loss import show_loss
from shoestring.jobs.show_preset import show_preset
from shoestring.lm import load
from shoestring.models.bases import BASES
from shoestring.models.presets import PRESETS
from shoestring.report.read import read_run
from shoestring.report.rollouts import kept_steps
from shoestring.report.terminal import print_report
from shoestring.settings import Settings, nearest
from shoestring.tasks.draw import ROOM, draw_problems
from shoestring.tasks.files import reasons
from shoestring.tasks.suite import names_a_suite, parse_suite, refused_rows


class ShowSettings(Settings):
    target: str
    mask: bool = False
    model: str = "smollm2-135m"  # whose tokenizer and template `mask` uses
    n: int = Field(3, ge=1)
    seed: int = 0


def main(settings: ShowSettings, console: Console) -> dict[str, Any]:
    target, path = settings.target, Path(settings.target)
    if settings.mask:
        return show_mask(settings, console)
    if (path / "recipe.toml").is_file():
        return show_run(path, console)
    if target.startswith("loss:"):
        return show_loss(target.removeprefix("loss:"), console)
    if names_a_suite(target):
        return show_suite(settings, console)
    if target in PRESETS and not path.exists():
        return show_preset(target, console)
    if target not in BASES and not path.exists() and "://" not in target:
        known = nearest(target, [*BASES, *PRESETS])
        raise BadInput(
            f"no model '{target}': no such file or folder, and no base or preset of this name{known}"
        )
    return show_model(target, console)


def show_model(target: str, console: Console) -> dict[str, Any]:
    lm = load(target)
    size = sizes(lm)
    c = lm.config
    console.print(headline(lm), markup=False)
    console.print(
        f"{c.model_type}, {c.num_hidden_layers} layers, hidden {c.hidden_size}, "
        f"feed-forward {c.intermediate_size}, {c.num_attention_heads} heads of {c.head_dim} "
        f"({c.num_key_value_heads} for keys and values), vocabulary {c.vocab_size}, "
        f"context {c.max_position_embeddings}, {'tied' if c.tie_word_embeddings else 'own'} head"
    )
    parts = ", ".join(f"{name} {count:,}" for name, count in size.parameters.items() if count)
    console.print(f"{size.total:,} parameters: {parts}")
    console.print(
        f"{size.cache_bytes_per_token:,} bytes of cache a token in {str(lm.dtype).removeprefix('torch.')}"
    )
    console.print("lineage, oldest first:")
    for line in lineage_lines(lm.lineage):
        console.print(f"  {line}", markup=False)
    return {
        "model": lm.name,
        "config": asdict(c),
        "parameters": size.parameters,
        "cache_bytes_per_token": size.cache_bytes_per_token,
        "lineage": lm.lineage.to_json(),
    }


def show_run(path: Path, console: Console) -> dict[str, Any]:
    print_report(read_run(path), console)
    summary = run_summary(path)
    console.print(f"run folder: {path}, {summary['status'].get('state', 'not started')}", markup=False)
    for name, result in summary["stages"].items():
        model = path / "stages" / name / "model"
        has_model = f", model in {model}" if model.is_dir() else ""
        kept = len(kept_steps(path / "stages" / name / "rollouts"))
        wrote = f", rollouts of {kept} steps (--rollouts)" if kept else ""
        console.print(
            f"  {name}: {'not finished' if result is None else 'finished'}{has_model}{wrote}", markup=False
        )
    return summary


def run_summary(path: Path) -> dict[str, Any]:
    """Where a run is, and each begun stage's result (null while it has none)."""
    stages = sorted(p.parent for p in (path / "stages").glob("**/settings.toml"))
    return {
        "run": str(path),
        "status": read_json(path / "status.json") or {},
        "stages": {
            stage.relative_to(path / "stages").as_posix(): read_json(stage / "result.json")
            for stage in stages
        },
    }


def read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def show_suite(settings: ShowSettings, console: Console) -> dict[str, Any]:
    """The level, how many problems it has, and examples of its train split with worked solutions."""
    suite = parse_suite(settings.target)
    level = suite.level.model_dump()
    console.print(
        f"{suite}: {', '.join(f'{k} = {v}' for k, v in level.items()) or 'one level'}", markup=False
    )
    if suite.only_tests:
        console.print(f"{suite.count:,} distinct problems, all of them for testing")
    elif suite.count is None:
        console.print("nobody knows how many distinct problems it has")
    else:
        console.print(
            f"{suite.count:,} distinct problems, a tenth held out: test at most {suite.count // ROOM:,}"
        )
    if refused := refused_rows(suite):
        console.print(f"rows left out: {reasons(refused)}", markup=False)
    examples = []
    split = "test" if suite.only_tests else "train"
    for problem in draw_problems(suite, split, settings.n, settings.seed):
        try:
            worked = suite.family.worked(problem, random.Random(f"show:{settings.seed}:{problem.id}"))
            solution = {"reasoning": worked.reasoning or "", "answer": worked.answer}
        except BadInput as error:  # not every family knows how its problems are solved
            solution = {"reasoning": f"({error})", "answer": gold_text(problem)}
        examples.append({"prompt": problem.prompt, **solution})
        console.print(f"\n{problem.prompt}", markup=False)
        if solution["reasoning"]:
            console.print(solution["reasoning"], style="dim", markup=False)
        console.print(f"= {solution['answer']}", markup=False)
    return {"suite": str(suite), "level": level, "count": suite.count, "examples": examples}


def show_mask(settings: ShowSettings, console: Console) -> dict[str, Any]:
    lm = load(settings.model)
    rows = [masked(lm, name, row) for name, row in rows_of(settings.target, settings.n, settings.seed)]
    if not rows:
        raise BadInput(f"{settings.target} has no rows")
    for row in rows:
        print_row(row, console)
    return {
        "rows": [
            {"id": r.row_id, "tokens": r.tokens, "trained": r.trained, "end_trained": r.end_trained}
            for r in rows
        ]
    }
