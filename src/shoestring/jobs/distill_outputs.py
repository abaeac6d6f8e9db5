"""Distillation from outputs: a teacher is asked training problems several times each, and what is right,
readable, unlike the rest and in no evaluation is written as rows that an sft stage takes."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoestring.distill.minhash import NearDuplicates
from shoestring.distill.teacher import LocalTeacher, Teacher
from shoestring.engine.engine import Engine
from shoestring.engine.generator import Generator
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs.distill_card import card
from shoestring.jobs.distill_meter import Meter
from shoestring.jobs.distill_prompts import Prompt, choose, tested
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.jobs.origins import require_problems, require_teacher, terms_of, terms_of_service
from shoestring.jobs.sample_rows import DROPPED, Making, say_acceptance, write
from shoestring.lm import load
from shoestring.origin import Lineage
from shoestring.remote.asked import STOPPED, Asked
from shoestring.remote.endpoint import checked_key
from shoestring.remote.model import RemoteModel, identity_of
from shoestring.remote.spending import Budget
from shoestring.remote.store import REFUSED, Store, spent
from shoestring.run import Stage, held, write_atomic
from shoestring.tasks.accept import (
    IN_EVALUATION,
    REPEATS_ANOTHER,
    Decision,
    Sample,
    decide,
)
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.overlap import TestedTexts
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply

CARD = "README.md"


def check(settings: DistillOutputsSettings) -> object:
    """What can be refused before anything runs or is paid for."""
    if settings.samples_per_prompt > 1 and settings.temperature == 0:
        raise BadInput("distill: several samples at temperature 0 are all the same: set a temperature")
    endpoint = settings.endpoint
    if endpoint is not None:
        checked_key(endpoint)
        terms_of_service(endpoint.model, settings.teacher_licence, endpoint.url, settings.permission)
    else:
        require_teacher(str(settings.teacher), settings.permission)
    suites = [parse_suite(suite) for suite in settings.suites]
    if settings.prompts < len(suites):
        raise BadInput(f"distill: {settings.prompts} prompts for {len(suites)} suites; each needs one")
    require_problems(suites)
    return [draw_problems(suite, "train", 1, settings.seed) for suite in suites], tested(settings, 1)


def main(
    settings: DistillOutputsSettings, stage: Stage, generator: Generator | None = None
) -> dict[str, Any]:
    """Each sample is kept the moment it comes; what becomes a row is decided at the end, over all of them."""
    check(settings)
    root = Path(settings.samples_dir) if settings.samples_dir else stage.folder / "samples"
    with held(root / ".lock", wait=False) as mine:
        if not mine:
            raise BadInput(f"{root}: another process is asking for these samples; wait for it")
        against = tested(settings, settings.tested_problems)
        prompts, never_asked = choose(settings, against)
        told = Counter(row["reason"] for row in never_asked)
        drawn = len(prompts) + len(never_asked)
        stage.say(f"{len(prompts)} of {drawn} prompts are asked" + _told("; left out: ", told))
        teacher, store, meter = open_teacher(settings, stage, root, generator)
        lineage, terms = allowed(settings, teacher)
        asked = gather(settings, stage, teacher, store, meter, prompts)
    samples = judged(settings, stage, prompts, store)
    decisions = across(decide(samples, settings.keep), settings, against)
    licence = lineage.licence if lineage else settings.teacher_licence
    written = teacher.name, teacher.sha256, settings.sampling, terms, settings.system
    making = Making(*written, lineage, licence, teacher.where)
    write(stage.folder, decisions, making, never_asked)
    table, kept = say_acceptance(stage, decisions)
    result = {
        "rows": kept,
        "samples": len(decisions),
        "prompts": {"drawn": drawn, "asked": len(prompts), **told},
        "teacher": teacher.name,
        "teacher_sha256": teacher.sha256,
        "terms": terms,
        "acceptance": table,
        "spent": meter.spent(),
        "unanswered": dict(asked.unanswered),
        "refused": store.refused([p.ask for p in prompts]),
        "faults": dict(asked.faults),
        "ended": asked.ended,
    }
    origins = Counter(d.sample.problem.origin for d in decisions if not d.reason)
    write_atomic(stage.folder / CARD, card(stage.name, settings, teacher.where, origins, result))
    if not kept:
        raise ShoestringError(
            f"none of {len(decisions)} samples was kept, so there is nothing to train on: see "
            f"{stage.folder / DROPPED} for the reasons"
        )
    return result


def allowed(settings: DistillOutputsSettings, teacher: Teacher) -> tuple[Lineage | None, str]:
    """What reached the teacher, where that is known, and under which terms a student may learn from it.
    Raises BadInput before anything is asked for."""
    if isinstance(teacher, LocalTeacher):
        return teacher.lm.lineage, terms_of(teacher.lm, teacher.name, settings.permission)
    licence, permission = settings.teacher_licence, settings.permission
    return None, terms_of_service(teacher.name, licence, teacher.where, permission)


def open_teacher(
    settings: DistillOutputsSettings, stage: Stage, root: Path, generator: Generator | None
) -> tuple[Teacher, Store, Meter]:
    """The teacher, its samples so far, and what counts them."""
    endpoint = settings.endpoint
    if endpoint is None:
        lm = load(str(settings.teacher), dtype=settings.dtype, device=settings.device)
        local = LocalTeacher(lm, generator or Engine(lm, max_batch=settings.max_batch))
        store = Store(root, local.identity, settings.sampling)
        return local, store, Meter(stage, store, lm.config, None)
    store = Store(root, identity_of(endpoint), settings.sampling)
    budget = Budget(endpoint)
    budget.had(*spent(root, endpoint.url))
    meter = Meter(stage, store, None, budget)
    told = meter.lose, stage.say, store.refuse
    return RemoteModel(endpoint, checked_key(endpoint), budget, *told), store, meter


def gather(
    settings: DistillOutputsSettings,
    stage: Stage,
    teacher: Teacher,
    store: Store,
    meter: Meter,
    prompts: Sequence[Prompt],
) -> Asked:
    """Ask for what is missing. Raises Interrupted, and what made the teacher useless, once all is saved."""
    asks = [p.ask for p in prompts]
    missing = store.missing(asks)
    total = len(prompts) * settings.samples_per_prompt - store.refused(asks)
    meter.begin(total, sum(len(ask.numbers) for ask in missing))
    try:
        with meter:
            asked = teacher.ask(missing, settings.sampling, meter.take, lambda: stage.stop_requested)
            meter.redo(asked.again)
    except ShoestringError as error:
        so_far = f"{meter.done} of {total} samples are saved in {store.folder}"
        raise type(error)(f"{error}; {so_far}: with --resume only the rest is asked for") from None
    if asked.ended == STOPPED:
        raise Interrupted(f"stopped after {meter.done} of {total} samples; they are saved in {store.folder}")
    if asked.refused and not len(store):
        why = next(iter(asked.refused.values()))
        raise ShoestringError(f"endpoint {teacher.where}: it refuses every prompt, the first for: {why}")
    say_how_it_went(stage, store, meter, asked, store.refused(asks))
    return asked


def say_how_it_went(stage: Stage, store: Store, meter: Meter, asked: Asked, refused: int) -> None:
    """refused: of all that is wanted, earlier starts' too."""
    if asked.ended:
        stage.say(
            f"stopped after {meter.done} of {meter.total} samples: {asked.ended}. They are saved: with a "
            f"larger budget and samples_dir = '{store.folder.parent}' only the rest is asked for"
        )
    if asked.faults:
        stage.say("faults of the endpoint" + _told(": ", asked.faults))
    if asked.unanswered:
        stage.say("samples that could not be had" + _told(": ", asked.unanswered))
    if refused:
        stage.say(
            f"the endpoint refuses the prompts of {refused} samples, which are left out: what it said is in "
            f"{store.folder / REFUSED}; delete that to ask again"
        )


