"""What the Runs page is sent, field by field."""

from pydantic import BaseModel

from shoestring.report.live import EvalLine, Standing


class Runs(BaseModel):
    root: str
    runs: list[Standing]


class Used(BaseModel):
    seconds: float
    tokens: float
    flops: float
    usd: float


class StageNow(BaseModel):
    name: str
    job: str
    units: int
    finished: int
    used: Used


class Figure(BaseModel):
    name: str
    value: float
    unit: str
    basis: str


class Said(BaseModel):
    unit: str
    step: int
    name: str
    text: str


class Overview(BaseModel):
    standing: Standing
    stages: list[StageNow]
    figures: list[Figure]
    wasted: dict[str, Used]  # by reason
    findings: list[Said]
    evals: list[EvalLine]
    environment: dict[str, str]


class Line(BaseModel):
    name: str  # arm and seed; empty for the recipe as written
    steps: list[int]
    values: list[float | None]


class Plot(BaseModel):
    stage: str
    metric: str
    title: str
    main: bool  # one of those that the report draws
    lines: list[Line]  # none where the metric is neither main nor asked for


class Sample(BaseModel):
    problem: str
    group: str
    prompt: str
    pieces: list[tuple[str, str]]  # (think | answer | "", text)
    outcome: str
    detail: str
    cut: bool
    reward: float | None
    advantage: float | None
    tokens: int | None
    parts: dict[str, float]


class Samples(BaseModel):
    unit: str
    step: int
    total: int
    samples: list[Sample]
