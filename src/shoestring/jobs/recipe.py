"""Run a recipe: each unit in order, skipping what is finished, and at the end the report and the bill."""

import gc
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w
from rich.console import Console

from shoestring.budget.limit import Allowance, parse_limit
from shoestring.errors import BadInput, Interrupted
from shoestring.jobs.clustered import Clustered, Ranked, places_of
from shoestring.jobs.handles import HERE, Places
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.plan_note import note_plan
from shoestring.jobs.recipe_file import Recipe, Scale, find_recipe, load_recipe
from shoestring.jobs.recipe_units import JobTable, Unit, expand, product, resolve
from shoestring.report.html import render_html
from shoestring.report.markdown import render_markdown
from shoestring.report.read import RunReport, read_run
from shoestring.report.terminal import print_report
from shoestring.run import RunFolder, held, open_run, saving, write_atomic
from shoestring.settings import build, read_toml

POLL_S = 1.0


def run(
    recipe: str | Path,
    output_dir: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    scale: Scale = "full",
    console: Console | None = None,
    jobs: JobTable = JOBS,
    controls: bool = False,
    budget: str = "",
    cluster: Clustered | Ranked | None = None,
) -> RunReport:
    """Run every unit of the recipe into `output_dir`: by default runs/NAME, or runs/NAME-small at that scale.
    `controls` adds arms whose reward says nothing of what is right, and the comparisons with them. Everything
    that can be refused is refused before anything runs. Ctrl-C raises Interrupted, with the line that goes
    on. budget: "2h", "5usd", "1kWh", of all that the folder's run has taken: when it is used up the run is
    saved and stops as at a Ctrl-C. Several processes may run one recipe into one folder: they share its units
    out."""
    path, overrides = find_recipe(recipe), overrides or {}
    plan = load_recipe(path, overrides, scale, controls)
    limit = parse_limit(budget) if budget else None
    units = expand(plan, jobs)
    target = Path(output_dir or Path("runs") / (plan.head.name + ("-small" if scale == "small" else "")))
    folder = open_run(target, resume)
    _check_unchanged(folder, plan, units)
    command = command_line(recipe, target, overrides, scale, controls) + (cluster.words if cluster else "")
    folder.begin(plan.to_toml(), command)
    if jobs is JOBS:
        for line in note_plan(folder, plan, units):
            _say(console, line)
    unit_titles = f"{len(units)} units" if len(units) > len(plan.stages) else f"{len(units)} stages"
    _say(console, f"{plan.head.name}: {unit_titles}, into {target}")
    allowance = Allowance(limit, folder.path / "usage.jsonl", plan.prices) if limit is not None else None
    with _ending(folder, f"{command} --resume", allowance), places_of(cluster, console) as places:
        _run_units(folder, units, jobs, console, allowance, places)
    return finish(folder, console)


def finish(folder: RunFolder, console: Console | None) -> RunReport:
    """Write report.md and report.html and show where they are."""
    report = read_run(folder.path)
    write_atomic(folder.path / "report.md", render_markdown(report))
    write_atomic(folder.path / "report.html", render_html(report))
    if console is not None:
        print_report(report, console)
    return report


def _run_units(
    folder: RunFolder,
    units: Sequence[Unit],
    jobs: JobTable,
    console: Console | None,
    allowance: Allowance | None = None,
    places: Places = HERE,
) -> None:
    """Each unit in its order. What another process is at work on is left to it, and waited for where there is
    nothing else to do; should that process end without finishing it, it is taken up here."""
    pending = dict(enumerate(units, start=1))
    said: set[int] = set()
    while pending:
        before = len(pending)
        for number, unit in list(pending.items()):
            title = f"{number}/{len(units)} {unit.title}"
            if _finished(folder, unit):
                _say(console, f"{title}: finished before, kept")
            elif allowance is not None and allowance.over():
                raise Interrupted(f"stopped before {unit.title}")
            elif not all(_finished(folder, other) for other in unit.needs.values()) or not _run_unit(
                folder, unit, jobs, console, title, len(pending) == 1, allowance, places
            ):
                continue
            del pending[number]
        if len(pending) == before:
            for number, unit in pending.items():
                if number not in said:
                    _say(console, f"{number}/{len(units)} {unit.title}: waiting for another process")
                    said.add(number)
            time.sleep(POLL_S)