def judged(
    settings: DistillOutputsSettings, stage: Stage, prompts: Sequence[Prompt], store: Store
) -> list[Sample]:
    """Every sample there is, with its verdict; verdicts are matched by id."""
    found = [
        (f"{index}/{number}", index, prompt, answer)
        for index, prompt in enumerate(prompts)
        for number in prompt.ask.numbers
        if (answer := store.get(prompt.ask.key, number)) is not None
    ]
    with Judge(workers=settings.workers) as judge:
        items = [(i, p.problem, Reply(a.reasoning, a.answer, a.cut)) for i, _, p, a in found]
        verdicts = judge.score(items)
    return [
        Sample(
            index=index,
            number=answer.number,
            suite=prompt.suite,
            problem=prompt.problem,
            reasoning=answer.reasoning,
            answer=answer.answer,
            cut=answer.cut,
            tokens=answer.completion_tokens,
            outcome=verdicts[name].outcome.value,
            detail=verdicts[name].detail or ("" if not answer.cut else f"ended by {answer.finish_reason}"),
            date=answer.date,
        )
        for name, index, prompt, answer in found
    ]


def across(
    decisions: Sequence[Decision], settings: DistillOutputsSettings, against: TestedTexts
) -> list[Decision]:
    """The decisions, with replies dropped that repeat another problem's or quote an evaluation."""
    near = NearDuplicates(settings.max_similarity, settings.similar_words)
    after: list[Decision] = []
    for decision in decisions:
        sample = decision.sample
        shared = "" if decision.reason else against.found_in(sample.text)
        repeated = None if decision.reason or shared else near.add(sample.id, sample.text, sample.problem.id)
        if shared or repeated:
            detail = shared or f"the reply {repeated}"
            sample = dataclasses.replace(sample, detail=detail)
            reason = IN_EVALUATION if shared else REPEATS_ANOTHER
            decision = dataclasses.replace(decision, sample=sample, reason=reason)
        after.append(decision)
    return after


def _told(before: str, counts: Counter[str]) -> str:
    return before + ", ".join(f"{name} {count}" for name, count in counts.items()) if counts else ""
