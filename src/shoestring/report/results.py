"""Scores, differences and chat checks as tables."""

from collections.abc import Iterable, Iterator

from shoestring.evals.statistics import wilson
from shoestring.report.blocks import Block, Heading, Table, Text, percent
from shoestring.report.overlaps import overlap_blocks
from shoestring.report.planned import planned_blocks, points
from shoestring.report.run_report import RunReport
from shoestring.report.scores import Comparison, Score
from shoestring.report.taken import taken_blocks

FIGURES = ("accuracy [95 %]", "n", "cut", "unparsed")
NOTE = (
    "Accuracy on problems held out from training, with 95 % intervals. Cut: the reply met the token limit. "
    "Unparsed: no answer was found in it. Differences are paired by problem. A model is called better only "
    "where the interval of the difference leaves out 0 and p < 0.05 with Holm's correction for all rows of "
    "the table. Where over 5 % of the loser's replies were cut it is called so only if it would be with all "
    "of them right (cut replies granted). The base is shown in the way of asking that served it best."
)


def accuracy(score: Score) -> str:
    text = f"{percent(score.score)} [{100 * score.ci95.low:.1f}, {100 * score.ci95.high:.1f}]"
    return f"at least {text}" if score.lower_bound else text


def headline(report: RunReport) -> Table:
    """Each model at its best on each suite, beside the base at its best."""
    single = {id(c.of[0]): c for c in report.against_base if len(c.of) == 1}
    rows, strong = [], set()
    shown = _in_order([score for score in report.scores if score.best])
    for suite, score in zip(_once(score.suite for score in shown), shown, strict=True):
        comparison = single.get(id(score))
        if comparison is not None and comparison.verdict.startswith("better"):
            strong.add(len(rows))
        rows.append((suite, _name(score), *_figures(score), *_against(comparison, score)))
    header = (
        "suite",
        "model",
        "accuracy [95 %]",
        "n",
        "cut",
        "unparsed",
        "points above the base at its best",
        "verdict",
    )
    return Table(header, tuple(rows), words=(0, 1, 7), strong=frozenset(strong))


def _once(suites: Iterable[str]) -> list[str]:
    """Each suite's name in its first row only."""
    names = list(suites)
    return ["" if i and names[i - 1] == name else name for i, name in enumerate(names)]


def _name(score: Score) -> str:
    name = f"{score.name} (base)" if score.is_base and score.label != "base" else score.name
    return f"{name}, {score.variant}" if score.variant else name


def _figures(score: Score) -> tuple[str, str, str, str]:
    replies = score.n * score.k
    n = f"{score.n}" if score.k == 1 else f"{score.n} x {score.k}"
    return accuracy(score), n, percent(score.truncated / replies), percent(score.unparsed / replies)


def _against(comparison: Comparison | None, score: Score) -> tuple[str, str]:
    if comparison is None:
        return "", "" if score.is_base else "no base score"
    return points(comparison), comparison.verdict


def _in_order(scores: Iterable[Score]) -> list[Score]:
    """By suite, the base first, then as they were trained; a score that several units repeat stands once."""
    seen: dict[tuple[object, ...], Score] = {}
    for score in scores:
        own = (score.label, score.suite, score.variant, score.correct, tuple(score.marks.items()))
        seen.setdefault((*own, "" if score.is_base else score.name), score)
    suites = list(dict.fromkeys(score.suite for score in seen.values()))
    return sorted(seen.values(), key=lambda s: (suites.index(s.suite), not s.is_base))


def score_blocks(report: RunReport) -> Iterator[Block]:
    yield Heading("Results")
    if not report.scores:
        yield Text("No evaluation is finished.")
        return
    yield headline(report)
    yield Text(NOTE)
    if scorers := sorted({score.scorer for score in report.scores if score.scorer}):
        yield Text(
            f"Scored by {'; '.join(scorers)}. Each score's receipt and replies are in its stage's evals/."
        )
    yield from _replies(report)
    yield from overlap_blocks(report)
    yield from taken_blocks(_in_order([score for score in report.scores if score.best]))
    methods = sorted({c.method for c in (*report.against_base, *report.against_recipe)})
    if methods:
        yield Text(f"Intervals of differences: {'; '.join(methods)}.")
    yield from planned_blocks(report)
    several = [c for c in report.against_base if len(c.of) > 1]
    if several:
        yield Text("All seeds of a model together:")
        yield _together(several)
    if report.against_recipe:
        yield Text("Arms, each beside the recipe as written:")
        rows = tuple((c.of[0].suite, c.of[0].name, points(c), c.verdict) for c in report.against_recipe)
        yield Table(("suite", "model", "points above it", "verdict"), rows, words=(0, 1, 3))
    ways = [score for score in report.scores if score.variant]
    if ways:
        yield Text("Every way in which the base was asked:")
        shown = _in_order(ways)
        suites = _once(score.suite for score in shown)
        rows = tuple(
            (suite, _name(s), *_figures(s), s.asking) for suite, s in zip(suites, shown, strict=True)
        )
        yield Table(("suite", "way", *FIGURES, "asked with"), rows, words=(0, 1, 6))