def _run_unit(
    folder: RunFolder,
    unit: Unit,
    jobs: JobTable,
    console: Console | None,
    title: str,
    last: bool,
    allowance: Allowance | None,
    places: Places,
) -> bool:
    """False where another process is at work on it."""
    job = jobs[unit.job]()
    own = folder_of(folder, unit)
    made = {
        name: str((folder_of(folder, other) / product(jobs[other.job]())).absolute())
        for name, other in unit.needs.items()
    }
    settings = build(job.settings, resolve(unit.values, made), f"stage '{unit.title}'")
    with held(own / ".lock", wait=False) as mine:
        if mine and not _finished(folder, unit):
            write_atomic(own / "settings.toml", tomli_w.dumps(unit.resolved))
            spent = (lambda: False) if allowance is None else allowance.over
            with saving(own), folder.stage(own, unit.stage, console, title, spent) as stage:
                if job.takes_handles:
                    with places.of(stage) as handles:
                        result = job.main(settings, stage, handles)
                else:
                    result = job.main(settings, stage)
                stage.finish(result)
                _give_memory_back()
                if stage.stop_requested and not last:
                    raise Interrupted(f"stopped after {unit.title}")
        return mine


def _give_memory_back() -> None:
    """What a stage took, before the next one begins."""
    import torch  # which the stage had need of; a recipe that is refused should not wait for it

    from shoestring.ops.memory import give_back

    gc.collect()
    give_back(torch.device("cpu"))


def folder_of(folder: RunFolder, unit: Unit) -> Path:
    return folder.unit_folder(unit.number, unit.stage, unit.arm, unit.seed)


def _finished(folder: RunFolder, unit: Unit) -> bool:
    return (folder_of(folder, unit) / "result.json").exists()


def _check_unchanged(folder: RunFolder, plan: Recipe, units: Sequence[Unit]) -> None:
    """An earlier start must have been of the same stages with the same settings; new ones may come after."""
    before = [stage["name"] for stage in (folder.recipe() or {"stage": []})["stage"]]
    now = [stage.head.name for stage in plan.stages]
    for old, new in zip(before, [*now, *[None] * len(before)], strict=False):
        if old != new:
            raise BadInput(
                f"{folder.path} was started with stage '{old}' where the recipe now has "
                f"{repr(new) if new else 'none'}: undo that, or choose another --output-dir"
            )
    for unit in units:
        path = folder_of(folder, unit) / "settings.toml"
        if path.exists():
            _check_settings(unit, read_toml(path), path)
        missing = [other for other in unit.needs.values() if not _finished(folder, other)]
        if missing and _finished(folder, unit):
            raise BadInput(
                f"stage '{unit.title}' was made from an earlier '{missing[0].title}' that is gone: "
                f"remove {folder_of(folder, unit)} to make both again"
            )


def _check_settings(unit: Unit, before: Mapping[str, Any], path: Path) -> None:
    now = unit.resolved
    for key in [*now, *(key for key in before if key not in now)]:
        if before.get(key) != now.get(key):
            raise BadInput(
                f"stage '{unit.title}': setting '{key}' was {before.get(key)!r} and is now {now.get(key)!r}: "
                f"set it back, remove {path.parent} to make it again, or choose another --output-dir"
            )


@contextmanager
def _ending(folder: RunFolder, command: str, allowance: Allowance | None = None) -> Iterator[None]:
    """status.json's last word, whatever happens; an interrupt gets the line that goes on."""
    state, detail = "failed", ""
    try:
        yield
        state = "finished"
    except (Interrupted, KeyboardInterrupt):
        state = "interrupted"
        if allowance is not None and allowance.over():
            detail = allowance.in_words()
            raise Interrupted(
                f"{detail}: stopped; what was saved is kept. Go on with more, or none: {command}"
            ) from None
        raise Interrupted(f"stopped; what was saved is kept. Go on with: {command}") from None
    finally:
        folder.status(state, detail)


def command_line(
    recipe: str | Path, target: Path, overrides: Mapping[str, Any], scale: Scale, controls: bool = False
) -> str:
    """The command that makes this run."""
    words = ["shoestring", "run", str(recipe)]
    for key, value in overrides.items():
        words += ["--set", f"{key}={_toml_value(value)}"]
    words += ["--scale", "small"] if scale == "small" else []
    words += ["--controls"] if controls else []
    return shlex.join([*words, "--output-dir", str(target)])


def _toml_value(value: Any) -> str:
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()


def _say(console: Console | None, text: str) -> None:
    if console is not None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
