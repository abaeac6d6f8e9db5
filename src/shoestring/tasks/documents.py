"""Worked solutions as documents for pretraining, without end; some of them wrong where that is asked for.

The base that GRPO starts from should sometimes be right and sometimes wrong, or there is nothing to choose
between. A wrong solution is a right one with a slip: a step that comes out a little off, with all that
follows from it. Its document says so in `source`, and its answer has been scored: it is never right."""

import random
from collections.abc import Sequence
from itertools import accumulate

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.tasks.arithmetic import chain
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.countdown import reach, steps, text_of
from shoestring.tasks.suite import ProblemStream, draw_problems, parse_suite, score
from shoestring.tasks.worked import worked_messages
from shoestring.text.message import Message, Reply
from shoestring.text.mixture import Document

RIGHT, WRONG = "worked:right", "worked:wrong"
NEAREST = 5  # a countdown slip takes one of so many expressions that come closest


class WorkedDocuments:
    """Training problems of `suites` in turn, each a conversation with its worked solution. Document i depends
    on (seed, i) alone. Raises BadInput for a suite whose problems have no worked solutions."""

    def __init__(
        self, suites: Sequence[str], seed: int, share_right: float = 1.0, system: str | None = None
    ) -> None:
        """About `share_right` of the solutions are right, chosen by a number keyed on (seed, i)."""
        if not 0 <= share_right <= 1:
            raise BadInput(f"share_right {share_right} is not in [0, 1]")
        self.stream = ProblemStream([parse_suite(suite) for suite in suites], seed)
        self.seed, self.share_right, self.system = seed, share_right, system
        firsts = [self.stream.item(i) for i in range(len(suites))]
        for problem in firsts:  # what can't be had is refused here, before anything runs
            self._document(problem, "first", right=True)
            if share_right < 1:
                self._document(problem, "first", right=False)
        self.origins: tuple[Origin, ...] = tuple(dict.fromkeys(problem.origin for problem in firsts))

    def next(self) -> Document:
        key = f"{self.seed}/{self.stream.index}"
        (problem,) = self.stream.take(1)
        return self._document(problem, key, random.Random(f"share:{key}").random() < self.share_right)

    def skip(self, count: int) -> None:
        self.stream.index += count

    def validation(self, limit: int) -> list[Document]:
        """Right solutions of problems of the test split, the suites in turn. Raises BadInput where a suite
        has fewer."""
        each = -(-limit // len(self.stream.suites))
        drawn = [draw_problems(suite, "test", each, seed=0) for suite in self.stream.suites]
        problems = [problem for turn in zip(*drawn, strict=True) for problem in turn]
        return [self._document(problem, "validation", right=True) for problem in problems[:limit]]

    def state_dict(self) -> dict[str, int]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.stream.load_state_dict(state)

    def _document(self, problem: Problem, key: str, right: bool) -> Document:
        messages = worked_messages(problem, key, self.system)
        if not right:
            messages[-1] = _with_slip(problem, messages[-1], random.Random(f"slip:{key}"))
        return Document(None, problem.id, RIGHT if right else WRONG, messages)


def _with_slip(problem: Problem, turn: Message, rng: random.Random) -> Message:
    slip = spoiled(problem, Reply(turn.get("reasoning_content") or "", turn["content"]), rng)
    return Message(role="assistant", content=slip.answer, reasoning_content=slip.reasoning or "")


def spoiled(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The worked solution `reply` of `problem` with a slip in it that makes its answer wrong. Raises BadInput
    for a family whose slips aren't known."""
    slips = {"sums": _slip_sums, "equations": _slip_last, "letters": _slip_letters, "countdown": _slip_search}
    if problem.family not in slips:
        raise BadInput(f"{problem.family} has no wrong solutions to show: set share_right to 1")
    wrong = slips[problem.family](problem, reply, rng)
    assert score(problem, wrong).outcome is not Outcome.RIGHT, (problem.key, wrong)
    return wrong


def _slip_sums(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """One line's result is off by one or ten; the lines after it go on from there."""
    signed = [term if sign == "+" else -term for sign, term in problem.hidden["steps"]]
    totals = list(accumulate(signed))
    at = rng.randrange(1, len(signed))
    off = rng.choice([off for off in (-10, -1, 1, 10) if min(totals[at:]) + off >= 0])
    lines, total = [], totals[0]
    for i, term in enumerate(signed[1:], start=1):
        line = chain(total, abs(term), "+" if term >= 0 else "-")
        total += term
        if i == at:
            line = f"{line.removesuffix(str(total))}{total + off}"
            total += off
        lines.append(line)
    return Reply("\n".join(lines), str(total))


def _slip_last(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The last line comes out a little off."""
    wrong = str(int(reply.answer) + rng.choice((-2, -1, 1, 2)))
    return Reply(f"{(reply.reasoning or '').removesuffix(reply.answer)}{wrong}", wrong)


def _slip_letters(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """A letter overlooked, seen where it isn't, taken for its neighbour, or two in the wrong order."""
    hidden, answer = problem.hidden, reply.answer
    word, position = hidden["word"], hidden["position"]
    marks = (reply.reasoning or "").split(" ")
    if hidden["question"] == "count" and answer != "0":
        last = max(i for i, mark in enumerate(marks) if mark.endswith(answer))
        marks[last] = marks[last][0]
        return Reply(" ".join(marks), str(int(answer) - 1))
    if hidden["question"] == "count":
        marks[rng.randrange(len(marks))] += "1"
        return Reply(" ".join(marks), "1")
    if hidden["question"] == "nth":
        near = [letter for letter in word[max(0, position - 2) : position + 1] if letter != answer]
        wrong = rng.choice(near or [letter for letter in word if letter != answer])
        return Reply(" ".join([*marks[:-1], f"{position}{wrong}"]), wrong)
    at = rng.choice([i for i in range(len(answer) - 1) if answer[i] != answer[i + 1]])
    wrong = f"{answer[:at]}{answer[at + 1]}{answer[at]}{answer[at + 2 :]}"
    return Reply(f"{' '.join(word)}\n{' '.join(wrong)}", wrong)


def _slip_search(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """An expression that nearly hits, whose last step is said to hit."""
    target = problem.hidden["target"]
    reached = reach(tuple(sorted(problem.hidden["numbers"]))).values()
    misses = [tree for tree in reached if tree.value != target]
    near = sorted(misses, key=lambda tree: (abs(tree.value - target), text_of(tree)))[:NEAREST]
    tree = rng.choice(near)
    *before, last = steps(tree)
    claimed = " ".join([*before, f"{last.partition('=')[0]}={target}"])
    tries = (reply.reasoning or "").splitlines()[:-1]
    return Reply("\n".join([*tries, f"{claimed} yes"]), text_of(tree))
