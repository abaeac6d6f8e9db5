"""What the Runs page shows, as JSON: the run folders below the one that the server was started with. It reads
and changes nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from shoestring.budget.price import Amount
from shoestring.errors import BadInput, ShoestringError
from shoestring.report.curves import DRAWN
from shoestring.report.live import (
    Standing,
    find_runs,
    read_bill,
    read_curves,
    read_environment,
    read_evals,
    read_findings,
    read_stage_lines,
    read_standing,
    unreadable,
)
from shoestring.report.live_rollouts import Verdicts, read_samples, read_verdicts
from shoestring.report.rollouts import Kept
from shoestring.serve.runs_shape import (
    Figure,
    Line,
    Overview,
    Plot,
    Runs,
    Said,
    Sample,
    Samples,
    StageNow,
    Used,
)

PAGE = 50  # samples in one answer


def runs_router(root: Path) -> APIRouter:
    """Endpoints under /runs. A run is named by its folder below `root`, looked up among those found there: no
    request's text becomes a path."""
    router = APIRouter(prefix="/runs", tags=["runs"])

    def folder(run: str) -> Path:
        found = find_runs(root)
        if run not in found:
            raise HTTPException(404, f"no run '{run[:100]}' below the folder that this server shows")
        return found[run]

    @router.get("")
    def runs() -> Runs:
        """Every run, newest first."""
        return Runs(root=root.resolve().name, runs=list(_standings(find_runs(root))))

    @router.get("/overview")
    def overview(run: str) -> Overview:
        """How far it is, its stages, the bill so far, what it said of itself, scores."""
        return _read(_overview, run, folder(run))

    @router.get("/curves")
    def curves(run: str, metric: str = "") -> list[Plot]:
        """The metrics that the report draws, and `metric`; of others only that they are there."""
        return _read(_plots, folder(run), metric)

    @router.get("/verdicts")
    def verdicts(run: str) -> list[Verdicts]:
        """Of each stage that keeps rollouts: how many of each step's were right, wrong and so on."""
        return _read(read_verdicts, folder(run))

    @router.get("/rollouts")
    def rollouts(
        run: str,
        unit: str,
        step: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
        verdict: str = "",
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    ) -> Samples:
        """A step's samples, 50 at a time."""
        at, rows = _read(read_samples, folder(run), unit, step, verdict)
        return Samples(
            unit=unit, step=at, total=len(rows), samples=[_sample(r) for r in rows[offset : offset + PAGE]]
        )

    return router


def _standings(found: Mapping[str, Path]) -> Iterator[Standing]:
    """One that can't be read doesn't hide the others; its own overview says what is wrong with it."""
    for name, folder in found.items():
        try:
            yield read_standing(name, folder)
        except (ShoestringError, OSError, ValueError, KeyError) as error:
            yield unreadable(name, str(error))


def _read(read: Any, *args: Any) -> Any:
    """A question that can't be answered, and a file that can't be read, are told in one line."""
    try:
        return read(*args)
    except BadInput as error:
        raise HTTPException(404, str(error)) from None
    except (ShoestringError, OSError, ValueError, KeyError) as error:
        raise HTTPException(409, f"this run can't be read just now: {error}") from None


def _overview(name: str, folder: Path) -> Overview:
    bill = read_bill(folder)

    def used(amount: Amount) -> Used:
        return Used(seconds=amount.seconds, tokens=amount.tokens, flops=amount.flops, usd=bill.usd(amount))

    return Overview(
        standing=read_standing(name, folder),
        stages=[
            StageNow(name=s.name, job=s.job, units=s.units, finished=s.finished, used=used(s.used))
            for s in read_stage_lines(folder, bill)
        ],
        figures=[Figure(name=f.name, value=f.value, unit=f.unit, basis=f.basis) for f in bill.figures()],
        wasted={reason: used(amount) for reason, amount in bill.wasted.items()},
        findings=[Said(unit=u, step=s, name=n, text=t) for u, s, n, t in read_findings(folder)],
        evals=read_evals(folder),
        environment=read_environment(folder),
    )


def _plots(folder: Path, metric: str) -> list[Plot]:
    found: dict[tuple[str, str], Plot] = {}
    for curve in read_curves(folder):
        plot = found.setdefault(
            (curve.stage, curve.metric),
            Plot(
                stage=curve.stage,
                metric=curve.metric,
                title=DRAWN.get(curve.metric, curve.metric),
                main=curve.metric in DRAWN,
                lines=[],
            ),
        )
        if plot.main or plot.metric == metric:
            plot.lines.append(Line(name=curve.line, steps=list(curve.steps), values=list(curve.values)))
    return list(found.values())


def _sample(row: Kept) -> Sample:
    return Sample(
        problem=row.problem,
        group=row.group,
        prompt=row.prompt,
        pieces=row.pieces,
        outcome=row.outcome,
        detail=row.detail,
        cut=row.cut,
        reward=row.reward,
        advantage=row.advantage,
        tokens=row.tokens,
        parts=dict(row.parts),
    )
