"""Word problems about money: what several things cost, and what is left of what was paid with."""

import random

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:change", "CC0-1.0")
WORDINGS: dict[int, Wordings] = {
    1: {
        "en": (
            "{name} buys {n1} {thing1} at {p1} dollars each and pays with {paid} dollars. "
            "How many dollars does {name} get back?",
            "One of the {thing1} costs {p1} dollars. {name} has {paid} dollars and takes {n1}. "
            "How many dollars are left?",
        ),
        "zh": (
            "{name}买了{n1}{thing1}，每{unit1} {p1} 元，付了 {paid} 元，应找回多少元？",
            "{thing1_name}每{unit1} {p1} 元。{name}带了 {paid} 元，买了{n1}{unit1}，还剩多少元？",
        ),
    },
    2: {
        "en": (
            "{name} buys {n1} {thing1} at {p1} dollars each and {n2} {thing2} at {p2} dollars each, "
            "and pays with {paid} dollars. How many dollars does {name} get back?",
            "{name} has {paid} dollars and buys {n1} {thing1} for {p1} dollars each and {n2} {thing2} for "
            "{p2} dollars each. How many dollars are left?",
        ),
        "zh": (
            "{name}买了{n1}{thing1}，每{unit1} {p1} 元，又买了{n2}{thing2}，每{unit2} {p2} 元，"
            "付了 {paid} 元，应找回多少元？",
            "{name}有 {paid} 元，买{n1}{thing1}（每{unit1} {p1} 元）和{n2}{thing2}（每{unit2} {p2} 元），"
            "还剩多少元？",
        ),
    },
}
NAMES = {
    "en": ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Lily", "Max"),
    "zh": ("小明", "小红", "小华", "小丽", "小刚", "妈妈", "爸爸", "李老师", "王阿姨", "奶奶"),
}
# English, Chinese measure word, Chinese
THINGS = (
    ("pens", "支", "笔"),
    ("books", "本", "书"),
    ("apples", "个", "苹果"),
    ("cakes", "块", "蛋糕"),
    ("cups", "个", "杯子"),
    ("tickets", "张", "票"),
    ("flowers", "朵", "花"),
    ("shirts", "件", "衬衫"),
    ("fish", "条", "鱼"),
    ("bottles of milk", "瓶", "牛奶"),
)


class ChangeLevel(Spoken):
    """min_kinds..max_kinds of things, 2..max_count of each at 2..max_price; paid is what they cost and up to
    max_change more."""

    min_kinds: int = Field(1, ge=1, le=2)
    max_kinds: int = Field(2, ge=1, le=2)
    max_count: int = Field(9, ge=2, le=99)
    max_price: int = Field(9, ge=2, le=99)
    max_change: int = Field(20, ge=1, le=999)


class Change:
    """key "4*3<20", "4*3+2*5<50": counts and prices in order, and what was paid. Names and things are
    wording."""

    name = "change"
    Level = ChangeLevel

    def draw(self, level: ChangeLevel, rng: random.Random) -> Problem:
        kinds = rng.randint(level.min_kinds, level.max_kinds)
        bought = [(rng.randint(2, level.max_count), rng.randint(2, level.max_price)) for _ in range(kinds)]
        left = rng.randint(1, level.max_change)
        paid = sum(n * price for n, price in bought) + left
        language = choose(level, rng)
        values: dict[str, str | int] = {"name": rng.choice(NAMES[language]), "paid": paid}
        for i, ((n, price), thing) in enumerate(zip(bought, rng.sample(THINGS, kinds), strict=True), start=1):
            english, unit, chinese = thing
            values |= {f"n{i}": n, f"p{i}": price, f"unit{i}": unit, f"thing{i}_name": chinese}
            values |= {f"thing{i}": english if language == "en" else f"{unit}{chinese}"}
        prompt = worded(WORDINGS[kinds], language, rng, **values)
        key = "+".join(f"{n}*{price}" for n, price in sorted(bought)) + f"<{paid}"
        hidden = {"answer": left, "bought": tuple(bought), "paid": paid, **marked(language)}
        return Problem("change", level_text(level), key, prompt, hidden, ORIGIN)

    def count(self, level: ChangeLevel) -> int:
        pairs = (level.max_count - 1) * (level.max_price - 1)
        by_kinds = {1: pairs, 2: pairs * (pairs + 1) // 2}
        sizes = range(level.min_kinds, level.max_kinds + 1)
        return level.max_change * sum(by_kinds[kinds] for kinds in sizes)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """What each kind costs, all of it, and what is left: "4*3=12", "2*5=10", "12+10=22", "50-22=28"."""
        hidden = problem.hidden
        return told(problem, _solution(hidden["bought"], hidden["paid"]))


def _solution(bought: tuple[tuple[int, int], ...], paid: int, off: int = 0) -> Reply:
    costs = [n * price for n, price in bought]
    lines = [f"{n}*{price}={cost}" for (n, price), cost in zip(bought, costs, strict=True)]
    if len(costs) > 1:
        lines.append(f"{'+'.join(map(str, costs))}={sum(costs)}")
    left = paid - sum(costs) + off
    return Reply("\n".join([*lines, f"{paid}-{sum(costs)}={left}"]), str(left))


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The last line comes out a little off."""
    hidden = problem.hidden
    off = rng.choice([off for off in (-10, -1, 1, 10) if hidden["answer"] + off >= 0])
    return _solution(hidden["bought"], hidden["paid"], off)


def habit(problem: Problem) -> Reply:
    """Each thing is paid for once, however many there are."""
    costs = [price for _, price in problem.hidden["bought"]]
    paid, cost = problem.hidden["paid"], sum(costs)
    lines = [f"{'+'.join(map(str, costs))}={cost}"] if len(costs) > 1 else []
    return Reply("\n".join([*lines, f"{paid}-{cost}={paid - cost}"]), str(paid - cost))
