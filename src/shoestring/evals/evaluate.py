"""A model's score on held-out problems: ask, judge, count."""

import time
from collections.abc import Sequence
from dataclasses import replace

from shoestring.engine.engine import Engine
from shoestring.engine.episode import Episode, num_made, reply_of
from shoestring.engine.generator import Generator
from shoestring.evals.ask import Replies, ask, check, opening
from shoestring.evals.confidence import Sureness, sureness_here, with_confidence
from shoestring.evals.item import Item
from shoestring.evals.marking import Spoken, items_of
from shoestring.evals.receipt import ids_hash
from shoestring.evals.result import Asking, EvalResult, FewShotStyle
from shoestring.evals.whole import result_of
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import Suite, parse_suite
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
    confidence: bool = False,
) -> EvalResult:
    """k replies to each of n held-out problems of the suite, judged. Equal arguments give equal replies.

    `stage` is shown the progress and may stop it; without a `generator` or `judge` one is made here. `tools`
    are what a reply may call; `max_tokens` is then for their results too. `against`: files and folders of
    training texts, to look for the problems in. `confidence`: each answer is followed by the question how
    sure the model is of it."""
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
    replies = ask(lm, suite, n, k, seed, asking, engine, stage)
    result = mark(lm, replies, lenient, judge, against)
    return with_confidence(result, sureness(lm, engine, replies, stage)) if confidence else result


def sureness(lm: LanguageModel, generator: Generator, replies: Replies, stage: Stage | None) -> Sureness:
    """How sure the model says it is of its answers."""
    head = opening(replies.suite, replies.asking, replies.seed)
    return sureness_here(lm, generator, head, spoken(lm, replies), replies.asking.max_tokens, stage)


def mark(
    lm: LanguageModel,
    replies: Replies,
    lenient: bool,
    judge: Judge | None,
    against: Sequence[str] = (),
) -> EvalResult:
    """Judge and count, and write the receipt. The same replies may be marked strictly and leniently."""
    start = time.perf_counter()
    asking = replace(replies.asking, lenient=lenient)
    items = judged(lm, replies, lenient, judge)
    asked = replies.suite, replies.k, replies.seed, asking, replies.problems, replies.made
    seconds = replies.seconds + time.perf_counter() - start
    return result_of(*asked, items, seconds, against)


def judged(lm: LanguageModel, replies: Replies, lenient: bool, judge: Judge | None) -> list[Item]:
    """One row for each reply, in the problems' order."""
    return items_of(spoken(lm, replies), lenient, judge)


def spoken(lm: LanguageModel, replies: Replies) -> list[Spoken]:
    """The replies as text, in the problems' order."""
    return [
        Spoken(
            problem=problem,
            sample=sample,
            reply=reply_of(lm.template, c),
            written=lm.template.text(c.ids),
            kept=lm.tokenizer.decode(c.ids),
            opened=lm.template.opens_thinking,
            prompt_tokens=len(prompt),
            tokens=num_made(c),
            finish_reason=c.finish_reason.value,
            tool_calls=len(c.calls) if isinstance(c, Episode) else 0,
            prompt_sha256=ids_hash(prompt),
            ids=tuple(c.ids),
        )
        for problem, prompt, several in zip(
            replies.problems, replies.prompts, replies.completions, strict=True
        )
        for sample, c in enumerate(several)
    ]
