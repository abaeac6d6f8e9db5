"""A model's score on held-out problems: ask, judge, count."""

import json
import random
import time
from collections.abc import Callable, Sequence

from shoestring.engine.engine import Engine
from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.errors import BadInput, Interrupted
from shoestring.evals.result import Asking, EvalResult, FewShotStyle, Item, summarise
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.base import Problem
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import Suite, draw_problems, parse_suite
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
) -> EvalResult:
    """k replies to each of n held-out problems of the suite, judged. Equal arguments give equal replies.

    `stage` is shown the progress and given the usage; `generator` and `judge` are made here where not given."""
    asking = Asking(max_tokens, temperature, few_shot, few_shot_style, lenient, system)
    suite = parse_suite(suite) if isinstance(suite, str) else suite
    check(n, k, asking)
    start = time.perf_counter()
    problems = draw_problems(suite, "test", n, seed)
    head = opening(suite, asking, seed)
    prompts = [
        lm.template.render([*head, {"role": "user", "content": p.prompt}], add_generation_prompt=True).ids
        for p in problems
    ]
    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, n=k, seed=seed)
    engine = generator if generator is not None else Engine(lm)
    completions = ask_all(engine, prompts, params, [p.id for p in problems], show_in(stage, str(suite)))
    items = judged(lm, problems, completions, lenient, judge)
    result = summarise(str(suite), k, seed, asking, items, time.perf_counter() - start)
    if stage is not None:
        meter(stage, lm, "eval", sum(map(len, prompts)), sum(item.tokens for item in items), result.seconds)
    return result


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


def opening(suite: Suite, asking: Asking, seed: int) -> list[Message]:
    """The turns before the question: the system prompt, then worked examples of the train split, in plain text
    (a base that never met thinking tags is shown none)."""
    head: list[Message] = []
    if asking.system is not None:
        head.append({"role": "system", "content": asking.system})
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
        for unfinished in places:  # stopped, or a prompt didn't fit: leave the generator empty for its next use
            generator.abort(unfinished)
    return done


def show_in(stage: Stage | None, name: str) -> Shown:
    """Progress into the stage, which may have been asked to stop: an unfinished score is not worth keeping."""
    start = time.perf_counter()

    def shown(done: int, total: int, tokens: int) -> None:
        if stage is None:
            return
        rate = tokens / max(time.perf_counter() - start, 1e-9)
        stage.progress(done, total, what=name, **{"tokens/s": rate})
        if stage.stop_requested and done < total:
            raise Interrupted(f"stopped in {name}; what was finished before is saved, go on with --resume")

    return shown


def judged(
    lm: LanguageModel,
    problems: Sequence[Problem],
    completions: Sequence[Sequence[Completion]],
    lenient: bool,
    judge: Judge | None,
) -> list[Item]:
    """One row for each reply, in the problems' order."""
    samples = [(p, s, c) for p, several in zip(problems, completions, strict=True) for s, c in enumerate(several)]
    replies = [(f"{p.id}/{s}", p, lm.template.parse(c.ids, c.cut)) for p, s, c in samples]
    if judge is not None:
        verdicts = judge.score(replies, lenient=lenient)
    else:
        with Judge() as own:
            verdicts = own.score(replies, lenient=lenient)
    return [
        Item(
            problem=p.id,
            sample=s,
            prompt=p.prompt,
            gold=gold_text(p),
            reply=lm.tokenizer.decode(c.ids),
            outcome=verdicts[name].outcome.value,
            detail=verdicts[name].detail,
            tokens=len(c.ids),
            finish_reason=c.finish_reason.value,
        )
        for (p, s, c), (name, _, _) in zip(samples, replies, strict=True)
    ]


def gold_text(problem: Problem) -> str:
    """What the scorer compares with, for a reader: the answer where there is one, else all that is hidden."""
    if "answer" in problem.hidden:
        return str(problem.hidden["answer"])
    return json.dumps(dict(problem.hidden), default=str, ensure_ascii=False)


def meter(stage: Stage, lm: LanguageModel, kind: str, read: int, made: int, seconds: float) -> None:
    """Usage of generation: 2 FLOPs for each weight and token, read or made (attention's own part is left out)."""
    weights = sum(p.numel() for p in lm.network.parameters())
    stage.use(kind, seconds=seconds, tokens=read + made, flops=2.0 * weights * (read + made))
