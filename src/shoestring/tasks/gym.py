"""reasoning-gym's procedural families as `gym:NAME` (extra `gym`). Level keys are the dataset's own settings.

Its item i is made from seed + i, so different seeds overlap: as everywhere here, the problem itself decides
whether it is held out. Its scorers give partial marks to wrong answers: only the full mark counts.
"""

import dataclasses
import random
from functools import cache
from typing import Any

from pydantic import create_model, model_validator

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.settings import Settings, nearest
from shoestring.tasks.answers import SEPARATOR, boxed, clean, numbers, sentences, tagged
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.texts import same_text
from shoestring.text.message import Reply

FULL_MARK = 1.0  # exactly: a few add up shares to 0.9999... for a right start with a wrong end
# many scorers look for the answer anywhere in what they get: a list of candidates is no answer
ROOMY, ROOM = 3, 40  # times the known answer's characters, and more
BY_TEXT = ("gym:game_of_life_halting",)  # its scorer takes any text for "True"
# raised at answers that aren't of the form a scorer counts on
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, AttributeError)
NOT_LEVELS = ("seed", "size")  # which item, not what kind
WITHOUT = ("composite",)  # a mixture of others: name several suites instead


@cache
def gym_family(name: str) -> "GymFamily":
    """Raises BadInput where reasoning-gym is missing or has no such family."""
    known = gym_names()
    if name not in known:
        raise BadInput(f"no family 'gym:{name}'{nearest(name, known)}")
    return GymFamily(name)


@cache
def gym_names() -> list[str]:
    try:
        from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadInput(f"gym: suites need reasoning-gym ({error}): pip install 'shoestring[gym]'") from None
    return sorted(set(DATASETS) - set(WITHOUT))


class GymFamily:
    """key: the question's text with its spaces evened."""

    def __init__(self, name: str) -> None:
        self.name = f"gym:{name}"
        self._datasets: dict[str, Any] = {}
        self.Level = self._make_level()

    def _make_level(self) -> type[Settings]:
        """The dataset's configuration as settings, so that unknown keys are refused and defaults are
        known."""
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(self._config_class):
            if field.default_factory is not dataclasses.MISSING:
                fields[field.name] = (Any, field.default_factory())
            elif field.default is not dataclasses.MISSING:
                fields[field.name] = (Any, field.default)
        for name in NOT_LEVELS:
            fields.pop(name, None)
        return create_model(
            "GymLevel", __base__=Settings, __validators__={"fits": self._validator()}, **fields
        )

    def draw(self, level: Settings, rng: random.Random) -> Problem:
        index = rng.randrange(2**31)
        try:
            entry = self._dataset(level.model_dump(exclude_defaults=True))[index]
        except IndexError:  # a few keep a table as long as `size` and have no item beyond it
            settings = level.model_dump(exclude_defaults=True)
            entry = self._create(seed=index, size=10, **settings)[index % 10]
        key = " ".join(entry["question"].split())
        hidden = {"entry": entry, "settings": level.model_dump(exclude_defaults=True)}
        origin = Origin(self.name, "Apache-2.0")
        return Problem(self.name, level_text(level), key, entry["question"], hidden, origin)

    def count(self, level: Settings) -> None:
        return None

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        """The whole answer, or what it puts in one <answer> tag or one box, by the dataset's own scorer."""
        return self._best(problem, [_stated(reply.answer)])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """The full mark for the answer's last line, its last statement or its last number is enough."""
        strict = self.score(problem, reply)
        if strict.outcome is Outcome.RIGHT:
            return strict
        text = clean(reply.answer, problem.prompt)
        lines = [line.rstrip(".!") for line in sentences(text)]
        tries = [
            *lines[-1:],
            *[SEPARATOR.split(line)[-1].strip() for line in lines[-1:]],
            *numbers(text)[-1:],
        ]
        lenient = self._best(problem, tries)
        return lenient if lenient.outcome is Outcome.RIGHT else strict

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        raise BadInput(f"{self.name} has no worked solutions; use one of our own families for a cold start")

    def answer(self, problem: Problem) -> str:
        gold = problem.hidden["entry"].get("answer")
        if not isinstance(gold, str):
            raise BadInput(f"{self.name} keeps no one answer that could be shown: leave out few_shot")
        return gold

    def _best(self, problem: Problem, answers: list[str]) -> Verdict:
        answers = [answer for answer in answers if answer]
        if not answers:
            return Verdict(Outcome.UNPARSED, 0.0, detail="no answer found")
        gold = problem.hidden["entry"].get("answer")
        if isinstance(gold, str) and all(len(a) > ROOMY * len(gold) + ROOM for a in answers):
            return Verdict(Outcome.WRONG, 0.0, detail="far longer than the dataset's own answer")
        try:
            mark = max(self._mark(problem, answer) for answer in answers)
        except UNREADABLE as error:
            return Verdict(
                Outcome.WRONG, 0.0, detail=f"its scorer can't read it: {type(error).__name__}: {error}"
            )
        said = same_text(answers[0])
        if mark >= FULL_MARK:
            return Verdict(Outcome.RIGHT, 1.0, said=said)
        return Verdict(Outcome.WRONG, 0.0, detail=f"the dataset's own mark is {mark:.3g}", said=said)

    def _mark(self, problem: Problem, answer: str) -> float:
        entry = problem.hidden["entry"]
        if self.name in BY_TEXT:
            return float(same_text(answer) == same_text(str(entry["answer"])))
        return float(self._dataset(problem.hidden["settings"]).score_answer(answer=answer, entry=entry))

    @property
    def _config_class(self) -> type:
        from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]

        return DATASETS[self.name.removeprefix("gym:")][1]

    def _dataset(self, settings: dict[str, Any]) -> Any:
        """Made once a level: some read a file of words when they are made."""
        text = repr(sorted(settings.items()))
        if text not in self._datasets:
            self._datasets[text] = self._create(seed=0, size=10, **settings)
        return self._datasets[text]

    def _create(self, **settings: Any) -> Any:
        import reasoning_gym  # pyright: ignore[reportMissingImports]

        return reasoning_gym.create_dataset(self.name.removeprefix("gym:"), **settings)

    def _validator(self) -> Any:
        def fits(level: Settings) -> Settings:
            try:
                self._dataset(level.model_dump(exclude_defaults=True))
            except (AssertionError, TypeError, ValueError, KeyError) as error:
                raise ValueError(f"{self.name} can't be made so: {error}") from None
            return level

        return model_validator(mode="after")(fits)


def _stated(answer: str) -> str:
    tags = tagged(answer)
    found = tags or boxed(answer)
    if found:
        return found[0].strip() if len(set(found)) == 1 else ""
    return answer.strip()
