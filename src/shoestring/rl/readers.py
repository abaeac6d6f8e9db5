"""Before training: does a right reply, written as the model would write it, come back as it was said, and is
it found right? What fails here would fail in every step, in silence."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.errors import BadInput
from shoestring.rl.faults import Fault
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import Suite
from shoestring.text.message import Message, Reply
from shoestring.text.template import Template

EACH = 4


@dataclass(frozen=True)
class Read:
    """A right reply as it was written and as the template reads it from its own ids."""

    suite: str
    problem: Problem
    written: Reply
    read: Reply
    ended: bool  # its last token ends a turn and is trained


def read_back(suites: Sequence[Suite], template: Template, seed: int) -> list[Read]:
    """Worked solutions of a few training problems, rendered and parsed. Problems that have none are left
    out: a suite of which none has is not checked."""
    found: list[Read] = []
    for suite in suites:
        for problem in {p.id: p for p in ProblemStream(suite, seed).take(EACH)}.values():
            written = _right_reply(suite, problem)
            if written is not None:
                found.append(_through(template, str(suite), problem, written))
    return found


def reader_faults(read: Sequence[Read], judge: Judge) -> list[Fault]:
    """Names what is wrong with the template, the parser or the verifier; [] where all is well."""
    faults: list[Fault] = []
    kept = [r for r in read if r.read.answer == r.written.answer]  # where it isn't, the parser is at fault
    lost = [r for r in kept if r.written.reasoning and not r.read.reasoning]
    if lost:
        faults.append(
            Fault(
                "template strips thinking",
                f"{len(lost)} of {len(read)} worked replies lose their thinking in the template",
                "use a template that keeps the last reply's thinking",
            )
        )
    if any(not r.ended for r in read):
        faults.append(
            Fault(
                "pad = eos",
                f"{sum(not r.ended for r in read)} of {len(read)} worked replies end without a trained "
                "end-of-turn token",
                "the model would never learn to stop: give the padding a token of its own",
            )
        )
    verdicts = judge.score([(str(i), r.problem, r.read) for i, r in enumerate(read)])
    failed = [(r, verdicts[str(i)]) for i, r in enumerate(read)]
    failed = [(r, v) for r, v in failed if v.outcome is not Outcome.RIGHT]
    if failed:
        first, verdict = failed[0]
        faults.append(
            Fault(
                "parser broken",
                f"{len(failed)} of {len(read)} right answers are not found right, the first of suite "
                f"'{first.suite}': {first.written.answer[:80]!r} is read as {first.read.answer[:80]!r} and "
                f"judged {verdict.outcome}{f' ({verdict.detail})' if verdict.detail else ''}",
                "mend the template's parsing or the suite's scorer",
            )
        )
    return faults


def _right_reply(suite: Suite, problem: Problem) -> Reply | None:
    try:
        return suite.family.worked(problem, random.Random(f"readers:{problem.id}"))
    except BadInput:  # the family knows no solutions; the bare answer will do where it is one
        entry = problem.hidden.get("entry")
        answer = (entry if isinstance(entry, dict) else problem.hidden).get("answer")
    if not isinstance(answer, str | int) or answer == "":
        return None
    return Reply(None, f"<answer>{answer}</answer>")


def _through(template: Template, suite: str, problem: Problem, written: Reply) -> Read:
    asked: list[Message] = [{"role": "user", "content": problem.prompt}]
    said: Message = {"role": "assistant", "content": written.answer}
    if written.reasoning:
        said["reasoning_content"] = written.reasoning
    whole = template.render([*asked, said])
    first = whole.trained.index(True)
    last = len(whole.trained) - 1 - whole.trained[::-1].index(True)
    read = template.parse(whole.ids[first : last + 1], cut=False)
    return Read(suite, problem, written, read, whole.ids[last] in template.stop_ids)