def _replies(report: RunReport) -> Iterator[Block]:
    """How they reply, beside whether they are right; columns that say nothing of any model are left out."""
    shown = _in_order([s for s in report.scores if s.best and s.shape is not None])
    rows = [(score, score.shape) for score in shown if score.shape is not None]
    if not rows:
        return
    columns = {
        "thinking format": [percent(shape.format) for _, shape in rows],
        "mixes languages": ["" if shape.mixed is None else percent(shape.mixed) for _, shape in rows],
        "tokens": [f"{shape.tokens:.0f}" for _, shape in rows],
        "when right": [_tokens(shape.tokens_right) for _, shape in rows],
        "when not": [_tokens(shape.tokens_wrong) for _, shape in rows],
        "empty": [percent(score.empty / (score.n * score.k)) if score.empty else "" for score, _ in rows],
        "timeout": [_lost(score, score.lost - score.errors) for score, _ in rows],
        "error": [_lost(score, score.errors) for score, _ in rows],
        "readers differed": [f"{shape.disagreed}" if shape.disagreed else "" for _, shape in rows],
        "the same answer": [_share(shape.same) for _, shape in rows],
        "always the commonest answer would get": [_share(shape.always_same) for _, shape in rows],
        **{
            f"pass@{k}": [str(score.pass_at[k]) if k in score.pass_at else "" for score, _ in rows]
            for k in dict.fromkeys(str(score.k) for score, _ in rows if score.k > 1)
        },
        **{
            f"cons@{k}": [str(score.cons) if score.cons and score.k == k else "" for score, _ in rows]
            for k in dict.fromkeys(score.k for score, _ in rows if score.cons)
        },
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    suites = _once(score.suite for score, _ in rows)
    table = tuple(
        (suites[i], _name(score), *(cells[i] for cells in kept.values())) for i, (score, _) in enumerate(rows)
    )
    yield Text("How they reply:")
    yield Table(("suite", "model", *kept), table, words=(0, 1))


def _lost(score: Score, count: int) -> str:
    return percent(count / (score.n * score.k)) if count else ""


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


def _tokens(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _together(comparisons: Iterable[Comparison]) -> Table:
    rows = []
    for c in comparisons:
        first = c.of[0]
        name = " ".join(word for word in (first.label, first.unit.arm) if word)
        mean = sum(score.score for score in c.of) / len(c.of)
        rows.append((first.suite, name, str(len(c.of)), percent(mean), points(c), c.verdict))
    header = ("suite", "model", "seeds", "mean accuracy", "points above the base at its best", "verdict")
    return Table(header, tuple(rows), words=(0, 1, 5))


def identity_blocks(report: RunReport) -> Iterator[Block]:
    if not report.identities:
        return
    yield Heading("Who does it say it is?")
    rows = []
    for one in report.identities:
        if one.is_base and one.unit.arm:  # the base is the same in every arm
            continue
        named = ", ".join(f"{family} {count}" for family, count in list(one.families.items())[:3])
        for language, counts in one.claims.items():
            asked, others = sum(counts.values()), counts["other"] + counts["both"]
            ci = wilson(others, asked)
            own = (str(asked), str(counts["own"]), str(others), f"{percent(ci.low)} to {percent(ci.high)}")
            rows.append((one.name, language, *own, named or "none"))
    header = ("model", "language", "asked", "its own name", "another's", "95 % interval")
    yield Table((*header, "most claimed, both languages"), tuple(rows), words=(0, 1, 6))
    yield Text(
        "Greedy replies to questions about who speaks. A reply claims every family that it names, one that "
        "it denies too; a family that the question names only where the reply says yes."
    )


def chat_blocks(report: RunReport) -> Iterator[Block]:
    if not report.chats:
        return
    yield Heading("Does it still chat?")
    rows = tuple(
        (
            chat.name,
            *(
                percent(share)
                for share in (chat.stopped, chat.empty, chat.looped, chat.thinks, chat.maths_format)
            ),
            f"{chat.own} of {chat.asked}",
            f"{chat.other}",
            f"{chat.tokens:.0f}",
        )
        for chat in report.chats
        if not (chat.is_base and chat.unit.arm)  # the base is the same in every arm
    )
    header = ("model", "stops", "empty", "loops", "thinks", "maths format")
    yield Table((*header, "says what it is", "names another", "tokens a reply"), rows)
    counts = sorted({chat.n for chat in report.chats})
    yield Text(
        f"Greedy replies to {' or '.join(map(str, counts))} ordinary prompts that have nothing to check."
    )
