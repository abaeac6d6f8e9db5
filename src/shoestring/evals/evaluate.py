"""A model's score on held-out problems: ask, judge, count."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

from shoestring.engine.engine import Engine
from shoestring.engine.episode import Episode, num_made, reply_of
from shoestring.engine.generator import Generator
from shoestring.evals.ask import Replies, ask, check
from shoestring.evals.contamination import find_overlap, with_scores
from shoestring.evals.item import Item
from shoestring.evals.protocol import PROTOCOLS
from shoestring.evals.receipt import ids_hash, make_receipt
from shoestring.evals.result import Asking, EvalResult, FewShotStyle, summarise
from shoestring.evals.shape import reply_shape
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.base import GOLD, Problem
from shoestring.tasks.judge import Judge
from shoestring.tasks.language import detect
from shoestring.tasks.suite import Suite, parse_suite, refused_rows
from shoestring.tasks.tools import ToolName


def evaluate(
    lm: LanguageModel,
    suite: str | Suite,
    n: int = 256,
    k: int = 1,
    seed: int = 0,
    temperature: float = 0.0,
    max_tokens: int = 256,
    few_shot: int = 0,
    lenient: bool = False,
    system: str | None = None,
    generator: Generator | None = None,
    judge: Judge | None = None,
    stage: Stage | None = None,
    few_shot_style: FewShotStyle = "answer",
    tools: Sequence[ToolName] = (),
    max_tool_calls: int = 4,
    top_p: float = 1.0,
    against: Sequence[str] = (),
) -> EvalResult:
    """k replies to each of n held-out problems of the suite, judged. Equal arguments give equal replies.

    `stage` is shown the progress and may stop it; without a `generator` or `judge` one is made here. `tools`
    are what a reply may call; `max_tokens` is then for their results too. `against`: files and folders of
    training texts, to look for the problems in."""
    asking = Asking(
        max_tokens,
        temperature,
        few_shot,
        few_shot_style,
        lenient,
        system,
        tuple(tools),
        max_tool_calls,
        top_p,
    )
    suite = parse_suite(suite) if isinstance(suite, str) else suite
    check(n, k, asking)
    engine = generator if generator is not None else Engine(lm)
    return mark(lm, ask(lm, suite, n, k, seed, asking, engine, stage), lenient, judge, against)


def mark(
    lm: LanguageModel,
    replies: Replies,
    lenient: bool,
    judge: Judge | None,
    against: Sequence[str] = (),
) -> EvalResult:
    """Judge and count, and write the receipt. The same replies may be marked strictly and leniently."""
    start = time.perf_counter()
    items = judged(lm, replies, lenient, judge)
    suite, k, asking = str(replies.suite), replies.k, replace(replies.asking, lenient=lenient)
    found = find_overlap(replies.problems, against) if against else None
    seconds = replies.seconds + time.perf_counter() - start
    result = summarise(suite, k, replies.seed, asking, items, seconds)
    protocol = PROTOCOLS.get(asking.protocol)
    return replace(
        result,
        departures=protocol.departures(asking, k, suite) if protocol else (),
        left_out=refused_rows(replies.suite),
        overlap=with_scores(found, items, k) if found else None,
        receipt=make_receipt(suite, k, replies.seed, asking.to_json(), replies.made, items),
    )


def judged(lm: LanguageModel, replies: Replies, lenient: bool, judge: Judge | None) -> list[Item]:
    """One row for each reply, in the problems' order."""
    said = [
        (f"{problem.id}/{sample}", problem, prompt, sample, completion)
        for problem, prompt, several in zip(
            replies.problems, replies.prompts, replies.completions, strict=True
        )
        for sample, completion in enumerate(several)
    ]
    read = {name: reply_of(lm.template, c) for name, _, _, _, c in said}
    asked = [(name, problem, read[name]) for name, problem, _, _, _ in said]
    if judge is not None:
        verdicts = judge.score(asked, lenient=lenient)
    else:
        with Judge() as own:
            verdicts = own.score(asked, lenient=lenient)
    asked_in = {problem.id: detect(problem.prompt) for problem in replies.problems}
    shapes = {
        name: reply_shape(
            lm.template.text(c.ids), lm.template.opens_thinking, read[name], asked_in[problem.id]
        )
        for name, problem, _, _, c in said
    }
    return [
        Item(
            problem=problem.id,
            sample=sample,
            prompt=problem.prompt,
            gold=gold_text(problem),
            reply=lm.tokenizer.decode(c.ids),
            outcome=verdicts[name].outcome.value,
            detail=verdicts[name].detail,
            prompt_tokens=len(prompt),
            tokens=num_made(c),
            finish_reason=c.finish_reason.value,
            tool_calls=len(c.calls) if isinstance(c, Episode) else 0,
            format=shapes[name].format,
            language_thinking=shapes[name].language_thinking,
            language_answer=shapes[name].language_answer,
            disagreed=bool(verdicts[name].parts.get("disagreed")),
            reasoning=read[name].reasoning,
            answer=read[name].answer,
            cut=read[name].cut,
            said=verdicts[name].said,
            parts=dict(verdicts[name].parts),
            prompt_sha256=ids_hash(prompt),
            ids=tuple(c.ids),
        )
        for name, problem, prompt, sample, c in said
    ]


def gold_text(problem: Problem) -> str:
    """What the scorer compares with, for a reader: the answer where there is one, else all that is hidden."""
    if GOLD in problem.hidden:
        return problem.hidden[GOLD]
    if "answer" in problem.hidden:
        return str(problem.hidden["answer"])
    return json.dumps(dict(problem.hidden), default=str, ensure_ascii=False)
