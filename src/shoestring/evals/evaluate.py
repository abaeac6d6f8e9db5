"""A model's score on held-out problems: ask, judge, count."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shoestring.engine.engine import Engine
from shoestring.engine.episode import Episode, num_made, play, reply_of, system_turn
from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.errors import BadInput, Interrupted
from shoestring.evals.result import Asking, EvalResult, FewShotStyle, Item, summarise
from shoestring.evals.shape import reply_shape
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.base import Problem
from shoestring.tasks.judge import Judge
from shoestring.tasks.language import detect
from shoestring.tasks.suite import Suite, draw_problems, parse_suite
from shoestring.tasks.tools import Toolbox, ToolName, open_tools
from shoestring.text.message import Message

Shown = Callable[[int, int, int], None]  # prompts done, prompts, tokens made so far


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
) -> EvalResult:
    """k replies to each of n held-out problems of the suite, judged. Equal arguments give equal replies.

    `stage` is shown the progress and may stop it; without a `generator` or `judge` one is made here. `tools`
    are what a reply may call; `max_tokens` is then for their results too."""
    asking = Asking(
        max_tokens, temperature, few_shot, few_shot_style, lenient, system, tuple(tools), max_tool_calls
    )
    suite = parse_suite(suite) if isinstance(suite, str) else suite
    check(n, k, asking)
    engine = generator if generator is not None else Engine(lm)
    return mark(lm, ask(lm, suite, n, k, seed, asking, engine, stage), lenient, judge)


@dataclass(frozen=True)
class Replies:
    """What a model said, not judged yet. completions[i] are the k samples for problems[i]."""

    suite: Suite
    problems: list[Problem]
    prompts: list[list[int]]
    completions: Sequence[Sequence[Completion]]
    k: int
    seed: int
    asking: Asking
    seconds: float


def ask(
    lm: LanguageModel,
    suite: Suite,
    n: int,
    k: int,
    seed: int,
    asking: Asking,
    generator: Generator,
    stage: Stage | None,
) -> Replies:
    """Draw n held-out problems and generate. `asking.lenient` plays no part here."""
    start = time.perf_counter()
    check_scorable(suite)
    problems = draw_problems(suite, "test", n, seed)
    head = opening(suite, asking, seed)
    prompts = [
        lm.template.render([*head, {"role": "user", "content": p.prompt}], add_generation_prompt=True).ids
        for p in problems
    ]
    params = SamplingParams(asking.max_tokens, asking.temperature, n=k, seed=seed)
    keys = [p.id for p in problems]
    shown = show_in(stage, str(suite))
    toolbox = open_tools(asking.tools, asking.max_tool_calls)
    if toolbox is None:
        completions = ask_all(generator, prompts, params, keys, shown)
    else:
        completions = ask_with_tools(lm, generator, toolbox, prompts, params, keys, shown)
    return Replies(suite, problems, prompts, completions, k, seed, asking, time.perf_counter() - start)


def mark(lm: LanguageModel, replies: Replies, lenient: bool, judge: Judge | None) -> EvalResult:
    """Judge and count. The same replies may be marked strictly and leniently."""
    start = time.perf_counter()
    items = judged(lm, replies, lenient, judge)
    seconds = replies.seconds + time.perf_counter() - start
    asking = replace(replies.asking, lenient=lenient)
    return summarise(str(replies.suite), replies.k, replies.seed, asking, items, seconds)


def check(n: int, k: int, asking: Asking) -> None:
    if n < 1 or k < 1:
        raise BadInput(f"n = {n} and k = {k} must be at least 1")
    if asking.max_tokens < 1 or asking.few_shot < 0 or asking.temperature < 0:
        raise BadInput(
            f"max_tokens = {asking.max_tokens} must be at least 1, few_shot = {asking.few_shot} and "
            f"temperature = {asking.temperature} at least 0"
        )
    if k > 1 and asking.temperature == 0:
        raise BadInput(f"k = {k} samples at temperature 0 are all the same: set a temperature, e.g. 0.6")


def check_scorable(suite: Suite) -> None:
    if suite.is_open:
        raise BadInput(f"suite '{suite}' has no right answers, so a model has no score on it")


def opening(suite: Suite, asking: Asking, seed: int) -> list[Message]:
    """The turns before the question: the system prompt, then worked examples of the train split, in plain
    text (a base that never met thinking tags is shown none)."""
    head = system_turn(asking.system, open_tools(asking.tools, asking.max_tool_calls))
    examples = draw_problems(suite, "train", asking.few_shot, seed) if asking.few_shot else []
    for problem in examples:
        worked = suite.family.worked(problem, random.Random(f"few-shot:{seed}:{problem.id}"))
        shown = worked.answer
        if asking.few_shot_style == "reasoning" and worked.reasoning:
            shown = f"{worked.reasoning}\n{worked.answer}"
        head.append({"role": "user", "content": problem.prompt})
        head.append({"role": "assistant", "content": shown})
    return head


def ask_all(
    generator: Generator,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    keys: Sequence[str],
    shown: Shown,
) -> list[list[Completion]]:
    """Each prompt's completions in the prompts' order; `shown` hears of it as they finish."""
    done: list[list[Completion]] = [[] for _ in prompts]
    places: dict[int, int] = {}
    tokens = 0
    try:
        for i, (prompt, key) in enumerate(zip(prompts, keys, strict=True)):
            places[generator.submit(prompt, params, key)] = i
        for finished, (request, completions) in enumerate(generator.completed(), start=1):
            done[places.pop(request)] = completions
            tokens += sum(len(c.ids) for c in completions)
            shown(finished, len(prompts), tokens)
    finally:
        for (
            unfinished
        ) in places:  # stopped, or a prompt didn't fit: leave the generator empty for its next use
            generator.abort(unfinished)
    return done


def ask_with_tools(
    lm: LanguageModel,
    generator: Generator,
    toolbox: Toolbox,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    keys: Sequence[str],
    shown: Shown,
) -> list[list[Episode]]:
    """As `ask_all`; the model may call."""
    done: dict[int, list[Episode]] = {}
    tokens = 0
    for row, episodes in play(generator, lm, toolbox, prompts, params, keys):
        done[row] = episodes
        tokens += sum(map(num_made, episodes))
        shown(len(done), len(prompts), tokens)
    return [done[row] for row in range(len(prompts))]


def show_in(stage: Stage | None, name: str) -> Shown:
    """Progress into the stage. If that was asked to stop, so is the score: half a score is none."""
    start = time.perf_counter()

    def shown(done: int, total: int, tokens: int) -> None:
        if stage is None:
            return
        rate = tokens / max(time.perf_counter() - start, 1e-9)
        stage.progress(done, total, on=name, **{"tokens/s": rate})
        if stage.stop_requested and done < total:
            raise Interrupted(f"stopped in {name}: its score is not finished")

    return shown


def judged(lm: LanguageModel, replies: Replies, lenient: bool, judge: Judge | None) -> list[Item]:
    """One row for each reply, in the problems' order."""
    said = [
        (f"{problem.id}/{sample}", problem, len(prompt), sample, completion)
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
            prompt_tokens=length,
            tokens=num_made(c),
            finish_reason=c.finish_reason.value,
            tool_calls=len(c.calls) if isinstance(c, Episode) else 0,
            format=shapes[name].format,
            language_thinking=shapes[name].language_thinking,
            language_answer=shapes[name].language_answer,
            disagreed=bool(verdicts[name].parts.get("disagreed")),
        )
        for name, problem, length, sample, c in said
    ]


def gold_text(problem: Problem) -> str:
    """What the scorer compares with, for a reader: the answer where there is one, else all that is hidden."""
    if "answer" in problem.hidden:
        return str(problem.hidden["answer"])
    return json.dumps(dict(problem.hidden), default=str, ensure_ascii=False)
