"""Before a run trains on a reward, the reward is attacked: what it pays for replies made without solving is
what would be learnt first. Scorers and parts of shape are attacked together, as the run will pay them."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.rl.attacks import ATTACKS, HONEST, Attack, Target, Think, target_of
from shoestring.rl.reward import Extra, Reward, Said
from shoestring.rl.settings import GRPOSettings
from shoestring.run import Stage
from shoestring.run.files import dumps, write_atomic
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.judge import Judge
from shoestring.tasks.language import detect
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply
from shoestring.text.stream import CLOSE, OPEN
from shoestring.text.template import Template

PROBLEMS = 8  # of each suite
LONG = 20_000  # characters
PATIENCE_S = 30.0  # for one suite: a scorer that hangs on every attack must not hold a run up for long
SHOWN = 3  # attacks that a refusal names
RIGHT = Attack("the right answer, stated", lambda t, think: think("Let me see.", t.known or ""), knows=True)

# what computes parts elsewhere, in batch: a preference model
Asker = Callable[[Sequence[tuple[str, Problem, Reply]]], Extra]


@dataclass(frozen=True)
class Attacked:
    """One attack on one suite: the mean reward it earned, and the most that it may: what the shape of an
    honest wrong reply is paid for the same problems, and the margin. failed: samples without a verdict."""

    suite: str
    attack: str
    earned: float
    allowed: float
    tried: int
    failed: int

    @property
    def refused(self) -> bool:
        return self.earned > self.allowed

    def __str__(self) -> str:
        return f"'{self.attack}' earns {self.earned:.2f} on {self.suite} (allowed {self.allowed:.2f})"


@dataclass(frozen=True)
class Try:
    """One attack on one problem."""

    row_id: str
    suite: str
    attack: str
    problem: Problem
    said: Said


def guard(
    settings: GRPOSettings, lm: LanguageModel, judge: Judge, stage: Stage, ask: Asker | None = None
) -> None:
    """Attack the run's reward, write redteam.json, say one line. Raises BadInput where an attack pays."""
    began = time.perf_counter()
    suites = [s for s in settings.suites if not parse_suite(s).is_open]  # the others have no answer to miss
    if not suites:
        return
    results = check_reward(judge, suites, settings.rule(), lm, settings.red_team_margin, ask)
    seconds = time.perf_counter() - began
    stage.use("judge", seconds)
    attacks = [r for r in results if r.attack != RIGHT.name]
    rows = [dataclasses.asdict(r) | {"refused": r.refused} for r in attacks]
    known = {r.suite: r.earned for r in results if r.attack == RIGHT.name}
    text = dumps({"attacks": rows, "right_answer_earns": known, "seconds": round(seconds, 2)}, indent=2)
    write_atomic(stage.folder / "redteam.json", text + "\n")
    refuse(attacks)
    stage.say(summary(attacks, seconds))


def refuse(results: Sequence[Attacked]) -> None:
    """Raises BadInput, one line, naming the attacks that are paid most."""
    paid = sorted((r for r in results if r.refused), key=lambda r: r.allowed - r.earned)
    if paid:
        more = f" and {len(paid) - SHOWN} more" if len(paid) > SHOWN else ""
        raise BadInput(
            f"reward refused: {', '.join(map(str, paid[:SHOWN]))}{more}: mend the scorer, gate or lower what "
            "pays (shape), or set red_team = false to train on it all the same"
        )


def summary(results: Sequence[Attacked], seconds: float) -> str:
    closest = max(results, key=lambda r: r.earned - r.allowed)
    failed = sum(r.failed for r in results)
    lost = f"; {failed} replies had no verdict" if failed else ""
    names, suites = {r.attack for r in results}, {r.suite for r in results}
    untried = sum(r.attack == ATTACKS[-1].name for r in results) < len(suites)
    lost += f"; a scorer took over {PATIENCE_S:.0f} s, so some attacks weren't tried on it" if untried else ""
    return (
        f"red team: {len(names)} attacks on {len(suites)} suites, none pays; closest {closest}{lost}; "
        f"{seconds:.1f} s"
    )


def check_reward(
    judge: Judge,
    suites: Sequence[str],
    reward: Reward,
    lm: LanguageModel,
    margin: float,
    ask: Asker | None = None,
) -> list[Attacked]:
    """Every attack on every suite, and what the known answer earns when it is simply stated. A control is
    attacked as the task it stands beside."""
    reward = dataclasses.replace(reward, kind="task")
    tries: list[Try] = []
    verdicts: dict[str, Verdict] = {}
    for suite in dict.fromkeys(suites):
        began = time.perf_counter()
        for name, group in itertools.groupby(_tries(suite, reward.seed, lm), key=lambda t: t.attack):
            late = time.perf_counter() - began > PATIENCE_S
            if late and name not in (RIGHT.name, HONEST.name):  # what the others are compared with
                break
            batch = list(group)
            verdicts |= judge.score([(t.row_id, t.problem, t.said.reply) for t in batch])
            tries += batch
    extra = ask([(t.row_id, t.problem, t.said.reply) for t in tries]) if ask is not None else {}
    return _results(tries, reward, verdicts, extra, margin)


def _tries(suite: str, seed: int, lm: LanguageModel) -> list[Try]:
    stream = ProblemStream(parse_suite(suite), seed)
    targets = [target_of(stream.item(index)) for index in range(PROBLEMS)]
    return [
        Try(
            f"redteam/{suite}/{attack.name}/{i}", suite, attack.name, target.problem, said(attack, target, lm)
        )
        for attack in (RIGHT, *ATTACKS)
        for i, target in enumerate(targets[: attack.times or PROBLEMS])
        if target.known is not None or not attack.knows
    ]


def said(attack: Attack, target: Target, lm: LanguageModel) -> Said:
    """The attack as if the model had written it and ended by itself, parsed like any completion."""
    text = attack.write(target, _tags(lm.template))
    reply = lm.template.parse_text(text, cut=False)
    # what is very long is over any cap, and is not worth a second of tokenizing
    count = len(lm.tokenizer.encode(text)) if len(text) < LONG else len(text)
    return Said(text, lm.template.opens_thinking, reply, count, detect(target.problem.prompt))


def _tags(template: Template) -> Think:
    opening = "" if template.opens_thinking else f"{OPEN}\n"
    return lambda thinking, answer: f"{opening}{thinking}\n{CLOSE}\n{answer}"


def _results(
    tries: Sequence[Try], reward: Reward, verdicts: Mapping[str, Verdict], extra: Extra, margin: float
) -> list[Attacked]:
    paid: dict[tuple[str, str], list[float | None]] = {}
    shape: dict[str, list[float]] = {}  # what an honest wrong reply's looks are paid, by suite
    for t in tries:
        named = {name: rows[t.row_id] for name, rows in extra.items() if t.row_id in rows}
        pay = reward.pay(t.row_id, t.said, verdicts[t.row_id], named=named)[0]
        paid.setdefault((t.suite, t.attack), []).append(pay)
        if t.attack == HONEST.name:
            unsolved = reward.pay(t.row_id, t.said, Verdict(Outcome.WRONG, 0.0), named=named)[0]
            shape.setdefault(t.suite, []).append(unsolved or 0.0)
    results = []
    for (suite, attack), values in paid.items():
        got = [value for value in values if value is not None]
        honest = shape[suite][: len(values)]
        allowed = sum(honest) / len(honest) + margin
        earned = sum(got) / len(got) if got else 0.0
        results.append(Attacked(suite, attack, earned, allowed, len(values), len(values) - len(got)))
    return results
