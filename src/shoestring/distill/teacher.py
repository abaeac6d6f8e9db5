"""Who writes the rows: a model in this process, or one behind an endpoint (`remote/model.py`)."""

from collections.abc import Sequence
from typing import Protocol

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel, weights_sha256
from shoestring.remote.asked import STOPPED, Again, Answer, Ask, Asked, Sampling, Stop, Take, now


class Teacher(Protocol):
    """`sha256` is of the weights, "" where they are not at hand; `where` an endpoint's address, "" for this
    process; samples of teachers with different `identity` are never mixed."""

    name: str
    sha256: str
    where: str
    identity: tuple[str, ...]

    def ask(self, asks: Sequence[Ask], sampling: Sampling, take: Take, stop: Stop) -> Asked:
        """Hand each sample to `take` as it comes, in this thread. Once `stop` says so nothing more is begun,
        and what is under way is still taken."""
        ...


class LocalTeacher:
    """A model in this process, at the engine's full speed: all prompts are in its queue at once. A sample's
    random numbers are keyed by its place among its prompt's, so those before a missing one are made again,
    and told in `Asked.again`."""

    where = ""

    def __init__(self, lm: LanguageModel, generator: Generator) -> None:
        self.lm, self.generator = lm, generator
        self.name, self.sha256 = name_of(lm), weights_sha256(lm)
        self.identity = (self.name, self.sha256)

    def ask(self, asks: Sequence[Ask], sampling: Sampling, take: Take, stop: Stop) -> Asked:
        waiting: dict[int, Ask] = {}
        asked = Asked()
        lengths: dict[int, int] = {}
        try:
            for ask in asks:
                prompt = self.lm.template.render(list(ask.messages), add_generation_prompt=True).ids
                params = SamplingParams(
                    sampling.max_tokens,
                    sampling.temperature,
                    sampling.top_p,
                    n=max(ask.numbers) + 1,
                    seed=sampling.seed,
                )
                request = self.generator.submit(prompt, params, f"distill/{ask.key}")
                waiting[request], lengths[request] = ask, len(prompt)
            for request, completions in self.generator.completed():
                ask = waiting.pop(request)
                for number, made in enumerate(completions):
                    if number not in ask.numbers:
                        asked.again.append(Again(ask.key, lengths[request], len(made.ids)))
                        continue
                    reply = self.lm.template.parse(made.ids, made.cut)
                    reason, lent = made.finish_reason.value, (lengths[request], len(made.ids))
                    take(Answer(ask.key, number, reply.reasoning, reply.answer, reason, *lent, date=now()))
                if waiting and stop():
                    asked.ended = STOPPED
                    break
        finally:
            for request in waiting:
                self.generator.abort(request)
        return asked


def name_of(lm: LanguageModel) -> str:
    """The model's life in names."""
    return " > ".join(stage.name for stage in lm.lineage.stages) or lm.name
