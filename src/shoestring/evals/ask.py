"""Held-out problems put to a model: prompts, examples before them, tools, progress."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shoestring.engine.episode import Episode, num_made, play, system_turn
from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.errors import BadInput, Interrupted
from shoestring.evals.partial import Partial
from shoestring.evals.receipt import Made, made_by
from shoestring.evals.result import Asking
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.base import Answered, Family, Problem
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import Suite
from shoestring.tasks.tools import Toolbox, open_tools
from shoestring.text.message import Message

Shown = Callable[[int, int, int], None]  # prompts done, prompts, tokens made so far


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
    made: Made


def ask(
    lm: LanguageModel,
    suite: Suite,
    n: int,
    k: int,
    seed: int,
    asking: Asking,
    generator: Generator,
    stage: Stage | None,
    made: Made | None = None,
    partial: Partial | None = None,
) -> Replies:
    """Draw n held-out problems and generate. `asking.lenient` plays no part here. `made` saves looking the
    model over again; `partial` keeps each prompt's replies as they are done, and has those that were (not of
    replies with tools)."""
    start = time.perf_counter()
    check_scorable(suite)
    problems = draw_problems(suite, "test", n, seed)
    head = opening(suite, asking, seed)
    prompts = [
        lm.template.render([*head, {"role": "user", "content": p.prompt}], add_generation_prompt=True).ids
        for p in problems
    ]
    params = SamplingParams(asking.max_tokens, asking.temperature, asking.top_p, n=k, seed=seed)
    keys = [p.id for p in problems]
    shown = show_in(stage, str(suite))
    toolbox = open_tools(asking.tools, asking.max_tool_calls)
    if toolbox is None:
        completions = ask_all(generator, prompts, params, keys, shown, partial)
    else:
        completions = ask_with_tools(lm, generator, toolbox, prompts, params, keys, shown)
    seconds = time.perf_counter() - start
    return Replies(suite, problems, prompts, completions, k, seed, asking, seconds, made or made_by(lm))


def check(n: int, k: int, asking: Asking) -> None:
    if n < 1 or k < 1:
        raise BadInput(f"n = {n} and k = {k} must be at least 1")
    if asking.max_tokens < 1 or asking.few_shot < 0 or asking.temperature < 0:
        raise BadInput(
            f"max_tokens = {asking.max_tokens} must be at least 1, few_shot = {asking.few_shot} and "
            f"temperature = {asking.temperature} at least 0"
        )
    if not 0 < asking.top_p <= 1:
        raise BadInput(f"top_p = {asking.top_p} must be above 0 and at most 1")
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
        rng = random.Random(f"few-shot:{seed}:{problem.id}")
        head.append({"role": "user", "content": problem.prompt})
        head.append({"role": "assistant", "content": _solved(suite.family, problem, asking, rng)})
    return head


def _solved(family: Family, problem: Problem, asking: Asking, rng: random.Random) -> str:
    if asking.few_shot_style == "answer" and isinstance(family, Answered):
        return family.answer(problem)
    worked = family.worked(problem, rng)
    if asking.few_shot_style == "answer" or not worked.reasoning:
        return worked.answer
    return f"{worked.reasoning}\n{worked.answer}"


def ask_all(
    generator: Generator,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    keys: Sequence[str],
    shown: Shown,
    partial: Partial | None = None,
) -> list[list[Completion]]:
    """Each prompt's completions in the prompts' order; `shown` hears of it as they finish. What `partial`
    has is not asked again: random numbers are keyed, so the rest comes out as it would have."""
    done: list[list[Completion]] = [[] if partial is None else partial.have(key) for key in keys]
    places: dict[int, int] = {}
    finished, tokens = sum(map(bool, done)), 0
    try:
        for i, (prompt, key) in enumerate(zip(prompts, keys, strict=True)):
            if not done[i]:
                places[generator.submit(prompt, params, key)] = i
        for request, completions in generator.completed() if places else ():
            place = places.pop(request)
            done[place] = completions
            if partial is not None:
                partial.add(keys[place], completions)
            finished, tokens = finished + 1, tokens + sum(len(c.ids) for c in completions)
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
