"""Worked solutions that are wrong: with a slip somewhere, another each time, or by somebody with a bad
habit, who makes the same mistake wherever it can be made."""

import random
from itertools import accumulate

from shoestring.errors import BadInput
from shoestring.tasks import bases, change, clock, compare, products, remainder, sequences, sorting
from shoestring.tasks.arithmetic import chain
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.countdown import reach, steps, text_of
from shoestring.tasks.equations import move
from shoestring.tasks.spoken import bare, told
from shoestring.tasks.suite import score
from shoestring.tasks.sums import Sums
from shoestring.text.message import Reply

# whose mistakes stand beside the solutions that they are made in
WITH_SLIPS = {
    "products": products,
    "remainder": remainder,
    "bases": bases,
    "compare": compare,
    "clock": clock,
    "sorting": sorting,
    "sequences": sequences,
    "change": change,
}
NEAREST = 5  # a countdown slip takes one of so many expressions that come closest


def spoiled(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The worked solution `reply` of `problem` with a slip in it that makes its answer wrong. Raises BadInput
    for a family whose slips aren't known."""
    slips = {"sums": _slip_sums, "equations": _slip_last, "letters": _slip_letters, "countdown": _slip_search}
    slips |= {name: module.slip for name, module in WITH_SLIPS.items()}
    if problem.family not in slips:
        raise BadInput(f"{problem.family} has no wrong solutions to show: set share_right to 1")
    wrong = told(problem, slips[problem.family](problem, bare(problem, reply), rng))
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


def habitual(problem: Problem) -> Reply:
    """`problem` solved with the family's bad habit: in sums the ten that the ones carry or borrow is
    forgotten; in equations x is left with its factor, and a constant alone changes sides with its sign; other
    families' stand beside their solutions. Right where the habit has nothing to spoil. Raises BadInput for a
    family without one."""
    habits = {"sums": _forget_carries, "equations": _forget_factor}
    habits |= {name: module.habit for name, module in WITH_SLIPS.items()}
    if problem.family not in habits:
        raise BadInput(f"{problem.family} has no bad habit to show: set slips to 'any'")
    return told(problem, habits[problem.family](problem))


def _forget_carries(problem: Problem) -> Reply:
    (_, total), *rest = problem.hidden["steps"]
    lines = []
    for sign, term in rest:
        signed = term if sign == "+" else -term
        ones = total % 10 + (signed % 10 if signed >= 0 else -(-signed % 10))
        forgotten = 10 if ones >= 10 else -10 if ones < 0 else 0
        if total + signed < 0:  # an earlier line's fault, and no sum of whole numbers
            return bare(problem, Sums().worked(problem, random.Random(0)))
        lines.append(
            f"{chain(total, term, sign).removesuffix(str(total + signed))}{total + signed - forgotten}"
        )
        total += signed - forgotten
    return Reply("\n".join(lines), str(total))


def _forget_factor(problem: Problem) -> Reply:
    a, b, c, x = (problem.hidden[name] for name in ("a", "b", "c", "answer"))
    form, d = problem.hidden["form"], (a - c) * x + b
    if form == 1 or (form == 4 and a - c == 1):  # there is no factor
        right = x + b if form == 1 else d
        return Reply(move("x", right, -b), str(right + b))
    if form == 3:
        return Reply(f"x{b:+d}={a * (x + b)}\n{move('x', a * (x + b), b)}", str(a * (x + b) - b))
    left, right, factor = (f"{a}x", a * x + b, a) if form == 2 else (f"{a}x-{c}x", d, a - c)
    return Reply(f"{move(left, right, b)}\nx={factor * x}", str(factor * x))
