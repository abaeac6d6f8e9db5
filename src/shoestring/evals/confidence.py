"""How sure a model is of its answers: asked in a turn of its own after each, so that the answers and their
score are those that it gives unasked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.evals.ask import ask_all, show_in
from shoestring.evals.calibration import calibration
from shoestring.evals.item import Item
from shoestring.evals.marking import Spoken
from shoestring.evals.result import EvalResult
from shoestring.evals.server import Server
from shoestring.lm import LanguageModel
from shoestring.remote.asked import Answer, Ask, Sampling
from shoestring.run import Stage
from shoestring.tasks.base import Outcome
from shoestring.tasks.confidence import stated_confidence
from shoestring.tasks.language import detect
from shoestring.text.message import Message, assistant, user

ENGLISH = "How sure are you that your answer is right? Reply with one number from 0 to 100, in percent."
CHINESE = "你有多大把握认为你的答案是对的？请只用一个0到100之间的百分数回答。"


@dataclass(frozen=True)
class Sureness:
    """said: the reply to the question, by item ("PROBLEM/SAMPLE"). work: (a prompt's length, its replies'
    lengths). Replies without an answer were not asked."""

    said: Mapping[str, str]
    work: list[tuple[int, list[int]]]


def sureness_here(
    lm: LanguageModel,
    generator: Generator,
    head: Sequence[Message],
    spoken: Sequence[Spoken],
    max_tokens: int,
    stage: Stage | None,
) -> Sureness:
    """Asked greedily of a model in this process; `head` are the turns before each problem."""
    asked = answered(spoken)
    prompts = [
        lm.template.render(list(conversation(head, one)), add_generation_prompt=True).ids for one in asked
    ]
    params, keys = SamplingParams(max_tokens, 0.0), [f"sure/{one.name}" for one in asked]
    completions = [
        several[0] for several in ask_all(generator, prompts, params, keys, show_in(stage, "sure"))
    ]
    replies = [lm.template.parse(c.ids, c.cut) for c in completions]
    work = [(len(prompt), [len(c.ids)]) for prompt, c in zip(prompts, completions, strict=True)]
    return Sureness(dict(zip([one.name for one in asked], (r.answer for r in replies), strict=True)), work)


def sureness_there(
    server: Server,
    head: Sequence[Message],
    spoken: Sequence[Spoken],
    max_tokens: int,
    seed: int,
    stage: Stage | None,
) -> Sureness:
    """Asked greedily of a server's model; what it says is kept with its other replies."""
    asked = answered(spoken)
    asks = [Ask(conversation(head, one), (0,)) for one in asked]
    said, _ = server.gather(asks, Sampling(0.0, 1.0, max_tokens, seed), stage, "confidence", "sure")
    told = [(one.name, several[0]) for one, several in zip(asked, said, strict=True)]
    answers = [(name, got) for name, got in told if isinstance(got, Answer)]
    work = [(answer.prompt_tokens, [answer.completion_tokens]) for _, answer in answers]
    return Sureness({name: answer.answer for name, answer in answers}, work)


def answered(spoken: Sequence[Spoken]) -> list[Spoken]:
    return [one for one in spoken if one.reply.answer.strip() and not one.refused]


def conversation(head: Sequence[Message], one: Spoken) -> tuple[Message, ...]:
    """The problem, the answer (without its thinking, as any chat goes on) and the question."""
    question = CHINESE if detect(one.problem.prompt) == "zh" else ENGLISH
    return (*head, user(one.problem.prompt), assistant(one.reply.answer), user(question))


def with_confidence(result: EvalResult, sureness: Sureness) -> EvalResult:
    """The same score, each item with what it says of its answer, and how well that fits."""
    items = tuple(_told(item, sureness.said.get(f"{item.problem}/{item.sample}")) for item in result.items)
    scored = [item for item in items if item.outcome != Outcome.OPEN]
    found = calibration(
        [item.confidence for item in scored],
        [item.outcome == Outcome.RIGHT for item in scored],
        [item.problem for item in scored],
    )
    return replace(result, items=items, confidence_asked=True, calibration=found)


def _told(item: Item, said: str | None) -> Item:
    if said is None:
        return item
    return replace(item, confidence=stated_confidence(said, asked=True), confidence_said=said)
