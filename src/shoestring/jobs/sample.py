"""Rejection sampling: ask a model training problems several times each, keep what is right and readable, and
write it as rows that an sft stage takes."""

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from shoestring.budget.flops import decode_flops
from shoestring.distill.teacher import name_of
from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.evals.ask import ask_all
from shoestring.jobs.handles import HERE, Handles
from shoestring.jobs.origins import require_problems, terms_of
from shoestring.jobs.sample_rows import DROPPED, Making, say_acceptance, write
from shoestring.lm import LanguageModel, load, weights_sha256
from shoestring.remote.asked import Sampling as How
from shoestring.remote.asked import now
from shoestring.rl.rollout import Asked, ask, judge_groups
from shoestring.run import Stage, saving, write_atomic
from shoestring.settings import Settings
from shoestring.tasks.accept import Filters, Sample, decide
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite

RUN_ONLY = {"keep", "workers", "max_batch", "model", "permission"}  # settings that change no sample


class SampleSettings(Settings):
    model: str
    suites: list[str] = Field(min_length=1)  # in turn; held-out problems are never asked
    prompts: int = Field(ge=1)  # of all suites together
    samples_per_prompt: int = Field(default=4, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_tokens: int = Field(default=512, ge=1)
    system: str | None = None
    keep: Filters = Filters()
    permission: str = ""  # in writing, a text or a file, where a base's terms bar training on its outputs
    prompts_per_chunk: int = Field(default=32, ge=1)  # what a kill loses at most
    max_batch: int = Field(default=64, ge=1)
    workers: int = Field(default=2, ge=1)  # judge processes
    seed: int = 0
    dtype: str = "auto"
    device: str = "cpu"


def check(settings: SampleSettings) -> object:
    """What can be refused before anything runs: a suite that doesn't exist or has no training problems."""
    if settings.samples_per_prompt > 1 and settings.temperature == 0:
        raise BadInput(
            "sample: several samples at temperature 0 are all the same: set a temperature, e.g. 1.0"
        )
    suites = [parse_suite(suite) for suite in settings.suites]
    require_problems(suites)
    stream = ProblemStream(suites, settings.seed)
    return [stream.item(i) for i in range(len(settings.suites))]


def main(settings: SampleSettings, stage: Stage, handles: Handles = HERE) -> dict[str, Any]:
    """Each chunk of prompts is written when it is judged; a resumed stage does what is missing. What is kept
    is decided at the end, over all of them."""
    check(settings)
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    teacher, weights = name_of(lm), weights_sha256(lm)
    terms = terms_of(lm, teacher, settings.permission)
    with handles.judge(settings.workers) as judge:
        work = Sampling(settings, stage, lm, handles.generator(lm, settings.max_batch), judge)
        work.folder_for(weights)
        samples = [sample for first in work.firsts() for sample in work.chunk(first)]
    decisions = decide(samples, settings.keep)
    s = settings
    how = How(s.temperature, s.top_p, s.max_completion_tokens, s.seed)
    making = Making(teacher, weights, how, terms, s.system, lm.lineage, lm.lineage.licence)
    write(stage.folder, decisions, making)
    table, kept = say_acceptance(stage, decisions)
    if not kept:
        raise ShoestringError(
            f"none of {len(decisions)} samples was kept, so there is nothing to train on: see "
            f"{stage.folder / DROPPED} for the reasons; sample more, from easier levels, or keep more"
        )
    result = {"rows": kept, "samples": len(decisions), "teacher": teacher, "teacher_sha256": weights}
    return result | {"acceptance": table}


class Sampling:
    """The chunks of one stage: sampled and judged, or read back."""

    def __init__(
        self, settings: SampleSettings, stage: Stage, lm: LanguageModel, generator: Generator, judge: Judge
    ) -> None:
        self.settings, self.stage, self.lm = settings, stage, lm
        self.generator, self.judge = generator, judge
        self.suites = [parse_suite(suite) for suite in settings.suites]
        self.stream = ProblemStream(self.suites, settings.seed)
        self.folder = stage.folder / "samples"
        self.made, self.started = 0, time.perf_counter()  # tokens of this start, for the rate

    def folder_for(self, weights: str) -> None:
        """Chunks of other settings or weights are others: they lie beside these and aren't read."""
        asked = self.settings.model_dump(mode="json", exclude=RUN_ONLY)
        mark = hashlib.sha256(json.dumps([asked, weights], sort_keys=True).encode()).hexdigest()[:12]
        self.folder = self.folder / mark
        with saving(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def firsts(self) -> range:
        return range(0, self.settings.prompts, self.settings.prompts_per_chunk)

    def chunk(self, first: int) -> list[Sample]:
        path = self.folder / f"from-{first:06d}.json"
        asked = [self.asked(i) for i in range(first, self.end(first))]
        if not path.exists():
            if self.stage.stop_requested:
                raise Interrupted(f"stopped after {first} of {self.settings.prompts} prompts; they are saved")
            write_atomic(path, json.dumps(self.sampled(asked, first), ensure_ascii=False) + "\n")
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [
            Sample(index=first + i, suite=item.suite, problem=item.problem, **values)
            for i, (item, several) in enumerate(zip(asked, rows, strict=True))
            for values in several
        ]

    def end(self, first: int) -> int:
        return min(first + self.settings.prompts_per_chunk, self.settings.prompts)

    def asked(self, index: int) -> Asked:
        problem, suite = self.stream.item(index), str(self.suites[index % len(self.suites)])
        assert not problem.held_out, problem.id
        return ask(self.lm.template, problem, suite, self.settings.system, f"sample/{index}/{problem.id}")

    def sampled(self, asked: Sequence[Asked], first: int) -> list[list[dict[str, Any]]]:
        s = self.settings
        params = SamplingParams(
            s.max_completion_tokens, s.temperature, s.top_p, n=s.samples_per_prompt, seed=s.seed
        )
        began = time.perf_counter()
        prompts, names = [a.prompt for a in asked], [a.name for a in asked]

        def shown(done: int, total: int, tokens: int) -> None:
            seconds = max(time.perf_counter() - self.started, 1e-9)
            rate = {"tokens/s": f"{(self.made + tokens) / seconds:.0f}"}
            self.stage.progress(first + done, s.prompts, **rate)
            if self.stage.stop_requested and done < total:
                raise Interrupted(f"stopped after {first} of {s.prompts} prompts; they are saved")

        completions = ask_all(self.generator, prompts, params, names, shown)
        sampled, date = time.perf_counter(), now()
        judged = judge_groups(self.judge, self.lm.template, asked, completions)
        self.meter(asked, completions, sampled - began, time.perf_counter() - sampled)
        return [
            [
                {
                    "number": number,
                    "reasoning": reply.reasoning,
                    "answer": reply.answer,
                    "cut": completion.cut,
                    "tokens": len(completion.ids),
                    "outcome": verdict.outcome.value,
                    "detail": verdict.detail,
                    "date": date,
                }
                for number, (completion, reply, verdict) in enumerate(several)
            ]
            for _, several in judged
        ]

    def meter(
        self,
        asked: Sequence[Asked],
        completions: Sequence[Sequence[Completion]],
        seconds: float,
        judging: float,
    ) -> None:
        lengths = [[len(c.ids) for c in several] for several in completions]
        made = sum(map(sum, lengths))
        pairs = zip(asked, lengths, strict=True)
        flops = sum(decode_flops(self.lm.config, len(a.prompt), several) for a, several in pairs)
        cut = sum(len(c.ids) for several in completions for c in several if c.cut)
        self.stage.use("generate", seconds, made, flops, {"cut": cut} if cut else None)
        self.stage.use("judge", judging)
        self.made += made
