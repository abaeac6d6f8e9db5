"""Read what a run's model wrote: the kept rollouts of a step, filtered and sorted, or what changed since an
earlier step."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoestring.errors import BadInput
from shoestring.report.changes import Changes, Phrase, Rates, changes, side
from shoestring.report.rollout_filter import Wanted, choose, parse_steps, steps_text
from shoestring.report.rollout_folders import rollout_folders
from shoestring.report.rollouts import Kept, RolloutFolder, by_group, visible
from shoestring.settings import Settings, nearest

COLOURS = {"right": "green", "wrong": "red", "unparsed": "yellow", "timeout": "magenta", "error": "magenta"}
STYLES = {"think": "dim", "answer": "bold", "": "dim cyan"}
WIDTH = 100  # columns where there is no terminal to ask


class ShowRolloutsSettings(Settings):
    run: str
    stage: str = ""  # name, or name with arm and seed; "": the last that has rollouts with a verdict
    step: str = ""  # "7", "1:20"; "": the last
    problem: str = ""
    prompt: str = ""
    verdict: str = ""
    live: bool | None = None
    sort: str = ""
    n: int = Field(10, ge=1)
    since: int | None = None


def main(settings: ShowRolloutsSettings, console: Console) -> dict[str, Any]:
    wanted = Wanted(settings.problem, settings.prompt, settings.verdict, settings.live, settings.sort)
    folders = rollout_folders(Path(settings.run))
    folder = choose_folder(folders, settings.stage)
    others = [other.title for other in folders if other is not folder]
    if others:
        console.print(f"stage {folder.title}; there are also {', '.join(others)} (--stage)", markup=False)
    steps = parse_steps(settings.step, folder.steps, folder.title)
    now = choose([row for step in steps for row in folder.read(step)], wanted)
    if settings.since is None:
        return show_rows(folder, steps, now, settings.n, bool(settings.sort), console)
    before = parse_steps(str(settings.since), folder.steps, folder.title)
    return show_changes(before, steps, choose(folder.read(before[0]), wanted), now, settings.n, console)


def choose_folder(folders: Sequence[RolloutFolder], stage: str) -> RolloutFolder:
    """The stage of this title, else the first unit of this stage."""
    if not stage:
        return next((f for f in reversed(folders) if not f.arm and f.judged), folders[-1])
    for folder in folders:
        if stage == folder.title:
            return folder
    for folder in folders:
        if stage == folder.stage:
            return folder
    raise BadInput(f"no rollouts of a stage '{stage}'{nearest(stage, [f.title for f in folders])}")


def show_rows(
    folder: RolloutFolder, steps: list[int], rows: list[Kept], n: int, is_sorted: bool, console: Console
) -> dict[str, Any]:
    """Sorted samples one after the other; else by group, whose prompt then stands once."""
    shown = rows[:n]
    total = sum(len(folder.read(step)) for step in steps)
    console.print(
        f"step {steps_text(steps)} of {folder.title}: {len(rows)} of {total} samples asked for"
        f"{f', {len(shown)} shown (-n)' if len(shown) < len(rows) else ''}",
        markup=False,
    )
    sets = [[row] for row in shown] if is_sorted else list(by_group(shown).values())
    for rows_of_one in sets:
        print_prompt(rows_of_one[0], console)
        for row in rows_of_one:
            print_sample(row, console)
    return {
        "stage": folder.title,
        "steps": steps,
        "samples": total,
        "found": len(rows),
        "rows": [asdict(r) for r in shown],
    }


def print_prompt(row: Kept, console: Console) -> None:
    where = " ".join(
        word for word in (f"step {row.step}", row.suite, row.group if row.problem else "") if word
    )
    console.rule(Text(where, "dim"), align="left", style="dim")
    console.print(Text(visible(row.prompt), "cyan"))


def print_sample(row: Kept, console: Console) -> None:
    console.print()
    console.print(verdict_line(row))
    text = Text()
    for kind, piece in row.pieces:
        text.append(visible(piece), STYLES[kind])
    console.print(text)
    if row.detail:
        console.print(Text(f"({visible(row.detail)})", "dim"))


def verdict_line(row: Kept) -> Text:
    facts = [
        f"reward {number(row.reward)}" if row.reward is not None else "no reward",
        f"advantage {row.advantage:+.3g}" if row.advantage is not None else "",
        f"({', '.join(f'{name} {number(value)}' for name, value in row.parts.items())})" if row.parts else "",
        f"{row.tokens} tokens" if row.tokens is not None else "",
        "dead group" if row.live is False else "",
    ]
    line = Text(row.outcome, f"bold {COLOURS.get(row.outcome, 'blue')}")
    if row.cut:
        line.append(" cut", "bold yellow")
    return line.append("  " + "  ".join(filter(None, facts)), "default")


def show_changes(
    before: list[int], steps: list[int], then: list[Kept], now: list[Kept], n: int, console: Console
) -> dict[str, Any]:
    names = (f"step {steps_text(before)}", f"step {steps_text(steps)}")
    if not then or not now:
        raise BadInput(f"nothing to compare: {len(then)} samples of {names[0]}, {len(now)} of {names[1]}")
    found = changes(side(then), side(now))
    console.print(f"{names[0]} ({len(then)} samples) and {names[1]} ({len(now)} samples):")
    paper = console if console.is_terminal else Console(file=console.file, width=WIDTH)
    for suite, sides in found.suites.items():
        paper.print(rates_table(suite or "all", sides, names))
    print_phrases("said more", found.more, found, console)
    print_phrases("said less", found.less, found, console)
    pairs = print_pairs(found.problems[:n], then, now, console)
    if len(found.problems) > n:
        console.print(f"{len(found.problems) - n} more problems are in both (-n)")
    return {"before": before, "after": steps, **asdict(found), "pairs": pairs}


def rates_table(suite: str, sides: tuple[Rates | None, Rates | None], names: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(suite), min_width=24)
    for name in names:
        table.add_column(name, justify="right")
    shares = dict.fromkeys(name for side in sides if side for name in side.shares)
    lines: list[tuple[str, list[str]]] = [
        ("samples in groups", [f"{s.samples} in {s.groups}" if s else "not asked" for s in sides]),
        *((name, [f"{s.shares.get(name, 0):.1%}" if s else "" for s in sides]) for name in shares),
        ("mean reward", [number(s.reward) if s else "" for s in sides]),
        ("mean tokens", [number(s.tokens) if s else "" for s in sides]),
        ("in live groups", [f"{s.live:.1%}" if s and s.live is not None else "" for s in sides]),
    ]
    for name, cells in lines:
        table.add_row(Text(name), *cells)
    return table


def print_phrases(title: str, found: Sequence[Phrase], of: Changes, console: Console) -> None:
    console.print(f"\n{title}, in samples of {of.counted[0]} and {of.counted[1]} (numbers are #):")
    for phrase in found:
        console.print(Text(f"  {phrase.before:>5} {phrase.after:>5}  {visible(phrase.text)}"))
    if not found:
        console.print("  nothing that stands out")


def print_pairs(
    problems: Sequence[str], then: Sequence[Kept], now: Sequence[Kept], console: Console
) -> list[Mapping[str, Any]]:
    """One sample of each side for every problem: the first."""
    pairs = []
    for problem in problems:
        before, after = (next(r for r in rows if r.problem == problem) for rows in (then, now))
        print_prompt(after, console)
        for name, row in (("before", before), ("after", after)):
            console.print(Text(f"\n{name}, step {row.step}:", "underline"), end="")
            print_sample(row, console)
        pairs.append({"problem": problem, "before": asdict(before), "after": asdict(after)})
    return pairs


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
