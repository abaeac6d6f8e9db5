"""The rollouts that report.html carries in itself: a rule picks them, and what is left out is counted."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from shoestring.report.changes import Changes, Rates, changes, rates, side
from shoestring.report.rollouts import VERDICTS, Kept, RolloutFolder, by_group
from shoestring.run.files import dumps

STEPS = 8
STAGE_BYTES = 400_000
PAGE_BYTES = 1_200_000
HEAD, TAIL = 4_000, 2_000  # characters of a longer text
RULE = (
    f"In this page are, of each stage of reinforcement learning, the first and the last kept step and up to "
    f"{STEPS - 2} evenly between them, and of each step whole groups in the order of the hash of their name, "
    f"at least one and as many as fit into its part of {STAGE_BYTES // 1000} kB. Rates, lengths and phrases "
    "are of all samples of a step, in the page or not."
)


@dataclass(frozen=True)
class StepPage:
    step: int
    all: Rates  # of every sample of the step
    groups: tuple[tuple[Kept, ...], ...]  # those in the page


@dataclass(frozen=True)
class RolloutPage:
    """One unit's: what it has kept, and what of it is in the page."""

    title: str
    kept_steps: tuple[int, ...]
    num_samples: int
    num_bytes: int  # of the files
    steps: tuple[StepPage, ...]
    changes: Mapping[tuple[int, int], Changes]  # of each two steps in the page

    @property
    def left_out(self) -> tuple[int, int]:
        """Steps that aren't in the page, and samples of those that are."""
        inside = sum(len(group) for step in self.steps for group in step.groups)
        of_steps = sum(step.all.samples for step in self.steps)
        return len(self.kept_steps) - len(self.steps), of_steps - inside

    @property
    def line(self) -> str:
        steps, samples = self.left_out
        return (
            f"{self.title}: {self.num_samples:,} samples of {len(self.kept_steps)} steps are kept, "
            f"{self.num_bytes / 1e6:.2f} MB; {len(self.steps)} of the steps are in this page"
            f"{f', but {samples:,} of their samples are left out' if samples else ' whole'}"
            f"{f', and {steps} steps are left out' if steps else ''}"
        )


def pick_pages(folders: Sequence[RolloutFolder]) -> tuple[RolloutPage, ...]:
    return tuple(_page(folder, min(STAGE_BYTES, PAGE_BYTES // len(folders))) for folder in folders)


def spread(steps: Sequence[int], count: int) -> list[int]:
    """The first, the last and those evenly between, at most `count` of them."""
    if len(steps) <= count:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)]


def page_json(pages: Sequence[RolloutPage]) -> str:
    """For a script element: no sign in it can end the element or begin another."""
    text = dumps({"verdicts": VERDICTS, "stages": [_stage_values(page) for page in pages]})
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _page(folder: RolloutFolder, budget: int) -> RolloutPage:
    steps = spread(folder.steps, STEPS)
    read = {step: folder.read(step) for step in steps}
    sides = {step: side(rows) for step, rows in read.items()}
    return RolloutPage(
        title=folder.title,
        kept_steps=folder.steps,
        num_samples=folder.num_samples,
        num_bytes=folder.num_bytes,
        steps=tuple(
            StepPage(step, rates(rows), _groups(rows, budget // len(steps))) for step, rows in read.items()
        ),
        changes={(a, b): changes(sides[a], sides[b]) for a, b in combinations(steps, 2)},
    )


def _groups(rows: Sequence[Kept], budget: int) -> tuple[tuple[Kept, ...], ...]:
    groups = sorted(by_group(rows).values(), key=lambda g: hashlib.sha256(g[0].group.encode()).digest())
    chosen: list[tuple[Kept, ...]] = []
    for group in groups:
        budget -= len(dumps(_group_values(group)).encode())
        if budget < 0 and chosen:
            break
        chosen.append(tuple(group))
    return tuple(chosen)


def _stage_values(page: RolloutPage) -> dict[str, Any]:
    return {
        "title": page.title,
        "steps": [
            {"step": s.step, "all": asdict(s.all), "groups": [_group_values(group) for group in s.groups]}
            for s in page.steps
        ],
        "changes": {f"{a}-{b}": asdict(found) for (a, b), found in page.changes.items()},
    }


def _group_values(group: Sequence[Kept]) -> dict[str, Any]:
    first = group[0]
    names = {"group": first.group if first.problem else "", "problem": first.problem, "suite": first.suite}
    rows = [_row_values(row) for row in group]
    return {**names, "prompt": _clip(first.prompt), "live": first.live, "rows": rows}


def _row_values(row: Kept) -> dict[str, Any]:
    return {
        "outcome": row.outcome,
        "cut": row.cut,
        "reward": row.reward,
        "advantage": row.advantage,
        "parts": row.parts,
        "tokens": row.tokens,
        "version": row.version,
        "detail": _clip(row.detail),
        "pieces": [[kind, _clip(text)] for kind, text in row.pieces],
    }


def _clip(text: str) -> str:
    if len(text) <= HEAD + TAIL:
        return text
    gap = len(text) - HEAD - TAIL
    return f"{text[:HEAD]}\n[... {gap:,} characters are not in this page ...]\n{text[-TAIL:]}"
